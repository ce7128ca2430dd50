#!/usr/bin/env python3
"""Adapters that alignpro saves load in the real peft and mean the same there.

    check_peft.py --alignpro BIN                              trains small ones and makes wild ones
    check_peft.py --alignpro BIN --model DIR --adapter DIR    checks one that is there

The first form makes a tiny random Llama with transformers and trains it by `alignpro sft` (LoRA of
a causal model) and `alignpro reward` (LoRA and a scalar head in modules_to_save), in a temporary
folder; and saves adapters of peft's own with patterns of ranks and alphas, expressions and lists of
layers, on a tiny random model of each family. A check compares `alignpro score --adapter` with peft's log-probabilities or scores on
random ids, and asks that the adapter changes something. Prints the largest absolute difference; the exit
code is 1 above LIMIT. Needs torch, transformers and peft.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import peft
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = ROOT / "examples" / "demo"
LIMIT = 2e-4  # nats, or units of the score
LENGTHS = (2, 5, 17, 40)
RECIPE = """
models:   {{small: {{path: model}}}}
prompter:
  model: small
  adapter: {{rank: 4, alpha: 12, targets: "{targets}", rslora: {rslora}}}
  meta_prompt: "{{prompt}}"
target:   {{model: small, max_new_tokens: 64}}
reward:   {{model: small, kind: classifier, adapter: {{rank: 4, targets: all-linear}}}}
data:     {{path: pairs.jsonl, split: {{train: 0.8, valid: 0.1, test: 0.1}}}}
sft:      {{source: file, path: rewrites.jsonl, epochs: 1, batch: 8, lr: 1e-2}}
reward_train: {{epochs: 1, batch: 8, lr: 1e-2}}
run:      {{dir: {run}, seed: 1, threads: 1}}
"""


# -- one adapter --


def lines_of(binary, model, adapter, rows, context=None):
    """What alignpro says of each row of ids."""
    command = [binary, "score", "--model", model, *(["--adapter", adapter] if adapter else [])]
    command += ["--context", str(context)] if context else []
    text = "".join(json.dumps({"ids": row}) + "\n" for row in rows)
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()} {done.stdout.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def load(model, adapter):
    """The adapter in peft on the base of its task; a missing or unknown tensor is an error."""
    config = peft.PeftConfig.from_pretrained(adapter)
    settings = {"dtype": torch.float32, "attn_implementation": "eager"}
    if config.task_type == "SEQ_CLS":
        auto, settings["num_labels"] = transformers.AutoModelForSequenceClassification, 1
    else:
        auto = transformers.AutoModelForCausalLM
    base = auto.from_pretrained(model, **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing.*|.*unexpected.*")
        return peft.PeftModel.from_pretrained(base, adapter).eval()


@torch.no_grad()
def by_peft(model, row):
    out = model(input_ids=torch.tensor([row])).logits[0].double()
    if model.peft_type and model.active_peft_config.task_type == "SEQ_CLS":
        return out
    return torch.log_softmax(out, -1)[:-1].gather(1, torch.tensor(row[1:])[:, None])[:, 0]


def numbers(line):
    return torch.tensor(line["logprobs"] if "logprobs" in line else [line["score"]]).double()


def check(binary, model, adapter, limit=LIMIT):
    adapted = load(model, adapter)
    config = adapted.get_base_model().config
    # a row of its own length each, so that a classifier needs no padding id
    generator = torch.Generator().manual_seed(1)
    draw = lambda n: torch.randint(3, config.vocab_size, (n,), generator=generator).tolist()
    rows = [draw(n) for n in LENGTHS]
    config.pad_token_id = None
    got = [numbers(line) for line in lines_of(binary, model, adapter, rows)]
    want = [by_peft(adapted, row) for row in rows]
    with adapted.disable_adapter():
        before = [by_peft(adapted, row) for row in rows]
    far = max((g - w).abs().max().item() for g, w in zip(got, want))
    moved = max((w - b).abs().max().item() for w, b in zip(want, before))
    kind = "scores" if adapted.active_peft_config.task_type == "SEQ_CLS" else "log-probabilities"
    print(f"{adapter}: {kind} differ by {far:.2e} at most; the adapter moves them by {moved:.2e}")
    return far <= limit and moved > 10 * limit


# -- adapters as they are in the wild, saved by peft --

LLAMA = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
PHI3 = "qkv_proj o_proj gate_up_proj down_proj".split()
WILD = {
    "ranks by name": lambda names: {
        "target_modules": "all-linear",
        "rank_pattern": {names[0]: 7, rf"layers\.1\.mlp\.{names[-1]}": 2, "mlp.*": 3},
        "alpha_pattern": {"^model.layers.0.self_attn.o_proj": 2.5, f"1.self_attn.{names[0]}": 20},
    },
    "an expression": lambda names: {
        "target_modules": rf".*layers\.[12]\..*({names[0]}|{names[-1]})",
        "exclude_modules": rf".*2\.mlp.*",
        "use_rslora": True,
    },
    "some layers": lambda names: {
        "target_modules": [names[0], f"model.layers.2.mlp.{names[-1]}", "absent"],
        "layers_to_transform": [0, 1],
        "layers_pattern": "layers",
        "exclude_modules": [f"0.self_attn.{names[0]}"],
        "rank_pattern": {"down": 1, "down_proj": 9},
    },
}


def check_wild(binary, family, names):
    """Each kind of configuration on a random model, A and B both random."""
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tiny_model(folder / "model", family, num_hidden_layers=3)
        for title, settings in WILD.items():
            base = transformers.AutoModelForCausalLM.from_pretrained(folder / "model")
            torch.manual_seed(2)
            config = peft.LoraConfig(
                r=4, lora_alpha=6, task_type="CAUSAL_LM", init_lora_weights=False, **settings(names)
            )
            peft.get_peft_model(base, config).save_pretrained(folder / title)
            good &= check(binary, folder / "model", folder / title, 2e-5)
    return good


# -- two adapters of our own making --


def tiny_model(folder, family="llama", **more):
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=600,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
        initializer_range=0.2,
        tie_word_embeddings=False,
        **{"num_hidden_layers": 2, **more},
    )
    torch.manual_seed(1)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder)


def write_lines(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def train(binary, folder, run, targets, rslora):
    recipe = folder / f"{run}.yaml"
    recipe.write_text(RECIPE.format(run=run, targets=targets, rslora=rslora), encoding="utf-8")
    for stage in ("sft", "reward"):
        done = subprocess.run([binary, stage, recipe], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"alignpro {stage}: {done.stderr.strip() or done.stdout.strip()}")
    return [folder / run / stage / "final" for stage in ("sft", "reward")]


def check_own(binary):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tiny_model(folder / "model")
        words = ["otter", "whale", "owl", "fox", "heron", "newt", "lynx", "hare"]
        asked = [f"Tell me about the {a} and the {b}." for a in words for b in words]
        write_lines(folder / "rewrites.jsonl", [{"prompt": p, "rewrite": p.upper()} for p in asked])
        write_lines(
            folder / "pairs.jsonl",
            [{"prompt": p, "chosen": "It eats fish.", "rejected": "No."} for p in asked],
        )
        finals = train(binary, folder, "all", "all-linear", "false")
        finals += train(binary, folder, "some", "q_proj,v_proj", "true")[:1]
        good = all([check(binary, folder / "model", final) for final in finals])
    families = {"llama": LLAMA, "qwen2": LLAMA, "phi3": PHI3}
    return all([check_wild(binary, family, names) for family, names in families.items()]) and good


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--alignpro", required=True, type=pathlib.Path, help="the program")
    parser.add_argument("--model", type=pathlib.Path, help="Hugging Face folder of the base")
    parser.add_argument("--adapter", type=pathlib.Path, help="folder of the adapter")
    a = parser.parse_args()
    if bool(a.model) != bool(a.adapter):
        parser.error("--model and --adapter go together")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    binary = a.alignpro.resolve()
    sys.exit(0 if (check(binary, a.model, a.adapter) if a.model else check_own(binary)) else 1)


if __name__ == "__main__":
    main()
