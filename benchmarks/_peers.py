"""Controllers that other packages make, as the closed-loop benchmarks need them.

- `EdmdMPC`: pykoop identifies a linear Koopman model with inputs (EDMD); its `A`, `B` and lifting functions go
  into our condensed QP.
- `DoMpc`: do-mpc's `MPC` class on the plant's own equations or on an exported network, given the true state.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import casadi
import numpy as np
import pykoop
import scipy.special
import scipy.stats

from koopctrl import LiftedModel, LinearMPC, Trajectories
from koopctrl.controllers.info import ControlInfo
from koopctrl.controllers.measurement import WindowMemory
from koopctrl.errors import SolverError
from koopctrl.features.lags import LagWindow

Array = np.ndarray


# --- pykoop ----------------------------------------------------------------------------------------------

MAX_FUNCTIONS = 300  # as many as our features
_VALIDATION, _STARTS = 0.2, 400


def polynomials(n_x: int) -> dict[str, Any]:
    """Lifting functions of pykoop's control example, of several orders."""
    orders = [n for n in range(2, 6) if scipy.special.comb(n_x + n, n, exact=True) <= MAX_FUNCTIONS]
    return {f"polynomials of order {n}": pykoop.PolynomialLiftingFn(order=n) for n in orders}


def splines(seed: int) -> dict[str, Any]:
    """Lifting functions of pykoop's pendulum example."""
    centers = pykoop.QmcCenters(n_centers=100, qmc=scipy.stats.qmc.LatinHypercube, random_state=seed)
    return {"100 thin-plate splines": pykoop.RbfLiftingFn(rbf="thin_plate", centers=centers)}


class Edmd:
    """A pykoop pipeline on lag windows and its matrices.

    Parameters
    ----------
    data : Trajectories
    window : LagWindow
        What pykoop is given as its state.
    lifting : pykoop lifting function
        Of the state; the input enters linearly.
    origin : (n_x,) array or None
        An equilibrium: pykoop is given deviations from it. None is known: pykoop is given raw signals, and a
        constant among its functions, so that a drift can be fitted.
    """

    def __init__(self, data: Trajectories, window: LagWindow, lifting: Any, origin: Array | None) -> None:
        self._n_constant = int(origin is None)
        self.origin = np.zeros(window.n_x) if origin is None else origin
        functions = [("lift", lifting), ("one", pykoop.ConstantLiftingFn())][: 1 + self._n_constant]
        split = pykoop.SplitPipeline(lifting_functions_state=functions, lifting_functions_input=None)
        self.window, self.dt, self.name = window, data.dt, ""
        mean = np.mean([e.outputs.mean(axis=0) for e in data], axis=0)
        self.middle = window.repeat_channels(mean, np.zeros(data.n_u)) if origin is None else origin
        self.pipeline = pykoop.KoopmanPipeline([("split", split)], regressor=pykoop.Edmd())
        rows = []
        for i, e in enumerate(data):
            first, last = window.n_samples - 1, len(e.outputs)
            x = window.windows(e.outputs, e.inputs, first, last) - self.origin
            u = np.concatenate([e.inputs, e.inputs[-1:]])[first:last]  # the last is not asked for
            rows.append(np.column_stack([np.full(len(x), i), x, u]))
        self.pipeline.fit(np.concatenate(rows), n_inputs=data.n_u, episode_feature=True)
        U = self.pipeline.regressor_.coef_.T
        n = len(U) - self._n_constant
        # The constant is the last function: its column is the drift.
        self.A, self.B = U[:n, :n], U[:n, len(U) :]
        self.c = U[:n, n : len(U)].sum(axis=1)

    def lift(self, x: Array) -> Array:
        """Functions of windows `(n, n_x)`, without the constant."""
        functions = self.pipeline.lift_state(x - self.origin, episode_feature=False)
        return functions[:, : functions.shape[1] - self._n_constant]

    def error(self, data: Trajectories, horizon: int) -> float:
        """Scaled RMSE of linear roll-outs over the horizon, as the QP predicts."""
        starts, inputs, truth = [], [], []
        for e in data:
            for k in range(self.window.n_samples - 1, len(e.outputs) - horizon, horizon):
                starts.append(self.window.windows(e.outputs, e.inputs, k, k + 1)[0])
                inputs.append(e.inputs[k : k + horizon])
                truth.append(e.outputs[k + 1 : k + horizon + 1])
        chosen = slice(None, None, max(1, len(starts) // _STARTS))
        phi, u, y = self.lift(np.array(starts[chosen])), np.array(inputs[chosen]), np.array(truth[chosen])
        predicted = np.empty_like(y)
        with np.errstate(all="ignore"):
            for k in range(horizon):
                phi = phi @ self.A.T + u[:, k] @ self.B.T + self.c
                predicted[:, k] = phi[:, : y.shape[2]] + self.origin[: y.shape[2]]
            error = float(np.sqrt(np.mean(((predicted - y) / y.std(axis=(0, 1))) ** 2)))
        return error if np.isfinite(error) else np.inf


def identify_edmd(
    data: Trajectories, window: LagWindow, liftings: dict[str, Any], x_op: Any, horizon: int
) -> Edmd:
    """Model on all data, with the functions whose roll-outs over the horizon err least on held-out episodes."""
    origin = (
        None if x_op is None else window.repeat_channels(np.asarray(x_op, dtype=float), np.zeros(data.n_u))
    )
    name = next(iter(liftings))
    if len(liftings) > 1:
        n_valid = max(1, int(_VALIDATION * len(data)))
        train, valid = data[n_valid:], data[:n_valid]
        errors = {k: Edmd(train, window, f, origin).error(valid, horizon) for k, f in liftings.items()}
        name = min(errors, key=lambda k: errors[k])
    model = Edmd(data, window, liftings[name], origin)
    model.name = name
    return model


class EdmdMPC:
    """LinearMPC on a pykoop model, in deviations from its functions at the origin or the data's mean.

    Parameters
    ----------
    model : Edmd
    terminal : str
        As in `LinearMPC`; `none` where the Riccati equation of the model has no usable solution.
    size : dict
        Other options of `LinearMPC`.
    """

    def __init__(self, model: Edmd, terminal: str, **size: Any) -> None:
        window = model.window
        u_op, x_op = np.zeros(window.n_u), model.middle
        phi_op = model.lift(x_op[None])[0]
        C = np.eye(window.n_y, len(model.A))  # the state comes first
        lifted = replace(
            LiftedModel.from_matrices(model.A, model.B, C, dt=model.dt),
            c=model.A @ phi_op + model.c - phi_op,
            y_op=x_op[: window.n_y].copy(),
        )
        try:
            self._mpc = LinearMPC(lifted, terminal=terminal, **size)
        except SolverError:
            terminal = "none"
            self._mpc = LinearMPC(lifted, terminal=terminal, **size)
        self.dt, self.horizon = model.dt, self._mpc.horizon
        self.note = f"{model.name}, terminal {terminal}"
        self._model, self._phi_op = model, phi_op
        self._window = WindowMemory(window, u_op, lambda x, u: x[: window.n_y])
        self.reset()

    @property
    def info(self) -> Any:
        """Status."""
        return self._mpc.info

    def reset(self) -> None:
        """Forget."""
        self._window.reset()
        self._mpc.reset()
        self._u_last: Array | None = None

    def applied(self, u: Array) -> None:
        """The plant applied another input."""
        self._u_last = np.array(u)
        self._mpc.applied(u)

    def control(self, measurement: Any, reference: Any = None) -> Array:
        """Input: lift the window, solve the QP."""
        x = self._window.read(np.asarray(measurement, dtype=float), self._u_last)
        z = self._model.lift(np.asarray(x)[None])[0] - self._phi_op
        self._u_last = self._mpc.control(z, reference)
        return self._u_last.copy()


# --- do-mpc ----------------------------------------------------------------------------------------------


def import_do_mpc() -> Any:
    """do-mpc without its notices of extras that are not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import do_mpc
    return do_mpc


def plant_model(step: Callable[..., Any], n_x: int, n_u: int, n_y: int, continuous: bool = False) -> Any:
    """do-mpc model, not set up, of a plant's equations on components; `r` is the reference."""
    model = import_do_mpc().model.Model("continuous" if continuous else "discrete")
    x, u = model.set_variable("_x", "x", (n_x, 1)), model.set_variable("_u", "u", (n_u, 1))
    model.set_variable("_tvp", "r", (n_y, 1))
    model.set_rhs("x", casadi.vertcat(*step(casadi.vertsplit(x), casadi.vertsplit(u), xp=casadi)))
    return model


class DoMpc:
    """do-mpc's MPC, its cost and bounds those of `koopctrl.controllers.NMPC`.

    Parameters
    ----------
    model : do_mpc.model.Model
        Set up.
    y : casadi expression
        Outputs, of the model's states.
    dt, horizon, Q, R, P, u_min, u_max
        As in `NMPC`.
    x_max : array, optional
        Symmetric bound on states.
    state : callable
        The state, when it is asked for.
    options : dict
        For `nlpsol`.
    settings : dict
        Attributes of `mpc.settings`.
    """

    def __init__(
        self, model: Any, y: Any, *, dt: float, horizon: int, Q: Array, R: Any, P: Array | None, u_min: Array,
        u_max: Array, state: Callable[[], Array], x_max: Array | None = None,
        options: dict[str, Any] | None = None, settings: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        mpc = self.mpc = import_do_mpc().controller.MPC(model)
        self.dt, self.horizon, self._state, self.info = dt, horizon, state, None
        mpc.settings.n_horizon, mpc.settings.t_step = horizon, dt
        for name, value in (settings or {}).items():
            setattr(mpc.settings, name, value)
        mpc.settings.supress_ipopt_output()
        mpc.settings.nlpsol_opts.update(options or {})
        tracked = "r" in model.tvp.keys()  # noqa: SIM118 (a CasADi structure)
        e = y - model.tvp["r"] if tracked else y
        u, n_u = model.u.cat, model.n_u
        stage = casadi.bilin(casadi.DM(Q), e, e) + casadi.bilin(casadi.DM(np.eye(n_u) * np.asarray(R)), u, u)
        mpc.set_objective(mterm=casadi.bilin(casadi.DM(Q if P is None else P), e, e), lterm=stage)
        names = model.u.keys()[1:]
        mpc.set_rterm(**dict.fromkeys(names, 0.0))
        low, high = np.split(np.array(u_min), len(names)), np.split(np.array(u_max), len(names))
        for i, name in enumerate(names):
            mpc.bounds["lower", "_u", name], mpc.bounds["upper", "_u", name] = low[i], high[i]
        if x_max is not None:
            mpc.settings.use_terminal_bounds = True
            for side, bound in (("lower", -x_max), ("upper", x_max)):
                mpc.bounds[side, "_x", "x"] = bound
                mpc.terminal_bounds[side, "x"] = bound
        self._rows = np.zeros((horizon + 1, model.tvp["r"].shape[0])) if tracked else None
        if tracked:
            template = mpc.get_tvp_template()

            def references(now: float) -> Any:
                del now
                for k in range(horizon + 1):
                    template["_tvp", k, "r"] = self._rows[k]
                return template

            mpc.set_tvp_fun(references)
        mpc.setup()

    def reset(self) -> None:
        """Forget plans and records."""
        self.mpc.reset_history()
        self._started = False
        self.info = None

    def control(self, measurement: Any, reference: Any = None) -> Array:
        """Input at the plant's true state; the measurement is not looked at."""
        del measurement
        start = time.perf_counter()
        x = np.asarray(self._state(), dtype=float)
        if self._rows is not None and reference is not None:
            r = np.atleast_2d(np.asarray(reference, dtype=float))
            self._rows[:] = r[np.minimum(np.arange(self.horizon + 1), len(r) - 1)]
        if not self._started:
            self.mpc.x0, self.mpc.u0 = x, np.zeros(self.mpc.model.n_u)
            self.mpc.set_initial_guess()
            self._started = True
        u = self.mpc.make_step(x[:, None]).ravel()
        stats = self.mpc.solver_stats
        status = "optimal" if stats["success"] else "not_converged"
        self.info = ControlInfo(status, time.perf_counter() - start, str(stats["return_status"]))
        return u
