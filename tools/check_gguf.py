#!/usr/bin/env python3
"""What `alignpro export` writes means the same to llama.cpp, transformers and peft.

    check_gguf.py --alignpro BIN [--data DIR] [--cases NAME,NAME]

Small random models of every family with real tokenizers, and the real stories260K, each with a LoRA
adapter of peft's. Exported as GGUF (f32, f16, bf16; the adapter folded in, and alone on top of the
base) and loaded by llama.cpp through llama-cpp-python: logits of every position against the real
transformers with peft's adapter (NMSE), a greedy continuation, token ids of strings against the
Rust tokenizers. Exported as hf and read by transformers, against peft's merge_and_unload; exported
as peft and read by peft. Prints a line a check; the exit code is 1 when one fails. Needs torch,
transformers, peft, tokenizers and llama-cpp-python.
"""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import warnings

import llama_cpp
import numpy
import peft
import tokenizers
import torch
import transformers
from check_transformers import load, logits_of, save_adapter
from golden_models import FAMILIES, randomise

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
LIMITS = {"f32": 1e-8, "f16": 1e-5, "bf16": 5e-4}  # NMSE of logits
NEW_TOKENS = 12
STRINGS = [
    "Hello, world!", "It's 12345 o'clock; I'LL go, you'd STAY.", " leading", "trailing ", "  two  spaces   three",
    "tab\tand\nnewline\r\n\r\nend\n\n\n", "üñí çödé café", "你好，世界 こんにちは 안녕", "🙂🙃👨‍👩‍👧‍👦 emoji", "a\u0301 decomposed",
    "def f(x):\n    return x**2  # ok", "1.5e-10 0x1F 1,000,000", "___---===+++", "\u00a0\u2003wide spaces\u200b",
    "кошка ест рыбу", "مرحبا بالعالم", "ประเทศไทย", "ﬁ ﬂ ½ ②", "x" * 70, "aaaaaaaaaaaaaaa bbbb", "<s> text </s>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n",
    "<|user|>\nHi there<|end|>\n<|assistant|>\n", "", "\n", " ",
]


def base_keys(**more):
    keys = {
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False, "pad_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    keys.update(more)
    return keys


def longrope(half, original, **more):
    draw = random.Random(half)
    return {
        "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": original,
        "short_factor": [round(1 + 0.3 * draw.random(), 3) for _ in range(half)],
        "long_factor": [round(1 + 4 * draw.random(), 3) for _ in range(half)], **more,
    }


# name: family, folder of the tokenizer below the data (None: the demo's), context (llama.cpp takes a
# multiple of 256, and longrope's factors by it), configuration
CASES = {
    "llama3": ("llama", "tokenizers/llama-3.2-instruct", 256, base_keys(
        vocab_size=128256, bos_token_id=128000, eos_token_id=[128001, 128009], tie_word_embeddings=True,
        rope_parameters={"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 64})),
    "llama_bias": ("llama", None, 256, base_keys(
        vocab_size=640, bos_token_id=0, eos_token_id=1, head_dim=24, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0})),
    "llama_short": ("llama", None, 256, base_keys(
        vocab_size=600, bos_token_id=0, eos_token_id=1, max_position_embeddings=512, rope_parameters=longrope(8, 256))),
    "llama_long": ("llama", None, 256, base_keys(
        vocab_size=600, bos_token_id=0, eos_token_id=1, rope_parameters=longrope(8, 64))),
    "qwen2": ("qwen2", "tokenizers/qwen2.5-instruct", 256, base_keys(
        vocab_size=151936, bos_token_id=151643, eos_token_id=151645, tie_word_embeddings=True)),
    "qwen2_linear": ("qwen2", None, 256, base_keys(
        vocab_size=600, bos_token_id=0, eos_token_id=1,
        rope_parameters={"rope_type": "linear", "rope_theta": 1e6, "factor": 4.0})),
    "phi3": ("phi3", "tokenizers/phi-3-mini", 256, base_keys(
        vocab_size=32064, bos_token_id=1, eos_token_id=32000, original_max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0})),
    "phi3_partial": ("phi3", None, 256, base_keys(
        vocab_size=600, bos_token_id=0, eos_token_id=1, original_max_position_embeddings=256, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})),
    "phi3_short": ("phi3", None, 256, base_keys(
        vocab_size=600, bos_token_id=0, eos_token_id=1, max_position_embeddings=512, original_max_position_embeddings=256,
        rope_parameters=longrope(8, 256, partial_rotary_factor=1.0))),
    "phi3_long": ("phi3", None, 256, base_keys(
        vocab_size=600, bos_token_id=0, eos_token_id=1, original_max_position_embeddings=64,
        rope_parameters=longrope(8, 64, partial_rotary_factor=1.0))),
    "stories260K": ("llama", "models/stories260K-hf", 256, None),
}
failed = []


def report(case, what, ok, text):
    if not ok:
        failed.append(f"{case}: {what}")
    print(f"{'ok    ' if ok else 'FAILED'} {case:15} {what:34} {text}", flush=True)


def export(binary, out, *options):
    done = subprocess.run([binary, "export", "--out", out, *options], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"alignpro export {' '.join(map(str, options))}: {done.stderr.strip()}")
    for line in done.stderr.splitlines():
        if "warning" in line:
            print(f"       {line}")
    return out


def make(folder, family, tokenizer, keys):
    if keys is None:
        shutil.copytree(tokenizer, folder)
        return
    config_kind, causal_kind, _ = (getattr(transformers, k) for k in FAMILIES[family])
    model = causal_kind(config_kind(**keys))
    randomise(model, torch.Generator().manual_seed(7))
    model.save_pretrained(folder)
    for name in FILES:
        if (tokenizer / name).is_file():
            shutil.copy(tokenizer / name, folder)


# -- llama.cpp --


class Llama:
    """A GGUF file in llama.cpp, all arithmetic of attention in f32."""

    def __init__(self, path, context, lora=None):
        self.llm = llama_cpp.Llama(
            str(path), n_ctx=context, n_batch=context, logits_all=True, verbose=False, n_threads=2,
            type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False,
            lora_path=str(lora) if lora else None,
        )

    def logits(self, ids):
        self.llm.reset()
        self.llm.eval(ids)
        return torch.tensor(numpy.array(self.llm.scores[: len(ids)])).double()

    def ids(self, text):
        return self.llm.tokenize(text.encode("utf-8"), add_bos=True, special=True)


def nmse(got, want):
    """Of logits without their mean, which no probability depends on."""
    got, want = (x - x.mean(-1, keepdim=True) for x in (got, want))
    return (((got - want) ** 2).sum() / (want**2).sum()).item()


def greedy(logits, row, n):
    row = list(row)
    for _ in range(n):
        row.append(int(logits(row)[-1].argmax()))
    return row


def check_logits(case, what, path, context, rows, wanted, limit, lora=None, model=None):
    llama = Llama(path, context, lora)
    far = max(nmse(llama.logits(row), want) for row, want in zip(rows, wanted))
    report(case, what, far <= limit, f"NMSE {far:.1e}, limit {limit:.0e}")
    if model is not None:
        start = rows[0][:8]
        want = greedy(lambda row: logits_of(model, row), start, NEW_TOKENS)
        got = greedy(llama.logits, start, NEW_TOKENS)
        report(case, f"{what}, greedy", got == want, f"{NEW_TOKENS} tokens")
    return llama


def check_ids(case, llama, folder):
    """llama.cpp does not normalise: a text that NFC changes is its own matter. Nor has it special
    tokens that are matched in normalised text (stories260K), of which the export warns; and it
    takes </s> for special wherever a vocabulary has it (qwen2)."""
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    normalises = reference.normalizer is not None and "NFC" in str(reference.normalizer)
    strings = [s for s in STRINGS if not normalises or unicodedata.is_normalized("NFC", s)]
    added = reference.get_added_tokens_decoder().values()
    if any(t.normalized for t in added) and reference.normalizer is not None:
        strings = [s for s in strings if not any(t.content in s for t in added)]
    if reference.token_to_id("</s>") is not None and all(t.content != "</s>" for t in added):
        strings = [s for s in strings if "</s>" not in s]
    wrong = []
    for text in strings:
        want, got = reference.encode(text).ids, llama.ids(text)
        if got != want:
            wrong.append(text)
            print(f"       {text!r}: llama.cpp {got[:24]}, expected {want[:24]}")
    report(case, "token ids", not wrong, f"{len(strings) - len(wrong)} of {len(strings)} strings")
    n_special = [i for i, t in reference.get_added_tokens_decoder().items() if t.special]
    same = all(llama.ids(reference.id_to_token(i))[-1:] == [i] for i in n_special)
    report(case, "special tokens", same, f"{len(n_special)} of them")


def check_metadata(case, llama, folder):
    """Special ids and the chat template as transformers knows them."""
    meta = llama.llm.metadata
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    wrong = []
    for role in ("bos", "eos"):
        text = config.get(f"{role}_token")
        text = text["content"] if isinstance(text, dict) else text
        key = f"tokenizer.ggml.{role}_token_id"
        if text and int(meta[key]) != reference.convert_tokens_to_ids(text):
            wrong.append(role)
    template = config.get("chat_template")
    if template and meta.get("tokenizer.chat_template") != template:
        wrong.append("chat_template")
    report(case, "metadata", not wrong, ", ".join(wrong) or meta["tokenizer.ggml.pre"])


# -- a case --


def relative(got, want):
    return ((got - want).abs().max() / want.abs().max()).item()


def check_peft(case, binary, work, rows, wanted):
    out = export(binary, work / "peft", "--format", "peft", "--model", work / "model", "--adapter", work / "adapter")
    named = json.loads((out / "adapter_config.json").read_text(encoding="utf-8"))
    base = load(transformers.AutoModelForCausalLM, named["base_model_name_or_path"])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing.*|.*unexpected.*")
        adapted = peft.PeftModel.from_pretrained(base, out).eval()
    far = max(relative(logits_of(adapted, row), want) for row, want in zip(rows, wanted))
    report(case, "peft, read by peft", far <= 2e-5, f"{far:.1e}")
    same = (out / "tokenizer.json").read_bytes() == (work / "model" / "tokenizer.json").read_bytes()
    report(case, "peft, tokenizer beside it", same, "")


def check_hf(case, binary, work, adapted, rows):
    out = export(binary, work / "hf", "--format", "hf", "--model", work / "model", "--adapter", work / "adapter")
    merged = adapted.merge_and_unload()
    got, want = load(transformers.AutoModelForCausalLM, out), dict(merged.state_dict())
    state = got.state_dict()
    far = max(relative(state[name].double(), want[name].double()) for name in want)
    report(case, "hf, weights of merge_and_unload", far <= 1e-6 and set(state) == set(want), f"{far:.1e}")
    far = max(relative(logits_of(got, row), logits_of(merged, row)) for row in rows)
    report(case, "hf, read by transformers", far <= 2e-5, f"{far:.1e}")
    transformers.AutoTokenizer.from_pretrained(out)


def check_case(case, binary, data):
    family, tokenizer, context, keys = CASES[case]
    tokenizer = data / tokenizer if tokenizer else ROOT / "examples" / "demo"
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        make(work / "model", family, tokenizer, keys)
        plain = load(transformers.AutoModelForCausalLM, work / "model")
        n_vocab = plain.config.vocab_size
        generator = torch.Generator().manual_seed(3)
        long = case.endswith("_long")  # transformers goes by the length of each call
        lengths = [context - 1] if long else [9, 60]
        rows = [torch.randint(3, n_vocab, (n,), generator=generator).tolist() for n in lengths]
        base_logits = [logits_of(plain, row) for row in rows]
        adapted = save_adapter(plain, work / "adapter", random.Random(case), 5)
        wanted = [logits_of(adapted, row) for row in rows]
        source = ("--model", work / "model", "--adapter", work / "adapter")
        greedy_model = None if long else adapted
        for dtype, limit in LIMITS.items():
            out = export(binary, work / f"{dtype}.gguf", "--format", "gguf", "--dtype", dtype, *source)
            llama = check_logits(case, f"gguf {dtype}, adapter folded in", out, context, rows, wanted, limit,
                                 model=greedy_model if dtype == "f32" else None)
        check_ids(case, llama, work / "model")
        check_metadata(case, llama, work / "model")
        base = export(binary, work / "base.gguf", "--format", "gguf", "--dtype", "f32", *source[:2])
        check_logits(case, "gguf f32, no adapter", base, context, rows, base_logits, LIMITS["f32"])
        lora = export(binary, work / "lora.gguf", "--format", "gguf", "--adapter-only", *source)
        check_logits(case, "gguf, adapter on top", base, context, rows, wanted, LIMITS["f32"], lora)
        check_peft(case, binary, work, rows, wanted)
        check_hf(case, binary, work, adapted, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--alignpro", required=True, type=pathlib.Path, help="the program")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", default=",".join(CASES))
    a = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for case in a.cases.split(","):
        check_case(case, a.alignpro.resolve(), a.data)
    print(f"{len(failed)} checks failed" if failed else "all checks passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
