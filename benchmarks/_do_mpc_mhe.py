"""do-mpc as a peer: its `MHE` class on a network, with its own arrival cost or with one that is told."""

from __future__ import annotations

import casadi
import numpy as np
from _do_mpc import import_do_mpc

from koopctrl import KoopmanRNN

Array = np.ndarray


class DoMpcMHE:
    """Estimates of a network's state and of loads on its inputs; the inputs sent are known.

    Parameters
    ----------
    model : KoopmanRNN
        Without lags.
    loads : bool
        Whether a constant load on each input is estimated beside the state.
    horizon : int
        Samples before the newest one.
    Q, R : arrays
        Covariances of the noise on the next state and loads, and on the measurements.
    measured : int array
        Positions of the outputs that are measured.
    low, high : arrays
        Bounds on state and loads.
    """

    def __init__(
        self, model: KoopmanRNN, loads: bool, horizon: int, Q: Array, R: Array, measured: Array, low: Array,
        high: Array,
    ) -> None:  # fmt: skip
        n_x, n_u, n = model.n_x, model.network_.window.n_u, len(Q)
        peer = import_do_mpc().model.Model("discrete")
        x, u = peer.set_variable("_x", "x", (n, 1)), peer.set_variable("_u", "u", (n_u, 1))
        peer.set_variable("_p", "root", (n * n, 1))
        # Weights of what is missing are zero, and those of single measurements differ.
        peer.set_variable("_tvp", "counts", (len(measured), 1))
        peer.set_meas("y", x[[int(i) for i in measured]], meas_noise=True)
        peer.set_meas("u_meas", u, meas_noise=False)
        x_next = model.to_casadi()(x[:n_x], u + x[n_x:] if loads else u)
        peer.set_rhs("x", casadi.vertcat(x_next, x[n_x:]), process_noise=True)
        peer.setup()
        mhe = self.mhe = import_do_mpc().estimator.MHE(peer)
        mhe.settings.n_horizon, mhe.settings.t_step = horizon, model.dt_
        mhe.settings.meas_from_data = True
        mhe.settings.store_full_solution = False
        mhe.settings.nlpsol_opts = {
            "ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": 0, "ipopt.tol": 1e-10,
        }  # fmt: skip
        root = casadi.reshape(mhe._p_set["root"], n, n)
        dx = root @ (mhe._x.cat - mhe._x_prev.cat)
        w, v = mhe._w.cat, mhe._v.cat
        stage = casadi.bilin(np.linalg.inv(Q), w, w) + casadi.dot(peer.tvp["counts"] / np.diag(R), v * v)
        mhe.set_objective(stage_cost=stage, arrival_cost=casadi.dot(dx, dx))
        mhe.bounds["lower", "_x", "x"], mhe.bounds["upper", "_x", "x"] = low, high
        self._root = mhe.get_p_template()
        self._rows = mhe.get_y_template()
        mhe.set_p_fun(lambda now: self._root)
        self._counts = mhe.get_tvp_template()
        mhe.set_y_fun(lambda now: self._rows)
        mhe.set_tvp_fun(lambda now: self._counts)
        mhe.setup()
        self.horizon = horizon

    def start(self, x0: Array) -> None:
        """Where iterations begin."""
        self.mhe.x0 = x0
        self.mhe.set_initial_guess()

    def solve(self, mean: Array | None, covariance: Array, y: Array, u: Array) -> Array:
        """States `(horizon + 1, n)`, from `y` and `u` `(horizon, ..)` of the last samples, oldest first.

        `mean` is the oldest state's, its measurement taken in; None for what do-mpc makes of its last answer.
        """
        mhe = self.mhe
        self._root["root"] = np.linalg.inv(np.linalg.cholesky(covariance)).ravel(order="F")
        for k in range(self.horizon):
            here = ~np.isnan(y[k])
            self._rows["y_meas", k, "y"], self._rows["y_meas", k, "u_meas"] = np.where(here, y[k], 0.0), u[k]
            self._counts["_tvp", k, "counts"] = here.astype(float)
        if mean is None:
            mean = np.asarray(mhe.opt_x_num["_x", 1, -1]).ravel()
        mhe.opt_p_num["_x_prev"] = mean
        mhe.opt_p_num["_p_set"] = self._root
        mhe.opt_p_num["_y_meas"], mhe.opt_p_num["_tvp"] = self._rows["y_meas"], self._counts["_tvp"]
        mhe.solve()
        return np.array([np.asarray(mhe.opt_x_num["_x", k, -1]).ravel() for k in range(self.horizon + 1)])

    @property
    def solved(self) -> bool:
        """Whether IPOPT found an answer."""
        return bool(self.mhe.solver_stats["success"])
