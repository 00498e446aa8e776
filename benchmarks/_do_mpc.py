"""do-mpc as a peer: its `MPC` class on a plant's own equations or on an exported network."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import casadi
import numpy as np

from koopctrl.controllers.info import ControlInfo

Array = np.ndarray


def import_do_mpc() -> Any:
    """do-mpc without its notices of extras that are not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import do_mpc
    return do_mpc


def plant_model(
    equations: Callable[..., Any],
    output: Callable[..., Any],
    n_x: int,
    n_u: int,
    n_y: int,
    continuous: bool = False,
) -> tuple[Any, Any]:
    """do-mpc model of a plant's equations on components, with the reference `r`; and its outputs."""
    model = import_do_mpc().model.Model("continuous" if continuous else "discrete")
    x, u = model.set_variable("_x", "x", (n_x, 1)), model.set_variable("_u", "u", (n_u, 1))
    model.set_variable("_tvp", "r", (n_y, 1))
    model.set_rhs("x", casadi.vertcat(*equations(casadi.vertsplit(x), casadi.vertsplit(u), xp=casadi)))
    model.setup()
    return model, casadi.vertcat(*output(casadi.vertsplit(model.x["x"]), xp=casadi))


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
