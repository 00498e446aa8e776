"""Recorded or simulated data: a sequence of episodes with the same signals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctrl._validation import (
    FloatArray,
    check_bool,
    check_choice,
    check_integer,
    check_number,
    check_same_dt,
)
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import DataError, OptionError, ShapeError

if TYPE_CHECKING:
    import control
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Trajectories(Sequence[Trajectory]):
    """A sequence of episodes with the same signals and sample time.

    It is what models are fitted to. scikit-learn's splitters, `GridSearchCV` and `cross_val_score` take it as
    `X`, with one episode as one sample.

    Parameters
    ----------
    episodes : sequence of Trajectory
        At least one; names and `dt` must agree.
    """

    episodes: tuple[Trajectory, ...] = field()

    def __init__(self, episodes: Iterable[Trajectory]) -> None:
        items = tuple(episodes)
        if not items:
            raise DataError("episodes is empty; expected at least one Trajectory")
        for item in items:
            if not isinstance(item, Trajectory):
                raise DataError(
                    f"episodes holds a {type(item).__name__}; expected Trajectory objects. "
                    "Build them with Trajectories.from_arrays(x, u, dt=...)"
                )
            _check_same_signals(items[0], item)
        object.__setattr__(self, "episodes", items)

    @classmethod
    def from_arrays(
        cls,
        x: ArrayLike | Sequence[ArrayLike],
        u: ArrayLike | Sequence[ArrayLike] | None = None,
        *,
        dt: float,
        state_names: Sequence[str] | None = None,
        input_names: Sequence[str] | None = None,
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
        state_names, input_names : sequence of str, optional
            Signal names.

        Raises
        ------
        ShapeError, DataError, TimeBaseError
            As `Trajectory`; also if `x` and `u` have different numbers of episodes.
        """
        x_list: list[Any] | None = _episode_list(x)
        _refuse_list_of_samples(x_list)
        u_list: list[Any]
        if x_list is None:
            x_list, u_list = [x], [u]
        elif u is None:
            u_list = [None] * len(x_list)
        elif isinstance(u, Iterable):
            u_list = list(u)
        else:
            raise ShapeError(f"u is {u!r}; expected the inputs of {len(x_list)} episodes, as x")
        if len(u_list) != len(x_list):
            raise ShapeError(f"u has {len(u_list)} episodes; expected {len(x_list)} to match x")
        return cls(
            Trajectory(xi, ui, dt, state_names, input_names, str(i), _signal="states")
            for i, (xi, ui) in enumerate(zip(x_list, u_list, strict=True))
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
    ) -> Trajectories:
        """Build from the columns of a pandas DataFrame, rows in time order.

        Parameters
        ----------
        df : pandas.DataFrame
            One row a sample.
        outputs, inputs : sequence of str
            Column names.
        dt : float, optional
            Sample time in seconds; may be left out when `time` is given.
        time : str, optional
            Column of sample times in seconds; must rise by `dt` within each episode.
        episode : str, optional
            Column whose values tell episodes apart.
        """
        from koopctrl.data.tables import episodes_from_columns

        return cls(
            episodes_from_columns(
                lambda name: df[name].to_numpy(), list(df.columns), outputs, inputs, dt, time, episode
            )
        )

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
        delimiter: str = ",",
    ) -> Trajectories:
        """Build from a CSV file in UTF-8 with one header line.

        Parameters
        ----------
        path : path-like
            File to read.
        outputs, inputs, dt, time, episode
            As in `from_dataframe`.
        delimiter : str
            What stands between two cells.

        Raises
        ------
        DataError
            If the file cannot be read, has no rows, or a used cell is not a number.
        """
        from koopctrl.data.tables import episodes_from_columns, read_csv

        columns = read_csv(path, delimiter, text_columns={episode} if episode else set())
        return cls(
            episodes_from_columns(columns.__getitem__, list(columns), outputs, inputs, dt, time, episode)
        )

    @classmethod
    def from_timeresponse(
        cls, response: control.TimeResponseData, *, signals: str = "outputs"
    ) -> Trajectories:
        """Build from `response`, python-control's `TimeResponseData`; `signals` is "outputs" or "states"."""
        from koopctrl.export.pycontrol import trajectories_from_timeresponse

        return trajectories_from_timeresponse(response, signals=signals)

    @classmethod
    def coerce(cls, data: Any, name: str = "X") -> Trajectories:
        """Return `data` if it is a Trajectories, or wrap one or more Trajectory; errors call it `name`."""
        if isinstance(data, cls):
            return data
        if isinstance(data, Trajectory):
            return cls([data])
        if isinstance(data, np.ndarray) or not isinstance(data, Iterable):
            raise DataError(
                f"{name} is a {type(data).__name__}; expected Trajectories. "
                "Build them with Trajectories.from_arrays(x, u, dt=...)"
            )
        return cls(data)

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
        if isinstance(index, (int, np.integer)):
            return self.episodes[index]
        if isinstance(index, slice):
            return Trajectories(self.episodes[index])
        wanted = np.asarray(index)
        if not wanted.size:
            wanted = wanted.astype(int)
        if wanted.dtype.kind not in "iub":
            raise OptionError(f"index is {index!r}; expected integers, a slice or a mask of episodes")
        chosen = np.arange(len(self))[wanted]
        return Trajectories(self.episodes[i] for i in chosen)

    def __iter__(self) -> Iterator[Trajectory]:
        """Iterate over the episodes."""
        return iter(self.episodes)

    def __add__(self, other: Trajectories) -> Trajectories:
        """Return the episodes of both, which must have the same signals."""
        return Trajectories([*self.episodes, *Trajectories.coerce(other, "other")])

    def __repr__(self) -> str:
        """Numbers of episodes and steps, names and sample time."""
        return (
            f"Trajectories({len(self)} episodes, {self.n_steps} steps, dt={self.dt:g} s, "
            f"outputs={list(self.output_names)}, inputs={list(self.input_names)})"
        )

    def split(
        self, test_fraction: float = 0.3, *, by: str = "episode", random_state: int | None = None
    ) -> tuple[Trajectories, Trajectories]:
        """Split into train and test.

        Parameters
        ----------
        test_fraction : float
            Fraction of episodes, or of each episode's samples, that goes to test; in (0, 1).
        by : {"episode", "time"}
            Draw whole episodes at random, or cut each episode's end off. Nothing is in both parts.
        random_state : int, optional
            Seed of the draw; unused with `by="time"`.

        Raises
        ------
        DataError
            If a part would be empty.
        """
        check_choice(by, "by", ("episode", "time"))
        fraction = check_number(test_fraction, "test_fraction", low=0.0, high=1.0, strict=True)
        if by == "time":
            cuts = [round(len(e) * (1.0 - fraction)) for e in self.episodes]
            if any(not 0 < cut < len(e) for cut, e in zip(cuts, self.episodes, strict=True)):
                raise DataError(f"test_fraction={fraction:g} leaves an episode without train or test samples")
            pairs = list(zip(cuts, self.episodes, strict=True))
            return (
                Trajectories(e.slice(0, cut) for cut, e in pairs),
                Trajectories(e.slice(cut, len(e)) for cut, e in pairs),
            )
        n_test = round(len(self) * fraction)
        if not 0 < n_test < len(self):
            raise DataError(
                f"test_fraction={fraction:g} of {len(self)} episodes leaves train or test empty; "
                'expected both to have an episode. Use by="time" to cut within episodes'
            )
        try:
            order = np.random.default_rng(random_state).permutation(len(self))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"random_state is {random_state!r}; expected a non-negative integer or None"
            ) from error
        test = np.sort(order[:n_test])
        return self[np.sort(order[n_test:])], self[test]

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
        """
        from koopctrl.network.lag_window import LagWindow

        check_integer(output_lags, "output_lags", low=1)
        check_integer(input_lags, "input_lags", low=1)
        check_bool(feedthrough, "feedthrough")
        window = LagWindow(output_lags, input_lags, feedthrough, self.n_y, self.n_u)
        parts = [window.pairs(e.outputs, e.inputs) for e in self.episodes]
        x, u, y_next = (np.concatenate(column) for column in zip(*parts, strict=True))
        return x, u, y_next

    def to_dataframe(self) -> pd.DataFrame:
        """Return a DataFrame: `episode`, `time`, outputs, inputs; a missing last input is NaN."""
        from koopctrl.data.tables import to_dataframe

        return to_dataframe(self.episodes)


def _episode_list(x: Any) -> list[Any] | None:
    """Split a 3-D array or a list of arrays into episodes; None for a single record."""
    if isinstance(x, (list, tuple)):
        if x and (np.ndim(x[0]) if isinstance(x[0], np.ndarray) else _depth(x[0]) - 1) >= 1:
            return list(x)
        return None
    if np.ndim(x) == 3:
        return list(x)
    return None


def _refuse_list_of_samples(episodes: list[Any] | None) -> None:
    """Refuse samples appended in a loop, which would be read as many short episodes of one signal."""
    if not episodes or any(np.ndim(e) != 1 for e in episodes):
        return
    length = len(episodes[0])
    if len(episodes) > length > 1 and all(len(e) == length for e in episodes):
        raise ShapeError(
            f"x is a list of {len(episodes)} vectors of length {length}; expected one (time, n) array "
            "an episode. "
            "For one record of samples pass np.array(x); for short episodes of one signal, (time, 1) arrays"
        )


def _depth(x: Any) -> int:
    """Dimensions of an array or of nested lists, which may be ragged."""
    if isinstance(x, (list, tuple)):
        return 1 + (_depth(x[0]) if len(x) else 0)
    return np.ndim(x)


def _check_same_signals(first: Trajectory, other: Trajectory) -> None:
    check_same_dt(first.dt, other.dt, "two episodes")
    for name in ("output_names", "input_names"):
        if getattr(first, name) != getattr(other, name):
            raise OptionError(
                f"episodes have different {name}: {list(getattr(first, name))} and "
                f"{list(getattr(other, name))}; "
                "expected the same signals in the same order"
            )
