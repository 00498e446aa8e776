"""FieldMPC: predictive control of a discretised partial differential equation, on the equation itself."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import FloatArray, as_weight, check_dt, check_integer, check_kind
from koopctrl.controllers.bounds import input_bounds
from koopctrl.controllers.estimation.measurement import as_measurement
from koopctrl.controllers.info import MPCInfo
from koopctrl.controllers.qp.active_set import solve_by_active_set
from koopctrl.controllers.qp.dense import DenseQP
from koopctrl.controllers.request import RequestReader
from koopctrl.errors import OptionError, SolverError
from koopctrl.sampled.pde.observer import FieldObserver
from koopctrl.sampled.pde.phi import phi_functions
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete
from koopctrl.sampled.pde.step_face import StepFace

_HALVINGS = 4
_STEP_RTOL = 1e-4  # of a predicted sample, relative to the largest coefficient


class FieldMPC:
    r"""Model predictive controller on a `SemiDiscrete` model.

    .. math::
        \min \sum_{k=1}^{N} |y_k - r_k|_Q^2 + \sum_{k=0}^{N-1} |v_k - v_r|_R^2 + |v_k - v_{k-1}|_S^2
        \quad\text{s.t.}\quad v_{min} \le v_k \le v_{max}

    along the model's own roll-out. At each sample the last plan, moved on by one, is rolled out, the equation
    is linearised along it (exponentials of its derivative at every sample), and one dense QP in the inputs is
    solved; a step that does not lower the cost of the roll-out is halved. The QP's size is `n_inputs *
    horizon` whatever the number of states.

    Parameters
    ----------
    model : SemiDiscrete
        With sensors and inputs. For a measured parameter, set `controller.model = model.at(nu=...)`.
    horizon : int
        `N`, samples.
    Q : scalar, (n_y,) or (n_y, n_y) array_like
        Weight on the sensors.
    R : scalar, (n_u,) or (n_u, n_u) array_like
        Weight on the inputs, definite.
    dt : float
        Sample time, s.
    R_rate : scalar, (n_u,) or (n_u, n_u) array_like, optional
        Weight `S` on moves.
    u_min, u_max : scalar or (n_u,) array_like, optional
        Bounds on the inputs.
    estimator : FieldObserver, optional
        Estimates the state from the sensors. Without one, measurements are states.
    iterations : int
        Linearisations at each sample.

    Attributes
    ----------
    info : MPCInfo or None
        Of the last step.
    """

    def __init__(
        self,
        model: SemiDiscrete,
        horizon: int,
        Q: ArrayLike,
        R: ArrayLike,
        *,
        dt: float,
        R_rate: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        estimator: FieldObserver | None = None,
        iterations: int = 2,
    ) -> None:
        if not isinstance(model, SemiDiscrete):
            raise OptionError(f"model is a {type(model).__name__}; expected pde.discretise(...)")
        if not model.n_outputs or not model.n_inputs:
            raise OptionError(
                f"the model has {model.n_outputs} sensors and {model.n_inputs} inputs; expected some of both"
            )
        if estimator is not None:
            check_kind(estimator, "estimator", ("step", "reset"), "a FieldObserver")
        self.horizon, self.dt = check_integer(horizon, "horizon", low=1), check_dt(dt)
        self.iterations = check_integer(iterations, "iterations", low=1)
        self.n_u, self.n_y = model.n_inputs, model.n_outputs
        self.n_measured = self.n_y if estimator is not None else model.n_states
        self.Q, self.R = as_weight(Q, "Q", self.n_y), as_weight(R, "R", self.n_u, definite=True)
        self.R_rate = np.zeros_like(self.R) if R_rate is None else as_weight(R_rate, "R_rate", self.n_u)
        self.u_min, self.u_max = input_bounds(u_min, u_max, self.n_u)
        self.output_names, self.input_names = model.pde.output_names, model.pde.input_names
        self.set_point = np.zeros(self.n_y)
        self.estimator = estimator
        self._requests = RequestReader(self.n_y, self.n_u, 0, self.horizon, 0, self.set_point)
        self.model = model
        self.reset()

    @property
    def model(self) -> SemiDiscrete:
        """Model of the predictions; one with the same signals may be put in its place between samples."""
        return self._model

    @model.setter
    def model(self, model: SemiDiscrete) -> None:
        if (model.n_outputs, model.n_inputs) != (self.n_y, self.n_u):
            raise OptionError(
                f"model has {model.n_outputs} outputs and {model.n_inputs} inputs; expected {self.n_y} and "
                f"{self.n_u}, those of the controller"
            )
        self._model, self._face = model, StepFace(model, self.dt, _STEP_RTOL)
        _, _, self._C, self._D = model.linearise(np.zeros(model.n_states))

    def reset(self) -> None:
        """Forget estimates, inputs and plans."""
        if self.estimator is not None:
            self.estimator.reset()
        self._face = StepFace(self._model, self.dt, _STEP_RTOL)
        self._u_last = np.clip(np.zeros(self.n_u), self.u_min, self.u_max)
        self._plan = np.tile(self._u_last, (self.horizon, 1))
        self.info: MPCInfo | None = None

    def applied(self, u: ArrayLike) -> None:
        """Told of the input that the plant applied, where it is another one."""
        self._u_last = np.asarray(u, dtype=float).copy()

    def control(
        self,
        measurement: ArrayLike,
        reference: ArrayLike | None = None,
        *,
        input_reference: ArrayLike | None = None,
    ) -> FloatArray:
        """Input to hold until the next sample.

        Parameters
        ----------
        measurement : (n_measured,) array_like
            Sensors, NaN where missing; or the state, without an estimator.
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point for the sensors, or its preview; zeros by default.
        input_reference : (n_u,) or (n, n_u) array_like, optional
            Inputs that go with it; zeros by default.

        Returns
        -------
        (n_u,) array
        """
        start = time.perf_counter()
        N = self.horizon
        y = as_measurement(measurement, self.n_measured)
        asked = self._requests.read(reference, input_reference, None)
        # The preview's first row is the present sample, which no input can move.
        r = asked.r[1 : N + 1] if asked.is_preview else np.tile(asked.r, (N, 1))
        given = np.zeros(self.n_u) if asked.u_r is None else asked.u_r
        u_r = given if given.ndim == 2 else np.tile(given, (N, 1))
        with one_blas_thread():
            try:
                x = y if self.estimator is None else self.estimator.step(y, self._u_last)
                if not np.isfinite(x).all():
                    raise SolverError("the measurement has NaN and there is no estimator")
                plan, cost, solved = self._plan_from(x, r, u_r)
            except SolverError as error:
                self.info = MPCInfo("fallback_hold", time.perf_counter() - start, str(error))
                return self._u_last.copy()
        self._plan = np.concatenate([plan[1:], plan[-1:]])
        self._u_last = plan[0].copy()
        self.info = MPCInfo(
            "optimal" if solved else "inexact", time.perf_counter() - start,
            "" if solved else "no linearisation lowered the cost of the last plan, moved on by one sample",
            self.iterations, float("nan"), cost, plan,
        )  # fmt: skip
        return plan[0].copy()

    def _plan_from(self, x: FloatArray, r: FloatArray, u_r: FloatArray) -> tuple[FloatArray, float, bool]:
        """Inputs `(N, n_u)`, their cost, and whether a linearisation lowered it."""
        plan = self._plan
        states, outputs = self._roll(x, plan)
        cost = self._cost(outputs, plan, r, u_r)
        better = False
        for _ in range(self.iterations):
            target = self._solve(states, outputs, plan, r, u_r)
            length = 1.0
            for _ in range(_HALVINGS):
                tried = plan + length * (target - plan)
                new_states, new_outputs = self._roll(x, tried)
                new_cost = self._cost(new_outputs, tried, r, u_r)
                if new_cost <= cost:
                    break
                length /= 2.0
            else:
                return plan, cost, better
            plan, states, outputs, cost, better = tried, new_states, new_outputs, new_cost, True
        return plan, cost, better

    def _roll(self, x: FloatArray, plan: FloatArray) -> tuple[FloatArray, FloatArray]:
        """States `(N + 1, n_states)` and outputs `(N, n_y)` after each input."""
        states = [x]
        for u in plan:
            states.append(self._face.next_state(states[-1], u))
        outputs = [self._model.output(s, u) for s, u in zip(states[1:], plan, strict=True)]
        return np.array(states), np.array(outputs)

    def _cost(self, outputs: FloatArray, plan: FloatArray, r: FloatArray, u_r: FloatArray) -> float:
        e, d = outputs - r, plan - u_r
        moves = np.diff(plan, axis=0, prepend=self._u_last[None])
        parts = ((e, self.Q), (d, self.R), (moves, self.R_rate))
        return float(sum(np.einsum("ki,ij,kj->", a, w, a) for a, w in parts))

    def _solve(
        self, states: FloatArray, outputs: FloatArray, plan: FloatArray, r: FloatArray, u_r: FloatArray
    ) -> FloatArray:
        """Optimal inputs of the problem linearised along a roll-out."""
        N, m = plan.shape
        gamma = self._sensitivities(states, plan)
        e = (outputs - r).ravel()
        weighted = np.einsum("kij,il->klj", gamma.reshape(N, self.n_y, N * m), self.Q).reshape(
            N * self.n_y, -1
        )
        moves = np.kron(np.eye(N) - np.eye(N, k=-1), np.eye(m))
        rate, size = np.kron(np.eye(N), self.R_rate), np.kron(np.eye(N), self.R)
        H = gamma.T @ weighted + size + moves.T @ rate @ moves
        first = np.diff(plan, axis=0, prepend=self._u_last[None]).ravel()
        g = weighted.T @ e + size @ (plan - u_r).ravel() + moves.T @ (rate @ first)
        low, high = np.tile(self.u_min, N) - plan.ravel(), np.tile(self.u_max, N) - plan.ravel()
        try:
            problem = DenseQP.of(0.5 * (H + H.T), np.zeros((0, N * m)))
        except np.linalg.LinAlgError as error:
            raise SolverError("the Hessian is not definite; expected a larger R") from error
        answer = solve_by_active_set(problem, g, low, high)
        if answer is None:
            raise SolverError("the QP has no solution within its iterations")
        return np.clip(plan + answer[0].reshape(N, m), self.u_min, self.u_max)

    def _sensitivities(self, states: FloatArray, plan: FloatArray) -> FloatArray:
        """Derivatives `(N n_y, N n_u)` of the outputs after each input with respect to all inputs."""
        N, m = plan.shape
        gamma = np.zeros((N, self.n_y, N, m))
        moved = np.zeros((states.shape[1], 0))
        for k in range(N):
            # The derivative in the middle of the sample stands for all of it.
            a, b = self._model.jacobian(0.5 * (states[k] + states[k + 1]), plan[k])
            transition, once = phi_functions(self.dt * a, 1)
            moved = np.concatenate([transition @ moved, self.dt * (once @ b)], axis=1)
            gamma[k, :, : k + 1] = (self._C @ moved).reshape(self.n_y, k + 1, m)
            gamma[k, :, k] += self._D
        return gamma.reshape(N * self.n_y, N * m)

    def __repr__(self) -> str:
        """Sizes."""
        return f"FieldMPC({self._model.n_states} states, {self.n_u} inputs, horizon {self.horizon})"
