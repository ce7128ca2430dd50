#!/usr/bin/env python3
"""Make examples/demo/tokenizer.json: a byte-level BPE of 600 tokens for the bundled world.

    make_demo_tokenizer.py DATA OUT

DATA is a folder that `alignpro demo` has written its data to (corpus.jsonl, rewrites.jsonl); OUT gets
tokenizer.json and tokenizer_config.json. Run once by hand with the Rust library (pip install
tokenizers==0.23.3); the result is committed, so the demo needs no Python. The result depends on DATA
alone, and DATA on its seed alone (seed 1 here).
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

N_VOCAB = 600
BOS, EOS = "<s>", "</s>"  # ids 0 and 1, as in config.json of the demo's models


def texts(folder):
    """Every text that a model of the demo reads or writes, in file order."""
    for name in ("corpus.jsonl", "rewrites.jsonl"):
        with open(folder / name, encoding="utf-8") as lines:
            for line in lines:
                yield from json.loads(line).values()


def train(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(folder), trainer)
    assert tokenizer.get_vocab_size() == N_VOCAB, tokenizer.get_vocab_size()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer


def check(tokenizer, folder):
    """Every text comes back from its ids; prints how long texts are."""
    n_texts = n_ids = longest = 0
    for text in texts(folder):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text, text
        n_texts, n_ids, longest = n_texts + 1, n_ids + len(ids), max(longest, len(ids))
    print(f"{n_texts} texts, {n_ids / n_texts:.1f} tokens each, the longest {longest}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    tokenizer = train(folder)
    check(tokenizer, folder)
    (out / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": 256,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
