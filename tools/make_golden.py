#!/usr/bin/env python3
"""Reference values of our own under tests/golden, made with the real transformers and peft.

    make_golden.py [losses | sampling | tokens]   make them again (all of them without a name)
    make_golden.py models [CASE...]               all models, or some
    make_golden.py --check FOLDER                 recompute a folder in the same format and say how
                                                  far its values are from what is stored

models: tiny random models (golden_models.py). losses: losses, advantages and two finite worlds in
float64 (golden_losses.py). sampling: what truncation and penalty leave of a row of logits
(golden_sampling.py). tokens: some strings under the demo's tokenizer. The tokenizers' other
reference values are make_golden_text.py's. Needs torch, transformers, peft and tokenizers; the
committed values say with which versions they were made. Seeded: the same versions on the same
processor give the same bytes.
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
DEMO = "examples/demo"


def make_models():
    import golden_models

    (GOLDEN / "models").mkdir(parents=True, exist_ok=True)
    golden_models.write(GOLDEN / "models", sys.argv[2:])


def make_losses():
    import golden_losses

    golden_losses.write(GOLDEN / "losses.json")


def make_sampling():
    import golden_sampling

    golden_sampling.write(GOLDEN / "sampling.json")


def make_tokens():
    from make_golden_text import TEXTS
    from tokenizers import Tokenizer, __version__

    tokenizer = Tokenizer.from_file(str(ROOT / DEMO / "tokenizer.json"))
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        cases.append(
            {
                "text": text,
                "ids": ids,
                "ids_with_special": tokenizer.encode(text).ids,
                "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True),
            }
        )
    path = GOLDEN / "text" / "tokens_demo.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    head = f'"tokenizer":"{DEMO}","versions":{{"tokenizers":"{__version__}"}}'
    path.write_text(f'{{{head},"cases":[\n{body}\n]}}\n', encoding="utf-8")
    print(f"{path}: {len(cases)} strings")


def check(root):
    import golden_losses
    import golden_models
    import golden_sampling

    print(f"losses.json: {golden_losses.check(root / 'losses.json'):.1e}")
    if (root / "sampling.json").exists():
        print(f"sampling.json: {golden_sampling.check(root / 'sampling.json'):.1e}")
    for folder in sorted((root / "models").iterdir()):
        (name, far), number = golden_models.check(folder)
        print(f"{folder.name}: tensors {far:.1e} ({name}), numbers {number:.1e}, relative")


def main():
    parts = {
        "models": make_models,
        "losses": make_losses,
        "sampling": make_sampling,
        "tokens": make_tokens,
    }
    wanted = sys.argv[1:]
    if len(wanted) == 2 and wanted[0] == "--check":
        return check(pathlib.Path(wanted[1]))
    if wanted[:1] == ["models"]:
        return make_models()
    if any(name not in parts for name in wanted):
        sys.exit(__doc__)
    for name in wanted or parts:
        parts[name]()


if __name__ == "__main__":
    main()
