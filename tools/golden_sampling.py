"""What transformers leaves of a row of logits before it draws: tests/golden/sampling.json.

The processors are those that generate() itself makes from a GenerationConfig, in its order; so are
the greedy continuations, of a model of tests/golden/models under a penalty of repetition.
"""

import json
import pathlib

import torch
import transformers
from transformers import GenerationConfig, LlamaForCausalLM

transformers.utils.logging.set_verbosity_error()

SEED, VOCAB, SAID = 31, 60, 25
MODEL = "llama_small_gqa"
NEW_TOKENS = 20
# temperature, top_k, top_p, min_p, repetition_penalty
SETTINGS = (
    (1.0, 0, 1.0, 0.0, 1.0),
    (1.0, 0, 1.0, 0.05, 1.0),
    (0.6, 0, 1.0, 0.2, 1.0),
    (1.7, 0, 1.0, 1.0, 1.0),
    (1.0, 0, 1.0, 0.0, 1.3),
    (0.8, 0, 1.0, 0.0, 0.7),
    (1.0, 12, 1.0, 0.1, 1.0),
    (1.3, 0, 0.85, 0.08, 1.0),
    (0.9, 20, 0.9, 0.02, 1.0),
    (1.1, 15, 0.95, 0.06, 1.2),
    (1.2, 0, 0.95, 0.01, 2.5),
)


def tiny():
    return LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
        )
    )


def processors(model, settings):
    temperature, top_k, top_p, min_p, penalty = settings
    config = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=penalty,
    )
    return model._get_logits_processor(
        config, input_ids_seq_length=SAID, prefix_allowed_tokens_fn=None, logits_processor=[]
    )


def shares(model, case):
    keys = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    chain = processors(model, [case[k] for k in keys])
    row = torch.tensor([case["logits"]], dtype=torch.float32)
    left = chain(torch.tensor([case["said"]]), row)
    return left.double().softmax(-1)[0].tolist()


def greedy(root, case):
    model = LlamaForCausalLM.from_pretrained(root / "models" / case["model"], dtype=torch.float32)
    ids = model.generate(
        torch.tensor([case["prompt"]]),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        eos_token_id=None,
        repetition_penalty=case["repetition_penalty"],
    )
    return ids[0, len(case["prompt"]) :].tolist()


def inputs():
    g = torch.Generator().manual_seed(SEED)
    cases = []
    for settings in SETTINGS:
        temperature, top_k, top_p, min_p, penalty = settings
        cases.append(
            {
                "temperature": temperature,
                "top_k": top_k,
                "top_p": top_p,
                "min_p": min_p,
                "repetition_penalty": penalty,
                "said": torch.randint(VOCAB, (SAID,), generator=g).tolist(),
                "logits": (2 * torch.randn(VOCAB, generator=g)).tolist(),
            }
        )
    rows = [
        {
            "model": MODEL,
            "repetition_penalty": penalty,
            "prompt": torch.randint(3, 96, (8,), generator=g).tolist(),
        }
        for penalty in (1.15, 1.6, 0.8)
    ]
    return cases, rows


def solve(root, cases, rows):
    model = tiny()
    return {
        "cases": [{**c, "shares": shares(model, c)} for c in cases],
        "greedy": [{**c, "new": greedy(root, c)} for c in rows],
    }


def write(path: pathlib.Path):
    torch.manual_seed(SEED)
    value = solve(path.parent, *inputs())
    value["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__}
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def check(path: pathlib.Path):
    """Largest difference of a share; every greedy token must be the same."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    again = solve(path.parent, stored["cases"], stored["greedy"])
    assert [c["new"] for c in again["greedy"]] == [c["new"] for c in stored["greedy"]]
    return max(
        abs(a - b)
        for x, y in zip(again["cases"], stored["cases"])
        for a, b in zip(x["shares"], y["shares"])
    )
