"""Figures of merit of a closed-loop episode."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray

if TYPE_CHECKING:
    from koopctrl.controllers.loop.result import ClosedLoopResult

_VIOLATED = 1e-8
_BAND = 0.02


def closed_loop_metrics(result: ClosedLoopResult) -> dict[str, Any]:
    """Work them out.

    Returns
    -------
    dict
        `cost`; per output `iae`, `itae` (integrals of `|y - r|` and `t |y - r|`), `overshoot` (largest excess
        beyond the last set-point in the direction of its last step, relative to that step), `settling_time`
        (seconds after that step from which the error stays within 2 % of the step; NaN if it does not, or if
        there is no step), `final_error`; per input `input_energy` (integral of `u^2`) and `input_variation`
        (sum of `|u_k - u_{k-1}|`); `violations`: per bound the number of samples beyond it by more than
        1e-8 of the signal's size, and the largest excess; `solve_time_median`, `solve_time_p95`,
        `solve_time_p99`, `solve_time_max` in seconds; `statuses`: counts; `n_fallbacks`. Missing
        measurements, and outputs without a reference, count nowhere; a `final_error` that was not measured
        is NaN.
    """
    dt, t = result.dt, result.time
    error = np.abs(result.outputs - result.references)
    overshoot, settling = _step_figures(result)
    times = result.solve_times
    return {
        "n_steps": result.n_steps,
        "cost": result.cost,
        "iae": np.nansum(error[1:], axis=0) * dt,
        "itae": np.nansum(error[1:] * t[1:, None], axis=0) * dt,
        "overshoot": overshoot,
        "settling_time": settling,
        "final_error": error[-1],
        "input_energy": np.sum(result.inputs**2, axis=0) * dt,
        "input_variation": np.sum(np.abs(np.diff(result.inputs, axis=0)), axis=0),
        "violations": _violations(result),
        "solve_time_median": float(np.median(times)),
        "solve_time_p95": float(np.percentile(times, 95)),
        "solve_time_p99": float(np.percentile(times, 99)),
        "solve_time_max": float(times.max()),
        "statuses": dict(Counter(result.statuses)),
        "n_fallbacks": sum(s.startswith("fallback") for s in result.statuses),
    }


def _step_figures(result: ClosedLoopResult) -> tuple[FloatArray, FloatArray]:
    """Overshoot and settling of each output after the last change of its reference."""
    n_y = result.outputs.shape[1]
    overshoot, settling = np.full(n_y, np.nan), np.full(n_y, np.nan)
    for i in range(n_y):
        y, r = result.outputs[:, i], result.references[:, i]
        changes = np.flatnonzero(np.diff(r))
        start = int(changes[-1]) + 1 if len(changes) else 0
        tail, before = y[start:], y[: start + 1][np.isfinite(y[: start + 1])]
        step = r[-1] - before[-1] if len(before) else np.nan
        if not np.isfinite(step) or step == 0.0 or np.isnan(tail).all():
            continue
        overshoot[i] = max(0.0, float(np.nanmax((tail - r[-1]) * np.sign(step)))) / abs(step)
        outside = np.flatnonzero(np.abs(tail - r[-1]) > _BAND * abs(step))
        last = int(outside[-1]) + 1 if len(outside) else 0
        if last < len(tail):
            settling[i] = last * result.dt
    return overshoot, settling


def _violations(result: ClosedLoopResult) -> dict[str, dict[str, float]]:
    """Samples beyond each bound, and by how much."""
    # The first sample is the start, which no controller chose.
    signals = {"u": result.inputs, "du": np.diff(result.inputs, axis=0), "y": result.outputs[1:]}
    report = {}
    for name, bound in result.bounds.items():
        signal, side = name.split("_")
        excess = (signals[signal] - bound) * (1.0 if side == "max" else -1.0)
        # Relative to each signal's own size: nothing is said of its unit.
        size = np.fmax(np.abs(np.where(np.isfinite(bound), bound, 0.0)), _largest(signals[signal]))
        count = int(np.sum((excess > _VIOLATED * size).any(axis=1)))
        report[name] = {"count": count, "largest": float(np.nanmax(excess, initial=0.0))}
    return report


def _largest(signal: FloatArray) -> FloatArray:
    """Of each channel, over the finite samples."""
    return np.max(np.where(np.isfinite(signal), np.abs(signal), 0.0), axis=0, initial=0.0)
