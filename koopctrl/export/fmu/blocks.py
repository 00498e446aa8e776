"""Controllers, estimators, identified models and linear networks as blocks of an FMU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import as_vector
from koopctrl.errors import OptionError
from koopctrl.export.fmu.signals import Block, Variable, apart, c_array, fill

if TYPE_CHECKING:
    from koopctrl.controllers.estimation.filter_shell import FilterShell
    from koopctrl.controllers.mpc.base import PredictiveController
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel

_CONTROLLER = """
typedef struct {
    block_state inner;
    double u[BLOCK_N_INPUTS];
    int status, tuning;
} adapter;

static void adapter_reset(adapter *a, const double *parameters) {
    static const double rest[BLOCK_N_INPUTS] = @REST@;
    (void)parameters;
    block_reset(&a->inner);
    memcpy(a->u, rest, sizeof a->u);
    a->status = BLOCK_FALLBACK_HOLD_;
    a->tuning = 0;
}

/* in: measurements, set-points, measured disturbances */
static void adapter_begin(adapter *a, const double *in, const int *whole) {
    block_request request = {0, 0, 0, 0, 0, 0, 0};
    block_info info;
    request.measurement = in;
    request.reference = in + BLOCK_N_MEASURED;
#if BLOCK_N_DISTURBANCES > 0
    request.disturbance = in + BLOCK_N_MEASURED + BLOCK_N_OUTPUTS;
    request.n_disturbance_rows = 1;
#endif
#if FMU_TUNED > 1
    block_retune(&a->inner, whole[FMU_N_WHOLE - 1]);
#endif
    (void)whole;
    a->status = block_step(&a->inner, &request, a->u, &info);
}

static void adapter_end(adapter *a, const double *in) { (void)a, (void)in; }

static void adapter_outputs(const adapter *a, const double *in, double *out, int *whole) {
    (void)in;
    memcpy(out, a->u, sizeof a->u);
    whole[0] = a->status;
}
""".replace("BLOCK_FALLBACK_HOLD_", "block_FALLBACK_HOLD")

_ESTIMATOR = """
typedef struct {
    block_state inner;
    double estimate[BLOCK_N_ESTIMATE];
    int known, rejected;
} adapter;

static void adapter_reset(adapter *a, const double *parameters) {
    (void)parameters;
    block_reset(&a->inner);
    memset(a->estimate, 0, sizeof a->estimate);
    a->known = a->rejected = 0;
}

/* in: measurements, then the inputs that acted until now; none on the first sample */
static void adapter_begin(adapter *a, const double *in, const int *whole) {
    const double *u = in + BLOCK_N_MEASURED;
    int i, given = BLOCK_N_INPUTS > 0, n_rejected;
    for (i = 0; i < BLOCK_N_INPUTS; i++) given = given && !isnan(u[i]);
    (void)whole;
    a->known = block_observe(&a->inner, in, given ? u : 0, a->estimate);
    a->rejected = block_rejected(&a->inner, &n_rejected);
}

static void adapter_end(adapter *a, const double *in) { (void)a, (void)in; }

static void adapter_outputs(const adapter *a, const double *in, double *out, int *whole) {
    (void)in;
    memcpy(out, a->estimate, sizeof a->estimate);
    whole[0] = a->known;
    whole[1] = a->rejected;
}
"""

_MODEL = """
typedef struct {
    double x[@N@];
} adapter;

static void adapter_reset(adapter *a, const double *parameters) { @START@ }

static void adapter_begin(adapter *a, const double *in, const int *whole) { (void)a, (void)in, (void)whole; }

/* The range that roll-outs are held within, if there is one. */
static void adapter_hold(double *y) {
#if @HELD@
    static const double low[] = @LOW@, high[] = @HIGH@;
    int i;
    for (i = 0; i < @HELD@; i++) y[i] = fmin(fmax(y[i], low[i]), high[i]);
#else
    (void)y;
#endif
}

static void adapter_end(adapter *a, const double *in) {
    double next[@N@];
    block_step(a->x, in, next);
    adapter_hold(next);
    memcpy(a->x, next, sizeof next);
}

static void adapter_outputs(const adapter *a, const double *in, double *out, int *whole) {
    (void)whole;
#if @AHEAD@
    double next[@N@]; /* the newest output is f(x, u) with the input of the same sample */
    block_step(a->x, in, next);
    adapter_hold(next);
    memcpy(out, next, FMU_N_OUT * sizeof(double));
#else
    block_output(a->x, in, out);
#endif
}
"""

_NETWORK = """
typedef struct {
    double w[BLOCK_N_STATES > 0 ? BLOCK_N_STATES : 1];
} adapter;

static void adapter_reset(adapter *a, const double *parameters) {
    (void)parameters;
    block_reset(a->w);
}
static void adapter_begin(adapter *a, const double *in, const int *whole) { (void)a, (void)in, (void)whole; }
static void adapter_end(adapter *a, const double *in) { block_update(a->w, in); }
static void adapter_outputs(const adapter *a, const double *in, double *out, int *whole) {
    (void)whole;
    block_output(a->w, in, out);
}
"""


def controller_block(mpc: PredictiveController, tunings: Mapping[str, Any] | None = None) -> Block:
    """A `LinearMPC` or an `RNNMPC`: measurements, set-points and measured disturbances in, inputs out.

    Raises
    ------
    OptionError
        If the controller has no C code.
    """
    from koopctrl.export.c.code import mpc_to_c

    law = mpc.law
    measured, references, told = apart(
        [("y_", law.estimator.measured_names), ("r_", [f"r_{n}" for n in law.output_names]),
         ("v_", mpc.disturbance_names)],
        taken=mpc.input_names,
    )  # fmt: skip
    rest = law.u_rest
    inputs = [Variable(n, 0.0, "measurement; NaN: missing") for n in measured]
    inputs += [
        Variable(n, float(r), "set-point; NaN: not tracked")
        for n, r in zip(references, law.set_point, strict=True)
    ]
    inputs += [Variable(n, float(v), "measured disturbance") for n, v in zip(told, law.v_rest, strict=True)]
    names = tuple(tunings) if tunings else ()
    return Block(
        f"{type(mpc).__name__}, horizon {mpc.horizon}", mpc.dt, inputs,
        [Variable(n, 0.0, "manipulated input") for n in mpc.input_names],
        lambda folder: mpc_to_c(mpc, folder, "block", diagnostics=False, tunings=tunings),
        fill(_CONTROLLER, REST=c_array(rest)),
        wholes=[Variable("status", 0.0, "0 optimal, 1 softened, 2 inexact, 3 to 5 fall-backs")],
        tunings=("base", *names) if names else (),
    )  # fmt: skip


def estimator_block(given: FilterShell) -> Block:
    """A filter: measurements and the inputs that acted until now in, its estimate out."""
    from koopctrl.controllers.estimation.extended_kalman_law import ExtendedKalmanLaw
    from koopctrl.controllers.estimation.kalman_law import KalmanLaw
    from koopctrl.controllers.estimation.moving_horizon_law import MovingHorizonLaw
    from koopctrl.controllers.estimation.moving_horizon_network import NetworkHorizonLaw
    from koopctrl.export.c.estimator import estimator_to_c

    law = given.law
    if isinstance(law, (KalmanLaw, MovingHorizonLaw)):
        n, names = len(law.model.A), law.lifted.input_names
    elif isinstance(law, (ExtendedKalmanLaw, NetworkHorizonLaw)):
        n, names = law.rollout.n, law.model.input_names_
    else:
        raise OptionError(
            f"a {type(given).__name__} has no C code, of which FMUs are made; expected a KalmanFilter, an "
            "ExtendedKalmanFilter, an UnscentedKalmanFilter or a MovingHorizonEstimator"
        )
    last = [f"last_{n}" for n in names]
    inputs = [Variable(n, float("nan"), "measurement; NaN: missing") for n in law.measured_names]
    inputs += [Variable(n, float("nan"), "input that acted until this sample; NaN: none yet") for n in last]
    return Block(
        type(given).__name__, law.dt, inputs,
        [Variable(f"estimate{i}", 0.0, "state, then disturbances") for i in range(n)],
        lambda folder: estimator_to_c(given, folder, "block"), _ESTIMATOR,
        wholes=[Variable("known", 0.0, "1 as soon as something has been measured"),
                Variable("rejected", 0.0, "1 where the gate has rejected the measurement")],
    )  # fmt: skip


def model_block(model: KoopmanRNN, x0: ArrayLike | None = None) -> Block:
    """A network: inputs in, outputs out; its state at the start is a parameter."""
    from koopctrl.export.c.model import model_to_c

    net = model._network
    inner = net.state if model.hidden else net  # pyright: ignore[reportAttributeAccessIssue]
    window, bounds, ahead = inner.window, model.rollout_bounds(), not model.hidden and net.window.shift > 0
    n = window.n_x
    start = inner.x_mean if x0 is None else as_vector(x0, "x0", n)
    if model.hidden:
        names, feedthrough = [f"start_x{i}" for i in range(n)], True
    else:
        names = [f"start_{s}" for s in window.names(model.output_names_, model.input_names_)]
        feedthrough = ahead
    held = bounds is not None
    adapter = fill(
        _MODEL, N=n, START="memcpy(a->x, parameters, sizeof a->x);", AHEAD=int(ahead),
        HELD=len(np.atleast_1d(bounds[0])) if held else 0, LOW=c_array(bounds[0] if held else []),
        HIGH=c_array(bounds[1] if held else []),
    )  # fmt: skip
    return Block(
        "KoopmanRNN", model.dt_, _inputs(model.input_names_, inner.scaling.u_mean),
        [Variable(s) for s in model.output_names_],
        lambda folder: model_to_c(model, folder, "block"), adapter,
        parameters=[Variable(s, float(v), "state at the start") for s, v in zip(names, start, strict=True)],
        feedthrough=feedthrough,
    )  # fmt: skip


def lifted_block(lifted: LiftedModel, x0: ArrayLike | None = None) -> Block:
    """A lifted model; its state at the start, in physical units, is a parameter and is lifted there."""
    from koopctrl.export.c.model import model_to_c

    start = lifted.x_op if x0 is None else as_vector(x0, "x0", lifted.n_x)
    adapter = fill(
        _MODEL,
        N=lifted.n_z,
        START="block_lift(parameters, a->x);",
        AHEAD=0,
        HELD=0,
        LOW="{0.0}",
        HIGH="{0.0}",
    )
    return Block(
        "LiftedModel", lifted.dt, _inputs(lifted.input_names, lifted.u_op),
        [Variable(s) for s in lifted.output_names],
        lambda folder: model_to_c(lifted, folder, "block"), adapter,
        parameters=[Variable(f"start_x{i}", float(v), "state at the start") for i, v in enumerate(start)],
        feedthrough=bool(np.any(lifted.D)),
    )  # fmt: skip


def network_block(net: Any, dt: float | None = None) -> Block:
    """A linear network, all neurons at rest at the start."""
    from koopctrl._time import check_dt
    from koopctrl.export.c.ltinet import network_to_c

    seconds = check_dt(dt) if dt is not None else net.sample_time
    if not seconds:
        raise OptionError("dt is None, and the network is continuous; expected a sample time in seconds")
    if net.delayed:
        raise OptionError(
            "the network has dead times, which C does not follow; delay the signals outside the FMU"
        )
    return Block(
        f"LTINetwork of {net.n_states} states", seconds,
        _inputs(net.input_names, np.zeros(len(net.input_names))),
        [Variable(s) for s in net.output_names],
        lambda folder: network_to_c(net, folder, "block", dt), _NETWORK,
        feedthrough=bool(np.any(net.D)),
    )  # fmt: skip


def _inputs(names: Any, start: Any) -> list[Variable]:
    return [Variable(n, float(v)) for n, v in zip(names, start, strict=True)]


def block_of(given: Any, **options: Any) -> Block:
    """The block of an object, or why there is none.

    Raises
    ------
    OptionError
        If the object has no C code, or does not know an option.
    """
    from koopctrl.controllers.estimation.filter_shell import FilterShell
    from koopctrl.controllers.mpc.base import PredictiveController
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.lifted.model import LiftedModel
    from koopctrl.ltinet.structure import NetworkStructure

    makers: list[tuple[type, Any, tuple[str, ...]]] = [
        (PredictiveController, controller_block, ("tunings",)),
        (FilterShell, estimator_block, ()),
        (KoopmanRNN, model_block, ("x0",)),
        (LiftedModel, lifted_block, ("x0",)),
        (NetworkStructure, network_block, ("dt",)),
    ]
    for kind, make, known in makers:
        if not isinstance(given, kind):
            continue
        used = {k: v for k, v in options.items() if v is not None}
        unknown = sorted(set(used) - set(known))
        if unknown:
            raise OptionError(
                f"to_fmu of a {type(given).__name__} was given {', '.join(unknown)}; expected "
                f"{' or '.join(known) or 'no further options'}"
            )
        return make(given, **used)
    raise OptionError(
        f"a {type(given).__name__} has no C code, of which FMUs are made; expected a LinearMPC, a TubeMPC, "
        "an RNNMPC, a KalmanFilter, an ExtendedKalmanFilter, a KoopmanRNN, a LiftedModel or an LTINetwork"
    )
