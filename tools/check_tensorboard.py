#!/usr/bin/env python3
"""TensorBoard opens what a run leaves in tb/, and shows the values of run.db.

    check_tensorboard.py --alignpro BIN [--keep FOLDER] [--seed N]

Makes a tiny recipe of random weights (both algorithms' metrics, a trained reward, every stage), runs it undisturbed, and again
killed at moments of chance until it ends, with half a record at the end of each file that a kill left. For each run, all of
run.db's metrics and the means of eval.json must be found, each step once and nothing more, by
 - tensorboard's EventMultiplexer, which reads the folders in Python, and
 - the TensorBoard server itself, twice, with its fast reader and without: started on a free port of the loopback
   interface and asked over HTTP for the tags and points that its pages draw, and for the recipe's text.
Needs tensorboard.
"""

import argparse
import contextlib
import json
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

SOURCE = pathlib.Path(__file__).resolve().parent.parent
MODEL = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 600, "hidden_size": 32,
         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
         "intermediate_size": 48, "hidden_act": "silu", "max_position_embeddings": 128, "rope_theta": 10000.0,
         "rms_norm_eps": 1e-05, "initializer_range": 0.1, "tie_word_embeddings": True, "bos_token_id": 0,
         "eos_token_id": 1, "torch_dtype": "float32"}
RECIPE = f"""
models:
  m: {{config: model.json, init: random, tokenizer: {SOURCE}/examples/demo}}
pretrain: {{model: m, path: rewrites.jsonl, batch: 8, lr: 1e-2}}
prompter: {{model: m, adapter: {{rank: 2}}, meta_prompt: "{{prompt}}", max_new_tokens: 8}}
target: {{model: m, adapter: {{rank: 2}}, max_new_tokens: 8}}
reward: {{model: m, adapter: {{rank: 2}}}}
data: {{path: pairs.jsonl, split: {{train: 0.6, valid: 0.2, test: 0.2}}}}
sft: {{source: file, path: rewrites.jsonl, epochs: 2, batch: 8}}
reward_train: {{batch: 4}}
align: {{algorithm: ppo, prompts: 2, rewrites: 2, answers: 1, steps: 30, kl_target: 0.01}}
rlhf: {{steps: 12}}
eval: {{arms: [bare, sft, align, rlhf], bootstrap: 20, judges: [reward]}}
run: {{dir: run, batch: 8, threads: 1, checkpoint_every: 3}}
"""


def make_recipe(folder):
    (folder / "model.json").write_text(json.dumps(MODEL))
    (folder / "recipe.yaml").write_text(RECIPE)
    pairs = [{"prompt": f"fox {i}", "chosen": "A fox.", "rejected": f"No {i}"} for i in range(40)]
    rewrites = [{"prompt": f"fox {i}", "rewrite": "the fox"} for i in range(40)]
    for name, rows in (("pairs", pairs), ("rewrites", rewrites)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))


def run(alignpro, folder, directory, kill_after=None):
    """Seconds it took, or None when it was killed."""
    began = time.monotonic()
    process = subprocess.Popen([alignpro, "run", "recipe.yaml", "--set", f"run.dir={directory}"], cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, text = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return None
    if process.returncode != 0:
        sys.exit(f"alignpro run: exit code {process.returncode}: {text}")
    return time.monotonic() - began


def tear(directory):
    """Half a record behind the newest event file, as a kill inside a write leaves it; whether there is such a file."""
    files = sorted((directory / "tb").rglob("*tfevents*"), key=lambda f: f.stat().st_mtime_ns)
    if files:
        with open(files[-1], "r+b") as f:
            half = f.read(20)
            f.seek(0, 2)
            f.write(half)
    return bool(files)


def as_float(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def expected_points(directory):
    """{run: {tag: {step: value}}} of run.db and eval.json."""
    points = {}
    with contextlib.closing(sqlite3.connect(directory / "run.db")) as db:
        for stage, step, name, value in db.execute("SELECT stage, step, name, value FROM metrics"):
            points.setdefault(stage, {}).setdefault(name, {})[step] = as_float(value)
    for judge in json.loads((directory / "eval.json").read_text())["judges"]:
        for arm in judge["arms"]:
            points.setdefault("eval", {})[f"eval/{judge['judge']}/{arm['arm']}"] = {0: as_float(arm["mean"]["value"])}
    return points


def compare(what, got, want):
    """got: {run: {tag: [(step, value)]}}."""
    n = 0
    assert sorted(got) == sorted(want), f"{what}: runs {sorted(got)}, expected {sorted(want)}"
    for stage, tags in want.items():
        assert sorted(got[stage]) == sorted(tags), f"{what}: {stage} has {sorted(got[stage])}, expected {sorted(tags)}"
        for tag, steps in tags.items():
            points = got[stage][tag]
            assert points == sorted(steps.items()), f"{what}: {stage} {tag}: {points}, expected {sorted(steps.items())}"
            n += len(points)
    print(f"{what}: {n} points of {sum(map(len, want.values()))} tags in {len(want)} runs are run.db's")


def check_multiplexer(what, tb, want):
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tb))
    multiplexer.Reload()
    got = {stage: {tag: [(p.step, p.value) for p in multiplexer.Scalars(stage, tag)] for tag in tags["scalars"]}
           for stage, tags in multiplexer.Runs().items()}
    compare(f"{what}, EventMultiplexer", got, want)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def fetch(port, path, **query):
    url = f"http://127.0.0.1:{port}/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)


@contextlib.contextmanager
def server(tb, fast):
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tensorboard.main", "--logdir", str(tb), "--host", "127.0.0.1",
                                "--port", str(port), "--load_fast", "true" if fast else "false",
                                "--reload_interval", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield port, process
    finally:
        process.terminate()
        process.communicate()


def wait_for_points(port, process, want):
    """The tags, once the server has read them."""
    deadline = time.monotonic() + 120
    tags = None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"tensorboard ended: {process.stderr.read()}")
        try:
            tags = fetch(port, "data/plugin/scalars/tags")
            if all(set(want[stage]) <= set(tags.get(stage, {})) for stage in want):
                return tags
        except (OSError, ValueError):
            pass
        time.sleep(0.5)
    sys.exit(f"tensorboard does not show every tag within 120 s: {tags}")


def check_server(what, tb, want, fast):
    with server(tb, fast) as (port, process):
        tags = wait_for_points(port, process, want)
        got = {stage: {tag: [(step, value) for _, step, value in
                             fetch(port, "data/plugin/scalars/scalars", run=stage, tag=tag)] for tag in names}
               for stage, names in tags.items()}
        compare(f"{what}, TensorBoard {'with' if fast else 'without'} its fast reader", got, want)
        texts = fetch(port, "data/plugin/text/tags")
        for stage in want:
            assert texts.get(stage) == ["recipe"], f"{what}: {stage} has the texts {texts.get(stage)}"
            shown = fetch(port, "data/plugin/text/text", run=stage, tag="recipe")[-1]["text"]
            assert "<code>" in shown and "checkpoint_every: 3" in shown, f"{what}: {stage}: the recipe is shown as {shown}"


def check_run(what, directory):
    want = expected_points(directory)
    files = sorted((directory / "tb").rglob("*tfevents*"))
    print(f"{what}: {len(files)} event files")
    assert not any(socket.gethostname() in f.name for f in files), "a file's name holds the machine's"
    check_multiplexer(what, directory / "tb", want)
    for fast in (True, False):
        check_server(what, directory / "tb", want, fast)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alignpro", required=True, type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path, help="work here, and leave what was made")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which runs are killed")
    options = parser.parse_args()
    alignpro = options.alignpro.resolve()
    moments = random.Random(options.seed)
    folder = options.keep or pathlib.Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        make_recipe(folder)
        seconds = run(alignpro, folder, "whole")
        check_run("undisturbed", folder / "whole")
        torn = 0
        for name in (f"killed-{i}" for i in range(20)):  # a run may be lucky
            n = 0
            while run(alignpro, folder, name, moments.uniform(0.1, 0.5) * seconds if n < 12 else None) is None:
                n += tear(folder / name)
            print(f"{name}: {n} files end in half a record")
            if n > 0:
                check_run(name, folder / name)
            assert expected_points(folder / "whole") == expected_points(folder / name)
            torn += n
            if torn >= 5:
                break
        assert torn >= 5, f"{torn} kills met an event file, expected 5"
    finally:
        if not options.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
