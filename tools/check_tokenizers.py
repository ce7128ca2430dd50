#!/usr/bin/env python3
"""Compare the tokenizers with the Rust library `tokenizers` on random strings.

    check_tokenizers.py BUILD [--data DIR] [--strings N] [--tokenizers N] [--seed N]

BUILD is a build folder with the target tokenizer_pipe. DIR holds tokenizers/*/tokenizer.json and datasets/ (default
../shared/data). Each of the tokenizers there sees N strings; each of N tokenizers put together at random from every component
sees 60. Every string is encoded as markup, with special tokens, and as text; its ids, and random ids, are decoded with and without
special tokens, whole and token by token. One string in eight is bytes that are not UTF-8. Needs tokenizers 0.23.
Prints what differs and how much was compared; fails when anything differs."""

import argparse
import collections
import copy
import json
import pathlib
import random
import struct
import subprocess
import sys

from tokenizers import Tokenizer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import make_golden_text as small  # the small tokenizers, to put others together from

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Pipe:
    """tests/text/tokenizer_pipe.c"""

    def __init__(self, build):
        self.process = subprocess.Popen([str(build / "tokenizer_pipe")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, kind, data):
        self.process.stdin.write(kind.encode() + struct.pack("<I", len(data)) + data)
        self.process.stdin.flush()
        status, n = struct.unpack("<II", self.process.stdout.read(8))
        return status, self.process.stdout.read(n)

    def ids(self, kind, data):
        status, out = self.ask(kind, data)
        return list(struct.unpack("<%di" % (len(out) // 4), out)) if status == 0 else out.decode()

    def text(self, kind, ids):
        status, out = self.ask(kind, struct.pack("<%di" % len(ids), *ids))
        return out.decode() if status == 0 else ("error", out.decode())


# ---- strings ----

SPACES = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\u0085", "\u180e", "\u200b", "\u2028", "\x0b", "\x1c", "   \n"]
MARKS = [0x300, 0x301, 0x308, 0x323, 0x327, 0x345, 0x334, 0x5B0, 0x64B, 0x93C, 0x94D, 0xE38, 0x302E, 0x3099, 0x1D165, 0x1161, 0x11A8]
NASTY = ["'s", "'S", "'ll", "'LL", "'\u017f", "I'VE", "don't", "\u2019s", "\ufb01", "\ufb06", "\u1e9e", "ss", "\u212a", "\u0130i", "\u1100\u1161\u11a8",
         "\uac00\u11a8", "\u0344", "\u0958", "\u2126", "\ufdfa", "\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\ufeff", "\x00", "\x7f", "<0x41>",
         "<0xE4>", "\u2581", "\u2581\u2581", "_", "12345", "\u0663\u0664", "\u00b2\u00bd", "\u2167", "!!", "...", "a\u0301\u0323", "\ud7ff", "\uffff", "Ġ",
         "\U0010ffff", "\u0897", "\U00010d40", "\U000105c0", "\U00031350", "\u1c89", "\ua7cb"]
BLOCKS = [(0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00), (0x1100, 0x1200), (0x1E00, 0x2000),
          (0x2000, 0x2C00), (0x3000, 0x3400), (0x4E00, 0xA000), (0xA640, 0xB000), (0xAC00, 0xD7B0), (0xF900, 0x10000), (0x10000, 0x12000),
          (0x16000, 0x1E000), (0x1F000, 0x20000), (0x20000, 0x32000), (0, 0x110000)]


def character(rng, low, high):
    while True:
        c = rng.randrange(low, high)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def piece(rng, corpus, spellings):
    kind = rng.randrange(10)
    if kind < 3 and corpus:
        at = rng.randrange(len(corpus))
        return corpus[at:at + rng.randrange(1, 30)]
    if kind == 3:
        return rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 5])
    if kind == 4:
        return rng.choice(NASTY)
    if kind == 5 and spellings:
        s = rng.choice(spellings)
        s = rng.choice([s, s, s, s.upper(), s[:-1], s[1:], s + s])
        return rng.choice(["", "", " ", "  ", "\n", "a", "_"]) + s + rng.choice(["", "", " ", "\t ", "a", "1", "."])
    if kind == 6:
        return rng.choice("aeou\u0438\u3042\u0915A") + "".join(chr(rng.choice(MARKS)) for _ in range(rng.randrange(1, 5)))
    if kind == 7:
        return "".join(rng.choice("ab '1.\n ") for _ in range(rng.randrange(1, 8)))
    low, high = rng.choice(BLOCKS)
    return "".join(character(rng, low, high) for _ in range(rng.randrange(1, 8)))


def string(rng, corpus, spellings):
    text = "".join(piece(rng, corpus, spellings) for _ in range(rng.choice([1, 2, 3, 5, 8, 13])))
    return text * rng.choice([1] * 30 + [7])


def broken(rng, text):
    """Bytes that are not UTF-8: cut, changed or put in somewhere."""
    data = bytearray(text.encode())
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(3)
        if what == 0:
            data[at:at] = rng.choice([b"\x80", b"\xff", b"\xc0\xaf", b"\xe0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", b"\xe4\xbd", b"\xf8"])
        elif what == 1:
            del data[at:at + rng.randrange(1, 3)]
        elif data:
            data[at % len(data)] = rng.randrange(256)
    return bytes(data)


# ---- tokenizers put together at random ----


def random_normalizer(rng):
    one = lambda: rng.choice([
        lambda: {"type": rng.choice(["NFC", "NFD", "NFKC", "NFKD"])},
        lambda: {"type": rng.choice(["Lowercase", "StripAccents", "Nmt"])},
        lambda: {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5},
        lambda: {"type": "Prepend", "prepend": rng.choice(["▁", "_ ", "ab"])},
        lambda: {"type": "Replace", "pattern": rng.choice([{"String": " "}, {"String": "a"}, {"Regex": r"\s+"}, {"Regex": r"[^\w]{2,}"}]),
                 "content": rng.choice(["▁", "", "xy"])},
    ])()
    return rng.choice([None, one(), {"type": "Sequence", "normalizers": [one() for _ in range(rng.randrange(0, 4))]}])


REGEXES = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"\w+", r"\W", r"\b", r"\d", r"\h+", r"x*", r"^.", r".$", r"(?<=a)b|b(?=a)", r"[^\S\r\n]+", r"[\W\d]", r"\p{P}|\p{S}", r"[a-z]{2}", r"\p{Han}+", r"a(?i)b|c",
    r"[一-龥ぁ-ん]+", r"\p{^L}{,2}", r"[!-/]?[A-Za-z]+", r"\x{2581}", r"\u00e9|\xA|(a)\1", r"\p{Lowercase_Letter}+", r"[\p{M}\u200d]+", r"\B", r"[^a\P{L}]",
]
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


def random_pretokenizer(rng, byte_level):
    split = lambda: {"type": "Split", "pattern": rng.choice([{"Regex": rng.choice(REGEXES)}, {"Regex": rng.choice(REGEXES)}, {"String": rng.choice([" ", "a", "▁", "the"])}]),
                     "behavior": rng.choice(BEHAVIORS), "invert": rng.random() < 0.3}
    level = lambda: {"type": "ByteLevel", "add_prefix_space": rng.random() < 0.4, "trim_offsets": True, "use_regex": rng.random() < 0.5}
    scheme = lambda: rng.choice([{"prepend_scheme": s} for s in ("always", "never", "first")] + [{"add_prefix_space": True}, {}])
    one = lambda: rng.choice([
        split, split, split,
        lambda: {"type": "Metaspace", "replacement": rng.choice("▁_"), **scheme(), **rng.choice([{}, {"split": False}, {"split": True}])},
        lambda: {"type": "Digits", "individual_digits": rng.random() < 0.5},
        lambda: {"type": "Punctuation", **rng.choice([{}] + [{"behavior": b} for b in BEHAVIORS])},
        lambda: {"type": rng.choice(["Whitespace", "WhitespaceSplit", "BertPreTokenizer"])},
        lambda: {"type": "CharDelimiterSplit", "delimiter": rng.choice("a .▁")},
        lambda: {"type": "FixedLength", "length": rng.randrange(1, 6)},
        level,
    ])()
    chain = [one() for _ in range(rng.randrange(0, 3))] + ([level()] if byte_level else [])
    if not chain:
        return None
    return chain[0] if len(chain) == 1 and rng.random() < 0.7 else {"type": "Sequence", "pretokenizers": chain}


def random_decoder(rng):
    one = lambda: rng.choice([
        lambda: {"type": "Replace", "pattern": rng.choice([{"String": "▁"}, {"String": "th"}, {"Regex": "[aeiou]+"}]), "content": rng.choice([" ", "", "xy"])},
        lambda: {"type": "ByteFallback"}, lambda: {"type": "Fuse"},
        lambda: {"type": "Strip", "content": rng.choice([" ", "a", "▁"]), "start": rng.randrange(3), "stop": rng.choice([0, 0, 0, 1, 2])},
        lambda: {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        lambda: {"type": "Metaspace", "replacement": "▁", "prepend_scheme": rng.choice(["always", "never", "first"]), "split": True},
        lambda: {"type": "WordPiece", "prefix": "##", "cleanup": rng.random() < 0.5},
        lambda: {"type": "BPEDecoder", "suffix": "e"},
        lambda: {"type": "CTC", "pad_token": "a", "word_delimiter_token": "t", "cleanup": rng.random() < 0.5},
    ])()
    return {"type": "Sequence", "decoders": [one() for _ in range(rng.randrange(0, 4))]} if rng.random() < 0.7 else one()


def random_postprocessor(rng, vocab):
    names = rng.sample(sorted(vocab, key=vocab.get)[:20], 3)
    special = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    template = lambda: {
        "type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "single": [special(n) for n in names[:rng.randrange(3)]] + [{"Sequence": {"id": "A", "type_id": 0}}] + [special(n) for n in names[rng.randrange(1, 4):]],
        "special_tokens": {n: {"id": n, "ids": [vocab[n]] * rng.randrange(1, 3), "tokens": [n] * 2} for n in names}}
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    ends = {"sep": [names[0], vocab[names[0]]], "cls": [names[1], vocab[names[1]]]}
    one = lambda: rng.choice([template, template, lambda: level, lambda: {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": False},
                              lambda: {"type": "BertProcessing", **ends}])()
    return rng.choice([None, one(), {"type": "Sequence", "processors": [level, one(), one()][:rng.randrange(1, 4)]}])


def random_added(rng, t):
    vocab = t["model"]["vocab"]
    next_id = len(vocab)
    spellings = [" ", "ab", "abc", "<tool>", "<tool>x", "the", " the", "É", "é", "foo_bar", "<|x|>", "Ｘ", "12", "\u2581a", "don't", "e\u0301", "</s> ", "\n", "-"]
    rng.shuffle(spellings)
    for spelling in spellings[:rng.randrange(0, 9)]:
        flag = lambda p: rng.random() < p
        known = any(a["content"] == spelling for a in t["added_tokens"])
        if known:
            continue
        token_id = vocab.get(spelling, next_id)
        next_id += token_id == next_id
        t["added_tokens"].append(small.added(token_id, spelling, special=flag(0.5), lstrip=flag(0.3), rstrip=flag(0.3), single_word=flag(0.3),
                                             normalized=flag(0.4)))


def random_tokenizer(rng, bases):
    byte_level = rng.random() < 0.5
    t = copy.deepcopy(bases[byte_level])
    model = t["model"]
    if rng.random() < 0.8:
        t["normalizer"] = random_normalizer(rng)
    t["pre_tokenizer"] = random_pretokenizer(rng, byte_level and rng.random() < 0.9)
    if rng.random() < 0.6:
        t["decoder"] = random_decoder(rng) if rng.random() < 0.9 else None
    t["post_processor"] = random_postprocessor(rng, model["vocab"])
    random_added(rng, t)
    model["ignore_merges"] = rng.random() < 0.3
    model["fuse_unk"] = rng.random() < 0.5
    model["byte_fallback"] = rng.random() < 0.5
    if rng.random() < 0.3:
        model["merges"] = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    if rng.random() < 0.3:
        model["unk_token"] = rng.choice([None, "<unk>" if not byte_level else "<s>"])
    return t


# ---- comparing ----


class Check:
    def __init__(self, pipe):
        self.pipe, self.counts, self.refused, self.bad, self.shown = pipe, collections.Counter(), collections.Counter(), 0, 3

    def differs(self, name, what, source, got, want):
        self.bad += 1
        if self.bad <= self.shown:
            at = next((i for i, pair in enumerate(zip(got, want)) if pair[0] != pair[1]), min(len(got), len(want)))
            cut = slice(max(0, at - 3), at + 12)
            print(f"DIFFERS {name}: {what} at {at} of {source!r}\n    got  {got[cut]!r}\n    want {want[cut]!r}")

    def same(self, name, what, source, got, want):
        self.counts[what] += 1
        if got != want:
            self.differs(name, what, source, got, want)

    def decode(self, name, reference, ids):
        for kind, skip in (("D", False), ("K", True)):
            try:
                want = reference.decode(ids, skip_special_tokens=skip)
            except BaseException:  # a panic
                self.counts["the reference fails"] += 1
                continue
            self.same(name, "text, special skipped" if skip else "text", ids, self.pipe.text(kind, ids), want)

    def one(self, name, reference, data, rng, n_vocab):
        text = data.decode(errors="replace")
        try:
            reference.encode_special_tokens = True
            as_text = reference.encode(text, add_special_tokens=False).ids
            reference.encode_special_tokens = False
            ids, special = reference.encode(text, add_special_tokens=False).ids, reference.encode(text).ids
        except BaseException as e:  # a panic: too many steps of a regular expression, or a decoder's bug
            self.counts["the reference fails"] += 1
            return
        self.same(name, "ids", data, self.pipe.ids("M", data), ids)
        self.same(name, "ids with special tokens", data, self.pipe.ids("S", data), special)
        self.same(name, "ids as text", data, self.pipe.ids("T", data), as_text)
        self.decode(name, reference, special)
        self.decode(name, reference, [rng.randrange(n_vocab) for _ in range(rng.randrange(12))])

    def strings(self, name, reference, corpus, rng, n):
        vocab = reference.get_vocab(with_added_tokens=True)
        spellings = [a.content for a in reference.get_added_tokens_decoder().values()]
        hot = [i for s, i in vocab.items() if s.startswith("<0x") or any(c in s for c in "▁äðŁ")]
        for i in range(n):
            text = string(rng, corpus, spellings)
            data = broken(rng, text) if i % 8 == 0 else text.encode()
            self.one(name, reference, data, rng, len(vocab))
            if hot:
                self.decode(name, reference, [rng.choice(hot) if rng.random() < 0.7 else rng.randrange(len(vocab)) for _ in range(rng.randrange(12))])

    def synthetic(self, number, tokenizer, corpus, rng):
        text = json.dumps(tokenizer)
        status, why = self.pipe.ask("L", text.encode())
        try:
            reference = Tokenizer.from_str(text)
        except BaseException as e:
            self.counts["tokenizers the reference refuses"] += 1
            if status == 0:
                self.counts["and we take"] += 1
            return
        if status:
            self.refused[why.decode().split(": ", 1)[-1][:110]] += 1
            return
        self.counts["tokenizers at random"] += 1
        before = self.bad
        self.strings(f"random {number}", reference, corpus, rng, 60)
        if self.bad > before:
            self.shown = max(self.shown, self.bad + 2)
            print("    " + json.dumps({k: v for k, v in tokenizer.items() if k not in ("model", "added_tokens")}, ensure_ascii=False))
            print("    " + json.dumps({k: v for k, v in tokenizer["model"].items() if k not in ("vocab", "merges")}))
            print("    " + json.dumps([[k if v is True else v for k, v in a.items() if v is not False] for a in tokenizer["added_tokens"]], ensure_ascii=False))


def read_corpus(data):
    out = []
    for path in sorted((data / "datasets").glob("*.jsonl")) if data else []:
        with open(path, encoding="utf-8") as lines:
            out += [value for line in list(lines)[:60] for value in json.loads(line).values() if isinstance(value, str)]
    return "\n".join(out)[:2_000_000] or small.CORPUS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "../shared/data")
    parser.add_argument("--strings", type=int, default=2000)
    parser.add_argument("--tokenizers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    corpus = read_corpus(args.data if args.data.exists() else None)
    check = Check(Pipe(args.build))
    folders = sorted(p.parent for p in args.data.glob("tokenizers/*/tokenizer.json")) if args.strings else []
    folders += [ROOT / "examples/demo"] if args.strings else []
    for folder in folders:
        status, why = check.pipe.ask("O", str(folder).encode())
        if status:
            sys.exit(why.decode())
        check.strings(folder.name, Tokenizer.from_file(str(folder / "tokenizer.json")), corpus, rng, args.strings)
        print(f"{folder.name}: {args.strings} strings, {check.bad} differences so far", flush=True)
    bases = [small.sentencepiece(), small.byte_level()]
    for number in range(args.tokenizers):
        check.synthetic(number, random_tokenizer(rng, bases), corpus, rng)
    for what, n in sorted(check.counts.items()):
        print(f"{n:9d} {what}")
    for why, n in check.refused.most_common():
        print(f"{n:9d} refused: {why}")
    print(f"{check.bad} differences")
    sys.exit(check.bad != 0)


if __name__ == "__main__":
    main()
