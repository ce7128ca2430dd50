"""What check_http_target.py, check_openai_client.py and check_vllm.py share: servers to start, a demo, checks that count."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
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


def llama_server(args, **settings):
    """The demo's target, exported, behind llama-cpp-python's server; its address."""
    gguf, template = args.keep / "target.gguf", args.keep / "plain.json"
    if not gguf.exists():
        run(args.alignpro, "export", "--format", "gguf", "--dtype", "f32", "--model", args.demo / "run/pretrain/final",
            "--out", gguf)
    template.write_text(json.dumps({"chat_template": PLAIN, "bos_token": "<s>", "eos_token": "</s>"}))
    model = {"model": str(gguf), "model_alias": "guide", "n_ctx": 256, "n_batch": 256, "n_threads": 1, "verbose": False,
             "chat_format": "hf-tokenizer-config", "hf_tokenizer_config_path": str(template), **settings}

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


def vllm_server(args, model, *options):
    """A model folder behind vLLM's server, on the processor, in 32-bit floats; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    log = args.keep / "vllm.log"

    def ready(process):
        for _ in range(1800):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url + "/models", timeout=5)
                return url
            if process.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"vLLM's server does not start: {log.read_text()[-2000:]}")

    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1", **os.environ}
    return started(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name",
                   "guide", "--host", "127.0.0.1", "--port", port, "--dtype", "float32", "--enforce-eager", *options,
                   ready=ready, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT)


def post(url, body, timeout=60):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as reply:
        return json.load(reply)


def greedy_texts(args, url, model, prompts, body):
    """The server's answers at temperature 0 beside those of the same model here: equal but for 1 in 50."""
    prompts = [json.loads(line)["prompt"] for line in prompts.open()][:args.prompts]
    lines = "".join(json.dumps({"messages": [{"role": "user", "content": p}]}) + "\n" for p in prompts)
    done = run(args.alignpro, "generate", "--model", model, "--max-new-tokens", 64, "--temperature", 0, input=lines)
    ours = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    theirs = [post(url + "/chat/completions", {
        "model": "guide", "max_tokens": 64, "temperature": 0, **body,
        "messages": [{"role": "user", "content": p}]})["choices"][0]["message"]["content"] for p in prompts]
    n_equal = sum(a == b for a, b in zip(ours, theirs))
    for a, b in [(a, b) for a, b in zip(ours, theirs) if a != b][:3]:
        print(f"       here   {a!r}\n       there  {b!r}")
    report(len(ours) == len(theirs) and 50 * (len(ours) - n_equal) <= len(ours), "texts at temperature 0 are equal",
           f"{n_equal} of {len(ours)}")


def alignpro_serve(args, *options):
    """`alignpro serve` of the demo's run; its address, without /v1."""

    def ready(process):
        line = process.stdout.readline()
        if not line.startswith("listening on http"):
            sys.exit(f"alignpro serve {' '.join(map(str, options))} did not start")
        return line.split()[-1]

    return started(args.alignpro, "serve", "--run", args.demo / "run", "--listen", "127.0.0.1:0", *options, ready=ready,
                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def make_demo(binary, folder):
    """A demo of the same models, on fewer pairs and rewrites: they need not be good here."""
    began = time.monotonic()
    run(binary, "demo", "--dir", folder, "--data-only")
    short = {"reward_train.path": "preferences", "sft.path": "rewrites"}
    for name in short.values():
        lines = (folder / f"data/{name}.jsonl").read_text().splitlines(keepends=True)
        (folder / f"data/{name}-short.jsonl").write_text("".join(lines[:4000]))
    run(binary, "demo", "--dir", folder, *(f"--set={key}={folder}/data/{name}-short.jsonl" for key, name in short.items()),
        "--set=sft.epochs=3", "--set=align.steps=2", "--set=rlhf.steps=1", "--set=eval.arms=bare,sft,align",
        "--set=eval.prompts=20")
    print(f"       a demo was trained in {time.monotonic() - began:.0f} s")


@contextlib.contextmanager
def working_folder(parser):
    """The arguments, with a folder to write to; it is deleted unless --keep asks for it."""
    parser.add_argument("--alignpro", type=pathlib.Path, required=True)
    parser.add_argument("--keep", type=pathlib.Path, help="a new folder for what is written; without it, it is deleted")
    args = parser.parse_args()
    args.alignpro = args.alignpro.resolve()
    delete = args.keep is None
    args.keep = pathlib.Path(tempfile.mkdtemp(prefix="alignpro-peers-")) if delete else args.keep.resolve()
    args.keep.mkdir(exist_ok=True)
    try:
        yield args
    finally:
        if delete:
            shutil.rmtree(args.keep, ignore_errors=True)


@contextlib.contextmanager
def prepared(parser):
    """The same, with a demo to use."""
    parser.add_argument("--demo", type=pathlib.Path)
    with working_folder(parser) as args:
        if args.demo is None:
            args.demo = args.keep / "demo"
            make_demo(args.alignpro, args.demo)
        args.demo = args.demo.resolve()
        yield args
