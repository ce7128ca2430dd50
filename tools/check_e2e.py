#!/usr/bin/env python3
"""Folders that transformers saves run through every stage: sft, reward, align, eval.

    check_e2e.py --alignpro BIN --data DIR [--records N] [--keep FOLDER]

Makes a tiny random model of each family (Llama, Qwen2, Phi-3) on that family's genuine tokenizer and chat template, in
both spellings (config.json and tokenizer as transformers 5 writes them; as transformers 4 did), as a causal model and as a
sequence classifier. Then `alignpro run` takes them through the stages on some records of UltraFeedback, HelpSteer and
Orca: each family once as prompter, once as target and once as reward, so that every run has three tokenizers. Checked
are the exit code, each stage's DONE, finite numbers in eval.json, a second run that finds everything done, and that
peft loads the prompter that came out. DIR holds tokenizers/ and datasets/. Needs torch, transformers and peft.
"""

import argparse
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

import peft
import torch
import transformers
from golden_models import randomise, spell_as_v4

FAMILIES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, transformers.LlamaForSequenceClassification,
              "llama-3.2-instruct"),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, transformers.Qwen2ForSequenceClassification,
              "qwen2.5-instruct"),
    "phi3": (transformers.Phi3Config, transformers.Phi3ForCausalLM, transformers.Phi3ForSequenceClassification,
             "phi-3-mini"),
}
DATA = {
    "ultrafeedback": "ultrafeedback_binarized_eval_200.jsonl",
    "helpsteer": "helpsteer_500.jsonl",
    "orca": "orca_dpo_pairs_284.jsonl",
}
STAGES = ("sft", "reward", "align", "eval")
RECIPE = """
models:
  small: {{path: {prompter}}}
  big:   {{path: {target}}}
  judge: {{path: {reward}}}
prompter: {{model: small, adapter: {{rank: 4}}, max_new_tokens: 6}}
target:   {{model: big, max_new_tokens: 8}}
reward:   {{model: judge, kind: classifier, adapter: {{rank: 4}}}}
data:     {{path: {data}, split: {{train: 0.6, valid: 0.2, test: 0.2}}, too_long: truncate}}
sft:      {{source: best-of-n, n: 2, prompts: 4, epochs: 1, batch: 4}}
reward_train: {{epochs: 1, batch: 4}}
align:    {{algorithm: {algorithm}, prompts: 2, rewrites: 2, steps: 2}}
eval:     {{arms: [bare, instruct, sft, align], seeds: [1]}}
run:      {{dir: {run}, seed: 1, threads: 1, context: 384}}
"""


def config_of(family, vocab, tokenizer):
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    if family == "llama":
        rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 256}
    if family == "phi3":
        rope["partial_rotary_factor"] = 0.75
    return FAMILIES[family][0](
        vocab_size=vocab, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, rope_parameters=rope, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)


def make_models(folder, data, spelling):
    """folder/FAMILY-{causal,classifier}: weights, config.json in the spelling, the genuine tokenizer."""
    for seed, (family, (_, causal, classifier, name)) in enumerate(FAMILIES.items()):
        source = data / "tokenizers" / name
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        config = config_of(family, len(tokenizer), tokenizer)
        for kind, label in ((causal, "causal"), (classifier, "classifier")):
            if label == "classifier":
                config.num_labels = 1
            out = folder / f"{family}-{label}"
            model = kind(config)
            randomise(model, torch.Generator().manual_seed(seed))
            model.save_pretrained(out)
            if spelling == "new":
                tokenizer.save_pretrained(out)
                continue
            for part in source.iterdir():
                shutil.copy(part, out)
            spell_as_v4(out, config)


def first_records(path, n, out):
    """The shortest of the file's records, so that they fit; HelpSteer's with all answers of their prompts."""
    lines = [json.loads(line) for line in path.open(encoding="utf-8")]
    groups = {}
    for line in lines:
        groups.setdefault(line.get("prompt", line.get("question")), []).append(line)
    kept = sorted(groups.values(), key=lambda group: max(len(json.dumps(line)) for line in group))[:n]
    out.write_text("".join(json.dumps(line) + "\n" for group in kept for line in group), encoding="utf-8")


def run(binary, recipe):
    result = subprocess.run([binary, "run", str(recipe)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{recipe}: exit code {result.returncode}\n{result.stderr[-2000:]}")
    return result.stderr


def numbers_of(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [x for v in value for x in numbers_of(v)]
    return [value] if isinstance(value, float) else []


def check(binary, folder, roles, algorithm, data):
    models, out = folder / "models", folder / f"run-{roles['prompter']}"
    recipe = folder / f"{roles['prompter']}.yaml"
    recipe.write_text(RECIPE.format(
        prompter=models / f"{roles['prompter']}-causal", target=models / f"{roles['target']}-causal",
        reward=models / f"{roles['reward']}-classifier", data=data, algorithm=algorithm, run=out))
    run(binary, recipe)
    for stage in STAGES:
        assert (out / stage / "DONE").exists(), f"{out}: {stage} left no DONE"
    told = numbers_of(json.loads((out / "eval.json").read_text()))
    assert told and all(math.isfinite(x) for x in told), f"{out}/eval.json: {told}"
    before = (out / "align/final/adapter_model.safetensors").read_bytes()
    run(binary, recipe)
    assert (out / "align/final/adapter_model.safetensors").read_bytes() == before
    base = transformers.AutoModelForCausalLM.from_pretrained(models / f"{roles['prompter']}-causal")
    peft.PeftModel.from_pretrained(base, out / "align/final")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alignpro", required=True, type=pathlib.Path)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--records", type=int, default=24)
    parser.add_argument("--keep", type=pathlib.Path, help="work here and leave it")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as scratch:
        top = (args.keep or pathlib.Path(scratch)).absolute()
        for spelling in ("new", "old"):
            folder = top / spelling
            (folder / "models").mkdir(parents=True)
            make_models(folder / "models", args.data, spelling)
            names, sets = list(FAMILIES), list(DATA)
            for i in range(3):
                data = folder / f"{sets[i]}.jsonl"
                first_records(args.data / "datasets" / DATA[sets[i]], args.records, data)
                roles = {"prompter": names[i], "target": names[(i + 1) % 3], "reward": names[(i + 2) % 3]}
                check(args.alignpro.absolute(), folder, roles, ("rloo", "ppo")[i % 2], data)
                print(f"{spelling} config, {sets[i]}: {roles} ran through {', '.join(STAGES)}", flush=True)


if __name__ == "__main__":
    main()
