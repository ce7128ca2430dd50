#!/usr/bin/env python3
"""Reference values of the tokenizers, made with the Rust library `tokenizers` (pip install tokenizers).

Writes tests/golden/text/tokenizers.json: small tokenizers of our own, one for each component that is
implemented, and what the library makes of some strings and of some sequences of ids:

    {"version", "tokenizers": [{"name", "tokenizer": {the tokenizer.json}, "cases": [...], "decode": [...]}]}
    case    {"text", "ids", "special": ids with what the post-processor adds, "as_text": ids when special
             tokens are not recognised, "decoded", "skipped": decoded without special tokens}
    decode  {"ids", "decoded", "skipped"}

Deterministic: the same library gives the same file."""

import copy
import json
import pathlib
import random
import sys

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CORPUS = """The otter lives in rivers and eats fish. It is brown, and it lives for ten years. Its young is a
pup. The whale lives in the sea; it eats krill and it is grey. Please describe the fox: its home and its food.
Don't guess, I'll check every fact! We've 12 animals, 5 aspects and 60 facts. Tell me about the owl's colour."""

TEXTS = [
    "", " ", "  ", "\n", "\t\t x", "a", " a", "a ", "  the  otter   lives    ", "The otter lives in rivers.",
    "don't I'll we'VE they'd I'M", "'s 's'S", "x\u00a0y\u2003z\u3000w\u180ev\u0085u", "é e\u0301 ﬁ Å̊", "你好，世界！",
    "👩\u200d👧 🇩🇪", "zero\u200bwidth\ufeff", "1234567890 12 ٣٤ ⅷ ²³", "if (x<=y&&z!=0){\n\treturn *p++;\n}\r\n",
    "!!!??? ... ---", "\x00\x01\x7f\x1b[0m", "\ud7ff\ue000\uffff\U0010ffff", "a\r\nb\rc\n d", "A" * 40, "ab" * 30, " " * 33,
    "x" + " " * 20 + "y", "I’ve “quoted” – em—dash…", "<s>hello</s> <unk> <s> <s>x", "<s></s>", "<s", "▁under▁score", "▁",
    "<0x41><0x0A>", "the <mask> otter<mask>  <mask>", "<mask>", "a<sep> \n b <sep>c", "otter<tool>fish", "<tool><tool>",
]


def added(token_id, content, **flags):
    base = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return {"id": token_id, "content": content, **base, **flags}


def template(bos):
    special = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [special, text], "pair": [special, text, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [bos], "tokens": ["<s>"]}}}


def trained(pre, alphabet, size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    t.train_from_iterator(CORPUS.split("\n"), trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False))
    model = json.loads(t.to_str())["model"]
    return model["vocab"], model["merges"]


def sentencepiece():
    vocab, merges = trained(pre_tokenizers.Metaspace(), [], 130)
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + sorted(vocab, key=vocab.get)
    replace = lambda a, b: {"type": "Replace", "pattern": {"String": a}, "content": b}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(i, names[i], normalized=True) for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁")]},
        "pre_tokenizer": None, "post_processor": template(1),
        "decoder": {"type": "Sequence", "decoders": [replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                                                     {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {n: i for i, n in enumerate(names)}, "merges": [" ".join(m) for m in merges]},
    }


def byte_level():
    vocab, merges = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), sorted(pre_tokenizers.ByteLevel.alphabet()), 330)
    names = ["<s>", "</s>"] + sorted(vocab, key=vocab.get)
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [added(i, names[i]) for i in range(2)],
        "normalizer": None, "pre_tokenizer": level, "post_processor": template(0), "decoder": dict(level, add_prefix_space=True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {n: i for i, n in enumerate(names)}, "merges": merges},
    }


def variants():
    def of(base, change):
        t = copy.deepcopy(base)
        change(t)
        return t

    def raw_tokens(t):
        n = len(t["model"]["vocab"])
        for a in t["added_tokens"]:
            a["normalized"] = False
        t["added_tokens"] += [added(n, "<mask>", lstrip=True, rstrip=True), added(n + 1, "<sep>", rstrip=True),
                              added(n + 2, "<tool>", special=False), added(n + 3, "<tool><tool>x", special=False)]

    def no_bytes(t):
        keep = [k for k in t["model"]["vocab"] if not k.startswith("<0x")]
        t["model"].update(byte_fallback=False, vocab={k: i for i, k in enumerate(keep)})

    def one_byte_missing(t):
        keep = [k for k in t["model"]["vocab"] if k != "<0xC3>"]
        t["model"]["vocab"] = {k: i for i, k in enumerate(keep)}

    def bare(t):
        t.update(normalizer=None, decoder=None, post_processor=None)

    def strip_each(t):
        d = t["decoder"]["decoders"]
        t["decoder"]["decoders"] = [d[0], dict(d[3], start=2), d[1]]

    def fused_strip(t):
        t["decoder"] = {"type": "Sequence", "decoders": [t["decoder"], {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}

    sp, bl = sentencepiece(), byte_level()
    return [
        ("sentencepiece", sp),
        ("sentencepiece, raw added tokens", of(sp, raw_tokens)),
        ("sentencepiece, merges as pairs", of(sp, lambda t: t["model"].update(merges=[m.split(" ") for m in t["model"]["merges"]]))),
        ("sentencepiece, no bytes", of(sp, no_bytes)),
        ("sentencepiece, no bytes, unknowns apart", of(sp, lambda t: (no_bytes(t), t["model"].update(fuse_unk=False)))),
        ("sentencepiece, one byte missing", of(sp, one_byte_missing)),
        ("sentencepiece, ignore_merges", of(sp, lambda t: t["model"].update(ignore_merges=True))),
        ("sentencepiece, model only", of(sp, bare)),
        ("sentencepiece, Strip before Fuse", of(sp, strip_each)),
        ("byte level", bl),
        ("byte level, raw added tokens", of(bl, raw_tokens)),
        ("byte level, prefix space", of(bl, lambda t: t["pre_tokenizer"].update(add_prefix_space=True))),
        ("byte level, no regex", of(bl, lambda t: t["pre_tokenizer"].update(use_regex=False))),
        ("byte level, ignore_merges", of(bl, lambda t: t["model"].update(ignore_merges=True))),
        ("byte level, Fuse and Strip", of(bl, fused_strip)),
        ("byte level, post-processors in sequence", of(bl, lambda t: t.update(
            post_processor={"type": "Sequence", "processors": [t["pre_tokenizer"], t["post_processor"]]}))),
    ]


def ids_to_decode(t, rng):
    """Runs of bytes that are not UTF-8, in both alphabets, among other tokens."""
    spelled = ["<0xE4>", "<0xBD>", "<0xA0>", "<0xF0>", "<0x9F>", "<0xC0>", "<0x41>", "<0x20>", "▁", "ä", "½", "ł", "Ġ", "ð", "Ł", "Ģ", "<s>"]
    hot = [i for i in map(t.token_to_id, spelled) if i is not None]
    n = t.get_vocab_size()
    return [[rng.choice(hot) if rng.random() < 0.75 else rng.randrange(n) for _ in range(rng.randrange(1, 12))] for _ in range(40)]


def entry(name, tokenizer, rng):
    t = Tokenizer.from_str(json.dumps(tokenizer))
    cases = []
    for text in TEXTS:
        t.encode_special_tokens = False
        ids = t.encode(text, add_special_tokens=False).ids
        case = {"text": text, "ids": ids, "special": t.encode(text).ids, "decoded": t.decode(ids, skip_special_tokens=False),
                "skipped": t.decode(ids)}
        t.encode_special_tokens = True
        case["as_text"] = t.encode(text, add_special_tokens=False).ids
        cases.append(case)
    decode = [{"ids": ids, "decoded": t.decode(ids, skip_special_tokens=False), "skipped": t.decode(ids)} for ids in ids_to_decode(t, rng)]
    return {"name": name, "tokenizer": tokenizer, "cases": cases, "decode": decode}


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "tests/golden/text/tokenizers.json"
    rng = random.Random(1)
    entries = [entry(name, t, rng) for name, t in variants()]
    out.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in entries)
    out.write_text('{"version":"tokenizers %s","tokenizers":[\n%s\n]}\n' % (tokenizers.__version__, body), encoding="utf-8")


if __name__ == "__main__":
    main()
