#!/usr/bin/env python3
"""The recipes of examples/paper on models of the true widths with fewer layers: does the memory plan hold?

    check_paper.py --alignpro BIN --data DIR [--layers N] [--keep FOLDER] [--only RECIPE-PROMPTER]... [--set KEY=VALUE]...

Makes a folder of random weights, in bf16, of each config.json in bench/configs that a recipe names: hidden sizes,
vocabularies, rope factors and tensors' names as published, N layers instead of 28 or 32 (a target half as many), the
genuine tokenizer and chat template beside them. Then `alignpro run` takes each recipe, as it is but for lengths and
counts (SHORT, below), through all stages on genuine records, once with each prompter, and one table says what was
planned and what was measured for every stage. DIR holds tokenizers/, templates/ and datasets/. Exit code 1 when a
figure is off by more than 5%. Needs torch and transformers, about 4 GB of disk and 10 GB of memory.
"""

import argparse
import gzip
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import transformers

TOP = pathlib.Path(__file__).resolve().parent.parent
MODELS = {
    "Phi-3.5-mini-instruct": ("phi-3-mini", "microsoft-Phi-3.5-mini-instruct.jinja"),
    "Qwen2.5-1.5B-Instruct": ("qwen2.5-instruct", "Qwen-Qwen2.5-7B-Instruct.jinja"),
    "Llama-3.1-8B-Instruct": ("llama-3.2-instruct", "meta-llama-Llama-3.1-8B-Instruct.jinja"),
}
TARGET = "Llama-3.1-8B-Instruct"
DATA = {
    "ultrafeedback": ("ultrafeedback.jsonl", "ultrafeedback_binarized_train_1000.jsonl"),
    "helpsteer": ("helpsteer.jsonl.gz", "helpsteer_500.jsonl"),
    "orca": ("orca.jsonl", "orca_dpo_pairs_284.jsonl"),
}
SHORT = {
    "run.context": 1024, "run.batch": 4, "data.limit": 24, "data.split.train": 0.5, "data.split.valid": 0.1,
    "data.split.test": 0.4, "prompter.max_new_tokens": 16, "target.max_new_tokens": 24, "reward_train.batch": 8,
    "sft.prompts": 4, "sft.n": 2, "sft.epochs": 1, "sft.batch": 4, "align.steps": 1, "align.prompts": 2,
    "align.rewrites": 2, "rlhf.steps": 1, "eval.prompts": 2, "eval.bootstrap": 100,
}


def make_model(folder, name, layers, data):
    """The published config with fewer layers."""
    config = json.loads((TOP / "bench/configs" / f"{name.lower()}.json").read_text())
    config["num_hidden_layers"] = layers
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(**config), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer, template = MODELS[name]
    for part in (data / "tokenizers" / tokenizer).iterdir():
        shutil.copy(part, folder)
    shutil.copy(data / "templates" / template, folder / "chat_template.jinja")


def run(binary, recipe, prompter, folder, sets, environment):
    sets = {**SHORT, **sets, "prompter.model": prompter, "run.dir": folder}
    command = [binary, "run", str(recipe)] + [x for key, value in sets.items() for x in ("--set", f"{key}={value}")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stderr[-2000:]}")


def rows_of(folder):
    for path in sorted(folder.glob("*/memory.json"), key=lambda path: path.stat().st_mtime):
        memory = json.loads(path.read_text())
        yield path.parent.name, memory["planned"], memory["peak"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alignpro", required=True, type=pathlib.Path)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--keep", type=pathlib.Path, help="work here and leave it; models that are there are taken")
    parser.add_argument("--only", action="append", help="such as orca-qwen")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    sets = dict(text.split("=", 1) for text in args.set)
    worst = 0
    with tempfile.TemporaryDirectory() as scratch:
        top = (args.keep or pathlib.Path(scratch)).absolute()
        data = top / "data"
        data.mkdir(parents=True, exist_ok=True)
        for name in MODELS:
            if not (top / "models" / name / "chat_template.jinja").exists():
                layers = max(args.layers // 2, 1) if name == TARGET else args.layers
                make_model(top / "models" / name, name, layers, args.data)
        for name, source in DATA.values():
            text = (args.data / "datasets" / source).read_bytes()
            (data / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        environment = {"MODELS": str(top / "models"), "DATA": str(data)}
        print(f"{'recipe':<22} {'stage':<9} {'plan, MiB':>10} {'measured':>10} {'error':>8}")
        for name in DATA:
            for prompter in ("phi", "qwen"):
                if args.only and f"{name}-{prompter}" not in args.only:
                    continue
                folder = top / f"{name}-{prompter}"
                shutil.rmtree(folder, ignore_errors=True)
                run(args.alignpro.absolute(), TOP / f"examples/paper/{name}.yaml", prompter, folder, sets, environment)
                for stage, planned, peak in rows_of(folder):
                    error = 100 * (planned / peak - 1)
                    worst = max(worst, abs(error))
                    print(f"{f'{name} {prompter}':<22} {stage:<9} {planned / 2**20:10.1f} {peak / 2**20:10.1f} "
                          f"{error:+7.1f}%", flush=True)
    sys.exit(worst > 5)


if __name__ == "__main__":
    main()
