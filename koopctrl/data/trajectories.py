"""Recorded or simulated data: a sequence of episodes with the same signals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctrl._validation import alias, check_integer
from koopctrl.data.agreement import agreeing, chosen_episodes
from koopctrl.data.episode_arrays import episode_pairs
from koopctrl.data.episodes import Episodes
from koopctrl.data.splitting import cut_blocks, long_enough, split_episodes
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError

if TYPE_CHECKING:
    import control
    import pandas as pd

    from koopctrl.data.detrend import Detrended


@dataclass(frozen=True, eq=False, repr=False)
class Trajectories(Episodes):
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
        gaps : {"refuse", "split", "keep"}
            What to do where samples are missing, by `time` or since a used cell is empty or not finite:
            raise, or go on with a new episode, `label.1` (`label/1` after empty cells). With `"keep"` empty
            cells of outputs stay missing (NaN), as with `missing` in `from_arrays`; inputs and times, without
            which no model can go on, must all be there.
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
        path: str | PathLike[str] | Iterable[str | PathLike[str]],
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
        header_line: int | None = None,
        data_line: int | None = None,
    ) -> Trajectories:
        """Build from a CSV file in UTF-8 with one header line, or from several.

        Parameters
        ----------
        path : path-like or list of them
            File to read; of several each gives an episode (or more, by `episode` and `gaps`), labelled with
            the file's name.
        outputs, inputs, dt, time, episode, gaps, resample
            As in `from_dataframe`.
        delimiter, decimal, comment : str, optional
            What stands between two cells (a blank stands for any number of them), the decimal mark ("." or
            ","), and what begins a comment line. Recognised where they are None, and then said in a warning
            unless they are commas, points and no comments.
        header_line, data_line : int, optional
            Numbers of the lines, from 1, in which the names of the columns stand and in which the samples
            begin. Recognised where they are None, and said in a warning where text stands above the header,
            or rows of units below it.

        Raises
        ------
        DataError
            If the file cannot be read, has no header line or no rows, or a used cell is not a number.
        OptionError, TimeBaseError
            As `from_dataframe`.
        """
        from koopctrl.data.csv_file import Dialect
        from koopctrl.data.csv_records import episodes_from_csv

        dialect = Dialect(delimiter, decimal, comment, header_line, data_line)
        return cls(
            episodes_from_csv(
                path, outputs, inputs, dt, time, episode, dialect, gaps=gaps, resampled=resample
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

    def __add__(self, other: Trajectories) -> Trajectories:
        """Return the episodes of both, which must have the same signals."""
        return Trajectories([*self.episodes, *Trajectories.coerce(other, "other", missing=True)])

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

    def detrend(self, *, outputs: str = "mean", inputs: str = "mean") -> Detrended:
        """Take offsets or drifts out, and remember them; for `outputs` and `inputs` see
        `koopctrl.data.detrend.detrend`.
        """
        from koopctrl.data.detrend import detrend

        return detrend(self, outputs=outputs, inputs=inputs)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Trajectories:
        """Read what `save` wrote to `path`; a damaged or foreign file is a DataError."""
        from koopctrl.data.record_file import read_records

        return cls(read_records(path))
