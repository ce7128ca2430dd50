#!/usr/bin/env python3
"""The HTTP sides of alignpro against programs that others wrote: llama.cpp's server, the openai package, curl.

    check_http_peers.py --alignpro BIN [--demo FOLDER] [--parts target,client] [--prompts N] [--steps N] [--keep FOLDER]

target  A run whose target is llama-cpp-python's server (the demo's target, exported as GGUF), beside the same run with
        the same model in process. Answers at temperature 0 are compared as texts and must be equal but for 1 in 50; at
        temperature 0.7 the difference of the mean scores of the arms bare, sft and align, each trained where it is
        evaluated, must hold 0 in its 95% interval (paired by prompt, Bonferroni over what is compared).
client  The openai package and curl against `alignpro serve`: before llama-cpp-python's server, with a local target, with
        keys, and before an upstream that answers with errors and late.

FOLDER is what `alignpro demo --dir FOLDER` left; without it a shorter demo is made first (some four minutes). Prints a
line a check and the figures; the exit code is 1 when a check fails. Needs llama-cpp-python with its server, and openai.
"""

import argparse
import contextlib
import json
import math
import pathlib
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

failed = []

# The demo's models have no chat template, which is the template "plain": contents by lines. llama-cpp-python's
# formatter puts an empty answer behind the messages.
PLAIN = "{{ bos_token }}{% for m in messages if m['content'] %}{{ m['content'] + '\\n' }}{% endfor %}"

# A server's own sampling holds for what a request does not say, and llama.cpp's is not the model's distribution.
WHOLE = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}

LLAMA_SERVER = """
import json, socket, sys, uvicorn
from llama_cpp.server.app import create_app
from llama_cpp.server.settings import ModelSettings, ServerSettings
model = ModelSettings(**json.loads(sys.argv[1]))
app = create_app(server_settings=ServerSettings(interrupt_requests=False), model_settings=[model])
listener = socket.create_server(("127.0.0.1", 0), backlog=256)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
"""

RECIPE = """
models:
  target: {{path: {demo}/run/pretrain/final}}
  prompter: {{path: {demo}/run/sft/final}}
prompter: {{model: prompter, adapter: none, meta_prompt: "{{prompt}}", max_new_tokens: 48}}
target: {{{target}, max_new_tokens: 64, temperature: 0.7}}
reward: {{model: target, adapter: none, kind: implicit, trained: {demo}/run/reward/final, normalise: false}}
data: {{path: {demo}/data/prompts.jsonl, split: {{train: 0.95, valid: 0.05, test: 0}}}}
sft: {{source: none}}
align: {{algorithm: rloo, kl: 0.05, prompts: 24, rewrites: 4, answers: 1, steps: {steps}, lr: 5e-4, schedule: cosine, beta2: 0.98}}
eval: {{path: {demo}/data/test.jsonl, arms: [bare, sft, align], judges: [reward, world], seeds: [1, 2], prompts: {prompts}}}
run: {{dir: {run}, seed: 1, batch: 96}}
"""


def report(ok, what, text=""):
    if not ok:
        failed.append(what)
    print(f"{'ok    ' if ok else 'FAILED'} {what:58} {text}", flush=True)
    return ok


def run(*command, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done


@contextlib.contextmanager
def started(*command, ready, **more):
    """A server until the block ends; ready(process) waits for it and returns its address."""
    process = subprocess.Popen(list(map(str, command)), text=True, **more)
    try:
        yield ready(process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def llama_server(gguf, folder, **settings):
    (folder / "plain.json").write_text(json.dumps({"chat_template": PLAIN, "bos_token": "<s>", "eos_token": "</s>"}))
    model = {"model": str(gguf), "model_alias": "guide", "n_ctx": 256, "n_batch": 256, "n_threads": 1, "verbose": False,
             "chat_format": "hf-tokenizer-config", "hf_tokenizer_config_path": str(folder / "plain.json"), **settings}

    def ready(process):
        line = process.stdout.readline()
        if not line.strip().isdigit():
            sys.exit("llama-cpp-python's server did not start")
        url = f"http://127.0.0.1:{line.strip()}/v1"
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url + "/models", timeout=5)
                return url
            time.sleep(0.1)
        sys.exit("llama-cpp-python's server does not answer")

    return started(sys.executable, "-c", LLAMA_SERVER, json.dumps(model), ready=ready, stdout=subprocess.PIPE,
                   stderr=subprocess.DEVNULL)


def post(url, body, timeout=60):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return json.load(reply)


def make_demo(binary, folder):
    began = time.monotonic()
    run(binary, "demo", "--dir", folder, "--set", "align.steps=4", "--set", "eval.arms=bare,sft,align",
        "--set", "eval.prompts=20")
    print(f"       a demo was trained in {time.monotonic() - began:.0f} s")


# ---- target ----


def greedy_texts(args, url):
    prompts = [json.loads(line)["prompt"] for line in (args.demo / "data/test.jsonl").open()][:args.prompts]
    lines = "".join(json.dumps({"messages": [{"role": "user", "content": p}]}) + "\n" for p in prompts)
    done = run(args.alignpro, "generate", "--model", args.demo / "run/pretrain/final", "--max-new-tokens", 64,
               "--temperature", 0, input=lines)
    ours = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    theirs = [post(url + "/chat/completions", {
        "model": "guide", "max_tokens": 64, "temperature": 0, **WHOLE,
        "messages": [{"role": "user", "content": p}]})["choices"][0]["message"]["content"] for p in prompts]
    n_equal = sum(a == b for a, b in zip(ours, theirs))
    for a, b in [(a, b) for a, b in zip(ours, theirs) if a != b][:3]:
        print(f"       here   {a!r}\n       there  {b!r}")
    report(len(ours) == len(theirs) and 50 * (len(ours) - n_equal) <= len(ours), "texts at temperature 0 are equal",
           f"{n_equal} of {len(ours)}")


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
    gguf = args.keep / "target.gguf"
    run(args.alignpro, "export", "--format", "gguf", "--dtype", "f32", "--model", args.demo / "run/pretrain/final",
        "--out", gguf)
    with llama_server(gguf, args.keep) as url:
        greedy_texts(args, url)
        here, _ = run_recipe(args, "in-process", "model: target, adapter: none")
        body = json.dumps(WHOLE)
        there, base = run_recipe(args, "by-llama", f"url: \"{url}\", model: guide, body: '{body}'")
    compare_runs(here, there)
    n, n_sent, prompt_tokens, answer_tokens = base.execute(
        "select count(answered), sum(sends), sum(prompt_tokens), sum(answer_tokens) from ledger").fetchone()
    report(n == n_sent, "each answer was asked for once", f"{n} answers, {n_sent} requests, {prompt_tokens} tokens read, "
           f"{answer_tokens} written")


PARTS = {"target": check_target}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alignpro", type=pathlib.Path, required=True)
    parser.add_argument("--demo", type=pathlib.Path)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--prompts", type=int, default=220)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--keep", type=pathlib.Path, help="a new folder for what is written; without it, it is deleted")
    args = parser.parse_args()
    args.alignpro = args.alignpro.resolve()
    delete = args.keep is None
    args.keep = pathlib.Path(tempfile.mkdtemp(prefix="alignpro-peers-")) if delete else args.keep.resolve()
    args.keep.mkdir(exist_ok=True)
    try:
        if args.demo is None:
            args.demo = args.keep / "demo"
            make_demo(args.alignpro, args.demo)
        args.demo = args.demo.resolve()
        for part in args.parts.split(","):
            PARTS[part](args)
    finally:
        if delete:
            shutil.rmtree(args.keep, ignore_errors=True)
    print(f"{len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
