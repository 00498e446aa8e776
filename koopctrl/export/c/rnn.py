"""What the C code of an `RNNMPC` consists of: data, memory, and lines in the header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from koopctrl.controllers.estimation.extended_kalman_law import ExtendedKalmanLaw
from koopctrl.controllers.estimation.lag_window import NetworkWindow
from koopctrl.controllers.estimation.measurement import ABSURD
from koopctrl.controllers.estimation.moving_horizon_network import NetworkHorizonLaw
from koopctrl.controllers.estimation.unscented_kalman_law import UnscentedKalmanLaw
from koopctrl.controllers.mpc.rnn_economic import EconomicIteration
from koopctrl.controllers.qp.dense import FELT
from koopctrl.errors import OptionError
from koopctrl.export.c.data import DataSets
from koopctrl.export.c.estimator import add_extended_kalman
from koopctrl.export.c.model import add_network
from koopctrl.export.c.moving_horizon import NETWORK_TEMPLATES
from koopctrl.export.c.single import check_rounding, network_rounding
from koopctrl.export.c.writer import DataSection, Parts, StateLayout, add_channels, add_step, number

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.problem import MPCProblem
    from koopctrl.controllers.mpc.rnn_law import RNNLaw

_DIAGNOSTICS = """
/* Outputs of the network from the last window under GUARD_HORIZON rows of inputs: GUARD_HORIZON + 1 rows, the
 * first one the present. */
void NAME_predict(const NAME_state *state, const double *inputs, double *outputs);
"""


def rnn_mpc_parts(
    laws: Mapping[str, RNNLaw], diagnostics: bool, scalar: str = "double", untracked: bool | None = None
) -> Parts:
    """Data and memory layout of a controller and its tunings; references may always leave outputs out.

    Raises
    ------
    OptionError
        If the controller's estimator has no C code, or a tuning has other sizes.
    """
    law = next(iter(laws.values()))
    source = law.estimator
    if type(source) not in (NetworkWindow, ExtendedKalmanLaw, UnscentedKalmanLaw, NetworkHorizonLaw):
        raise OptionError(
            f"the controller's estimator is a {type(source).__name__}, for which there is no C code; "
            "expected an ExtendedKalmanFilter, an UnscentedKalmanFilter, a MovingHorizonEstimator or none"
        )
    for each in laws.values():
        _refuse_what_python_alone_does(each)
    rounding = check_rounding(network_rounding(law.rollout), "the network") if scalar == "float" else 0.0
    rate_cost = any(each.policy.has_rate_cost for each in laws.values())
    varies = any(_varies(each.problem) for each in laws.values())
    tightened = any(each.problem.is_tightened for each in laws.values())
    found = [
        _law_data(each, diagnostics, scalar, len(laws), rate_cost, varies, tightened)
        for each in laws.values()
    ]
    data, state = DataSets([section for section, _ in found], list(laws)), found[0][1]
    if len(laws) > 1:
        state.integers(set=0, tuning=0)
    source_files: tuple[str, ...] = ()
    if not isinstance(source, NetworkWindow):
        windowed = isinstance(source, NetworkHorizonLaw)
        source_files = ("correction.c", *NETWORK_TEMPLATES[: 2 if windowed else 1])
    features, n_v = len(law.rollout.bias), len(law.iteration.input_hessian)
    return Parts(
        data, state,
        ("dot.c", "axpy.c", "finite.c", "qp_factor.c", "qp.c", "cholesky.c", "common.c", "step.c",
         "rnn_model.c", *source_files,
         "rnn_target.c", "rnn_riccati.c", "rnn_preview.c", "rnn_condense.c", "rnn_feedback.c", "rnn_qp.c",
         "rnn_iterate.c", "rnn_mpc.c", "api.c"),
        f"Horizon {law.problem.horizon}, {features} features, {n_v} variables.",
        _DIAGNOSTICS if diagnostics else "",
        source.measured_names, law.output_names, tuple(law.input_names[i] for i in law.channels.moved),
        tuple(law.input_names[i] for i in law.channels.told), law.problem.horizon, law.dt, "the last input",
        untracked=True, tunings=tuple(laws), rounding=rounding,
    )  # fmt: skip


def _refuse_what_python_alone_does(law: RNNLaw) -> None:
    if isinstance(law.iteration, EconomicIteration):
        raise OptionError(
            "the controller has stage_cost or nonlinear_constraints, Python functions that C cannot follow; "
            "expected Q and R alone. Run it in Python, or identify outputs that are the cost's residuals"
        )


def _varies(problem: MPCProblem) -> bool:
    return any(bool(np.ptp(w, axis=0).any()) for w in (problem.Q, problem.R, problem.S))


def _law_data(
    law: RNNLaw,
    diagnostics: bool,
    scalar: str,
    n_tunings: int,
    rate_cost: bool,
    varies: bool,
    tightened: bool,
) -> tuple[DataSection, StateLayout]:
    data, state, roll, problem = DataSection(scalar), StateLayout(scalar), law.rollout, law.problem
    window, source = roll.window, law.estimator
    filtered = not isinstance(source, NetworkWindow)
    data.define(
        OBSERVER=int(filtered), N_Y=roll.n_y, N_X=roll.n_x, N_MEASURED=source.n_measured,
        HORIZON=problem.horizon, USES_WINDOW=int(not filtered), OUTPUT_LAGS=window.output_lags,
        INPUT_LAGS=window.input_lags, DIAGNOSTICS=int(diagnostics), ABSURD=number(ABSURD, scalar),
        N_ITERATIONS=law.n_iterations,
        RICCATI=int(problem.terminal != "none"), AUTO=int(problem.terminal == "auto"),
        RATE_COST=int(rate_cost), N_TUNINGS=n_tunings, N_MASKS=1, MIXES=0, SEARCHES=1,
    )  # fmt: skip
    if isinstance(source, NetworkWindow):
        data.define(GATED=0, WINDOWED=0)
        data.array("filter", [source.gain])
    else:
        assert isinstance(source, (ExtendedKalmanLaw, NetworkHorizonLaw))
        add_extended_kalman(source, data, state)
    data.array("worth", [law.settled])
    add_channels(data, state, law, recalls=not filtered)
    n_f = len(roll.bias)
    add_network(roll, data, state, psi=problem.horizon * n_f, trial_psi=problem.horizon * n_f, psi_here=n_f)
    data.array("x_scale", roll.x_scale)
    data.fix()
    _add_problem(law, data, rate_cost, varies, tightened)
    _add_memory(law, state)
    return data, state


def _add_problem(law: RNNLaw, data: DataSection, rate_cost: bool, varies: bool, tightened: bool) -> None:
    """Weights, bounds, blocks, and where searches for targets start."""
    problem, targets, iteration = law.problem, law.targets, law.iteration
    n_v, n_rate, n_e = len(iteration.input_hessian), len(iteration.move_rows), len(iteration.E)
    n_end, n_soft = len(problem.E_end), problem.n_bounded if problem.soft else 0
    owner = np.searchsorted(problem.blocks, np.arange(problem.horizon), side="right") - 1
    bounded = np.isfinite([problem.u_min, problem.u_max]).all() and not problem.bounds_rate
    data.define(
        SWINGS=int(bounded), N_STARTS=len(targets.starts), N_V=n_v, N_RATE=n_rate,
        FEEDBACK=int(iteration.is_feedback), N_INPUTS=n_v if iteration.is_feedback else 0,
        N_E=n_e, N_END=n_end,
        N_SOFT=n_soft, VARIES=int(varies), TIGHTENED=int(tightened),
        MAX_ITERATIONS=100 + 20 * (n_v + n_soft + n_rate + problem.n_bounded),
        N_ASKED=len(targets.question_scale), UNTRACKED=1,
    )  # fmt: skip
    arrays = {
        "Q": problem.Q[-1], "R": problem.input_weight,
        "idle": [targets.epsilon], "size": [targets.size], "starts": targets.starts,
        "settled": targets.settled,
        "y_low": targets.y_low, "y_high": targets.y_high,
        "u_min": problem.u_min, "u_max": problem.u_max, "du_min": problem.du_min, "du_max": problem.du_max,
        "rest_u": targets.idle, "move_scale": targets.u_scale, "asked_scale": targets.question_scale,
        "start_x": targets.start[0], "start_u": targets.start[1],
        "default_reference": law.set_point, "block": owner.astype(int),
        "block_start": np.asarray(problem.blocks, dtype=int),
    }  # fmt: skip
    arrays["move_tolerance"] = iteration.move_tolerance
    if not iteration.is_feedback:
        arrays["input_hessian"] = iteration.input_hessian
    if n_e:
        rows = slice(None) if tightened else 0  # every step's bounds, or those of all
        arrays |= {"E": iteration.E, "e_min": problem.e_low[rows], "e_max": problem.e_high[rows]}
        arrays |= {"e_size": iteration.sizes[0], "felt": [FELT]}
        filters = (ExtendedKalmanLaw, UnscentedKalmanLaw, NetworkHorizonLaw)
        if isinstance(law.estimator, filters) and law.estimator.disturbance == "output":
            arrays["E_outputs"] = problem.E[:, : law.rollout.n_y]
    if n_end:
        arrays |= {"E_end": problem.E_end, "end_min": problem.end_min, "end_max": problem.end_max}
        arrays["end_size"] = iteration.sizes[1]
    if n_e or n_end:
        arrays["penalty"] = problem.soft_weights
    stages = {"Q": problem.Q, "R": problem.R} | ({"S": problem.S} if rate_cost else {})
    arrays |= {f"stage_{name}": weights if varies else weights[-1] for name, weights in stages.items()}
    for name, values in arrays.items():
        data.array(name, values)


def _add_memory(law: RNNLaw, state: StateLayout) -> None:
    """Roll-outs, sensitivities, target, QP and its workspaces."""
    roll, problem, search = law.rollout, law.problem, law.iteration
    N, n_x, n_y, n_u = problem.horizon, roll.n_x, roll.n_y, problem.n_u
    n_v, n_rows = len(search.input_hessian), len(search.move_rows) + problem.n_bounded
    if search.is_feedback:
        n_rows += n_v
        state.doubles(input_map=N * n_u * n_v, move_map=n_u * n_v)
    state.doubles(
        along_a=N * n_x * n_x, along_b=N * n_x * n_u, gains=n_v * n_x, ahead=(N + 1) * n_x,
        course=(N + 1) * n_x, course_merit=1,
    )  # fmt: skip
    n_soft = problem.n_bounded if problem.soft else 0
    n_asked = len(law.targets.question_scale)
    n_kkt, n_qy = 2 * n_x + n_u, roll.n_q * n_y
    state.doubles(
        x=n_x, begin=n_x, d=n_y, offset=roll.n_u, beside=n_y, shift=len(search.E), candidate=N * n_u,
        best=N * n_u, warm=N * n_u, kept=N * n_u,
        trial=N * n_u, states=(N + 1) * n_x,
        trial_states=(N + 1) * n_x, t=N * n_qy,
        trial_t=N * n_qy, tracked=(N + 1) * n_y, steady=N * n_u, end_x=n_x, end_u=n_u, start_x=n_x,
        start_u=n_u, question=n_asked, answered=n_asked, searched_for=n_asked, row_context=n_asked - 2 * n_y,
        wish=n_u, mark=n_y, marks=(N + 1) * n_y, wanted=(N + 1) * n_y, row_marks=N * n_y,
        row_r=N * n_y, row_x=N * n_x, row_u=N * n_u, new_x=N * n_x,
        kkt=n_kkt * n_kkt, rhs=n_kkt, a=n_x * n_x, b=n_x * n_u,
        P=n_x * n_x, K=n_u * n_x, riccati_A=n_x * n_x, riccati_G=n_x * n_x, riccati_M=n_x * n_x,
        riccati_W=2 * n_x * n_x + n_x * n_u + n_u * n_u, riccati_V=n_x * n_x, gamma=N * n_x * n_v,
        H=n_v * n_v, L=n_v * n_v, Linv=n_v * n_v, scale=n_v, rows=n_rows * n_v, row_scale=n_rows,
        slack_unit=n_soft, slack_gradient=n_soft, slack_size=n_soft,
    )  # fmt: skip
    state.integers(
        since=0,
        has_course=0,
        has_target=0,
        has_rows=0,
        searched=0,
        has_P=0,
        use_P=0,
        weighted=0,
        end_converged=0,
    )
    add_step(state, n_u, N, n_v, n_rows, n_soft)
