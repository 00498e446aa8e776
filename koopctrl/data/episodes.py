"""What can be read off recorded episodes: signals, sizes, pairs, spectra, figures, files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray, check_bool, check_integer
from koopctrl.data.counted import refuse_what_cannot_be_split
from koopctrl.data.splitting import long_enough
from koopctrl.data.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from koopctrl.data.spectrum import RecordSpectrum


class Episodes(Sequence[Trajectory]):
    """Part of `Trajectories`: everything that only reads the episodes."""

    episodes: tuple[Trajectory, ...]

    @property
    def missing(self) -> bool:
        """Whether some outputs are missing (NaN)."""
        return any(e.missing for e in self.episodes)

    @property
    def dt(self) -> float:
        """Sample time in seconds."""
        return self.episodes[0].dt

    @property
    def n_y(self) -> int:
        """Number of measured signals."""
        return self.episodes[0].outputs.shape[1]

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self.episodes[0].inputs.shape[1]

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the measured signals."""
        return self.episodes[0].output_names

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return self.episodes[0].input_names

    @property
    def n_steps(self) -> int:
        """Transitions over all episodes."""
        return sum(e.n_steps for e in self.episodes)

    def __len__(self) -> int:
        """Return the number of episodes."""
        n = len(self.episodes)
        refuse_what_cannot_be_split(n)
        return n

    def __iter__(self) -> Iterator[Trajectory]:
        """Iterate over the episodes."""
        return iter(self.episodes)

    def __repr__(self) -> str:
        """Numbers of episodes and steps, names and sample time."""
        return (
            f"{type(self).__name__}({len(self)} episodes, {self.n_steps} steps, dt={self.dt:g} s, "
            f"outputs={list(self.output_names)}, inputs={list(self.input_names)})"
        )

    def snapshots(
        self, output_lags: int = 1, input_lags: int = 1, feedthrough: bool = False
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Stack all `(x_k, u_k, y_{k+1})`, none of which crosses an episode's edge.

        `x_k = [y_k .. y_{k-p+1}, u_{k-1} .. u_{k-q+1}]` for `p = output_lags`, `q = input_lags`; with
        `feedthrough` the inputs are read one sample ahead, `u_{k+1}` in place of `u_k`.

        Returns
        -------
        x : (n_pairs, p n_y + (q - 1) n_u) array
        u : (n_pairs, n_u) array
        y_next : (n_pairs, n_y) array

        Warns
        -----
        KoopctrlWarning
            If some episodes are too short to give a pair; they are skipped, and named.
        """
        from koopctrl.network.lag_window import LagWindow

        output_lags = check_integer(output_lags, "output_lags", low=1)
        input_lags = check_integer(input_lags, "input_lags", low=1)
        check_bool(feedthrough, "feedthrough")
        window = LagWindow(output_lags, input_lags, feedthrough, self.n_y, self.n_u)
        reason = f"a window of {output_lags} output and {input_lags} input lags and its next sample take"
        kept = self.episodes
        if any(len(e) > window.n_samples for e in kept):
            kept = long_enough(kept, window.n_samples + 1, reason)
        parts = [window.pairs(e.outputs, e.inputs) for e in kept]
        x, u, y_next = (np.concatenate(column) for column in zip(*parts, strict=True))
        return x, u, y_next

    def spectrum(self, n_samples: int | None = None) -> RecordSpectrum:
        """Spectra of the signals, coherence and frequency response; see `koopctrl.data.spectrum`.

        Parameters
        ----------
        n_samples : int, optional
            Samples of each stretch that is averaged over.
        """
        from koopctrl.data.spectrum import record_spectrum

        return record_spectrum(self, n_samples)

    def plot(self, **options: Any) -> Figure:
        """Figure of all signals over time; for `options` see `koopctrl.plotting.plot_records`."""
        from koopctrl.plotting import plot_records

        return plot_records(self, **options)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the records to exactly `path`, a zip of arrays (`.npz`) without pickle; `load` reads it."""
        from koopctrl.data.record_file import write_records

        write_records(self.episodes, path)

    def to_dataframe(self) -> pd.DataFrame:
        """Return a DataFrame: `episode`, `time`, outputs, inputs; a missing last input is NaN."""
        from koopctrl.data.tables import to_dataframe

        return to_dataframe(self.episodes)
