"""LSTM and GRU (torch, CPU), trained by gradients with early stopping; learning curves are kept.

Three forms, of which settings name one:

- `fed`: `[y_{k-1}, u_{k-1}]` to the increment, trained on measured samples with a little noise on them, and
  fed back in a free run;
- `given`: `[m y_{k-1}, m, u_{k-1}, u_k]` to `y_k` with `m = 1` while samples are given and 0 afterwards, so
  that what is trained is the free run itself;
- `held`: the last sample that is given goes on as an input, and what is learned is the difference from it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import Contender, Info, Standard, inputs_of, outputs_of
from benchmarks.experiments.problem import Array, Predict
from koopctrl import Trajectories

VALIDATION, BATCH, PATIENCE = 0.15, 64, 60
EPOCHS, SECONDS = 400, 24.0  # of a final fit; a trial gets a sixth of both
NOISE = 1e-3


@dataclass(frozen=True)
class Trained:
    """A network that was trained, for other uses than free runs."""

    body: Any
    head: Any
    of_y: Standard
    of_u: Standard


def rows_of(
    data: Trajectories, of_y: Standard, of_u: Standard, n_init: int, form: str
) -> list[tuple[Array, Array]]:
    """Standardised inputs of the network and outputs, one pair an episode."""
    found = []
    for e in data:
        y, n = of_y.to(e.outputs), len(e)
        columns = [np.concatenate([y[:1], y[:-1]])]
        if form != "fed":
            given = (np.arange(n) <= n_init).astype(float)[:, None]
            if form == "held":
                columns = [columns[0][np.minimum(np.arange(n), n_init)], given]
            else:
                columns = [given * columns[0], given]
        if data.n_u:
            u = of_u.to(e.inputs)
            u = u if len(u) >= n else np.concatenate([u, u[-1:]])
            columns += [np.concatenate([u[:1], u[: n - 1]])] + ([u[:n]] if form != "fed" else [])
        found.append((np.concatenate(columns, axis=1), y))
    return found


def sections(data: Trajectories, length: int, most: int) -> Trajectories:
    """Stretches of training episodes, evenly spread."""
    total = sum(max(1, len(e) - length + 1) for e in data)
    stride = max(1, -(-total // most))
    found = []
    for e in data:
        last = max(0, len(e) - length)
        found += [e.slice(s, min(s + length, len(e))) for s in range(0, last + 1, stride)]
    return Trajectories(found)


def recurrent(train: Trajectories, settings: dict[str, Any], seed: int, info: Info, cell: str) -> Predict:
    """Train, and hand back the free run."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    of_y, of_u = Standard.of(outputs_of(train)), Standard.of(inputs_of(train))
    form = settings.get("form") or ("given" if train.n_u else "fed")
    fed_back = form == "fed"
    length = min(info.n_init + min(info.horizon, 200), min(len(e) for e in train) * 3 // 4)
    warmup = min(info.n_init, length // 2)
    fitted, judged = _halves(train, length)
    n_in = train.n_y + train.n_u if fed_back else train.n_y + 2 * train.n_u + 1
    hidden = settings["hidden"]
    body = getattr(torch.nn, cell)(n_in, hidden, num_layers=settings["layers"], batch_first=True)
    head = torch.nn.Linear(hidden, train.n_y)
    weights = [*body.parameters(), *head.parameters()]

    def tensors(data: Trajectories) -> tuple[Any, Any]:
        found = rows_of(data, of_y, of_u, warmup, form)
        n = min(len(v) for v, _ in found)
        v, y = (np.stack([pair[i][:n] for pair in found]).astype(np.float32) for i in (0, 1))
        return torch.from_numpy(v), torch.from_numpy(y)

    def output(v: Any, state: Any = None) -> tuple[Any, Any]:
        h, state = body(v, state)
        y = head(h)
        return (y if form == "given" else y + v[..., : train.n_y]), state

    skip = min(10, warmup) if fed_back else warmup
    v, y = tensors(sections(fitted, length, 1024))
    v_test, y_test = tensors(sections(judged, length, 128))
    optimiser = torch.optim.AdamW(weights, lr=settings["rate"], weight_decay=settings.get("decay", 0.0))
    share = 1.0 / 6.0 if info.trial else 1.0
    epochs = 3 if info.smoke else max(10, round(EPOCHS * share))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs, settings["rate"] * 0.02)
    best, kept, curve, begun, stopped = np.inf, None, [], time.process_time(), "epochs"
    waited = 0
    for epoch in range(epochs):
        order = torch.from_numpy(rng.permutation(len(v)))
        total = 0.0
        for part in order.split(BATCH):
            rows = v[part]
            if fed_back:
                rows = rows + NOISE * torch.randn_like(rows)
            loss = torch.mean((output(rows)[0] - y[part])[:, skip:] ** 2)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            total += float(loss.detach()) * len(part)
        schedule.step()
        with torch.no_grad():
            held_out = float(torch.mean((output(v_test)[0] - y_test)[:, skip:] ** 2))
        curve.append([epoch, total / len(v), held_out])
        waited += 1
        if held_out < best:
            best, waited = held_out, 0
            kept = [w.detach().clone() for w in weights]
        if waited >= PATIENCE:
            stopped = f"no better for {PATIENCE} epochs"
            break
        if time.process_time() - begun > SECONDS * share:
            stopped = f"{SECONDS:g} s"
            break
    if kept is not None:
        with torch.no_grad():
            for w, k in zip(weights, kept, strict=True):
                w.copy_(k)
    every = max(1, len(curve) // 60)
    info.left["learning_curve"] = {
        "columns": ["epoch", "training", "held out"],
        "rows": [[r[0], *(float(f"{x:.4g}") for x in r[1:])] for r in curve[::every]],
        "stopped": stopped,
    }

    info.left["network"] = Trained(body, head, of_y, of_u) if settings.get("kept") else None

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        found = rows_of(data, of_y, of_u, n_init, form)
        longest = max(len(e) for e in data)
        v = np.zeros((len(data), longest, n_in), dtype=np.float32)
        for i, (rows, _) in enumerate(found):
            v[i, : len(rows)] = rows
        runs = np.empty((len(data), longest, train.n_y))
        with torch.no_grad():
            if not fed_back:
                runs[:] = output(torch.from_numpy(v))[0].numpy()
            else:
                given = torch.from_numpy(v[:, : n_init + 1])
                first, state = output(given)
                y = first[:, -1:]
                runs[:, n_init] = y[:, 0].numpy()
                for k in range(n_init + 1, longest):
                    rest = torch.from_numpy(v[:, k : k + 1, train.n_y :])
                    y, state = output(torch.cat([y, rest], dim=2), state)
                    runs[:, k] = y[:, 0].numpy()
        return [
            np.concatenate([e.outputs[:n_init], of_y.back(runs[i])[n_init : len(e)]])
            for i, e in enumerate(data)
        ]

    return predict


def _halves(train: Trajectories, length: int) -> tuple[Trajectories, Trajectories]:
    """What is fitted to and what says when to stop: last episodes, or the end of each."""
    if len(train) >= 5:
        kept = round(len(train) * (1.0 - VALIDATION))
        return train[:kept], train[kept:]
    cuts = [max(len(e) - max(round(VALIDATION * len(e)), length), length) for e in train]
    fitted = Trajectories(e.slice(0, n) for e, n in zip(train, cuts, strict=True))
    return fitted, Trajectories(
        e.slice(len(e) - max(len(e) - n, length), len(e)) for e, n in zip(train, cuts, strict=True)
    )


def _space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"hidden": 8, "layers": 1, "rate": 5e-3}]
    if kind == "weather":
        return [
            {"hidden": 32, "layers": 1, "rate": 5e-3, "form": "held", "decay": 0.1},
            {"hidden": 32, "layers": 1, "rate": 5e-3, "form": "fed", "decay": 0.1},
            {"hidden": 64, "layers": 1, "rate": 2e-3, "form": "held", "decay": 0.3},
            {"hidden": 64, "layers": 1, "rate": 2e-3, "form": "fed", "decay": 0.0},
        ]
    if kind == "record":  # short records: what is not held back overfits
        return [
            {"hidden": h, "layers": 1, "rate": r, "decay": d}
            for h, r, d in ((16, 5e-3, 1.0), (32, 3e-3, 3.0), (32, 5e-3, 0.0), (64, 2e-3, 1.0))
        ]
    rows = ((32, 1, 5e-3), (64, 1, 5e-3), (128, 1, 2e-3), (64, 1, 1e-2), (64, 2, 5e-3), (16, 1, 1e-2))
    return [dict(zip(("hidden", "layers", "rate"), row, strict=True)) for row in rows]


CONTENDERS = tuple(
    Contender(name, partial(recurrent, cell=name), _space, needs=("torch",)) for name in ("LSTM", "GRU")
)
