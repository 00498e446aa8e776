"""From the estimator's parameters, as they were typed, to an `Identification` that may start."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import check_bool, check_choice, check_integer, check_number
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import OptionError
from koopctrl.identification.adapted import Directions, adapted_layer
from koopctrl.identification.least_squares import AUTO, SOLVERS
from koopctrl.identification.one_step import MOST_BY_DEFAULT, Identification, Settings
from koopctrl.identification.smoothing import Smoothing, fit_smoothed
from koopctrl.network.coupling import COUPLINGS, Coupling
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.samplers import ACTIVATIONS, SAMPLERS

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

# Neurons are straight lines to rounding below, steps between two neighbouring samples above.
_SCALES = (1e-6, 1e3)
# Above, next to nothing of the column-scaled regressors is left.
_LARGEST_CUT = 0.1


def check_settings(model: KoopmanRNN) -> Settings:
    """Check every parameter of the estimator.

    Raises
    ------
    OptionError
        Naming the parameter that is outside the values it may take.
    """
    check_choice(model.input_coupling, "input_coupling", COUPLINGS)
    check_integer(model.output_lags, "output_lags", low=1)
    check_integer(model.input_lags, "input_lags", low=1)
    check_bool(model.feedthrough, "feedthrough")
    if model.smooth is not False:
        check_choice(model.smooth, "smooth", (AUTO, False))
    low, high = _SCALES
    scale = _check_number(model.feature_scale, "feature_scale", low=0.0, strict=True)
    if not low <= scale <= high:
        neurons = "straight lines to rounding" if scale < low else "steps from one sample to the next"
        raise OptionError(
            f"feature_scale is {scale:g}, which makes all neurons {neurons}; expected {low:g} to {high:g}. "
            "Smooth systems like 0.1 to 0.5; units do not matter, since data are standardised"
        )
    rcond = _check_number(model.rcond, "rcond", low=0.0)
    if rcond > _LARGEST_CUT:
        raise OptionError(
            f"rcond is {rcond:g}, which cuts nearly all of the regressors: singular values below rcond times "
            f"the largest go; expected 0 to {_LARGEST_CUT:g}. Try 1e-12"
        )
    if model.rollout_margin is not None:
        _check_number(model.rollout_margin, "rollout_margin", low=0.0)
    n_features = model.n_features
    if n_features is not None:
        n_features = check_integer(n_features, "n_features")
    return Settings(
        n_features=n_features,
        sampler=check_choice(model.sampler, "sampler", tuple(SAMPLERS)),
        activation=check_choice(model.activation, "activation", ACTIVATIONS),
        feature_scale=scale,
        rcond=rcond,
        ridge=_check_ridge(model.ridge),
        solver=check_choice(model.solver, "solver", SOLVERS),
    )


def start(
    model: KoopmanRNN,
    data: Trajectories,
    settings: Settings,
    rng: np.random.Generator | None = None,
    layer: Layer | None = None,
    client: Any = None,
) -> Identification:
    """Begin an identification with its first batch, which fixes scaling and, unless given, the layer."""
    if data.n_u == 0 and model.input_lags > 1:
        raise OptionError(f"input_lags is {model.input_lags} but the data have no inputs; expected 1")
    window = LagWindow(model.output_lags, model.input_lags, bool(model.feedthrough), data.n_y, data.n_u)
    rng = make_rng(model.random_state) if rng is None else rng
    try:
        coupling = Coupling(model.input_coupling, data.n_u)
        return Identification(data, window, coupling, settings, rng, layer, client)
    except MemoryError as error:
        raise OptionError(
            f"n_features is {settings.n_features or MOST_BY_DEFAULT}, which does not fit into "
            f"memory ({error}); expected fewer neurons than samples. Try 300"
        ) from error


def fit_rounds(
    model: KoopmanRNN, data: Trajectories, settings: Settings, client: Any = None
) -> tuple[Identification, list[Directions], Smoothing | None]:
    """One-step fit to records or, where that is better, to smoothed ones.

    Its layer is sampled anew `rounds` times where the learned function is curved.
    """
    rounds = check_integer(model.rounds, "rounds")
    rng = make_rng(model.random_state)
    work, found, smoothing = start(model, data, settings, rng, client=client), [], None
    if model.smooth == AUTO:
        begin = functools.partial(start, model, settings=settings, client=client)
        work, data, smoothing = fit_smoothed(work, data, begin)
    for _ in range(rounds if work.has_layer else 0):
        net, _ = work.solve()
        layer, directions = adapted_layer(net, work.snapshots, settings.sampler, settings.feature_scale, rng)
        work = start(model, data, settings, rng, layer, client)
        found.append(directions)
    return work, found, smoothing


def make_rng(random_state: Any) -> np.random.Generator:
    """Generator of a seed."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"random_state is {random_state!r}; expected a non-negative integer, a Generator or None"
        ) from error


def take_steps(episodes: Iterator[Trajectory], n_steps: int) -> Iterator[Trajectory]:
    """Take episodes until they hold `n_steps` steps."""
    taken = 0
    for episode in episodes:
        yield episode
        taken += getattr(episode, "n_steps", 0)  # what is not a Trajectory is refused by who takes it
        if taken >= n_steps:
            return


def _check_ridge(ridge: Any) -> float | str:
    if isinstance(ridge, str):
        return check_choice(ridge, "ridge", (AUTO,))
    return _check_number(ridge, "ridge", low=0.0)


def _check_number(value: Any, name: str, *, low: float, strict: bool = False) -> float:
    if isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{name} is {value}; expected a number")
    return check_number(value, name, low=low, strict=strict)
