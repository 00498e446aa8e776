"""Encoder and state-space network trained on truncated simulations, in the spirit of SUBNET (torch, CPU).

`x_k = encoder(window)`, `x_{k+1} = x_k + f(x_k, u_k)`, `y_k = h(x_k, u_k)`, each a linear map and a small
network beside it; the loss is the simulation error over sections (Beintema, Toth & Schoukens, *Nonlinear
state-space identification using deep encoder networks*, 2021).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import Contender, Info, Standard, inputs_of, outputs_of
from benchmarks.experiments.models.gradient import _halves
from benchmarks.experiments.problem import Array, Predict
from koopctrl import Trajectories

SECONDS, BATCH, UPDATES, CHECK = 24.0, 128, 3000, 50
PATIENCE = 12  # checks


def subnet(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """Train, and hand back the free run."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    of_y, of_u = Standard.of(outputs_of(train)), Standard.of(inputs_of(train))
    past = min(settings["past"], info.n_init)
    length = min(settings["length"], min(len(e) for e in train) // 3)
    n_x, n_y, n_u, width = settings["states"], train.n_y, train.n_u, settings["width"]

    class Residual(nn.Module):
        def __init__(self, n_in: int, n_out: int) -> None:
            super().__init__()
            self.linear = nn.Linear(n_in, n_out)
            self.net = nn.Sequential(nn.Linear(n_in, width), nn.Tanh(), nn.Linear(width, n_out))
            nn.init.zeros_(self.net[2].weight)

        def forward(self, v: Any) -> Any:
            return self.linear(v) + self.net(v)

    encoder, f, h = Residual(past * (n_y + n_u), n_x), Residual(n_x + n_u, n_x), Residual(n_x + n_u, n_y)
    with torch.no_grad():
        f.linear.weight.mul_(0.1)
    weights = [*encoder.parameters(), *f.parameters(), *h.parameters()]

    def stretches(data: Trajectories) -> tuple[list[Array], list[Array], Array]:
        ys, us, index = [], [], []
        for i, e in enumerate(data):
            y, u = of_y.to(e.outputs), of_u.to(e.inputs)
            u = u[: len(y)] if len(u) >= len(y) else np.concatenate([u, u[-1:]])
            ys.append(y.astype(np.float32))
            us.append(u.astype(np.float32))
            index += [(i, k) for k in range(past, len(y) - length)]
        return ys, us, np.array(index)

    def batch(ys: list[Array], us: list[Array], rows: Array) -> tuple[Any, Any, Any]:
        window = [np.concatenate([ys[i][k - past : k].ravel(), us[i][k - past : k].ravel()]) for i, k in rows]
        u = np.stack([us[i][k : k + length] for i, k in rows])
        y = np.stack([ys[i][k : k + length] for i, k in rows])
        return torch.from_numpy(np.stack(window)), torch.from_numpy(u), torch.from_numpy(y)

    def simulate(window: Any, u: Any) -> Any:
        x, out = encoder(window), []
        for k in range(u.shape[1]):
            v = torch.cat([x, u[:, k]], dim=1)
            out.append(h(v))
            x = x + f(v)
        return torch.stack(out, dim=1)

    fitted, judged = _halves(train, past + length + 1)
    ys, us, index = stretches(fitted)
    yt, ut, it = stretches(judged)
    it = it[:: max(1, len(it) // 256)]
    held = batch(yt, ut, it)
    optimiser = torch.optim.Adam(weights, lr=settings["rate"])
    share = 1.0 / 6.0 if info.trial else 1.0
    updates = 3 if info.smoke else round(UPDATES * share)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates, settings["rate"] * 0.02)
    best, kept, waited, curve, begun, stopped = np.inf, None, 0, [], time.process_time(), "updates"
    for update in range(updates):
        window, u, y = batch(ys, us, index[rng.integers(len(index), size=min(BATCH, len(index)))])
        loss = torch.mean((simulate(window, u) - y) ** 2)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if update % CHECK and update != updates - 1:
            continue
        with torch.no_grad():
            error = float(torch.mean((simulate(*held[:2]) - held[2]) ** 2))
        curve.append([update, float(f"{float(loss.detach()):.4g}"), float(f"{error:.4g}")])
        waited += 1
        if error < best:
            best, waited, kept = error, 0, [w.detach().clone() for w in weights]
        if waited >= PATIENCE:
            stopped = "no better for 600 updates"
            break
        if time.process_time() - begun > SECONDS * share:
            stopped = f"{SECONDS:g} s"
            break
    if kept is not None:
        with torch.no_grad():
            for w, k in zip(weights, kept, strict=True):
                w.copy_(k)
    info.left["learning_curve"] = {
        "columns": ["update", "training", "held out"], "rows": curve, "stopped": stopped
    }  # fmt: skip

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        longest = max(len(e) for e in data)
        window, u = [], np.zeros((len(data), longest - n_init, n_u), dtype=np.float32)
        for i, e in enumerate(data):
            y, v = of_y.to(e.outputs[:n_init]), of_u.to(e.inputs)
            v = v[: len(e)] if len(v) >= len(e) else np.concatenate([v, v[-1:]])
            window.append(np.concatenate([y[n_init - past :].ravel(), v[n_init - past : n_init].ravel()]))
            u[i, : len(e) - n_init] = v[n_init:]
        with torch.no_grad():
            start = torch.from_numpy(np.stack(window).astype(np.float32))
            runs = of_y.back(simulate(start, torch.from_numpy(u)).numpy().astype(float))
        return [np.concatenate([e.outputs[:n_init], runs[i, : len(e) - n_init]]) for i, e in enumerate(data)]

    return predict


def _space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"states": 3, "width": 8, "past": 5, "length": 10, "rate": 3e-3}]
    n = {"state": 4, "forced": 4, "window": 6, "record": 4, "weather": 20}[kind]
    rows = (
        (n, 64, 10, 50, 3e-3), (2 * n, 64, 20, 50, 3e-3), (n, 64, 20, 100, 3e-3), (n, 128, 10, 30, 5e-3),
        (2 * n, 32, 30, 80, 5e-3), (n, 32, 10, 30, 1e-2),
    )  # fmt: skip
    return [dict(zip(("states", "width", "past", "length", "rate"), row, strict=True)) for row in rows]


CONTENDERS = (Contender("SUBNET-like encoder", subnet, _space, needs=("torch",)),)
