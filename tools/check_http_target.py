#!/usr/bin/env python3
"""A run whose target is llama.cpp's server, beside the same run with the same model in process.

    check_http_target.py --alignpro BIN [--demo FOLDER] [--prompts N] [--steps N] [--keep FOLDER]

The demo's target is exported as GGUF and served by llama-cpp-python. Answers at temperature 0 are compared as texts and
must be equal but for 1 in 50. At temperature 0.7 the difference of the mean scores of the arms bare, sft and align, each
trained where it is evaluated, must hold 0 in its interval: paired by prompt, 95% over all that is compared (Bonferroni).

FOLDER is what `alignpro demo --dir FOLDER` left; without it a shorter demo is made first (some two minutes). Prints a
line a check and the figures; the exit code is 1 when a check fails. Needs llama-cpp-python with its server.
"""

import argparse
import json
import math
import sqlite3
import statistics
import sys
import time

from http_peers import WHOLE, failed, greedy_texts, llama_server, prepared, report, run

RECIPE = """
models:
  target: {{path: {demo}/run/pretrain/final}}
  prompter: {{path: {demo}/run/sft/final}}
prompter: {{model: prompter, adapter: none, meta_prompt: "{{prompt}}", max_new_tokens: 48}}
target: {{{target}, max_new_tokens: 64, temperature: 0.7}}
reward: {{model: target, adapter: none, kind: implicit, trained: {demo}/run/reward/final, normalise: false}}
data: {{path: {demo}/data/prompts.jsonl, split: {{train: 0.95, valid: 0.05, test: 0}}}}
sft: {{source: none}}
align: {{algorithm: rloo, kl: 0.05, prompts: 24, rewrites: 4, answers: 1, steps: {steps}, lr: 5e-4}}
eval: {{path: {demo}/data/test.jsonl, arms: [bare, sft, align], judges: [reward, world], seeds: [1, 2], prompts: {prompts}}}
run: {{dir: {run}, seed: 1, batch: 96}}
"""


def run_recipe(args, name, target):
    recipe = args.keep / f"{name}.yaml"
    recipe.write_text(RECIPE.format(demo=args.demo, target=target, run=args.keep / name, steps=args.steps,
                                    prompts=args.prompts))
    began = time.monotonic()
    run(args.alignpro, "run", recipe)
    print(f"       {name}: {time.monotonic() - began:.0f} s")
    base = sqlite3.connect(args.keep / name / "run.db")
    scores = {}
    for arm, judge, record, value in base.execute("select arm, judge, record, avg(value) from scores group by 1, 2, 3"):
        scores.setdefault((arm, judge), {})[record] = value
    return scores, base


def compare_runs(here, there):
    z = statistics.NormalDist().inv_cdf(1 - 0.025 / len(here))
    for (arm, judge), a in sorted(here.items()):
        b = there[arm, judge]
        d = [b[record] - a[record] for record in sorted(a)]
        mean, half = statistics.fmean(d), statistics.stdev(d) / math.sqrt(len(d))
        report(a.keys() == b.keys() and abs(mean) <= z * half, f"{judge} of {arm}, in process and by llama.cpp",
               f"{statistics.fmean(a.values()):.3f} and {statistics.fmean(b.values()):.3f}, difference {mean:+.3f} "
               f"\u00b1 {1.96 * half:.3f} (95%; held to \u00b1 {z * half:.3f}) over {len(d)} prompts")


def check_target(args):
    with llama_server(args) as url:
        greedy_texts(args, url, args.demo / "run/pretrain/final", args.demo / "data/test.jsonl", WHOLE)
        here, _ = run_recipe(args, "in-process", "model: target, adapter: none")
        body = json.dumps(WHOLE)
        there, base = run_recipe(args, "by-llama", f"url: \"{url}\", model: guide, body: '{body}'")
    compare_runs(here, there)
    n, n_sent, prompt_tokens, answer_tokens = base.execute(
        "select count(answered), sum(sends), sum(prompt_tokens), sum(answer_tokens) from ledger").fetchone()
    report(n == n_sent, "each answer was asked for once", f"{n} answers, {n_sent} requests, {prompt_tokens} tokens read, "
           f"{answer_tokens} written")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=220)
    parser.add_argument("--steps", type=int, default=30)
    with prepared(parser) as args:
        check_target(args)
    print(f"{len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
