"""From the estimator's parameters, as they were typed, to an `Identification` that may start."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import check_bool, check_choice, check_integer, check_number, items_of
from koopctrl.data.trajectories import Trajectories, Trajectory
from koopctrl.errors import OptionError
from koopctrl.identification.adapted import Directions, adapted_layer
from koopctrl.identification.grey_box import GreyBoxFit, fit_alone, fit_jointly
from koopctrl.identification.held_out import Snapshots
from koopctrl.identification.least_squares import AUTO, SOLVERS
from koopctrl.identification.one_step import MOST_BY_DEFAULT, Identification, Settings
from koopctrl.identification.smoothing import Smoothing, fit_smoothed
from koopctrl.identification.symmetry import check_symmetry, with_mirror_images
from koopctrl.identification.window_refinement import SIMULATION, refine_one_step
from koopctrl.network.coupling import COUPLINGS, PARAMETER_COUPLINGS, Coupling
from koopctrl.network.hidden_layer import Layer
from koopctrl.network.known import KnownPart, read_known
from koopctrl.network.lag_window import LagWindow
from koopctrl.network.recurrent import Scaling
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
    _check_varying(model)
    if model.smooth is not False:
        choices: tuple[Any, ...] = (AUTO, False)
        check_choice(model.smooth, "smooth", choices)
    check_symmetry(model.symmetry)
    check_refine(model.refine)
    check_integer(model.max_iter, "max_iter")
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
    known: KnownPart | None = None,
    client: Any = None,
) -> Identification:
    """Begin an identification with its first batch, which fixes scaling and, unless given, the layer."""
    output_lags = check_integer(model.output_lags, "output_lags", low=1)
    input_lags = check_integer(model.input_lags, "input_lags", low=1)
    if data.n_u == 0 and input_lags > 1:
        raise OptionError(f"input_lags is {input_lags} but the data have no inputs; expected 1")
    window = LagWindow(output_lags, input_lags, bool(model.feedthrough), data.n_y, data.n_u)
    rng = make_rng(model.random_state) if rng is None else rng
    try:
        coupling = coupling_of(model, data)
        if known is None and model.known is not None:
            known = _known_alone(model, data, window)
        return Identification(data, window, coupling, settings, rng, layer, known, client)
    except MemoryError as error:
        raise OptionError(
            f"n_features is {settings.n_features or MOST_BY_DEFAULT}, which does not fit into "
            f"memory ({error}); expected fewer neurons than samples. Try 300"
        ) from error


def fit_rounds(
    model: KoopmanRNN, data: Trajectories, settings: Settings, client: Any = None
) -> tuple[Identification, Trajectories, list[Directions], Smoothing | None]:
    """One-step fit to records or, where that is better, to smoothed ones, which are handed back.

    Its layer is sampled anew `rounds` times where the learned function is curved.
    """
    rounds = check_integer(model.rounds, "rounds")
    rng, found, smoothing = make_rng(model.random_state), [], None
    begin = functools.partial(start, model, settings=settings, client=client)
    if model.smooth == AUTO:
        work, data, smoothing = fit_smoothed(begin(data, rng=rng), data, begin)
        # Mirror images come after smoothing, which is judged on data that must not have been seen.
        if model.symmetry is not None:
            data = with_mirror_images(data, model.symmetry)
            work = begin(data)
    else:
        data = with_mirror_images(data, model.symmetry)
        work = begin(data, rng=rng)
    for _ in range(rounds if work.has_layer else 0):
        net, _ = work.solve()
        layer, directions = adapted_layer(net, work.snapshots, settings.sampler, settings.feature_scale, rng)
        work = start(model, data, settings, rng, layer, net.known, client)
        found.append(directions)
    return work, data, found, smoothing


def fit_coefficients(
    model: KoopmanRNN, data: Trajectories, settings: Settings, work: Identification
) -> tuple[Identification, GreyBoxFit]:
    """Physical coefficients beside the remainder, and the identification that has them."""
    blank = work.blank
    w = blank.window
    pairs = Snapshots(*data.snapshots(w.output_lags, w.input_lags, w.feedthrough))
    fit = fit_jointly(blank, pairs, settings.rcond, settings.ridge)
    assert blank.known is not None  # whoever calls has looked
    known = blank.known.with_theta(fit.theta)
    return start(model, data, settings, make_rng(model.random_state), blank.layer, known), fit


def check_refine(refine: Any) -> int | str | None:
    """`"auto"`, `"simulation"`, a number of samples, or None for no refinement.

    Raises
    ------
    OptionError
        If it is none of these.
    """
    if refine is False:
        return None
    if refine is True:
        return SIMULATION
    if isinstance(refine, str):
        if refine not in (AUTO, SIMULATION):
            raise OptionError(
                f"refine is {refine!r}; expected 'auto', 'simulation', a number of samples, or False"
            )
        return refine
    return check_integer(refine, "refine", low=2)


def refine_fit(model: KoopmanRNN, work: Identification) -> None:
    """Refine a one-step fit along free runs, as the estimator's parameters say."""
    wanted, most = check_refine(model.refine), check_integer(model.max_iter, "max_iter")
    if wanted is None or work.blank.known is not None or not most:
        return
    refined = refine_one_step(work, wanted, most)
    if refined is not None:
        network, model.refinement_ = refined
        model.network_ = network
        coef = network.coupling.contract(network.coef, network.n_dictionary)
        model.solution_ = replace(model.solution_, coef=coef)


def coupling_of(model: KoopmanRNN, data: Trajectories) -> Coupling:
    """How the inputs of some data enter; all of them may be parameters, of a plant that nobody moves.

    Raises
    ------
    OptionError
        If a parameter is none of the inputs, or is named twice.
    """
    names = model.parameters
    names = [] if names is None else [names] if isinstance(names, str) else items_of(names, "parameters")
    if not names:
        return Coupling(model.input_coupling, data.n_u)
    unknown = [n for n in names if n not in data.input_names]
    if unknown or len(set(names)) < len(names):
        raise OptionError(
            f"parameters is {names}; expected each at most once, out of the records' inputs "
            f"{list(data.input_names)}. A measured parameter is recorded as an input column"
        )
    where = tuple(data.input_names.index(n) for n in names)
    return Coupling(model.input_coupling, data.n_u, where, model.parameter_coupling)


def _check_varying(model: KoopmanRNN) -> None:
    """What does not go together with measured parameters or a known part."""
    check_choice(model.parameter_coupling, "parameter_coupling", PARAMETER_COUPLINGS)
    given = model.parameters is not None
    if given and model.n_states is not None:
        raise OptionError(
            "parameters are for measured states or lags, and n_states is set; expected one of them. A "
            "hidden state "
            "takes a measured parameter as an input"
        )
    if given and model.parameter_coupling == "affine" and model.input_coupling == "quadratic":
        raise OptionError(
            "input_coupling is 'quadratic' and parameter_coupling 'affine'; expected products of at most two "
            "inputs. Use input_coupling='bilinear', or parameter_coupling='layer'"
        )
    if model.known is not None and check_refine(model.refine) not in (None, AUTO):
        raise OptionError(
            f"refine is {model.refine!r}, and known is given; expected 'auto' or False. A remainder beside a "
            "known part is fitted to one step"
        )
    if model.known is None:
        if model.theta0 is not None:
            raise OptionError("theta0 is given, and known is not; expected a function known(x, u, theta)")
        return
    lags = max(check_integer(model.output_lags, "output_lags"), check_integer(model.input_lags, "input_lags"))
    if model.n_states is not None or lags > 1 or model.feedthrough:
        raise OptionError(
            "known is a function of a measured state; expected n_states=None, output_lags=1, input_lags=1 "
            "and "
            "feedthrough=False"
        )


def _known_alone(model: KoopmanRNN, data: Trajectories, window: LagWindow) -> KnownPart:
    """The known part, with the coefficients that fit best without a remainder."""
    pairs = Snapshots(*data.snapshots(1, 1, False))
    known = read_known(model.known, model.theta0, window.n_y, pairs.x, pairs.u)
    scaling = Scaling.from_data(np.concatenate([e.outputs for e in data]), np.empty((0, 0)))
    return fit_alone(known, pairs, scaling.y_scale)


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
