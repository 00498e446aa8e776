"""pykoop as a peer: it identifies a Koopman model with inputs, whose matrices and functions our QP takes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.special
import scipy.stats

from koopctrl import LiftedModel, LinearMPC, Trajectories
from koopctrl.errors import SolverError
from koopctrl.network.lag_window import LagWindow

with suppress(ModuleNotFoundError):  # rows of other controllers do without
    import pykoop

Array = np.ndarray
MAX_FUNCTIONS = 300
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
    """Model on all data, with the functions whose roll-outs over the horizon err least on held-out ones."""
    origin = (
        None if x_op is None else window.repeat_channels(np.asarray(x_op, dtype=float), np.zeros(data.n_u))
    )
    name = next(iter(liftings))
    if len(liftings) > 1:
        # Held out are the first episodes that are as long as the horizon: plants that fail make short ones.
        n_valid, enough = max(1, int(_VALIDATION * len(data))), window.n_samples + horizon
        held = [i for i, e in enumerate(data) if len(e.outputs) > enough][:n_valid]
        if not held:
            held = [int(np.argmax([len(e.outputs) for e in data]))]
            horizon = max(1, len(data[held[0]].outputs) - window.n_samples)
        valid = Trajectories(data[i] for i in held)
        train = Trajectories(e for i, e in enumerate(data) if i not in held)
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
        self._window, self._u_op = window, u_op
        self.reset()

    @property
    def info(self) -> Any:
        """Status."""
        return self._mpc.info

    def reset(self) -> None:
        """Forget."""
        self._mpc.reset()
        self._x: Array | None = None
        self._u_last: Array | None = None

    def applied(self, u: Array) -> None:
        """The plant applied another input."""
        self._u_last = np.array(u)
        self._mpc.applied(u)

    def control(self, measurement: Any, reference: Any = None) -> Array:
        """Input: lift the window, solve the QP."""
        y = np.asarray(measurement, dtype=float)
        if self._x is None or self._u_last is None:
            self._x = self._window.repeat_channels(y, self._u_op)
        else:
            self._x = self._window.advance(self._x, self._u_last, y)
        z = self._model.lift(self._x[None])[0] - self._phi_op
        self._u_last = self._mpc.control(z, reference)
        return self._u_last.copy()
