r"""Spectra of records: power of every signal, coherence of outputs with inputs, frequency response without a
model.

Averaged over overlapping windowed stretches of all records (Welch). With spectra `S_u (n_u, n_u)`, `S_yu` at
one frequency,

.. math:: \hat G = S_{yu} S_u^{-1}, \qquad \gamma_i^2 = (S_{yu} S_u^{-1} S_{uy})_{ii} / (S_y)_{ii}

is the share of output `i`'s power that a linear system from *all* inputs explains: noise, nonlinearity and
resonances narrower than the resolution take it below 1. Of signals that have nothing to do with each other it
exceeds `1 - (1 - p)^{1/(K - n_u)}` with probability `1 - p` only, for `K` independent stretches.

Sources: Bendat & Piersol, *Random Data*, 4th ed., chapters 7 and 9; Ljung, *System Identification*, section
6.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from koopctrl._validation import FloatArray, check_integer, check_number
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_STRETCHES = 8  # by default a record is cut into so many half-overlapping ones
_FEWEST = 16  # samples of a stretch
_POWER_FLOOR = 1e-10  # of an input's largest: below, a frequency is not excited at all
# Half-overlapping Hann windows: independent stretches per stretch (Bendat & Piersol, section 11.5).
_INDEPENDENT = 0.95


@dataclass(frozen=True, eq=False)
class RecordSpectrum:
    """Spectra of records (see the module).

    Attributes
    ----------
    frequency : (n,) array
        In Hz, from 0 to half the sampling rate.
    output_power, input_power : (n, n_y) and (n, n_u) arrays
        One-sided power spectral densities, unit squared a hertz; their sum times the spacing is the variance.
    coherence : (n, n_y) array
        Multiple coherence of each output with all inputs; NaN where no input has power.
    response : (n, n_y, n_u) complex array
        Frequency response from inputs to outputs, as far as linear; NaN as above.
    n_stretches : float
        Independent stretches that were averaged.
    coherence_bound : float
        What coherence exceeds by chance with probability `1 - confidence`.
    confidence : float
    output_names, input_names : tuple of str
    """

    frequency: FloatArray
    output_power: FloatArray
    input_power: FloatArray
    coherence: FloatArray
    response: NDArray[np.complex128]
    n_stretches: float
    coherence_bound: float
    confidence: float
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]

    @property
    def response_std(self) -> FloatArray:
        """Standard deviation of `response`'s entries, `(n, n_y, n_u)`, from the coherence."""
        power = 1.0 - np.clip(self.coherence, 0.0, 1.0)
        noise = self.output_power * power
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(noise[:, :, None] / self.input_power[:, None, :] / max(self.n_stretches, 1.0))

    def plot(self) -> Figure:
        """Figure; see `koopctrl.plotting.plot_record_spectrum`."""
        from koopctrl.plotting import plot_record_spectrum

        return plot_record_spectrum(self)


def record_spectrum(
    data: Trajectories | Iterable[Trajectory], n_samples: int | None = None, confidence: float = 0.95
) -> RecordSpectrum:
    """Estimate spectra, coherence and frequency response from records.

    Parameters
    ----------
    data : Trajectories
    n_samples : int, optional
        Samples of a stretch: more resolve narrower resonances, fewer average more noise away. By default the
        records give some eight stretches, of a power of two samples.
    confidence : float
        Of the bound on coherence, in (0, 1).

    Returns
    -------
    RecordSpectrum

    Raises
    ------
    DataError
        If no record holds one stretch.
    """
    records = Trajectories.coerce(data, "data")
    check_number(confidence, "confidence", low=0.0, high=1.0, strict=True)
    usable = []
    for e in records:
        rows = min(len(e), len(e.inputs)) if records.n_u else len(e)
        usable.append((e.outputs[:rows], e.inputs[:rows] if records.n_u else np.empty((rows, 0))))
    longest = max(len(y) for y, _ in usable)
    if n_samples is None:
        wanted = max(_FEWEST, min(longest, 2 * sum(len(y) for y, _ in usable) // (_STRETCHES + 1)))
        n_samples = min(2 ** int(np.log2(wanted)), longest)
    n = check_integer(n_samples, "n_samples", low=4)
    if longest < n:
        raise DataError(f"the longest record has {longest} samples; expected at least n_samples = {n}")
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)
    scale = 2.0 * records.dt / np.sum(window**2)
    n_y = records.n_y
    total = np.zeros((n // 2 + 1, n_y + records.n_u, n_y + records.n_u), dtype=complex)
    count = 0
    # In units of the spread: squares of extreme units neither over- nor underflow.
    table = [np.concatenate(pair, axis=1) for pair in usable]
    centre = np.concatenate(table).mean(axis=0)
    unit = np.abs(np.concatenate(table) - centre).max(axis=0)
    unit = np.where(unit > 0, unit, 1.0)
    for signals in table:
        starts = range(0, len(signals) - n + 1, max(1, n // 2))
        for start in starts:
            piece = (signals[start : start + n] - centre) / unit
            f = np.fft.rfft(window[:, None] * (piece - piece.mean(axis=0)), axis=0)
            total += f[:, :, None] * np.conj(f[:, None, :])
        count += len(starts)
    total *= scale / count
    total[0] *= 0.5
    if n % 2 == 0:
        total[-1] *= 0.5
    independent = 1.0 + (count - 1) * _INDEPENDENT
    gamma, g = _coherence(total, n_y)
    power = np.real(np.diagonal(total, axis1=1, axis2=2))
    degrees = independent - records.n_u
    bound = 1.0 - (1.0 - confidence) ** (1.0 / degrees) if degrees > 0 else 1.0
    return RecordSpectrum(
        np.arange(n // 2 + 1) / (n * records.dt),
        power[:, :n_y] * unit[:n_y] ** 2,
        power[:, n_y:] * unit[n_y:] ** 2,
        gamma,
        g * unit[:n_y, None] / unit[n_y:],
        independent,
        float(bound),
        confidence,
        records.output_names,
        records.input_names,
    )


def _coherence(s: NDArray[np.complex128], n_y: int) -> tuple[FloatArray, NDArray[np.complex128]]:
    """Multiple coherence and response from the joint spectra `(n, n_y + n_u, n_y + n_u)`."""
    n, n_u = len(s), s.shape[1] - n_y
    gamma, g = np.full((n, n_y), np.nan), np.full((n, n_y, n_u), np.nan, dtype=complex)
    if not n_u:
        return gamma, g
    s_u, s_yu = s[:, n_y:, n_y:], s[:, :n_y, n_y:]
    own = np.real(np.diagonal(s_u, axis1=1, axis2=2))
    excited = (own > _POWER_FLOOR * own.max(axis=0)).all(axis=1)
    excited[0] = False  # means were taken out
    if excited.any():
        # Of inputs that move together not all is known: the least response that explains as much.
        root = np.sqrt(own[excited])
        scaled = s_u[excited] / root[:, :, None] / root[:, None, :]
        g[excited] = s_yu[excited] / root[:, None, :] @ np.linalg.pinv(scaled, rcond=1e-8) / root[:, None, :]
        explained = np.real(np.einsum("kij,kij->ki", g[excited], np.conj(s_yu[excited])))
        all_y = np.real(np.diagonal(s, axis1=1, axis2=2))[excited, :n_y]
        gamma[excited] = np.clip(explained / np.where(all_y > 0, all_y, np.inf), 0.0, 1.0)
    return gamma, g
