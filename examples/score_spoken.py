#!/usr/bin/env python3
"""A reward of a user's own: answers in which somebody speaks, in short sentences.

One JSON line in, one out; nothing else on standard output. docs/formats.md describes the lines."""
import json
import re
import sys

for line in sys.stdin:
    item = json.loads(line)
    sentences = [s for s in re.split(r"[.!?]+", item["response"]) if s.strip()]
    words = len(item["response"].split()) / max(len(sentences), 1)
    spoken = '"' in item["response"]
    print(json.dumps({"id": item["id"], "score": spoken - abs(words - 7) / 7}), flush=True)
