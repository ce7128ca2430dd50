#!/usr/bin/env python3
"""Compare `alignpro render` with transformers on random chats, text and ids.

    check_templates.py [--chats N] [--seed S] [--model DIR --template FILE]... (pip install transformers tokenizers jinja2)
    check_templates.py --row FILE...        the rows of src/text/template_form.c for these templates

Without --model: the tokenizers and templates of ALIGNPRO_DATA (default ../shared/data), each template by the name
of its file and each tokenizer's own. Ids are those of the Rust library `tokenizers` on the reference's text. A chat
that the reference refuses must be refused. Exit code 1 and the first differences when something differs."""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATE = "26 Jul 2024"
PIECES = ["", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\x1c", "\x1f", "\x0b", "\u200b", "\ufeff",
          "a", "Hi", "hello world", "1", "12345", "don't", "I'LL", "x=y;", "{{ x }}", "{% if %}", "<tag>", "&amp;", "\"", "'", "\\n", "\\",
          "日本語", "한국어", "😀", "👩‍👧", "café", "cafe\u0301", "\u0301", "ﬁ", "Å", "א", "ไทย", "<|im_end|>", "<|im_start|>", "<|eot_id|>",
          "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>", "<|begin_of_text|>", "<|start_header_id|>", "<s>",
          "</s>", "<|end", "|>", "<tool_call>", "None", "...", "?!", "\u0085", "\u180e", "A long sentence, with commas; and more. "]


def content(rng):
    return "".join(rng.choice(PIECES) for _ in range(rng.choice([0, 1, 1, 2, 3, 5, 8, 20])))


def chat(rng):
    roles = ["system"] if rng.random() < 0.4 else []
    if rng.random() < 0.7:  # turns in order
        roles += [("user", "assistant")[i % 2] for i in range(rng.randrange(1, 7))]
    else:
        roles += [rng.choice(["user", "assistant", "system"]) for _ in range(rng.randrange(1, 6))]
    return {"messages": [{"role": r, "content": content(rng)} for r in roles], "add_generation_prompt": rng.random() < 0.5}


def special(config, key):
    value = config.get(key)
    return value["content"] if isinstance(value, dict) else value


def own_template(model):
    beside = model / "chat_template.jinja"
    if beside.exists():
        return beside.read_bytes().decode()
    value = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    return value if isinstance(value, str) else {e["name"]: e["template"] for e in value}["default"]


def reference(chats, model, jinja):
    import tokenizers
    from transformers.utils.chat_template_utils import render_jinja_template
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    config = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = {k: special(config, k) for k in ("bos_token", "eos_token", "pad_token", "unk_token") if special(config, k)}
    for c in chats:
        try:
            text = render_jinja_template(conversations=[c["messages"]], chat_template=jinja, date_string=DATE,
                                         add_generation_prompt=c["add_generation_prompt"], **names)[0][0]
        except Exception as error:  # the template's own refusal
            yield {"error": str(error)}
            continue
        yield {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids}


def ours(program, chats, model, template):
    options = ["--template", str(template)] if template else []
    lines = "".join(json.dumps(c) + "\n" for c in chats)
    out = subprocess.run([program, "render", "--model", str(model), "--date", DATE, *options], input=lines.encode(),
                         capture_output=True, check=False)
    if out.stderr:
        sys.exit(out.stderr.decode())
    return [json.loads(line) for line in out.stdout.splitlines()]


def check(program, model, template, n, seed):
    rng = random.Random(seed)
    chats = [chat(rng) for _ in range(n)]
    jinja = template.read_bytes().decode() if template else own_template(model)
    bad = refused = 0
    for c, want, got in zip(chats, reference(chats, model, jinja), ours(program, chats, model, template), strict=True):
        refused += "error" in want
        if ("error" in want) == ("error" in got) and ("error" in want or want == got):
            continue
        bad += 1
        if bad <= 3:
            print(f"  chat {json.dumps(c)}\n  want {json.dumps(want)}\n  got  {json.dumps(got)}")
    print(f"{model.name}, {template.name if template else 'its own template'}: {n} chats, {refused} refused, {bad} differ")
    return bad


def row(path):
    text = re.sub("\r\n?", "\n", path.read_bytes().decode())
    text = re.sub("\n{1,2}\\Z", "", text)
    found = re.search(r"'<\|im_start\|>system(?:\n|\\n)([^']*?)<\|im_end\|>", text)
    data = (text.replace(found[1], "") if found and found[1] else text).encode()
    h, mask = 0xCBF29CE484222325, (1 << 64) - 1
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & mask
    h = ((h ^ h >> 33) * 0xFF51AFD7ED558CCD) & mask
    h = ((h ^ h >> 33) * 0xC4CEB9FE1A85EC53) & mask
    return f"{{{len(data)}, 0x{h ^ h >> 33:016X}, &ap_template_KIND, AP_TEMPLATE_CURRENT}}, /* {path.name} */"


def main():
    data = pathlib.Path(os.environ.get("ALIGNPRO_DATA", ROOT / "../shared/data"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=str(ROOT / "build/alignpro"))
    parser.add_argument("--chats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--template", type=pathlib.Path, action="append", default=[])
    parser.add_argument("--row", type=pathlib.Path, nargs="+")
    args = parser.parse_args()
    if args.row:
        print("\n".join(map(row, args.row)))
        return 0
    pairs = list(zip(args.model, args.template, strict=True))
    if not pairs:
        folder = {"Llama": "llama-3.2-instruct", "Qwen2.5": "qwen2.5-instruct", "Phi-3.5": "phi-3-mini"}
        for template in sorted((data / "templates").glob("*.jinja")):
            pairs += [(data / "tokenizers" / f, template) for key, f in folder.items() if key in template.name]
        pairs += [(data / "tokenizers" / f, None) for f in folder.values()]
    bad = sum(check(args.program, model, template, args.chats, args.seed) for model, template in pairs)
    print(f"{len(pairs) * args.chats} chats, {bad} differ")
    return 1 if bad or not pairs else 0


if __name__ == "__main__":
    sys.exit(main())
