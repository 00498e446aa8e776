"""What the page's controls stand for: their ranges, read off a model, and the Python that they amount to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from koopctrl.errors import OptionError

KINDS = ("linear", "nonlinear")
MOST_STEPS, MOST_AHEAD = 1000, 100
_REACH = 0.5  # sliders go so much of the data's range beyond it
_DECADES = 3.0  # and weights so many decades to either side


@dataclass(frozen=True)
class Settings:
    """A controller and its closed loop; one number a signal where a tuple stands.

    Attributes
    ----------
    kind : {"linear", "nonlinear"}
        `LinearMPC` on the linear face, or `RNNMPC` on the network.
    horizon : int
        Samples ahead.
    q, r, r_rate : tuple of float
        Weights of outputs, inputs and moves: decades from 1 / variance of the signal in the data. A weight at
        the lower end of its range (`-3`) is zero for outputs and moves.
    set_point : tuple of float
        Of outputs from the first sample to the middle of the run; from there the mean of the data.
    tracked : tuple of bool
        Which outputs have a set-point.
    u_min, u_max, y_min, y_max : tuple of float or None
        Bounds; None for no bound. Those of outputs are soft.
    noise : float
        On measurements, as a share of the outputs' spread.
    load : tuple of float
        On inputs, in their units, from a quarter of the run on.
    offset_free : bool
    steps : int
    seed : int
        Of the noise.
    """

    kind: str
    horizon: int
    q: tuple[float, ...]
    r: tuple[float, ...]
    r_rate: tuple[float, ...]
    set_point: tuple[float, ...]
    tracked: tuple[bool, ...]
    u_min: tuple[float | None, ...]
    u_max: tuple[float | None, ...]
    y_min: tuple[float | None, ...]
    y_max: tuple[float | None, ...]
    noise: float
    load: tuple[float, ...]
    offset_free: bool
    steps: int
    seed: int

    @classmethod
    def of_model(cls, model: Any) -> Settings:
        """Where the page begins: the first outputs follow a step of one standard deviation."""
        low, high = np.min(model.snapshots_.u, axis=0), np.max(model.snapshots_.u, axis=0)
        mean, spread = model.network_.scaling.y_mean, model.network_.scaling.y_scale
        n_y, n_u = model.n_y, model.n_u
        tracked = tuple(i < n_u for i in range(n_y))
        goal = (m + (i == 0) * s for i, (m, s) in enumerate(zip(mean, spread, strict=True)))
        return cls(
            kind="linear", horizon=20, q=(0.0,) * n_y, r=(-1.0,) * n_u, r_rate=(-_DECADES,) * n_u,
            set_point=tuple(map(_short, goal)), tracked=tracked,
            u_min=tuple(map(_short, low)), u_max=tuple(map(_short, high)),
            y_min=(None,) * n_y, y_max=(None,) * n_y, noise=0.0, load=(0.0,) * n_u,
            offset_free=not model.hidden, steps=120, seed=0,
        )  # fmt: skip

    @classmethod
    def from_dict(cls, given: Any, model: Any) -> Settings:
        """Settings as they came from a page.

        Raises
        ------
        OptionError
            Naming the setting that is missing, unknown, or not what it should be.
        """
        names = [f.name for f in fields(cls)]
        if not isinstance(given, Mapping) or set(given) != set(names):
            odd = sorted(set(names) ^ set(given)) if isinstance(given, Mapping) else type(given).__name__
            raise OptionError(f"settings are off at {odd}; expected {', '.join(names)}")
        sizes = {**dict.fromkeys(("q", "set_point", "tracked", "y_min", "y_max"), model.n_y),
                 **dict.fromkeys(("r", "r_rate", "u_min", "u_max", "load"), model.n_u)}  # fmt: skip
        values: dict[str, Any] = {}
        for name in names:
            value = given[name]
            if name in sizes:
                if not isinstance(value, (list, tuple)) or len(value) != sizes[name]:
                    raise OptionError(f"{name} is {value!r}; expected {sizes[name]} values, one a signal")
                optional = name in ("u_min", "u_max", "y_min", "y_max")
                read = _flag if name == "tracked" else _number
                values[name] = tuple(None if v is None and optional else read(v, name) for v in value)
            elif name == "kind":
                allowed = KINDS[:1] if model.hidden else KINDS
                if value not in allowed:
                    hint = ": the state of this model is hidden" if value in KINDS else ""
                    raise OptionError(f"kind is {value!r}; expected {' or '.join(allowed)}{hint}")
                values[name] = value
            elif name == "offset_free":
                values[name] = _flag(value, name)
            elif name == "noise":
                values[name] = _number(value, name)
            else:
                most = {"horizon": MOST_AHEAD, "steps": MOST_STEPS, "seed": 2**31}[name]
                values[name] = _count(value, name, 0 if name == "seed" else 2, most)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As a page takes it."""
        return asdict(self)


def controls(model: Any) -> dict[str, Any]:
    """Ranges of the sliders, `{"outputs": [...], "inputs": [...], ..}`, each signal with its name."""
    u, y = model.snapshots_.u, model.network_.scaling
    spans = []
    for low, high in zip(np.min(u, axis=0), np.max(u, axis=0), strict=True):
        wide = _REACH * (high - low)
        spans.append([_short(low - wide), _short(high + wide), _short(0.5 * (high - low))])
    y_low, y_high = model.y_range_
    outputs = [
        {"name": n, "low": _short(lo - _REACH * (hi - lo)), "high": _short(hi + _REACH * (hi - lo)),
         "spread": _short(s)}
        for n, lo, hi, s in zip(model.output_names_, y_low, y_high, y.y_scale, strict=True)
    ]  # fmt: skip
    inputs = [
        {"name": n, "low": lo, "high": hi, "load": load}
        for n, (lo, hi, load) in zip(model.input_names_, spans, strict=True)
    ]
    kinds = KINDS[:1] if model.hidden else KINDS
    return {"outputs": outputs, "inputs": inputs, "kinds": kinds, "decades": _DECADES, "dt": model.dt_,
            "most_ahead": MOST_AHEAD, "most_steps": MOST_STEPS}  # fmt: skip


def program(settings: Settings, model: Any, path: str, plant: str | None) -> tuple[str, str]:
    """Python of a closed loop in two parts: what is made once, and what follows the settings.

    Parameters
    ----------
    settings : Settings
    model : KoopmanRNN
    path : str
        File of the model.
    plant : str or None
        Gymnasium's name of a plant; None for the model itself.
    """
    s, scaling = settings, model.network_.scaling
    linear = s.kind == "linear"
    q = _weights(s.q, scaling.y_scale, zero=True)
    used = ["LinearMPC" if linear else "RNNMPC", "run_closed_loop"]
    used += ["KalmanFilter"] if model.hidden else []
    first = [
        "import numpy as np",
        "",
        "import koopctrl",
        f"from koopctrl import {', '.join(sorted(used))}",
        "from koopctrl.tune import Disturbed",
        "",
        f"model = koopctrl.load({path!r})",
    ]
    if plant is not None:
        first.insert(0, "import gymnasium")
        first.append(f"env = gymnasium.make({plant!r}, max_episode_steps={MOST_STEPS})")
    else:
        first.append("env = model.to_nlsys()")
    if linear:
        first.append("lifted = model.lift_at()")
    bounds = {
        name: _listed(getattr(s, name), "-np.inf" if name.endswith("min") else "np.inf")
        for name in ("u_min", "u_max", "y_min", "y_max")
        if any(v is not None for v in getattr(s, name))
    }
    options = [f"Q=np.diag({q})", f"R=np.diag({_weights(s.r, scaling.u_scale)})"]
    if any(w > -_DECADES for w in s.r_rate):
        options.append(f"R_rate=np.diag({_weights(s.r_rate, scaling.u_scale, zero=True)})")
    options += [f"{name}={value}" for name, value in bounds.items()]
    if model.hidden:
        kind = "output" if s.offset_free else "none"
        options.append(f'estimator=KalmanFilter(lifted, disturbance="{kind}")')
    elif s.offset_free:
        options.append("offset_free=True")
    lines = "".join(f"    {option},\n" for option in options)
    then = f"mpc = {used[0]}(\n    {'lifted' if linear else 'model'}, {s.horizon},\n{lines})\n"
    noise = [_short(s.noise * v) for v in scaling.y_scale]
    then += (
        f"plant = Disturbed(env, noise={noise}, load={list(s.load)}, start={s.steps // 4}, seed={s.seed}, "
        "dt=model.dt_)\n"
    )
    goal = [v if t else None for v, t in zip(s.set_point, s.tracked, strict=True)]
    rest = [_short(m) if t else None for m, t in zip(scaling.y_mean, s.tracked, strict=True)]
    half = s.steps // 2
    then += (
        f"reference = np.array([{_listed(goal, 'np.nan')}] * {half}\n"
        f"                     + [{_listed(rest, 'np.nan')}] * {s.steps + 1 - half})\n"
    )
    if plant is None:
        start = f"np.zeros({model.n_x})" if model.hidden else "model.network_.x_mean"
        then += f"result = run_closed_loop(plant, mpc, {s.steps}, reference, x0={start})\n"
    else:
        then += f"result = run_closed_loop(plant, mpc, {s.steps}, reference)\n"
    return "\n".join(first) + "\n", then


def _weights(decades: tuple[float, ...], scale: Any, *, zero: bool = False) -> list[float]:
    return [
        0.0 if zero and d <= -_DECADES else _short(10.0**d / v**2)
        for d, v in zip(decades, scale, strict=True)
    ]


def _listed(values: Iterable[float | None], missing: str) -> str:
    return f"[{', '.join(missing if v is None else repr(v) for v in values)}]"


def _short(value: Any) -> float:
    """Four digits: what is shown is what is used."""
    return float(f"{float(value):.4g}")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise OptionError(f"{name} has {value!r}; expected a finite number")
    return float(value)


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise OptionError(f"{name} has {value!r}; expected true or false")
    return value


def _count(value: Any, name: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise OptionError(f"{name} is {value!r}; expected a whole number from {low} to {high}")
    return value
