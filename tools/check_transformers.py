#!/usr/bin/env python3
"""Models of every family mean the same to alignpro and to the real transformers, both ways.

    check_transformers.py --alignpro BIN [--families llama,qwen2,phi3] [--count N] [--seed S]

Draws N random configurations a family (grouped queries, head sizes, biases, tied heads, every kind
of rotary positions, windows, either spelling of config.json). transformers saves the model,
`alignpro score` reads it: log-probabilities, with and without a LoRA adapter of peft's, a
classifier's scores. Then `alignpro sft` and `alignpro reward` train all weights of it for a few
steps, and transformers reads what they saved: config.json must come back as it was, in meaning, and
the numbers agree again. LoRA adapters of our own go back through peft in the same way. A distance
is relative to the largest logit of its position. The exit code is 1 above LIMIT. Needs torch,
transformers and peft.
"""

import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import warnings

import peft
import torch
import transformers
from check_peft import DEMO, lines_of, write_lines
from golden_models import FAMILIES, randomise, spell_as_v4

LIMIT = 2e-5
LENGTHS = (2, 9, 33, 60)
RECIPE = """
models:   {{small: {{path: model}}}}
prompter: {{model: small, adapter: {adapter}, meta_prompt: "{{prompt}}", max_new_tokens: 8}}
target:   {{model: small, max_new_tokens: 8}}
reward:   {{model: small, kind: classifier, adapter: {adapter}}}
data:     {{path: pairs.jsonl, split: {{train: 0.8, valid: 0.1, test: 0.1}}}}
sft:      {{source: file, path: rewrites.jsonl, epochs: 1, batch: 8, lr: 1e-3}}
reward_train: {{epochs: 1, batch: 8, lr: 1e-3}}
run:      {{dir: {run}, seed: 1, threads: 1, context: {context}}}
"""


# -- random configurations --


def rope_of(draw, family, half):
    """rope_parameters; half: pairs of a head that rotate."""
    kinds = ["default", "longrope"] if family == "phi3" else [
        "default", "linear", "dynamic", "llama3", "longrope"
    ]
    rope = {"rope_type": draw.choice(kinds), "rope_theta": draw.choice([100.0, 10000.0, 1e6])}
    if rope["rope_type"] in ("linear", "dynamic", "llama3"):
        rope["factor"] = draw.choice([1.7, 4.0])
    if rope["rope_type"] in ("llama3", "longrope"):
        rope["original_max_position_embeddings"] = draw.choice([24, 64])
    if rope["rope_type"] == "llama3":
        rope.update(low_freq_factor=1.0, high_freq_factor=draw.choice([3.0, 4.0]))
    if rope["rope_type"] == "longrope":
        rope["short_factor"] = [round(1 + 0.3 * draw.random(), 3) for _ in range(half)]
        rope["long_factor"] = [round(1 + 4 * draw.random(), 3) for _ in range(half)]
        if draw.random() < 0.3:
            rope["factor"] = 8.0
        if draw.random() < 0.3:
            rope["attention_factor"] = 1.3
    return rope


def config_of(draw, family):
    heads, kv = draw.choice([(4, 4), (4, 2), (6, 3), (4, 1)])
    head = draw.choice([8, 12, 16])
    width = heads * head
    keys = {
        "vocab_size": 600,
        "intermediate_size": draw.choice([40, 75]),
        "num_hidden_layers": draw.choice([1, 3]),
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "max_position_embeddings": 256,
        "rms_norm_eps": draw.choice([1e-5, 1e-6]),
        "tie_word_embeddings": draw.random() < 0.5,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": None,
        "hidden_size": width,
    }
    if draw.random() < 0.3:
        keys.update(head_dim=head, hidden_size=width + heads * 4)
    partial = 1.0
    if family == "llama":
        keys.update(attention_bias=draw.random() < 0.5, mlp_bias=draw.random() < 0.5)
    if family == "qwen2" and draw.random() < 0.6:
        keys.update(use_sliding_window=True, sliding_window=draw.choice([1, 7, 20]))
        keys.update(max_window_layers=draw.choice([0, 1]))
        if draw.random() < 0.5:
            kinds = ["sliding_attention", "full_attention"]
            keys["layer_types"] = [draw.choice(kinds) for _ in range(keys["num_hidden_layers"])]
    rope = None
    if family == "phi3":
        keys.update(sliding_window=draw.choice([None, 1, 7, 20, 300]), resid_pdrop=0.1)
        partial = draw.choice([1.0, 0.75, 0.5, 0.4])
        if "head_dim" in keys:  # Phi3Config counts longrope's factors by the quotient
            rope = {"rope_type": "default", "rope_theta": 10000.0}
    rotating = int(head * partial)
    if rotating % 2:
        rope = {"rope_type": "default", "rope_theta": 10000.0}
    rope = rope or rope_of(draw, family, rotating // 2)
    if family == "phi3":
        rope["partial_rotary_factor"] = partial
        original = rope.get("original_max_position_embeddings", 256)
        keys["original_max_position_embeddings"] = original
    keys["rope_parameters"] = rope
    return keys


# -- comparing --


def rows_of(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, 600, (n,), generator=generator).tolist() for n in LENGTHS]


@torch.no_grad()
def logits_of(model, row):
    return model(input_ids=torch.tensor([row])).logits[0].double()


def score(binary, folder, adapter, rows):
    """Each row in a context of its own length, so that longrope's factors are transformers'."""
    return [lines_of(binary, folder, adapter, [row], len(row))[0] for row in rows]


def distance(lines, model, rows):
    """The largest difference of a score or log-probability, relative to the logits it is of."""
    worst = 0.0
    for line, row in zip(lines, rows):
        logits = logits_of(model, row)
        if "score" in line:
            worst = max(worst, abs(line["score"] - logits[0].item()) / max(1.0, abs(logits[0])))
            continue
        want = torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(row[1:])[:, None])[:, 0]
        far = (torch.tensor(line["logprobs"]).double() - want).abs()
        worst = max(worst, (far / logits[:-1].abs().amax(-1).clamp_min(1.0)).max().item())
    return float(worst)


def load(kind, folder):
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()




def report(what, far, ok=True):
    if far > LIMIT or not ok:
        print(f"    {what}: {far:.2e}" + ("" if ok else ", or another configuration"))
    return far if ok else float("inf")


# -- what transformers saves, read by alignpro --


def make(family, keys, folder, seed, old_spelling):
    config_kind, causal_kind, reward_kind = (getattr(transformers, k) for k in FAMILIES[family])
    generator = torch.Generator().manual_seed(seed)
    config = config_kind(**keys)
    model = causal_kind(config)
    randomise(model, generator)
    reward = reward_kind(config_kind(**config.to_dict(), num_labels=1))
    reward.model.load_state_dict(model.model.state_dict())
    for kind, name in ((model, "model"), (reward, "reward")):
        kind.save_pretrained(folder / name)
        if old_spelling:
            spell_as_v4(folder / name, config)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(DEMO / file, folder / name)


def save_adapter(model, folder, draw, seed):
    targets = draw.choice(["all-linear", ["o_proj", "down_proj"]])
    if targets != "all-linear":
        targets.append("qkv_proj" if model.config.model_type == "phi3" else "k_proj")
    settings = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=targets, use_rslora=draw.random() < 0.5,
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(model, settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.15)
    adapted.save_pretrained(folder)
    return adapted.eval()


def check_reading(binary, folder, rows, draw, seed):
    causal = load(transformers.AutoModelForCausalLM, folder / "model")
    reward = load(transformers.AutoModelForSequenceClassification, folder / "reward")
    lines = score(binary, folder / "model", None, rows)
    far = [report("log-probabilities", distance(lines, causal, rows))]
    lines = score(binary, folder / "reward", None, rows)
    far.append(report("scores", distance(lines, reward, rows)))
    adapted = save_adapter(causal, folder / "adapter", draw, seed)
    lines = score(binary, folder / "model", folder / "adapter", rows)
    far.append(report("with peft's adapter", distance(lines, adapted, rows)))
    return max(far)


# -- what alignpro saves, read by transformers and peft --


def train(binary, folder, run, adapter, context):
    recipe = folder / f"{run}.yaml"
    recipe.write_text(RECIPE.format(run=run, adapter=adapter, context=context), encoding="utf-8")
    for stage in ("sft", "reward"):
        done = subprocess.run([binary, stage, recipe], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"alignpro {stage}: {done.stderr.strip() or done.stdout.strip()}")
    return folder / run / "sft" / "final", folder / run / "reward" / "final"


def meaning(config):
    """What a configuration computes by, without what names files, versions and kinds."""
    c = config.to_dict()
    for key in ("transformers_version", "architectures", "dtype", "_name_or_path", "id2label",
                "label2id", "resid_pdrop", "max_window_layers", "num_labels",
                "partial_rotary_factor"):  # the last is in rope_parameters too
        c.pop(key, None)
    rope = c["rope_parameters"] = dict(c["rope_parameters"])
    rope.pop("type", None)
    for key in ("short_factor", "long_factor"):
        if key in rope:
            rope[key] = [round(x, 5) for x in rope[key]]
    if c["model_type"] == "phi3" and rope["rope_type"] == "default":
        c.pop("original_max_position_embeddings")
    return c


def check_writing(binary, folder, rows, context):
    # a whole model stands where it was made for; longrope's factors are those of the run's context
    rows = [row for row in rows if len(row) <= context] or rows[:1]
    whole = train(binary, folder, "whole", "none", context)
    lora = train(binary, folder, "lora", "{rank: 3, targets: all-linear}", context)
    kinds = (transformers.AutoModelForCausalLM, transformers.AutoModelForSequenceClassification)
    before = meaning(transformers.AutoConfig.from_pretrained(folder / "model"))
    far = []
    for kind, made, adapter, what in zip(kinds, whole, lora, ("model", "classifier")):
        model = load(kind, made)
        same = meaning(model.config) == before
        lines = score(binary, made, None, rows)
        far.append(report(f"our {what}", distance(lines, model, rows), same))
        settings = {"num_labels": 1} if what == "classifier" else {}
        base = kind.from_pretrained(
            folder / "model", dtype=torch.float32, attn_implementation="eager", **settings
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing.*|.*unexpected.*")
            adapted = peft.PeftModel.from_pretrained(base, adapter).eval()
        lines = score(binary, folder / "model", adapter, rows)
        far.append(report(f"our adapter of a {what}", distance(lines, adapted, rows)))
    return max(far)


def write_data(folder):
    words = ["otter", "whale", "owl", "fox", "heron", "newt"]
    asked = [f"the {a} and the {b}" for a in words for b in words]
    write_lines(folder / "rewrites.jsonl", [{"prompt": p, "rewrite": p.upper()} for p in asked])
    write_lines(
        folder / "pairs.jsonl",
        [{"prompt": p, "chosen": "It eats fish.", "rejected": "No."} for p in asked],
    )


def check_one(binary, family, draw, seed):
    keys, old_spelling = config_of(draw, family), draw.random() < 0.5
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(family, keys, folder, seed, old_spelling)
        write_data(folder)
        rows = rows_of(seed)
        read = check_reading(binary, folder, rows, draw, seed)
        written = check_writing(binary, folder, rows, draw.choice([64, 200]))
    rope = keys["rope_parameters"]
    print(
        f"{family} {seed}: read {read:.1e}, written {written:.1e} "
        f"({rope['rope_type']}, partial {rope.get('partial_rotary_factor', 1)}, "
        f"window {keys.get('sliding_window')}, spelling of {4 if old_spelling else 5})",
        flush=True,
    )
    return max(read, written)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--alignpro", required=True, type=pathlib.Path, help="the program")
    parser.add_argument("--families", default="llama,qwen2,phi3")
    parser.add_argument("--count", type=int, default=4, help="configurations of each")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    binary = a.alignpro.resolve()
    worst = 0.0
    for family in a.families.split(","):
        draw = random.Random(f"{family} {a.seed}")
        for i in range(a.count):
            worst = max(worst, check_one(binary, family, draw, 1000 * a.seed + i))
    print(f"largest distance {worst:.1e}, limit {LIMIT:.0e}")
    sys.exit(0 if worst <= LIMIT else 1)


if __name__ == "__main__":
    main()
