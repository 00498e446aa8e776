"""What the inputs of a record do not show, said before a model claims to know it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.data.spectrum import RecordSpectrum, record_spectrum
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory

_FEW_LEVELS = 3
_TOGETHER = 0.9  # correlation from which on two inputs' effects are hard to tell apart
_WEAK = 1e-3  # of an input's mean power density
_LITTLE = 0.3  # coherence
_STEADY = 0.5  # share of an output's power below the lowest frequency that is resolved


def excitation_advice(data: Trajectories | Iterable[Trajectory]) -> list[str]:
    """Sentences on what records cannot show, and what to do; empty if nothing was found.

    Parameters
    ----------
    data : Trajectories

    Returns
    -------
    list of str
        On inputs that do not move, move together, have few levels (no nonlinearity shows), or leave a band of
        frequencies out; on outputs that inputs do not explain; on records too short for their slow part.
    """
    records = Trajectories.coerce(data, "data")
    inputs = np.concatenate([e.inputs for e in records])
    found = [*_constant(records, inputs), *_levels(records, inputs), *_together(records, inputs)]
    if max(map(len, records)) >= 32:
        spectrum = record_spectrum(records)
        found += _bands(spectrum) + _unexplained(spectrum)
    found += _slow(records)
    return found


def _moving(inputs: FloatArray) -> FloatArray:
    return np.ptp(inputs, axis=0) > 0 if len(inputs) else np.zeros(inputs.shape[1], dtype=bool)


def _constant(records: Trajectories, inputs: FloatArray) -> list[str]:
    still = [n for n, m in zip(records.input_names, _moving(inputs), strict=True) if not m]
    return [
        f"input {n} never changes: its effect cannot be identified. Move it, or leave it out" for n in still
    ]


def _levels(records: Trajectories, inputs: FloatArray) -> list[str]:
    found = []
    for name, column, moves in zip(records.input_names, inputs.T, _moving(inputs), strict=True):
        size = np.ptp(column)
        n = len(np.unique(np.round((column - column.min()) / size, 6))) if moves else 0
        if 1 < n < _FEW_LEVELS:
            found.append(
                f"input {name} has {n} levels: what is curved between them does not show, and a linear model "
                "is all that can be judged. Use several amplitudes"
            )
    return found


def _together(records: Trajectories, inputs: FloatArray) -> list[str]:
    moving = np.flatnonzero(_moving(inputs))
    if len(moving) < 2:
        return []
    r = np.asarray(np.corrcoef(inputs[:, moving].T))
    return [
        f"inputs {records.input_names[moving[i]]} and {records.input_names[moving[j]]} move together "
        f"(correlation {r[i, j]:.2f}): their effects are hard to tell apart. Move them independently"
        for i in range(len(moving))
        for j in range(i + 1, len(moving))
        if abs(r[i, j]) > _TOGETHER
    ]


def _bands(s: RecordSpectrum) -> list[str]:
    found = []
    for name, power in zip(s.input_names, s.input_power.T, strict=True):
        if not power[1:].any():
            continue
        weak = power[1:] < _WEAK * power[1:].mean()
        strong = np.flatnonzero(~weak)
        top = s.frequency[1:][strong[-1]]
        if top < 0.5 * s.frequency[-1]:
            found.append(
                f"input {name} has next to no power above {top:.3g} Hz (records reach "
                f"{s.frequency[-1]:.3g} Hz): faster dynamics do not show. Excite them, or sample less often"
            )
    return found


def _unexplained(s: RecordSpectrum) -> list[str]:
    found = []
    for name, coherence, power in zip(s.output_names, s.coherence.T, s.output_power.T, strict=True):
        known = np.isfinite(coherence)
        if not known.any() or not power[known].any():
            continue
        share = float(np.sum(coherence[known] * power[known]) / np.sum(power[known]))
        if share < max(_LITTLE, s.coherence_bound):
            found.append(
                f"inputs explain {share:.0%} of the power of {name} linearly: the rest is noise, other "
                "causes or nonlinearity. Repeat the same input to tell noise from nonlinearity"
            )
    return found


def _slow(records: Trajectories) -> list[str]:
    """Outputs whose level wanders over whole records."""
    found = []
    for i, name in enumerate(records.output_names):
        shares = []
        for e in records:
            y = e.outputs[:, i] - e.outputs[:, i].mean()
            if len(y) >= 16 and y.any():
                line = np.polyval(np.polyfit(np.arange(len(y)), y / np.abs(y).max(), 1), np.arange(len(y)))
                shares.append(np.sum(line**2) / np.sum((y / np.abs(y).max()) ** 2))
        if shares and np.median(shares) > _STEADY:
            found.append(
                f"most of what {name} does is one drift over the record: its slow dynamics, or a "
                "disturbance, do not repeat. Record several times as long as the slowest time constant"
            )
    return found
