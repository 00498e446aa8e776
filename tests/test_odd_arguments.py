"""Whatever is passed where something else belongs, the answer is the package's own error."""

import warnings

import control
import gymnasium
import numpy as np
import pytest

import koopctrl.plotting as figures
from koopctrl import (
    LQR,
    RNNMPC,
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanEnsemble,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    LTINetwork,
    MovingHorizonEstimator,
    Trajectories,
    Trajectory,
    UnscentedKalmanFilter,
    collect,
    compare,
    excitation,
    load,
    residual_analysis,
    run_closed_loop,
    select,
    subspace,
    verify_design,
)
from koopctrl.data.resampling import resample
from koopctrl.errors import KoopctrlError


def record():
    rng = np.random.default_rng(0)
    u, y = rng.uniform(-1, 1, (200, 1)), np.zeros((200, 1))
    for k in range(199):
        y[k + 1] = 0.9 * y[k] + 0.5 * u[k]
    return Trajectories([Trajectory(y, u, 0.1, ["y"], ["u"])])


D = record()
M = KoopmanRNN(5, random_state=0).fit(D)
L = M.lift_at(0.0, 0.0, method="edmd")
S, E = subspace(D, order=1), KoopmanEnsemble(KoopmanRNN(3, ridge=1e-8), 2, n_folds=2, random_state=0).fit(D)
NET = LTINetwork.from_statespace(control.ss(np.diag([-1.0, -2.0]), np.ones((2, 1)), np.ones((1, 2)), [[0.0]]))
QUIET = {"check": False, "terminal": "none"}
MPC, FEEDBACK = LinearMPC(L, 5, 1.0, 0.1, **QUIET), LQR(L, 1.0, 0.1)
ENV = gymnasium.make("koopctrl_envs:koopctrl/VanDerPol-v0")


def plant(x, u):
    return 0.9 * x + 0.5 * u


RUN = run_closed_loop(plant, FEEDBACK, 5, x0=[1.0])

JUNK = [
    3.5, "abc", [[1, 2], [3]], object(), {"a": 1}, 10**400, float("nan"), [None], True, np.array([["a"]]), -1,
    set(), b"x", 1j, lambda: 0, [[]], np.array(5.0), KoopmanRNN, None,
]  # fmt: skip

CALLS = {
    "fit": lambda j: KoopmanRNN(3).fit(j),
    "n_features": lambda j: KoopmanRNN(j).fit(D),
    "output_lags": lambda j: KoopmanRNN(3, output_lags=j).fit(D),
    "rcond": lambda j: KoopmanRNN(3, rcond=j).fit(D),
    "ridge": lambda j: KoopmanRNN(3, ridge=j).fit(D),
    "random_state": lambda j: KoopmanRNN(3, random_state=j).fit(D),
    "n_states": lambda j: KoopmanRNN(3, n_states=j, max_iter=1).fit(D),
    "predict": M.predict,
    "n_init": lambda j: M.predict(D, j),
    "score": M.score,
    "report": M.report,
    "report, horizons": lambda j: M.report(D, j),
    "lift_at, x_op": lambda j: M.lift_at(j, method="edmd"),
    "lift_at, u_op": lambda j: M.lift_at(0.0, j, method="edmd"),
    "lift_at, method": lambda j: M.lift_at(0.0, 0.0, method=j if j is not None else 3),
    "lift_at, rank_tol": lambda j: M.lift_at(0.0, 0.0, rank_tol=0.1 if j is None else j),
    "simulate, x0": lambda j: M.simulate(j, np.zeros((3, 1))),
    "simulate, u": lambda j: M.simulate([0.0], j),
    "coerce": Trajectories.coerce,
    "Trajectories": Trajectories,
    "from_arrays, x": lambda j: Trajectories.from_arrays(j, dt=0.1),
    "from_arrays, u": lambda j: Trajectories.from_arrays(np.zeros((5, 1)), j, dt=0.1),
    "from_arrays, dt": lambda j: Trajectories.from_arrays(np.zeros((5, 1)), dt=j),
    "from_arrays, names": lambda j: Trajectories.from_arrays(np.zeros((5, 1)), dt=0.1, output_names=j),
    "from_csv": lambda j: Trajectories.from_csv(j, outputs=["y"], dt=1.0),
    "from_dataframe": lambda j: Trajectories.from_dataframe(j, outputs=["y"], dt=1.0),
    "from_timeresponse": Trajectories.from_timeresponse,
    "split": D.split,
    "split, by": lambda j: D.split(0.3, by=j),
    "blocks": D.blocks,
    "long_enough": D.long_enough,
    "episodes": lambda j: D[j],
    "sum": lambda j: D + j,
    "snapshots": D.snapshots,
    "load": load,
    "Trajectories.load": Trajectories.load,
    "residual_analysis": lambda j: residual_analysis(j, D),
    "residual_analysis, data": lambda j: residual_analysis(M, j),
    "residual_analysis, n_lags": lambda j: residual_analysis(M, D, n_lags=j),
    "compare": lambda j: compare(j, D),
    "compare, data": lambda j: compare([M], j),
    "compare, n_init": lambda j: compare([M], D, n_init=j),
    "subspace": subspace,
    "subspace, order": lambda j: subspace(D, order=j),
    "subspace predict": S.predict,
    "ensemble": lambda j: KoopmanEnsemble(3 if j is None else j, 1, n_folds=0).fit(D),
    "ensemble, n_members": lambda j: KoopmanEnsemble(KoopmanRNN(3), 0 if j is True else j).fit(D),
    "ensemble predict": E.predict,
    "ensemble bands": lambda j: E.predict_band(D, coverage=j),
    "select": select,
    "LQR": lambda j: LQR(j, 1.0, 1.0),
    "LQR, Q": lambda j: LQR(L, j, 1.0),
    "LQR, u_min": lambda j: LQR(L, 1.0, 1.0, u_min=j),
    "LinearMPC": lambda j: LinearMPC(j, 5, 1.0, 0.1),
    "LinearMPC, horizon": lambda j: LinearMPC(L, j, 1.0, 0.1, **QUIET),
    "LinearMPC, R": lambda j: LinearMPC(L, 5, 1.0, j, **QUIET),
    "LinearMPC, u_max": lambda j: LinearMPC(L, 5, 1.0, 0.1, u_max=j, **QUIET),
    "LinearMPC, blocks": lambda j: LinearMPC(L, 5, 1.0, 0.1, blocks=j, **QUIET),
    "LinearMPC, solver": lambda j: LinearMPC(L, 5, 1.0, 0.1, solver=j, **QUIET),
    "LinearMPC, estimator": lambda j: LinearMPC(L, 5, 1.0, 0.1, estimator=j, **QUIET),
    "LinearMPC, soft_weights": lambda j: LinearMPC(L, 5, 1.0, 0.1, soft_weights=j, **QUIET),
    "control": MPC.control,
    "control, reference": lambda j: MPC.control([0.0], j),
    "to_c": MPC.to_c,
    "KalmanFilter": KalmanFilter,
    "KalmanFilter, Qn": lambda j: KalmanFilter(L, j, 1.0),
    "ExtendedKalmanFilter": lambda j: ExtendedKalmanFilter(j, 1.0, 1.0),
    "UnscentedKalmanFilter, spread": lambda j: UnscentedKalmanFilter(M, 1.0, 1.0, spread=j),
    "MovingHorizonEstimator": lambda j: MovingHorizonEstimator(j, 3, 1.0, 1.0),
    "MovingHorizonEstimator, horizon": lambda j: MovingHorizonEstimator(L, j, 1.0, 1.0),
    "MovingHorizonEstimator, y_min": lambda j: MovingHorizonEstimator(L, 3, 1.0, 1.0, y_min=j),
    "MovingHorizonEstimator, x_max": lambda j: MovingHorizonEstimator(M, 3, 1.0, 1.0, x_max=j),
    "MovingHorizonEstimator, d_max": lambda j: MovingHorizonEstimator(
        M, 3, 1.0, 1.0, disturbance="input", d_max=j
    ),
    "MovingHorizonEstimator, constraints": lambda j: MovingHorizonEstimator(L, 3, 1.0, 1.0, constraints=j),
    "MovingHorizonEstimator, E": lambda j: MovingHorizonEstimator(L, 3, 1.0, 1.0, constraints=(j, 0.0, 1.0)),
    "MovingHorizonEstimator, steady": lambda j: MovingHorizonEstimator(L, 3, 1.0, 1.0, steady=j),
    "MovingHorizonEstimator, max_iter": lambda j: MovingHorizonEstimator(M, 3, 1.0, 1.0, max_iter=j),
    "MovingHorizonEstimator, solver": lambda j: MovingHorizonEstimator(
        L, 3, 1.0, 1.0, solver="daqp" if j is None else j
    ),
    "MovingHorizonEstimator, update": lambda j: MovingHorizonEstimator(L, 3, 1.0, 1.0).update(j),
    "MovingHorizonEstimator, u_last": lambda j: MovingHorizonEstimator(M, 3, 1.0, 1.0).observe([0.1], j),
    "ExtendedKalmanFilter, P0": lambda j: ExtendedKalmanFilter(M, 1.0, 1.0, P0=j),
    "RNNMPC": lambda j: RNNMPC(j, 5, 1.0, 0.1),
    "RNNMPC, Q": lambda j: RNNMPC(M, 5, j, 0.1, terminal="none"),
    "verify_design": lambda j: verify_design(j, M),
    "verify_design, model": lambda j: verify_design(MPC, j),
    "loop, env": lambda j: run_closed_loop(j, FEEDBACK, 3),
    "loop, controller": lambda j: run_closed_loop(ENV, j, 3),
    "loop, n_steps": lambda j: run_closed_loop(plant, FEEDBACK, j, x0=[0.0]),
    "loop, reference": lambda j: run_closed_loop(plant, FEEDBACK, 3, j, x0=[0.0]),
    "loop, x0": lambda j: run_closed_loop(plant, FEEDBACK, 3, x0=j),
    "loop, seed": lambda j: run_closed_loop(plant, FEEDBACK, 3, x0=[0.0], seed=j),
    "loop, dt": lambda j: run_closed_loop(plant, FEEDBACK, 3, x0=[0.0], dt=j),
    "collect": collect,
    "collect, policy": lambda j: collect(ENV, j, n_episodes=1, max_steps=3),
    "collect, n_episodes": lambda j: collect(ENV, n_episodes=j, max_steps=3),
    "collect, seed": lambda j: collect(ENV, n_episodes=1, max_steps=3, seed=j),
    "collect, max_steps": lambda j: collect(ENV, n_episodes=1, max_steps=3 if j is None else j),
    "LTINetwork": LTINetwork.from_statespace,
    "LTINetwork, cond_max": lambda j: LTINetwork.from_statespace(NET.to_statespace(), cond_max=j),
    "LTINetwork simulate, t": NET.simulate,
    "LTINetwork simulate, u": lambda j: NET.simulate([0, 1, 2], j),
    "LTINetwork simulate, x0": lambda j: NET.simulate([0, 1, 2], None, j),
    "from_matrices": lambda j: LiftedModel.from_matrices(j, [[1.0]], [[1.0]], [[0.0]], dt=0.1),
    "lift": L.lift,
    "lifted simulate": lambda j: L.simulate(j, np.zeros((3, 1))),
    "prbs": lambda j: excitation.prbs(j, -1.0, 1.0),
    "prbs, low": lambda j: excitation.prbs(20, j, 1.0),
    "multilevel": lambda j: excitation.multilevel(j, -1.0, 1.0),
    "resample": lambda j: resample(j, np.zeros((3, 1)), 0.1),
    "figure of a free run": lambda j: figures.plot_free_run(j, {}),
    "figure of a free run, runs": lambda j: figures.plot_free_run(D[0], j),
    "figure of a closed loop": figures.plot_closed_loop,
    "figure of closed loops": figures.plot_closed_loops,
    "figure of step and Bode": figures.plot_step_and_bode,
    "figure of horizons": figures.plot_horizon_errors,
    "figure of a spectrum": figures.plot_spectrum,
    "figure of residuals": figures.plot_residual_analysis,
    "figure of a design": figures.plot_design,
    "figure, axes": lambda j: figures.plot_closed_loop(RUN, axes=[] if j is None else j),
    "save a model": lambda j: M.save(3 if isinstance(j, (str, bytes)) else j),
    "save records": lambda j: D.save(3 if isinstance(j, (str, bytes)) else j),
    "save a lifted model": lambda j: L.save(3 if isinstance(j, (str, bytes)) else j),
    "save a controller": lambda j: MPC.save(3 if isinstance(j, (str, bytes)) else j),
    "save a result": lambda j: RUN.save(3 if isinstance(j, (str, bytes)) else j),
    "save a network": lambda j: NET.save(3 if isinstance(j, (str, bytes)) else j),
}


@pytest.mark.parametrize("call", CALLS)
def test_odd_arguments_are_refused_by_the_package_or_taken(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for junk in JUNK:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                CALLS[call](junk)
            except KoopctrlError:
                continue
            except FileNotFoundError:
                if not isinstance(junk, (str, bytes)):
                    raise


def test_most_of_them_are_refused():
    """A value that is taken in silence may be right for one argument; it cannot be for most."""
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for junk in ("abc", [[1, 2], [3]], 10**400, 1j):
            for name in (
                "fit",
                "predict",
                "score",
                "report",
                "coerce",
                "blocks",
                "subspace",
                "LQR",
                "LinearMPC",
            ):
                with pytest.raises(KoopctrlError):
                    CALLS[name](junk)
                refused += 1
    assert refused == 36
