"""Recorded or simulated data: a sequence of episodes with the same signals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctrl._validation import FloatArray, alias, check_bool, check_integer
from koopctrl.data.agreement import agreeing, chosen_episodes
from koopctrl.data.episode_arrays import episode_pairs
from koopctrl.data.splitting import cut_blocks, long_enough, split_episodes
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError

if TYPE_CHECKING:
    import control
    import pandas as pd
    from matplotlib.figure import Figure

    from koopctrl.data.detrend import Detrended
    from koopctrl.data.spectrum import RecordSpectrum


@dataclass(frozen=True, eq=False, repr=False)
class Trajectories(Sequence[Trajectory]):
    """A sequence of episodes with the same signals and sample time.

    It is what models are fitted to. scikit-learn's splitters, `GridSearchCV` and `cross_val_score` take it as
    `X`, with one episode as one sample; `blocks(n)` makes many of one record.

    Parameters
    ----------
    episodes : sequence of Trajectory
        At least one; names must agree, and sample times: over the longest record they may move no sample by
        more than a hundredth of a period. All get that of the longest record.
    """

    episodes: tuple[Trajectory, ...] = field()

    def __init__(self, episodes: Iterable[Trajectory]) -> None:
        object.__setattr__(self, "episodes", agreeing(episodes))

    @classmethod
    def from_arrays(
        cls,
        x: ArrayLike | Sequence[ArrayLike],
        u: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        dt: float,
        output_names: Sequence[str] | None = None,
        input_names: Sequence[str] | None = None,
        state_names: Sequence[str] | None = None,
        missing: bool = False,
    ) -> Trajectories:
        """Build from arrays.

        Parameters
        ----------
        x : (time, n) array, list of such arrays, or (episodes, time, n) array
            States or measured outputs; a list may be ragged in time.
        u : matching arrays, optional
            Inputs, as many rows as `x` or one fewer; None if there are none.
        dt : float
            Sample time in seconds.
        output_names, input_names : sequence of str, optional
            Signal names; `x0, x1, ..` and `u0, u1, ..` by default.
        state_names : sequence of str, optional
            Another word for `output_names`.
        missing : bool
            Whether NaN in `x` stands for a sample that is missing; refused by default.

        Raises
        ------
        ShapeError, DataError, TimeBaseError
            As `Trajectory`; also if `x` and `u` have different numbers of episodes.
        """
        names = alias(output_names, "output_names", state_names, "state_names")
        kind = "states" if output_names is None else "outputs"
        pairs = episode_pairs(x, u)
        return cls(
            Trajectory(xi, ui, dt, names, input_names, str(i), missing=missing, _signal=kind)
            for i, (xi, ui) in enumerate(pairs)
        )

    @classmethod
    def from_dataframe(
        cls,
        df: pd.DataFrame,
        *,
        outputs: Sequence[str],
        inputs: Sequence[str] = (),
        dt: float | None = None,
        time: str | None = None,
        episode: str | None = None,
        gaps: str = "refuse",
        resample: bool = False,
    ) -> Trajectories:
        """Build from the columns of a pandas DataFrame, rows in time order.

        Parameters
        ----------
        df : pandas.DataFrame
            One row a sample; a mapping of names to arrays will do.
        outputs, inputs : sequence of str
            Column names.
        dt : float, optional
            Sample time in seconds; may be left out when `time` is given, and must agree with it otherwise.
        time : str, optional
            Column (or name of the index) of sample times: seconds, dates or durations, which must lie on an
            even grid within each episode, up to a tenth of a sample time or the rounding of the stamps.
        episode : str, optional
            Column whose values tell episodes apart.
        gaps : {"refuse", "split"}
            What to do where samples are missing, by `time` or since a used cell is empty or not finite:
            raise, or go on with a new episode, `label.1` (`label/1` after empty cells).
        resample : bool
            Whether to bring uneven stamps onto an even grid of `dt` (by default the mean step): outputs
            straight between stamps, inputs held. See `koopctrl.data.resampling.resample`.

        Raises
        ------
        OptionError
            If a column does not exist.
        TimeBaseError
            If the stamps do not rise, have gaps, lie off the grid, or do not agree with `dt`.
        DataError
            If a used cell is not a number.
        """
        from koopctrl.data.tables import columns_of, episodes_from_columns

        column, available = columns_of(df)
        kept = {"gaps": gaps, "resampled": resample}
        return cls(episodes_from_columns(column, available, outputs, inputs, dt, time, episode, **kept))

    @classmethod
    def from_csv(
        cls,
        path: str | PathLike[str],
        *,
        outputs: Sequence[str],
        inputs: Sequence[str] = (),
        dt: float | None = None,
        time: str | None = None,
        episode: str | None = None,
        gaps: str = "refuse",
        resample: bool = False,
        delimiter: str | None = None,
        decimal: str | None = None,
        comment: str | None = None,
    ) -> Trajectories:
        """Build from a CSV file in UTF-8 with one header line.

        Parameters
        ----------
        path : path-like
            File to read.
        outputs, inputs, dt, time, episode, gaps, resample
            As in `from_dataframe`.
        delimiter, decimal, comment : str, optional
            What stands between two cells (a blank stands for any number of them), the decimal mark ("." or
            ","), and what begins a comment line. Recognised where they are None, and then said in a warning
            unless they are commas, points and no comments.

        Raises
        ------
        DataError
            If the file cannot be read, has no header line or no rows, or a used cell is not a number.
        OptionError, TimeBaseError
            As `from_dataframe`.
        """
        from koopctrl.data.csv_file import read_csv
        from koopctrl.data.tables import episodes_from_columns, wanted_columns

        _, _, used = wanted_columns(outputs, inputs, time, episode)
        text = () if episode is None else (episode,)
        columns = read_csv(path, used, text, delimiter=delimiter, decimal=decimal, comment=comment)
        kept = {"gaps": gaps, "resampled": resample}
        return cls(
            episodes_from_columns(
                columns.__getitem__, list(columns), outputs, inputs, dt, time, episode, **kept
            )
        )

    @classmethod
    def from_timeresponse(
        cls, response: control.TimeResponseData, *, signals: str = "outputs"
    ) -> Trajectories:
        """Build from `response`, python-control's `TimeResponseData`; `signals` is "outputs" or "states"."""
        from koopctrl.export.pycontrol import trajectories_from_timeresponse

        return trajectories_from_timeresponse(response, signals=signals)

    @classmethod
    def coerce(cls, data: Any, name: str = "X", *, missing: bool = False) -> Trajectories:
        """Return `data` if it is a Trajectories, or wrap one or more Trajectory; errors call it `name`.

        Records with missing outputs are refused unless `missing`.
        """
        if isinstance(data, Trajectory):
            data = cls([data])
        elif isinstance(data, np.ndarray) or not isinstance(data, Iterable):
            raise DataError(
                f"{name} is a {type(data).__name__}; expected Trajectories. "
                "Build them with Trajectories.from_arrays(x, u, dt=...)"
            )
        elif not isinstance(data, cls):
            data = cls(data)
        if data.missing and not missing:
            raise DataError(
                f"{name} has missing outputs (NaN), which this cannot use; expected whole records. Cut them "
                "with whole_stretches(), or use a model with a hidden state, KoopmanRNN(n_states=...)"
            )
        return data

    @property
    def missing(self) -> bool:
        """Whether some outputs are missing (NaN)."""
        return any(e.missing for e in self.episodes)

    def whole_stretches(self, n_samples: int = 2) -> Trajectories:
        """Return the stretches in which no output is missing as episodes of their own.

        Parameters
        ----------
        n_samples : int
            Shorter ones are left out.

        Raises
        ------
        DataError
            If none is long enough, as where outputs are sampled at different rates.
        """
        from koopctrl.data.missing import whole_stretches

        n_samples = check_integer(n_samples, "n_samples", low=1)
        return Trajectories(whole_stretches(self.episodes, n_samples)) if self.missing else self

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
        return len(self.episodes)

    @overload
    def __getitem__(self, index: int) -> Trajectory: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Trajectories: ...
    def __getitem__(self, index: Any) -> Trajectory | Trajectories:
        """Return one episode by an integer, several by a slice, an index array or a mask."""
        if isinstance(index, slice):
            return Trajectories(self.episodes[index])
        chosen = chosen_episodes(index, len(self))
        if isinstance(chosen, int):
            return self.episodes[chosen]
        return Trajectories(self.episodes[i] for i in chosen)

    def __iter__(self) -> Iterator[Trajectory]:
        """Iterate over the episodes."""
        return iter(self.episodes)

    def __add__(self, other: Trajectories) -> Trajectories:
        """Return the episodes of both, which must have the same signals."""
        return Trajectories([*self.episodes, *Trajectories.coerce(other, "other", missing=True)])

    def __repr__(self) -> str:
        """Numbers of episodes and steps, names and sample time."""
        return (
            f"Trajectories({len(self)} episodes, {self.n_steps} steps, dt={self.dt:g} s, "
            f"outputs={list(self.output_names)}, inputs={list(self.input_names)})"
        )

    def split(
        self, test_fraction: float = 0.3, *, by: str | None = None, random_state: int | None = None
    ) -> tuple[Trajectories, Trajectories]:
        """Split into train and test.

        Parameters
        ----------
        test_fraction : float
            Fraction of episodes, or of each episode's samples, that goes to test; in (0, 1).
        by : {"episode", "time"}, optional
            Draw whole episodes at random, or cut each episode's end off. Nothing is in both parts. By default
            episodes are drawn; where there is one record alone it is cut, and a warning says so.
        random_state : int, optional
            Seed of the draw; unused with `by="time"`.

        Raises
        ------
        DataError
            If a part would be empty.
        """
        train, test = split_episodes(self.episodes, test_fraction, by, random_state)
        return Trajectories(train), Trajectories(test)

    def blocks(self, n: int) -> Trajectories:
        """Cut every record into `n` consecutive blocks, which scikit-learn's splitters can tell apart.

        With one record, `GridSearchCV(model, grid, cv=5).fit(data.blocks(5))` leaves out a fifth of it at a
        time. Blocks share no sample; the transitions between them are lost.

        Parameters
        ----------
        n : int
            Blocks of each record, equally long up to one sample. Their labels are `label/0`, `label/1`, ..

        Raises
        ------
        DataError
            If a block would have fewer than two samples.
        """
        return Trajectories(cut_blocks(self.episodes, n))

    def long_enough(self, n_samples: int, reason: str = "are needed") -> Trajectories:
        """Return the episodes of at least `n_samples` samples; a warning names the others.

        Parameters
        ----------
        n_samples : int
            Samples needed.
        reason : str
            Ends the warning: "shorter than the `n_samples` samples that `reason`".

        Raises
        ------
        DataError
            If no episode is long enough.
        """
        return Trajectories(long_enough(self.episodes, n_samples, reason))

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

    def detrend(self, *, outputs: str = "mean", inputs: str = "mean") -> Detrended:
        """Take offsets or drifts out, and remember them; for `outputs` and `inputs` see
        `koopctrl.data.detrend.detrend`.
        """
        from koopctrl.data.detrend import detrend

        return detrend(self, outputs=outputs, inputs=inputs)

    def plot(self) -> Figure:
        """Figure of all signals over time, episodes above each other."""
        from koopctrl.plotting import plot_records

        return plot_records(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the records to exactly `path`, a zip of arrays (`.npz`) without pickle; `load` reads it."""
        from koopctrl.data.record_file import write_records

        write_records(self.episodes, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Trajectories:
        """Read what `save` wrote to `path`; a damaged or foreign file is a DataError."""
        from koopctrl.data.record_file import read_records

        return cls(read_records(path))

    def to_dataframe(self) -> pd.DataFrame:
        """Return a DataFrame: `episode`, `time`, outputs, inputs; a missing last input is NaN."""
        from koopctrl.data.tables import to_dataframe

        return to_dataframe(self.episodes)
