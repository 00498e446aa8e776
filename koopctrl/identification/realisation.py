"""Realisation: system matrices and noise from states that are functions of the past, and back to physical
units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from koopctrl._validation import FloatArray
from koopctrl.identification.linear_model import InnovationModel
from koopctrl.identification.past_future import Standardised


def regress_states(past: Standardised, h: int, to_state: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`(A, C)` by least squares of `[x_{k+1}, y_k]` on `[x_k, u_k, 1]` and the innovations, over all
    records.
    """
    now, after, inputs, outputs = [], [], [], []
    for z, u, y in past.pasts(h):
        x = z @ to_state
        now.append(x[:-1])
        after.append(x[1:])
        inputs.append(u[:-1])
        outputs.append(y[:-1])
    x, x_next, u, y = map(np.concatenate, (now, after, inputs, outputs))
    ones = np.ones((len(x), 1))
    on_output = np.concatenate([x, ones, u] if past.feedthrough else [x, ones], axis=1)
    c = np.linalg.lstsq(on_output, y, rcond=None)[0]
    innovations = y - on_output @ c
    a = np.linalg.lstsq(np.concatenate([x, ones, u, innovations], axis=1), x_next, rcond=1e-12)[0]
    n = to_state.shape[1]
    return a[:n].T, c[:n].T


@dataclass(frozen=True, eq=False)
class Noise:
    """Kalman gain, covariances of innovations and states, all standardised."""

    gain: FloatArray
    innovation_cov: FloatArray
    state_cov: FloatArray


def noise_of(past: Standardised, h: int, to_state: FloatArray, a: FloatArray, c: FloatArray) -> Noise:
    """Noise from the residuals of `[x_{k+1}, y_k]` given `A` and `C`, the inputs' part regressed out."""
    n, n_y = len(a), len(c)
    state_rows, output_rows, input_rows, energy, count = [], [], [], np.zeros((n, n)), 0
    for z, u, y in past.pasts(h):
        x = z @ to_state
        energy, count = energy + x.T @ x, count + len(x)
        state_rows.append(x[1:] - x[:-1] @ a.T)
        output_rows.append(y[:-1] - x[:-1] @ c.T)
        input_rows.append(np.concatenate([u[:-1], np.ones((len(x) - 1, 1))], axis=1))
    state, output, inputs = map(np.concatenate, (state_rows, output_rows, input_rows))
    on_output = inputs if past.feedthrough else inputs[:, -1:]
    state = state - inputs @ np.linalg.lstsq(inputs, state, rcond=None)[0]
    output = output - on_output @ np.linalg.lstsq(on_output, output, rcond=None)[0]
    rows = max(len(output) - h, 1)
    cov = output.T @ output / rows
    scale = np.sqrt(np.diag(cov))
    heard = (
        scale > 1e-9
    )  # of a standard deviation: below, residuals are rounding and there is no noise to filter
    gain = np.zeros((n, n_y))
    if heard.any():
        gain[:, heard] = (
            np.linalg.lstsq(output[:, heard] / scale[heard], state, rcond=1e-9)[0].T / scale[heard]
        )
    closed = np.abs(linalg.eigvals(a - gain @ c)).max(initial=0.0)
    if closed >= 1.0:
        gain = _riccati_gain(a, c, state.T @ state / rows, cov, state.T @ output / rows)
    return Noise(gain, cov, energy / max(count, 1))


def _riccati_gain(a: FloatArray, c: FloatArray, q: FloatArray, r: FloatArray, s: FloatArray) -> FloatArray:
    """Gain of the stationary Kalman predictor, from the Riccati recursion; 0 where it has none."""
    p = np.eye(len(a)) * np.trace(q) / max(len(a), 1) + q
    floor = np.eye(len(c)) * (1e-12 + 1e-10 * np.trace(c @ p @ c.T))
    gain = np.zeros((len(a), len(c)))
    for _ in range(1000):
        inner = c @ p @ c.T + r + floor
        gain = np.linalg.solve(inner.T, (a @ p @ c.T + s).T).T
        p_next = a @ p @ a.T + q - gain @ inner @ gain.T
        p_next = 0.5 * (p_next + p_next.T)
        if not np.isfinite(p_next).all() or np.trace(p_next) > 1e12:
            return np.zeros_like(gain)
        if np.linalg.norm(p_next - p) <= 1e-10 * np.linalg.norm(p):
            break
        p = p_next
    return gain if np.abs(linalg.eigvals(a - gain @ c)).max(initial=0.0) < 1.0 else np.zeros_like(gain)


def stabilise(a: FloatArray, radius: float) -> FloatArray:
    """`A` with the eigenvalues outside `radius` pulled onto it along their rays, by real Schur form."""
    schur = linalg.schur(a, output="real")
    t, q = np.array(schur[0]), np.array(schur[1])
    n, i = len(a), 0
    changed = False
    while i < n:
        size = 2 if i + 1 < n and t[i + 1, i] != 0 else 1
        block = t[i : i + size, i : i + size]
        modulus = np.abs(linalg.eigvals(block)).max()
        if modulus > radius:
            t[i : i + size, i : i + size] = block * (radius / modulus)
            changed = True
        i += size
    return q @ t @ q.T if changed else a


def assemble(
    past: Standardised,
    a: FloatArray,
    c: FloatArray,
    b: FloatArray,
    d: FloatArray,
    drift: FloatArray,
    offset: FloatArray,
    noise: Noise,
    s: FloatArray,
) -> InnovationModel:
    """Back to physical units, states scaled to unit spread."""
    scale, data = past.scaling, past.data
    t = np.sqrt(np.diag(noise.state_cov))
    t = np.where(t > 0, t, 1.0)
    y_scale = scale.y_scale
    return InnovationModel(
        A=a * t / t[:, None],
        B=b / t[:, None] / scale.u_scale,
        C=y_scale[:, None] * c * t,
        D=y_scale[:, None] * d / scale.u_scale,
        K=noise.gain / t[:, None] / y_scale,
        innovation_cov=noise.innovation_cov * np.outer(y_scale, y_scale),
        u_op=scale.u_mean.copy(),
        y_op=scale.y_mean + y_scale * offset,
        c=drift / t,
        state_cov=noise.state_cov / np.outer(t, t),
        singular_values=s,
        dt=data.dt,
        output_names=data.output_names,
        input_names=data.input_names,
    )
