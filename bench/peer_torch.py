#!/usr/bin/env python3
"""The peer of bench_generate and bench_train: transformers (and peft) on the same model.

    peer_torch.py MODEL_DIR | --config FILE  [--batch 1,8] [--prompt N] [--new N] [--length N]
                  [--sequences N] [--rank N] [--rounds N] [--threads N] [--only generate|train]
                  [--dtype f32|bf16]

--config makes a model with random weights. Figures as there: prefill is `batch` prompts of N tokens
with the logits of each last one; decode is greedy with a key-value cache, without the prompt's
forward; a training step is forward, backward, clip and AdamW on `sequences` rows of `length` tokens,
LoRA on all linear maps and the whole model. Best of the rounds after a first one. Eager PyTorch with
its scaled-dot-product attention, as these libraries run on a CPU by default; nothing is compiled. In bf16 all of
the model is, its weights that train too.
"""

import argparse
import time

import peft
import torch
import transformers

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def best_of(rounds, work):
    best = float("inf")
    for i in range(rounds + 1):
        begin = time.perf_counter()
        work()
        seconds = time.perf_counter() - begin
        best = min(best, seconds) if i else best
    return best


@torch.inference_mode()
def prefill(model, ids):
    """Next token of every row, and the cache."""
    out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    return out.logits[:, -1].argmax(-1, keepdim=True), out.past_key_values


@torch.inference_mode()
def generate(model, ids, n_new):
    token, cache = prefill(model, ids)
    for _ in range(n_new - 1):
        out = model(input_ids=token, past_key_values=cache, use_cache=True)
        token = out.logits[:, -1].argmax(-1, keepdim=True)


def measure_generation(model, batch, a):
    n_vocab = model.config.vocab_size
    ids = torch.randint(0, n_vocab, (batch, a.prompt))
    first = best_of(a.rounds, lambda: prefill(model, ids))
    step = (best_of(a.rounds, lambda: generate(model, ids, a.new)) - first) / (a.new - 1)
    print(
        f"batch {batch:3}   prefill {batch * a.prompt / first:9.0f} tokens/s"
        f"   decode {batch / step:9.1f} tokens/s   {1e3 * step:8.3f} ms a step",
        flush=True,
    )


def measure_training(model, name, a):
    parameters = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.0, fused=True)
    ids = torch.randint(0, model.config.vocab_size, (a.sequences, a.length))

    def step():
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        adam.zero_grad()

    model.train()
    seconds = best_of(a.rounds, step)
    print(
        f"train {name:4}  {a.sequences * a.length / seconds:9.1f} tokens/s"
        f"   {1e3 * seconds:9.1f} ms a step",
        flush=True,
    )


def load(a):
    dtype = torch.bfloat16 if a.dtype == "bf16" else torch.float32
    if a.model:
        return transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=dtype)
    config = transformers.AutoConfig.from_pretrained(a.config)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--config")
    parser.add_argument("--batch", default="1,8")
    parser.add_argument("--only", choices=["generate", "train"])
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    sizes = {"prompt": 128, "new": 64, "length": 128, "sequences": 8, "rank": 16, "rounds": 3}
    for name, value in {**sizes, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args()
    if bool(a.model) == bool(a.config):
        parser.error("one of MODEL_DIR and --config is needed")
    return a


def main():
    a = arguments()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    model = load(a).eval()
    versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, transformers, peft))
    print(f"{a.model or a.config}: {versions}, {a.dtype}, {a.threads} threads", flush=True)
    if a.only != "train":
        for batch in a.batch.split(","):
            measure_generation(model, int(batch), a)
    if a.only != "generate":
        settings = peft.LoraConfig(r=a.rank, lora_alpha=2 * a.rank, target_modules=ALL_LINEAR)
        adapted = peft.get_peft_model(model, settings)
        measure_training(adapted, "lora", a)
        model = adapted.unload()
        model.requires_grad_(True)
        measure_training(model, "full", a)


if __name__ == "__main__":
    main()
