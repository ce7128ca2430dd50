"""Tiny random models and what transformers and peft say about them: tests/golden/models.

Two parts: `make` writes a folder (config, weights, adapter, classifier) and `reference` computes,
from any such folder, every value that the C tests compare with. `reference` reads the stored files
back through the libraries' own loaders, so it can also recompute a folder that somebody else made.
Arithmetic is float32, eager attention, one thread.
"""

import json
import pathlib
import shutil
import tempfile

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

LENS = (22, 17, 11)  # real tokens of the three rows
N_UNLABELLED = 3  # leading tokens of a row outside the loss
IGNORED = -100
NEW_TOKENS, PROMPT = 24, 10  # of a greedy continuation
GREEDY_MARGIN = 2e-3  # between the two best logits of every greedy step
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ALL_FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
ADAM_STEPS = 5
ADAM_FULL = {"lr": 1e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.01, "clip": 1.0}
ADAM_LORA = {"lr": 5e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "clip": 1.0}
PAIR = (0, 1)  # rows: chosen, rejected
BETA, MARGIN, CENTRE = 0.1, 0.1, 0.01

BASE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}

# What differs from BASE, dtype stored, spelling of the config, shards, targets and rsLoRA of the
# adapter, whether the classifier has an adapter of its own, seed
CASES = {
    "llama_small_gqa": {
        "config": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        "dtype": "f32",
        "spelling": "v5",
        "shards": 1,
        "targets": ALL_LINEAR,
        "rslora": False,
        "reward_adapter": True,
        "seed": 21,
    },
    # an original length of 64: frequencies on both sides of the llama3 rule and one inside it
    "llama_small_rope3_bf16": {
        "config": {
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        "dtype": "bf16",
        "spelling": "v4",
        "shards": 1,
        "targets": ["q_proj", "v_proj"],
        "rslora": False,
        "reward_adapter": False,
        "seed": 12,
    },
    "llama_small_bias_tied_sharded": {
        "config": {
            "head_dim": 16,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "dtype": "f16",
        "spelling": "v5",
        "shards": 2,
        "targets": ALL_LINEAR,
        "rslora": True,
        "reward_adapter": False,
        "seed": 13,
    },
    # the window in the second layer only
    "qwen2_small_window": {
        "config": {
            "tie_word_embeddings": True,
            "use_sliding_window": True,
            "sliding_window": 6,
            "max_window_layers": 1,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
        },
        "dtype": "bf16",
        "spelling": "v5",
        "shards": 1,
        "targets": ALL_LINEAR,
        "rslora": True,
        "reward_adapter": False,
        "seed": 14,
    },
    # an original length below every row's and every prompt's: long factors throughout
    "phi3_small_longrope": {
        "config": {
            "original_max_position_embeddings": 8,
            "sliding_window": 7,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.1, 1.2],
                "long_factor": [1.5, 2.5, 3.7],
            },
        },
        "dtype": "bf16",
        "spelling": "v4",
        "shards": 1,
        "targets": ALL_FUSED,
        "rslora": False,
        "reward_adapter": False,
        "seed": 15,
    },
}
FAMILIES = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", "LlamaForSequenceClassification"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", "Phi3ForSequenceClassification"),
}
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


# -- making a folder --


def randomise(model, generator):
    """Larger than a fresh model's, norms and biases off their rest values: every one matters."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            x = torch.randn(p.shape, generator=generator)
            if p.dim() == 2:
                p.copy_(x * 0.8 * p.shape[1] ** -0.5 if "embed_tokens" not in name else x * 0.2)
            else:
                p.copy_(1 + 0.2 * x if "norm" in name else 0.1 * x)


def rewrite_json(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def spell_as_v4(folder, config):
    """The spelling that transformers 4 wrote: rope_theta, rope_scaling, torch_dtype. A Phi3's
    other rotary keys stand beside rope_scaling, which has three keys and calls its kind "type"."""

    def change(c):
        rope = c.pop("rope_parameters")
        if c["model_type"] == "phi3":
            c["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
            rope.pop("original_max_position_embeddings", None)
        c["transformers_version"] = "4.46.0"
        c["torch_dtype"] = c.pop("dtype")
        c["rope_theta"] = rope.pop("rope_theta")
        c["rope_scaling"] = rope if rope["rope_type"] != "default" else None
        if c["rope_scaling"] and c["model_type"] == "phi3":
            rope["type"] = rope.pop("rope_type")

    rewrite_json(folder / "config.json", change)


def save_model(model, folder, case):
    model.to(DTYPES[case["dtype"]])
    size = sum(p.numel() * p.element_size() for p in set(model.parameters()))
    # room for the table that one shard cannot split
    limit = size if case["shards"] == 1 else int(size / case["shards"] * 1.1)
    model.save_pretrained(folder, max_shard_size=limit)
    if case["spelling"] == "v4":
        spell_as_v4(folder, model.config)
    model.to(torch.float32)


def save_adapter(model, folder, generator, **settings):
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_dropout=0.0, **settings))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.15)
            elif "modules_to_save" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)

    def change(c):
        c["base_model_name_or_path"] = None
        for key in ("target_modules", "modules_to_save"):
            c[key] = sorted(c[key]) if c[key] else c[key]

    rewrite_json(folder / "adapter_config.json", change)
    return model.unload()


def inputs(generator, n_vocab):
    """ids, mask and labels [3, T], padded on the right; real ids never are the padding id."""
    longest = max(LENS)
    ids = torch.zeros(len(LENS), longest, dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, n in enumerate(LENS):
        ids[i, :n] = torch.randint(3, n_vocab, (n,), generator=generator)
        ids[i, 0] = 1
        mask[i, :n] = 1
        labels[i, N_UNLABELLED:n] = ids[i, N_UNLABELLED:n]
    return ids, mask, labels


def make(name, folder):
    case = CASES[name]
    generator = torch.Generator().manual_seed(case["seed"])
    torch.manual_seed(case["seed"])  # peft's own initial values, all overwritten
    family = name.split("_")[0]
    config_kind, causal_kind, reward_kind = (getattr(transformers, k) for k in FAMILIES[family])
    settings = {**BASE, **case["config"]}
    if settings["head_dim"] * settings["num_attention_heads"] == settings["hidden_size"]:
        del settings["head_dim"]  # a key that Qwen2 and Phi3 files have not
    config = config_kind(**settings)
    model = causal_kind(config)
    randomise(model, generator)
    folder.mkdir(parents=True)
    save_model(model, folder, case)
    save_adapter(
        model,
        folder / "adapter",
        generator,
        lora_alpha=10,
        target_modules=case["targets"],
        use_rslora=case["rslora"],
        task_type="CAUSAL_LM",
    )
    reward = reward_kind(config_kind(**config.to_dict(), num_labels=1))
    reward.model.load_state_dict(model.model.state_dict())
    with torch.no_grad():
        reward.score.weight.copy_(torch.randn(reward.score.weight.shape, generator=generator) * 0.3)
    save_model(reward, folder / "reward", {**case, "shards": 1})
    if case["reward_adapter"]:
        save_adapter(
            reward,
            folder / "reward_adapter",
            generator,
            lora_alpha=8,
            target_modules=["q_proj", "v_proj"],
            task_type="SEQ_CLS",
        )
    data = inputs(generator, config.vocab_size)
    tensors, values = reference(folder, *data)
    head = {
        "lens": list(LENS),
        "family": family,
        "stored_dtype": case["dtype"],
        "config_spelling": case["spelling"],
    }
    save_file({k: tensors[k] for k in sorted(tensors)}, folder / "expected.safetensors")
    (folder / "expected.json").write_text(
        json.dumps({**head, **values}, indent=1) + "\n", encoding="utf-8"
    )


# -- what the libraries say about a folder --


def load(kind, folder):
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").train(
        False
    )


def short(name):
    """A parameter's name as in the Hugging Face file, without peft's additions."""
    return name.removeprefix("base_model.model.").replace(".default", "")


def token_logp(logits, ids):
    """log p(ids[:, t + 1]), [B, T - 1]."""
    return torch.log_softmax(logits, -1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]


def mean_loss(model, data):
    ids, mask, labels = data
    logp = token_logp(model(input_ids=ids, attention_mask=mask).logits, ids)
    labelled = labels[:, 1:] != IGNORED
    return -(logp * labelled).sum() / labelled.sum()


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {short(n): p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def trajectory(model, data, settings, steps=ADAM_STEPS):
    """Loss and norm of its gradient before each of a few steps of clipped AdamW."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(
        parameters,
        lr=settings["lr"],
        betas=tuple(settings["betas"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
        foreach=False,
    )
    rows = []
    for _ in range(steps):
        adam.zero_grad()
        loss = mean_loss(model, data)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings["clip"], foreach=False)
        rows.append([loss.item(), norm.item()])
        adam.step()
    return {**settings, "loss_and_grad_norm": rows}


@torch.no_grad()
def greedy(model, ids, n_new, least):
    """Greedy continuation; the end token is a token like any other. least: margin asked for."""
    row, new = ids[None], []
    for _ in range(n_new):
        best = model(input_ids=row).logits[0, -1].topk(2)
        margin = (best.values[0] - best.values[1]).item()
        assert margin > least, f"two tokens within {margin}: choose another seed"
        new.append(best.indices[0].item())
        row = torch.cat([row, best.indices[:1][None]], 1)
    return {"prompt": ids.tolist(), "new": new}


def causal(folder, data, tensors, values, prompts, least):
    ids, mask, _ = data
    model = load(transformers.AutoModelForCausalLM, folder)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits
        logp = torch.log_softmax(logits, -1)
        tensors["logits"] = logits
        tensors["entropy"] = -(logp.exp() * logp).sum(-1)
        tensors["logprob_of_next"] = token_logp(logits, ids)
    loss = mean_loss(model, data)
    grads = gradients(model, loss)
    tensors.update({f"grad.{k}": g for k, g in grads.items()})
    values["loss_mean_over_labelled_tokens"] = loss.item()
    values["grad_norm"] = torch.stack([g.norm() for g in grads.values()]).norm().item()
    values["greedy"] = [greedy(model, torch.tensor(p), n, least) for p, n in prompts]
    settings = {**ADAM_FULL, "note": "decay on every parameter"}
    values["adamw_full"] = trajectory(model, data, settings)


def lora(folder, data, tensors, values):
    ids, mask, labels = data
    model = peft.PeftModel.from_pretrained(
        load(transformers.AutoModelForCausalLM, folder), folder / "adapter", is_trainable=True
    ).train(False)
    labelled = labels[:, 1:] != IGNORED

    def sequence_logp():
        logits = model(input_ids=ids, attention_mask=mask).logits
        return (token_logp(logits, ids) * labelled).sum(1), logits

    with torch.no_grad(), model.disable_adapter():
        before, _ = sequence_logp()
    after, logits = sequence_logp()
    tensors["lora.logits"] = logits.detach()
    loss = mean_loss(model, data)
    tensors.update({f"lora.grad.{k}": g for k, g in gradients(model, loss).items()})
    values["lora_loss"] = loss.item()
    gain = after - before
    dpo = -torch.nn.functional.logsigmoid(BETA * (gain[PAIR[0]] - gain[PAIR[1]]))
    tensors.update({f"dpo.lora.grad.{k}": g for k, g in gradients(model, dpo).items()})
    values["dpo"] = {
        "beta": BETA,
        "pair": list(PAIR),
        "policy_logp": after.tolist(),
        "reference_logp": before.tolist(),
        "loss": dpo.item(),
    }
    config = model.peft_config["default"]
    settings = {"r": config.r, "alpha": config.lora_alpha, "rslora": config.use_rslora, **ADAM_LORA}
    values["adamw_lora"] = trajectory(model, data, settings)


def bradley_terry(scores, margin, centre):
    chosen, rejected = scores[PAIR[0]], scores[PAIR[1]]
    fit = -torch.nn.functional.logsigmoid(chosen - rejected - margin)
    return fit + centre * (chosen + rejected) ** 2


def reward(folder, data, tensors, values):
    ids, mask, _ = data
    model = load(transformers.AutoModelForSequenceClassification, folder / "reward")
    scores = model(input_ids=ids, attention_mask=mask).logits[:, 0]
    loss = bradley_terry(scores, MARGIN, CENTRE)
    tensors["reward.scores"] = scores.detach()
    for name, g in gradients(model, loss).items():
        if name in ("score.weight", "model.embed_tokens.weight") or ".layers.0.self_attn." in name:
            tensors[f"reward.grad.{name}"] = g
    values["bradley_terry"] = {
        "pair": list(PAIR),
        "margin": MARGIN,
        "centre": CENTRE,
        "loss": loss.item(),
    }
    if (folder / "reward_adapter").exists():
        adapted = peft.PeftModel.from_pretrained(model, folder / "reward_adapter").train(False)
        with torch.no_grad():
            tensors["reward_adapter.scores"] = adapted(input_ids=ids, attention_mask=mask).logits[
                :, 0
            ]


def reference(folder, ids, mask, labels, prompts=None):
    """Tensors and values of a folder for these inputs; prompts: (ids, new tokens) to continue."""
    torch.set_num_threads(1)
    data = (ids, mask, labels)
    tensors = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    tensors = {k: v.to(torch.int32) for k, v in tensors.items()}
    values = {}
    least = 0 if prompts else GREEDY_MARGIN
    prompts = prompts or [(ids[i, :PROMPT].tolist(), NEW_TOKENS) for i in (0, 2)]
    causal(folder, data, tensors, values, prompts, least)
    lora(folder, data, tensors, values)
    reward(folder, data, tensors, values)
    values["versions"] = {m.__name__: m.__version__ for m in (torch, transformers, peft)}
    return {k: v.contiguous() for k, v in tensors.items()}, values


# -- a folder that is there already --


def distance(a, b):
    a, b = a.double(), b.double()
    return ((a - b).norm() / b.norm().clamp_min(1e-30)).item()


def check(folder):
    """Recompute a folder's values: the largest relative distance of a tensor and of a number.

    Padding is left out of what is meaningful on real tokens only."""
    want = load_file(folder / "expected.safetensors")
    stored = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    ids, mask, labels = (want[k].long() for k in ("input_ids", "attention_mask", "labels"))
    prompts = [(g["prompt"], len(g["new"])) for g in stored["greedy"]]
    got, values = reference(folder, ids, mask, labels, prompts)
    real = {"logits": mask, "lora.logits": mask, "entropy": mask, "logprob_of_next": mask[:, 1:]}
    worst = ("", 0.0)
    for name, w in want.items():
        if name.startswith("ift."):
            continue
        keep = real.get(name)
        g, w = (got[name], w) if keep is None else (got[name][keep == 1], w[keep == 1])
        worst = max(worst, (name, distance(g, w)), key=lambda x: x[1])
    assert values["greedy"] == stored["greedy"], f"{folder}: greedy"
    pairs = [
        (values[k], stored[k]) for k in ("loss_mean_over_labelled_tokens", "grad_norm", "lora_loss")
    ]
    pairs += [(values[k]["loss"], stored[k]["loss"]) for k in ("dpo", "bradley_terry")]
    for k in ("adamw_full", "adamw_lora"):
        rows = zip(values[k]["loss_and_grad_norm"], stored[k]["loss_and_grad_norm"])
        pairs += [(g, w) for got_row, want_row in rows for g, w in zip(got_row, want_row)]
    number = max(abs(g - w) / max(abs(w), 1e-3) for g, w in pairs)
    return worst, number


def write(root, names):
    for name in names or CASES:
        folder = root / name
        with tempfile.TemporaryDirectory(dir=root.parent) as beside:
            made = pathlib.Path(beside) / name
            make(name, made)
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(made, folder)
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        print(f"{folder}: {size / 1e3:.0f} kB")
