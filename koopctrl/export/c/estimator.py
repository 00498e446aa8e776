"""Data and memory of estimators in C."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from koopctrl.controllers.estimation.extended_kalman_law import ExtendedKalmanLaw
from koopctrl.controllers.estimation.fixed_lag import FixedLagLaw
from koopctrl.controllers.estimation.gate import MAX_REJECTIONS
from koopctrl.controllers.estimation.kalman_law import KalmanLaw
from koopctrl.controllers.estimation.lag_window import LagWindow
from koopctrl.controllers.estimation.lifted_measurement import LiftedMeasurement
from koopctrl.controllers.estimation.moving_horizon_law import MovingHorizonLaw
from koopctrl.controllers.estimation.moving_horizon_network import NetworkHorizonLaw
from koopctrl.controllers.estimation.protocol import NETWORK_DISTURBANCES
from koopctrl.controllers.estimation.unscented_kalman_law import NOTHING, UnscentedKalmanLaw
from koopctrl.errors import OptionError
from koopctrl.export.c.model import (
    GeneratedPart,
    add_network,
    fill,
    lifted_biases,
    source_text,
    write,
)
from koopctrl.export.c.moving_horizon import (
    NETWORK_TEMPLATES,
    STATUS_FUNCTION,
    TEMPLATES,
    add_moving_horizon,
    add_network_horizon,
)
from koopctrl.export.c.scalar import check_scalar
from koopctrl.export.c.single import check_rounding, network_rounding
from koopctrl.export.c.writer import DataSection, StateLayout, check_identifier, comment, number

if TYPE_CHECKING:
    from koopctrl.controllers.estimation.filter_shell import FilterShell
    from koopctrl.controllers.estimation.protocol import LinearEstimator
    from koopctrl.lifted.model import LiftedModel


def add_extended_kalman(
    given: ExtendedKalmanLaw | NetworkHorizonLaw,
    data: DataSection,
    state: StateLayout,
    *,
    alone: bool = False,
) -> tuple[str, ...]:
    """Noise, limits and memory of an extended Kalman filter, and the window of a moving horizon around it.

    The network's own data come beside it. Returns the templates after the network's.
    """
    windowed = isinstance(given, NetworkHorizonLaw)
    law = given.kalman if windowed else given
    roll, n, n_m = law.rollout, law.rollout.n, law.n_measured
    data.define(WINDOWED=int(windowed), ALONE=int(alone))
    if windowed:
        add_network_horizon(given, data, state)
    data.define(
        GATED=int(law.gate is not None), STEADY=0, N_P=n,
        DISTURBANCE=NETWORK_DISTURBANCES.index(law.disturbance), N_BESIDE=roll.beside.shape[1],
        MEMORY="p", N_MEMORY="KC_N_P", UNSCENTED=int(isinstance(law, UnscentedKalmanLaw)),
    )  # fmt: skip
    if windowed or isinstance(law, UnscentedKalmanLaw):
        data.define(NOTHING=number(NOTHING, data.scalar))
    if isinstance(law, UnscentedKalmanLaw):
        data.array("point_spread", [law.spread, 0.5 / law.spread**2])
        state.doubles(point=n)
    arrays = {
        "C": law.H, "measured_op": [0.0] * n_m, "R_noise": law.Rn, "noise": law.noise, "P0": law.P0,
        "mean": roll.mean, "y_mean": roll.network.scaling.y_mean, "y_limit": law.y_limit,
        "variance_limit": law.variance_limit, "channel": law.measured.astype(int),
    }  # fmt: skip
    if roll.beside.shape[1]:
        arrays["move_beside"] = roll.beside
    if law.gate is not None:
        data.define(MAX_REJECTIONS=MAX_REJECTIONS)
        arrays["gate"] = [law.gate]
    for name, values in arrays.items():
        data.array(name, values)
    state.doubles(
        p=n, next=n, F=max(2, n) * n, kept_p=n, kept_P=n * n, covariance=n * n, product=n * n, gain=n * n_m,
        seen=n_m * n, innovation=n_m,
    )  # fmt: skip
    state.integers(in_a_row=0)
    return NETWORK_TEMPLATES if windowed else NETWORK_TEMPLATES[:1]


def add_source(
    lifted: LiftedModel,
    source: LinearEstimator,
    data: DataSection,
    state: StateLayout,
    *,
    alone: bool = False,
) -> None:
    """From measurements to features: lifting, a window, or a Kalman filter."""
    window = lifted.window
    kalman = source if isinstance(source, KalmanLaw) else None
    if isinstance(source, MovingHorizonLaw):
        kalman = add_moving_horizon(source, data, state)
    layer, has_layer = lifted.observables.layer, lifted.observables.reduce.shape[1] > 0
    lifts = kalman is None or kalman.lifts
    keeps_window = isinstance(source, LagWindow)
    data.define(
        ALONE=int(alone),
        N_FEATURES=layer.n_features if has_layer else 0,
        TANH=int(layer.activation == "tanh"),
        OBSERVER=int(kalman is not None),
        GATED=int(kalman is not None and kalman.gate is not None),
        OBSERVER_LIFTS=int(kalman is not None and lifts),
        USES_WINDOW=int(keeps_window),
        N_LAGGED=0 if kalman is None else len(kalman.model.A) - source.basis.shape[1],
        OUTPUT_LAGS=window.output_lags,
        INPUT_LAGS=window.input_lags,
        BILINEAR=int(keeps_window and lifted.N is not None),
    )
    if lifts:
        data.array("x_op", lifted.x_op)
        if has_layer:
            data.array("weights", layer.weights)
            data.array("biases", lifted_biases(lifted))
    if kalman is not None:
        _add_kalman(kalman, data, state, alone)
    elif isinstance(source, LiftedMeasurement) and source.gain:
        for name in ("A", "B", "c"):
            data.array(name, getattr(lifted, name))
        data.array("filter", source.gains)
        on_inputs = source.disturbance == "input"
        data.define(EXPLAINS=int(on_inputs))
        if on_inputs:
            data.array("explain_d", source.explain)
        state.doubles(z=lifted.n_z, next=lifted.n_z, rest=lifted.n_z, all_acted=lifted.n_z)
    state.doubles(x=lifted.n_x if keeps_window or (kalman is not None and lifts) else 0)
    if isinstance(source, LagWindow):
        # The next output from features and input: x_op + x_scale (A z + B du + c + sum du_i N_i z).
        n, basis, offset = window.n_y, source.lift, source.lift_offset
        scale = lifted.observables.x_scale[:n, None]
        data.array("step_p", scale * (lifted.A[:n] @ basis))
        data.array("step_u", scale * lifted.B[:n])
        data.array("step_constant", scale[:, 0] * (lifted.A[:n] @ offset + lifted.c[:n]) + lifted.x_op[:n])
        if lifted.N is not None:
            data.array("step_pu", np.stack([scale * (N[:n] @ basis) for N in lifted.N]))
            data.array("step_pu_constant", np.stack([scale[:, 0] * (N[:n] @ offset) for N in lifted.N]))


def _add_kalman(kalman: KalmanLaw, data: DataSection, state: StateLayout, alone: bool) -> None:
    """Matrices of the filter, with the steady gain for complete measurements and what makes it for others."""
    model, lifted, n, n_m = kalman.model, kalman.lifted, len(kalman.model.A), kalman.n_measured
    # What is lagged is moved by hand, unless its covariance is propagated with that of the rest.
    n_state = kalman.n if isinstance(kalman, FixedLagLaw) and kalman.steady else n
    for name, values in {
        "A": model.A[:n_state, :n_state], "B": model.B_all[:n_state], "C": kalman.C[:, :n_state],
        "c": model.c[:n_state], "measured_op": kalman.y_op,
    }.items():  # fmt: skip
        data.array(name, values)
    if not alone:
        data.array("innovation_size", np.sqrt(np.diag(kalman.innovation)))
    data.define(STEADY=int(kalman.steady), MAX_REJECTIONS=MAX_REJECTIONS, N_MEMORY=n, N_STATE=n_state)
    if not isinstance(kalman, FixedLagLaw):
        data.define(MEMORY="p", READ="kc_read")
    if kalman.gate is not None:
        data.array("gate", [kalman.gate])
        state.integers(in_a_row=0)
    if kalman.steady:
        data.array("M", kalman.M)
        data.array("seen_P", kalman.seen_P)
        data.array("innovation_P", kalman.innovation)
    else:
        data.array("noise", kalman.noise)
        data.array("R_noise", kalman.Rn)
        data.array("P0", kalman.P0)
        state.doubles(covariance=n * n, product=n * n, gain=n * n_m, seen=n_m * n)
    state.doubles(next=n, innovation=n_m)
    state.integers(measured_before=n_m)
    if kalman.lifts:
        data.array("channel", kalman.measured.astype(int))
        data.array("x_scale", lifted.observables.x_scale)
        state.doubles(raw=lifted.n_x + lifted.observables.layer.n_features)


def add_lift(lifted: LiftedModel, data: DataSection) -> int:
    """`z = basis (p - p_op)` with `p = [x - x_op; psi(x)]`; returns the length of `p`."""
    obs = lifted.observables
    n_x, n_features = lifted.n_x, obs.layer.n_features if obs.reduce.shape[1] else 0
    basis, p_op = np.zeros((lifted.n_z, n_x + n_features)), np.zeros(n_x + n_features)
    basis[:n_x, :n_x] = np.diag(1.0 / obs.x_scale)
    if n_features:
        basis[n_x:, :n_x] = -obs.project.T
        basis[n_x:, n_x:] = obs.reduce.T
        p_op[n_x:] = obs.layer(lifted.x_op)
    data.array("basis", basis)
    data.array("p_op", p_op)
    return n_x + n_features


def estimator_to_c(
    given: FilterShell,
    folder: str | PathLike[str],
    name: str = "koopctrl_estimator",
    *,
    scalar: str = "double",
) -> GeneratedPart:
    """Write an estimator as C99 of its own.

    Parameters
    ----------
    given : KalmanFilter, ExtendedKalmanFilter, UnscentedKalmanFilter or MovingHorizonEstimator
        Its numbers; its state is not taken over.
    folder : path
        Made if need be.
    name : str
        Of the files, and prefix of all public identifiers.
    scalar : {"double", "float"}
        Type of all numbers.

    Raises
    ------
    OptionError
        If `name` is no usable identifier, or the filter is of another kind.
    """
    check_identifier(name)
    check_scalar(scalar)
    law, data, state = given.law, DataSection(scalar), StateLayout(scalar)
    more = ""
    if isinstance(law, (KalmanLaw, MovingHorizonLaw)):
        lifted, n_u, kind = law.lifted, law.lifted.n_u, "a Kalman filter"
        filtered = law.smoother if isinstance(law, MovingHorizonLaw) else law
        data.define(N_Y=lifted.n_y, N_X=lifted.n_x, N_Z=lifted.n_z, N_P=len(law.model.A))
        data.define(N_MEASURED=law.n_measured, N_IN=n_u)
        add_source(lifted, law, data, state, alone=True)
        n_raw = add_lift(lifted, data if filtered.lifts else DataSection(scalar))
        data.define(LIFTS=int(filtered.lifts), N_RAW=n_raw)
        data.array("in_op", lifted.u_op)
        state.doubles(p=len(law.model.A))
        templates = ("dot.c", "axpy.c", "cholesky.c", "linear_lift.c", "correction.c", "kalman.c")
        if isinstance(law, MovingHorizonLaw):
            kind = f"a moving-horizon estimator of {law.horizon + 1} samples"
            qp = ("qp_factor.c", "qp.c") if law.bounded.n_b else ()
            templates = ("dot.c", "axpy.c", *qp, *TEMPLATES)
            more = STATUS_FUNCTION
        templates = (*templates, "estimator_api.c")
        names, estimate = lifted.input_names, "lifted state, then disturbances"
    elif isinstance(law, (ExtendedKalmanLaw, NetworkHorizonLaw)):
        roll, n_u, qp = law.rollout, law.rollout.n_u, ()
        kind = f"an {'unscented' if isinstance(law, UnscentedKalmanLaw) else 'extended'} Kalman filter"
        if isinstance(law, NetworkHorizonLaw):
            kind, more = f"a moving-horizon estimator of {law.horizon + 1} samples", STATUS_FUNCTION
            qp = ("qp_factor.c", "qp.c") if law.bounded.n_b else ()
        window = roll.window
        if scalar == "float":
            check_rounding(network_rounding(roll), "the filter's network")
        data.define(
            N_Y=roll.n_y, N_X=roll.n_x, N_IN=n_u, N_MEASURED=law.n_measured, OUTPUT_LAGS=window.output_lags,
            INPUT_LAGS=window.input_lags,
        )  # fmt: skip
        add_network(roll, data, state, psi_here=len(roll.bias))
        filtered = add_extended_kalman(law, data, state, alone=True)
        if isinstance(law, UnscentedKalmanLaw):
            data.define(NO_JACOBIAN=1)
        state.doubles(x=roll.n_x, d=roll.n_y, offset=n_u, beside=roll.n_y)
        templates = (
            "dot.c", "axpy.c", "finite.c", *qp, "cholesky.c", "rnn_model.c", "correction.c", *filtered,
            "estimator_api.c",
        )  # fmt: skip
        names, estimate = law.model.input_names_, "window, then disturbances"
    else:
        raise OptionError(
            f"the estimator is a {type(given).__name__}; expected a KalmanFilter, an "
            "ExtendedKalmanFilter, an UnscentedKalmanFilter or a MovingHorizonEstimator, the ones "
            "that have C code"
        )
    state.doubles(acted=n_u)
    state.integers(has_input=0, started=0, rejected=0, n_rejected=0)
    n_estimate = len(law.model.A) if isinstance(law, (KalmanLaw, MovingHorizonLaw)) else law.rollout.n
    values = {
        "SUMMARY": kind, "DT": f"{given.law.dt:.12g}", "n_measured": law.n_measured, "n_u": n_u,
        "measured": comment(", ".join(law.measured_names)), "inputs": comment(", ".join(names) or "none"),
        "n_estimate": n_estimate, "estimate": estimate, "state_bytes": state.bytes, "FIELDS": state.text(),
    }  # fmt: skip
    header = fill("estimator.h", values).replace("\n#endif\n", f"{more}\n#endif\n")
    texts = {f"{name}.h": header, f"{name}.c": source_text(name, data, templates)}
    return write(folder, name, texts, data, state)
