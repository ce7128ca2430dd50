#!/usr/bin/env python3
"""The peer of bench_tokenizer: the Rust library `tokenizers` on the same texts, on one thread.

    peer_tokenizers.py TOKENIZER_DIR DUMP [--runs N]

DUMP holds texts with NULs between them (bench_tokenizer --dump). Prints the line that bench_tokenizer prints:
each text by `encode`, which also makes offsets and spellings; then `fast`, by `encode_batch_fast` in one call, its
quickest way to ids alone.
"""

import argparse
import os
import pathlib
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer  # noqa: E402  reads the setting above


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("dump", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    texts = args.dump.read_bytes().decode().split("\0")
    n_bytes = sum(len(t.encode()) for t in texts)
    begin = time.perf_counter()
    tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer.json"))
    load = time.perf_counter() - begin

    def encode():
        return sum(len(tokenizer.encode(t, add_special_tokens=False).ids) for t in texts)

    def encode_fast():
        return sum(len(e.ids) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False))

    for name, work in (("", encode), ("fast ", encode_fast)):
        seconds = []
        for _ in range(args.runs):
            begin = time.perf_counter()
            n_tokens = work()
            seconds.append(time.perf_counter() - begin)
        print(f"{name}load_s {load:.3f} first_MB_per_s {n_bytes / seconds[0] / 1e6:.2f} "
              f"MB_per_s {n_bytes / min(seconds) / 1e6:.2f} texts {len(texts)} bytes {n_bytes} tokens {n_tokens}")


if __name__ == "__main__":
    main()
