#!/usr/bin/env python3
"""Compare what alignpro makes of data files with a plain reading of them.

    tools/check_datasets.py ALIGNPRO FILE...

Each file is read twice: by `alignpro inspect --json`, and by the few lines of Python below, which know the schemas from
their makers' descriptions and share nothing with the C code. Counts, drops, lengths in words, score margins and the
examples shown must agree; first for the whole file, then for pieces of it that are shown whole, so that every example is
compared.
"""

import gzip
import itertools
import json
import math
import re
import subprocess
import sys
import tempfile

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


class Drop(Exception):
    """The record gives no example."""


def turns(messages):
    return [(ROLES[m.get("role", m.get("from"))], m.get("content", m.get("value"))) for m in messages]


def example(context, prompt, chosen=None, rejected=None, answer=None, margin=0.0):
    return {"context": context, "prompt": prompt, "answer": answer, "chosen": chosen, "rejected": rejected,
            "margin": margin}


def binarized(r):
    if r["score_chosen"] == r["score_rejected"]:
        raise Drop("equal scores")
    chosen, rejected = turns(r["chosen"]), turns(r["rejected"])
    if chosen[:-1] != rejected[:-1]:
        raise Drop("answers to different chats")
    yield example(chosen[:-2], chosen[-2][1], chosen[-1][1], rejected[-1][1],
                  margin=r["score_chosen"] - r["score_rejected"])


def raw(r):
    scored = []
    for c in r["completions"]:
        score = c.get("fine-grained_score")
        if score is None:
            ratings = [c["annotations"][a]["Rating"] for a in ASPECTS if a in c["annotations"]]
            ratings = [float(x) for x in ratings if x != "N/A"]
            score = sum(ratings) / len(ratings) if ratings else None
        if score is not None:
            scored.append((score, c["response"]))
    if len(scored) < 2:
        raise Drop("fewer than two scored answers")
    best, worst = max(s for s, _ in scored), min(s for s, _ in scored)
    if best == worst:
        raise Drop("equal scores")
    yield example([], r["instruction"], next(t for s, t in scored if s == best),
                  next(t for s, t in scored if s == worst), margin=best - worst)


def orca(r):
    context = [("system", r["system"])] if r["system"] else []
    margin = abs(r["rating"][0] - r["rating"][1]) if r.get("rating") else 0.0
    if r.get("status") == "tie":
        raise Drop("equal scores")
    yield example(context, r["question"] if "question" in r else r["input"], r["chosen"], r["rejected"], margin=margin)


def transcript(text):
    parts = re.split(r"\n\n(Human|Assistant):", text)
    assert not parts[0].strip()
    return [({"Human": "user", "Assistant": "assistant"}[who], what.strip()) for who, what in zip(parts[1::2], parts[2::2])]


def hh(r):
    chosen, rejected = transcript(r["chosen"]), transcript(r["rejected"])
    if any([role for role, _ in t[-2:]] != ["user", "assistant"] for t in (chosen, rejected)):
        raise Drop("no user turn and answer at the end")
    if chosen[:-1] != rejected[:-1]:
        raise Drop("answers to different chats")
    yield example(chosen[:-2], chosen[-2][1], chosen[-1][1], rejected[-1][1])


def alpaca(r):
    yield example([], r["instruction"] + ("\n\n" + r["input"] if r.get("input") else ""), answer=r["output"])


def sharegpt(r):
    chat, answer = turns(r["conversations"]), None
    if chat[-1][0] == "assistant":
        answer = chat.pop()[1]
    yield example(chat[:-1], chat[-1][1], answer=answer)


def preference(r):
    strength = r["preference_strength"]
    if strength == 0:
        raise Drop("equal scores")
    pair = (r["response_1"], r["response_2"]) if strength < 0 else (r["response_2"], r["response_1"])
    yield example(*marked(r["prompt"]), *pair, margin=abs(strength))


def marked(prompt):
    parts = re.split(r"\n<extra_id_1>(User|Assistant)\n", prompt)
    roles = ["user"] + [{"User": "user", "Assistant": "assistant"}[x] for x in parts[1::2]]
    chat = list(zip(roles, parts[0::2]))
    return chat[:-1], chat[-1][1]


def helpsteer(records, dropped):
    groups = {}
    for r in records:
        groups.setdefault(r["prompt"], []).append(r)
    for prompt, answers in groups.items():
        if len(answers) == 1:
            dropped["fewer than two scored answers"] = dropped.get("fewer than two scored answers", 0) + 1
        for i, a in enumerate(answers):
            for b in answers[i + 1:]:
                if a["helpfulness"] == b["helpfulness"]:
                    dropped["equal scores"] = dropped.get("equal scores", 0) + 1
                    continue
                high, low = (a, b) if a["helpfulness"] > b["helpfulness"] else (b, a)
                yield example(*marked(prompt), high["response"], low["response"],
                              margin=high["helpfulness"] - low["helpfulness"])


def schema_of(r):
    if "completions" in r:
        return "ultrafeedback", raw
    if isinstance(r.get("chosen"), list):
        return "ultrafeedback-binarized", binarized
    if "conversations" in r:
        return "sharegpt", sharegpt
    if "chosen" in r and ("question" in r or "input" in r):
        return "orca", orca
    if "chosen" in r:
        return "hh-rlhf", hh
    if "helpfulness" in r:
        return "helpsteer", None
    if "preference_strength" in r:
        return "helpsteer2-preference", preference
    return "alpaca", alpaca


def load(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8", newline="\n") as f:
        text = f.read()
    return json.loads(text) if text.lstrip()[:1] == "[" else [json.loads(line) for line in text.split("\n") if line.strip()]


def read(path):
    records, dropped, out = load(path), {}, []
    name, each = schema_of(records[0])
    if each is None:
        found = helpsteer(records, dropped)
    else:
        def found_of():
            for r in records:
                try:
                    yield from each(r)
                except Drop as why:
                    dropped[str(why)] = dropped.get(str(why), 0) + 1
        found = found_of()
    for e in found:
        if e["chosen"] is not None and e["chosen"] == e["rejected"]:
            dropped["identical answers"] = dropped.get("identical answers", 0) + 1
        else:
            out.append(e)
    return name, len(records), dropped, out


def lengths(examples):
    table = {}
    for e in examples:
        if e["context"]:
            table.setdefault("context", []).append(sum(len(text.split()) for _, text in e["context"]))
        for part in ("prompt", "answer", "chosen", "rejected"):
            if e[part] is not None:
                table.setdefault(part, []).append(len(e[part].split()))
    rank = lambda v, q: sorted(v)[math.ceil(q * len(v)) - 1]
    return {part: {"texts": len(v), "min": min(v), "median": rank(v, 0.5), "p95": rank(v, 0.95), "max": max(v)}
            for part, v in table.items()}


def check(program, path):
    told = json.loads(subprocess.run([program, "inspect", "--json", path], check=True, capture_output=True).stdout)
    name, n_records, dropped, examples = read(path)
    assert told["schema"] == name, (told["schema"], name)
    assert told["records"] == n_records and told["malformed"] == 0, told
    assert told["examples"] == len(examples), (told["examples"], len(examples))
    assert told["dropped"] == dropped, (told["dropped"], dropped)
    assert told["lengths"] == lengths(examples), (told["lengths"], lengths(examples))
    margins = [e["margin"] for e in examples if e["margin"]]
    if margins:
        m = told["margin"]
        assert (m["pairs"], m["min"], m["max"]) == (len(margins), min(margins), max(margins)), m
        assert abs(m["mean"] - sum(margins) / len(margins)) < 1e-9, m
    for s in told["shown"]:
        want = examples[s["record"]]
        assert [(m["role"], m["content"]) for m in s["context"]] == list(want["context"]), s
        for part in ("prompt", "answer", "chosen", "rejected"):
            assert s.get(part) == want[part], (part, s.get(part), want[part])
        assert s["margin"] == want["margin"], s
    return f"{path}: {name}, {len(examples)} examples of {n_records} records agree"


def pieces(records):
    """Lists of records that give three examples at most: as many as inspect shows."""
    if schema_of(records[0])[1]:
        return [records[i:i + 3] for i in range(0, len(records), 3)]
    groups = {}
    for r in records:
        groups.setdefault(r["prompt"], []).append(r)
    return [list(pair) for answers in groups.values() for pair in itertools.combinations(answers, 2)]


def check_pieces(program, path):
    with tempfile.TemporaryDirectory() as folder:
        piece = folder + "/piece.jsonl"
        for n, records in enumerate(pieces(load(path)), 1):
            with open(piece, "w", encoding="utf-8") as f:
                f.writelines(json.dumps(r) + "\n" for r in records)
            check(program, piece)
    return f"{n} pieces of it too"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    for path in sys.argv[2:]:
        print(check(sys.argv[1], path), flush=True)
        print(check_pieces(sys.argv[1], path), flush=True)


if __name__ == "__main__":
    main()
