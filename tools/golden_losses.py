"""Losses, advantages and finite worlds on a few numbers: tests/golden/losses.json.

An implementation of its own of math.md's formulas in float64: gradients come from torch's autograd,
advantages from loops over single numbers. `check` recomputes a file from the inputs that stand
in it.
"""

import json

import torch

SEED = 5
ROWS = {"sft": (6, 4, 1, 3), "ppo": (7, 4, 1, 5), "rloo": (6, 3, 5, 2, 4, 6)}  # real tokens
PPO = (
    {
        "kl": 0.05,
        "gamma": 1.0,
        "gae_lambda": 0.95,
        "clip": 0.2,
        "value_clip": 0.2,
        "value_weight": 0.1,
        "entropy_weight": 0.0,
    },
    {
        "kl": 0.2,
        "gamma": 0.99,
        "gae_lambda": 0.9,
        "clip": 0.1,
        "value_clip": 0.3,
        "value_weight": 0.5,
        "entropy_weight": 0.01,
    },
)
PAIRS = ((0.0, 0.0), (0.5, 0.01), (0.2, 0.0))  # margin, centring weight
WORLDS = ((3, 50, 8, 0.1), (2, 64, 6, 0.2))  # prompts, rewrites, answers, λ


def tensor(x, grad=False):
    return torch.tensor(x, dtype=torch.float64, requires_grad=grad)


def mask_of(lens):
    return tensor([[float(t < n) for t in range(max(lens))] for n in lens])


def clipped(ratio, advantage, clip):
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip))


# -- one function a key: the inputs of a case in, the same with the results out --


def sft(c):  # (8)
    logp, mask = tensor(c["logp"], True), tensor(c["mask"])
    loss = -(logp * mask).sum() / mask.sum()
    loss.backward()
    return {"loss": loss.item(), "dlogp": logp.grad.tolist()}


def bradley_terry(c):  # (9)
    chosen, rejected = tensor(c["chosen"], True), tensor(c["rejected"], True)
    fit = -torch.nn.functional.logsigmoid(chosen - rejected - c["margin"])
    loss = (fit + c["centre"] * (chosen + rejected) ** 2).mean()
    loss.backward()
    return {
        "loss": loss.item(),
        "dchosen": chosen.grad.tolist(),
        "drejected": rejected.grad.tolist(),
    }


def gae(reward, value, n, gamma, decay):
    """Advantages of one row, from its last token back."""
    out, after = [0.0] * len(reward), 0.0
    for t in reversed(range(n)):
        following = value[t + 1] if t + 1 < n else 0.0
        after = reward[t] + gamma * following - value[t] + gamma * decay * after
        out[t] = after
    return out


def ppo(c):  # (10), (13)
    lens, mask = c["lens"], mask_of(c["lens"])
    n = mask.sum()
    old, ref = tensor(c["logp_old"]), tensor(c["logp_ref"])
    k1 = (old - ref) * mask
    token_reward = (-c["kl"] * k1).tolist()
    for i, last in enumerate(lens):
        token_reward[i][last - 1] += c["reward"][i]
    rows = zip(token_reward, c["value_old"], lens)
    advantage = tensor([gae(r, v, m, c["gamma"], c["gae_lambda"]) for r, v, m in rows])
    value_old = tensor(c["value_old"])
    returns = (advantage + value_old) * mask
    mean = (advantage * mask).sum() / n
    variance = ((advantage - mean) ** 2 * mask).sum() / n
    white = (advantage - mean) / torch.sqrt(variance + 1e-8) * mask

    new, value, entropy = (tensor(c[k], True) for k in ("logp_new", "value_new", "entropy"))
    ratio = (new - old).exp()
    policy_loss = (clipped(ratio, white, c["clip"]) * mask).sum() / n
    near = value_old + (value - value_old).clamp(-c["value_clip"], c["value_clip"])
    square = torch.maximum((value - returns) ** 2, (near - returns) ** 2)
    value_loss = 0.5 * (square * mask).sum() / n
    bonus = (entropy * mask).sum() / n
    loss = policy_loss + c["value_weight"] * value_loss - c["entropy_weight"] * bonus
    loss.backward()
    # clipped: where the clipped term is the larger one, so that the gradient is zero
    held = -white * ratio.clamp(1 - c["clip"], 1 + c["clip"])
    step = (new - old).detach()
    k3 = torch.expm1(-k1) + k1
    return {
        "token_reward": token_reward,
        "advantage": advantage.tolist(),
        "returns": returns.tolist(),
        "advantage_whitened": white.tolist(),
        "policy_loss": policy_loss.item(),
        "value_loss": value_loss.item(),
        "loss": loss.item(),
        "clip_fraction": ((held > -white * ratio) * mask).sum().item() / n.item(),
        "kl_stats": {
            "k1": (k1.sum() / n).item(),
            "k2": ((k1**2 / 2).sum() / n).item(),
            "k3": (k3.sum() / n).item(),
        },
        "approx_kl_new_old": (((torch.expm1(step) - step) * mask).sum() / n).item(),
        "dlogp": new.grad.tolist(),
        "dvalue": value.grad.tolist(),
        "dentropy": entropy.grad.tolist(),
    }


def rloo(c):  # (11)
    n, mask = c["n"], mask_of(c["lens"])
    old, ref, new = tensor(c["logp_old"]), tensor(c["logp_ref"]), tensor(c["logp_new"], True)
    score = tensor(c["reward"]) - c["kl"] * ((old - ref) * mask).sum(1)
    advantage = []
    for i in range(len(score)):
        group = range(i - i % n, i - i % n + n)
        advantage.append(score[i] - sum(score[j] for j in group if j != i) / (n - 1))
    advantage = torch.stack(advantage)
    ratio = ((new - old) * mask).sum(1).exp()
    loss = clipped(ratio, advantage, c["clip"]).mean()
    loss.backward()
    return {
        "reward_minus_kl": score.tolist(),
        "advantage": advantage.tolist(),
        "sequence_ratio": ratio.tolist(),
        "loss": loss.item(),
        "dlogp": new.grad.tolist(),
    }


def tv(c):  # (7)
    p, q = c["p"], c["q"]
    each = [max(0.0, 1 - b / a) for a, b in zip(p, q)]
    return {"tv": sum(abs(a - b) for a, b in zip(p, q)) / 2, "per_outcome": each}


def adaptive(c):  # (14)
    weight, steps = c["start"], []
    for step in c["steps"]:
        error = min(max(step["kl"] / c["target"] - 1, -0.2), 0.2)
        weight *= 1 + error * c["n"] / c["horizon"]
        steps.append({"kl": step["kl"], "weight": weight})
    return {"steps": steps}


def align_world(c):  # (1)-(6)
    prompts, rho, reward = tensor(c["prompts"]), tensor(c["rho_sft"]), tensor(c["reward"])
    target, bare = tensor(c["target_given_rewrite"]), tensor(c["target_bare"])
    value = torch.einsum("xry,xy->xr", target, reward)
    log_z = torch.logsumexp(rho.log() + value / c["kl"], 1)
    star = (rho.log() + value / c["kl"] - log_z[:, None]).exp()
    kl_star = (star * (star / rho).log()).sum(1)
    mean_star, mean_sft = ((prompts * (d * value).sum(1)).sum() for d in (star, rho))
    best = torch.nn.functional.one_hot(reward.argmax(1), reward.shape[1]).double()
    lacks = (prompts * (best - bare).abs().sum(1) / 2).sum()
    disturbs = (prompts * (rho * (target - bare[:, None]).abs().sum(2) / 2).sum(1)).sum()
    terms = [c["r_max"] * lacks, c["r_max"] * disturbs, c["kl"] * (prompts * kl_star).sum()]
    return {
        "value_of_rewrite": value.tolist(),
        "log_z": log_z.tolist(),
        "rho_star": star.tolist(),
        "kl_star": kl_star.tolist(),
        "j_star": c["kl"] * (prompts * log_z).sum().item(),
        "mean_reward_star": mean_star.item(),
        "mean_reward_sft": mean_sft.item(),
        "gap": ((prompts * reward.max(1).values).sum() - mean_star).item(),
        "bound_terms": [t.item() for t in terms],
    }


# -- inputs --


class Draw:
    """Seeded numbers, as nested lists."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, std=1.0, mean=0.0):
        return (
            mean + std * torch.randn(shape, generator=self.generator, dtype=torch.float64)
        ).tolist()

    def uniform(self, *shape, low=0.0, high=1.0):
        u = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (low + (high - low) * u).tolist()

    def simplex(self, *shape, spread=1.0):
        return torch.softmax(tensor(self.normal(*shape, std=spread)), -1).tolist()


def near(draw, x, std):
    return (tensor(x) + tensor(draw.normal(*tensor(x).shape, std=std))).tolist()


def token_columns(draw, lens):
    shape = (len(lens), max(lens))
    old = draw.uniform(*shape, low=-1.8, high=-0.05)
    return {
        "lens": list(lens),
        "logp_old": old,
        "logp_ref": near(draw, old, 0.25),
        "logp_new": near(draw, old, 0.2),
    }


def ppo_case(draw, settings):
    lens = ROWS["ppo"]
    shape = (len(lens), max(lens))
    columns = token_columns(draw, lens)
    value = draw.normal(*shape)
    return {
        **settings,
        **columns,
        "value_old": value,
        "value_new": near(draw, value, 0.25),
        "entropy": draw.uniform(*shape, low=1.5, high=2.5),
        "reward": draw.normal(len(lens)),
    }


def world_case(draw, n_prompt, n_rewrite, n_answer, kl):
    return {
        "kl": kl,
        "r_max": 1.0,
        "prompts": draw.simplex(n_prompt),
        "rho_sft": draw.simplex(n_prompt, n_rewrite),
        "target_given_rewrite": draw.simplex(n_prompt, n_rewrite, n_answer, spread=1.5),
        "target_bare": draw.simplex(n_prompt, n_answer),
        "reward": draw.uniform(n_prompt, n_answer),
    }


def inputs():
    draw = Draw(SEED)
    lens = ROWS["sft"]
    pairs = [
        {"margin": m, "centre": w, "chosen": draw.normal(5), "rejected": draw.normal(5)}
        for m, w in PAIRS
    ]
    far = {"margin": 0.0, "centre": 0.0, "chosen": [900.0, -900.0], "rejected": [0.0, 0.0]}
    return {
        "sft": {
            "logp": draw.uniform(len(lens), max(lens), low=-2.0, high=-0.05),
            "mask": mask_of(lens).tolist(),
        },
        "bradley_terry": [*pairs, far],
        "ppo": [ppo_case(draw, settings) for settings in PPO],
        "rloo": {
            "n": 3,
            "kl": 0.1,
            "clip": 0.2,
            **token_columns(draw, ROWS["rloo"]),
            "reward": draw.normal(6),
        },
        "tv": [
            {"p": draw.simplex(7, spread=s), "q": draw.simplex(7, spread=s)}
            for s in (0.5, 1.0, 3.0)
        ],
        "align_world": [world_case(draw, *world) for world in WORLDS],
        "adaptive": {
            "start": 0.05,
            "target": 4.0,
            "horizon": 1000,
            "n": 96,
            "steps": [{"kl": kl} for kl in (0.0, 3.5, 4.0, 4.3, 40.0, 1e-9)],
        },
    }


PARTS = {f.__name__: f for f in (sft, bradley_terry, ppo, rloo, tv, align_world, adaptive)}


def solve(cases):
    out = {}
    for name, part in PARTS.items():
        some = cases[name]
        out[name] = (
            [{**c, **part(c)} for c in some] if isinstance(some, list) else {**some, **part(some)}
        )
    return out


def write(path):
    value = {**solve(inputs()), "versions": {"torch": torch.__version__, "arithmetic": "float64"}}
    path.write_text(
        json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n", encoding="utf-8"
    )
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def furthest(got, want):
    """Largest absolute difference of two trees of numbers; what one of them lacks is left out."""
    if isinstance(want, dict):
        return max([furthest(got[k], v) for k, v in want.items() if k in got], default=0.0)
    if isinstance(want, list):
        assert len(got) == len(want)
        return max([furthest(g, w) for g, w in zip(got, want)], default=0.0)
    return abs(got - want) if isinstance(want, (int, float)) else 0.0


def check(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    return max(furthest(part, stored[name]) for name, part in solve(stored).items())
