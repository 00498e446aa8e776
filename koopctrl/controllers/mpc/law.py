"""Predictive laws: numbers that do not change, and a pure step from one sample to the next."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.estimation.protocol import Estimator
from koopctrl.controllers.info import Aim, MPCInfo, Prediction
from koopctrl.controllers.mpc.input_history import InputHistory, InputPolicy
from koopctrl.controllers.mpc.problem import MPCProblem
from koopctrl.controllers.request import Request, RequestReader, complete_disturbances


class Plan(NamedTuple):
    """A solution: inputs `(N, n_u)` and what `MPCInfo` says about them."""

    inputs: FloatArray
    status: str
    iterations: int
    kkt_residual: float
    objective: float
    slack: float
    prediction: Prediction
    aim: Aim | None


class NoPlan(NamedTuple):
    """The reason why there is none, and the LQR's input `(n_u,)` where it is known.

    `spoilt` tells that the estimate may be to blame.
    """

    reason: str
    lqr: FloatArray | None = None
    spoilt: bool = False


@dataclass(frozen=True)
class NoSearch:
    """State of a search that remembers nothing."""


@dataclass(frozen=True)
class MPCState:
    """All that a predictive law remembers from one sample to the next.

    Attributes
    ----------
    history : InputHistory
        Inputs sent, and the last plan.
    told : (n_v,) array
        Measured disturbances of the last sample,
    has_told : bool
        and whether there was one.
    estimator : dataclass
        The estimator's state.
    search : dataclass
        Where searches for targets and plans start.
    """

    history: InputHistory
    told: FloatArray
    has_told: bool
    estimator: Any
    search: Any


class Situation(NamedTuple):
    """What one sample is planned on.

    Attributes
    ----------
    estimate : array
        The estimator's.
    history : InputHistory
    last : (n_u,) array
        The last input, where bounds on inputs and moves can both hold.
    asked : Request
    v : (N + delay, n_v) array
        Measured disturbances from now on.
    deadline : float
        On the clock of `time.perf_counter`.
    """

    estimate: FloatArray
    history: InputHistory
    last: FloatArray
    asked: Request
    v: FloatArray
    deadline: float


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictiveLaw(ABC):
    """What `LinearMPC` and `RNNMPC` are made of.

    Attributes
    ----------
    problem : MPCProblem
    channels : InputChannels
    estimator : Estimator
    output_names, input_names : tuple of str
        Of the model; `input_names` holds moved and told ones.
    dt : float
    set_point : (n_y,) array
        Where no reference is given.
    u_rest, v_rest : arrays
        Inputs and measured disturbances before the first sample.
    """

    problem: MPCProblem
    channels: InputChannels
    estimator: Estimator
    output_names: tuple[str, ...]
    input_names: tuple[str, ...]
    dt: float
    set_point: FloatArray
    u_rest: FloatArray
    v_rest: FloatArray

    @property
    def seen(self) -> tuple[FloatArray, FloatArray] | None:
        """Range of the outputs in the training data of the model, where it has them."""
        return None

    @cached_property
    def policy(self) -> InputPolicy:
        """How inputs leave."""
        return InputPolicy(self.problem, self.u_rest)

    @cached_property
    def reader(self) -> RequestReader:
        """Checks what is asked."""
        p = self.problem
        return RequestReader(
            len(self.set_point), p.n_u, self.channels.n_v, p.horizon, p.delay, self.set_point
        )

    @abstractmethod
    def plan(self, now: Situation, search: Any) -> tuple[Plan | NoPlan, Any]:
        """A plan, and the state of the search after it."""

    def initial_search(self) -> Any:
        """State of the search before the first sample."""
        return NoSearch()

    def initial(self) -> MPCState:
        """State before the first sample."""
        return MPCState(
            self.policy.initial(), self.v_rest, False, self.estimator.initial(), self.initial_search()
        )

    def step(self, state: MPCState, y: FloatArray, asked: Request) -> tuple[FloatArray, MPCState, MPCInfo]:
        """One sample.

        Parameters
        ----------
        state : MPCState
            After the last sample; left as it is.
        y : (n_measured,) array
            NaN where missing.
        asked : Request

        Returns
        -------
        u : (n_u,) array
        state : MPCState
        info : MPCInfo
            The same for the same arguments, but for its `solve_time` (and where `max_solve_time` cuts in).
        """
        start = time.perf_counter()
        history, problem, v = state.history, self.problem, asked.v
        acted, told = history.arrived, state.told
        if self.channels.n_v:
            v = complete_disturbances(v, told, problem.horizon + problem.delay)
            if acted is not None:
                acted = self.channels.join(acted, told if state.has_told else v[0])
            told = v[0]
        elif v is None:
            v = self.no_disturbances
        # Absurd measurements overflow; what comes of them is refused below.
        with np.errstate(over="ignore", invalid="ignore"):
            estimator, search = self.estimator.step(state.estimator, y, acted), state.search
            estimate = self.estimator.estimate(estimator)
            if estimate is None:
                found = NoPlan(self.estimator.silence)
            else:
                now = Situation(
                    estimate, history, self.policy.effective_last(history), asked, v,
                    start + problem.max_solve_time,
                )  # fmt: skip
                found, search = self.plan(now, search)
        untracked = self._untracked(asked)
        if isinstance(found, NoPlan):
            history, inputs, status = self.policy.fall_back(history, found.lqr)
            if found.spoilt:
                estimator = self.estimator.recover(estimator, y)
            info = MPCInfo(
                status, time.perf_counter() - start, found.reason, inputs=inputs, untracked=untracked
            )
        else:
            history, inputs = self.policy.accept(history, found.inputs)
            reason = "the measurement was rejected" if self.estimator.rejected(estimator)[0] else ""
            info = MPCInfo(
                found.status, time.perf_counter() - start, reason, found.iterations, found.kkt_residual,
                found.objective, inputs, found.slack, found.prediction, aim=found.aim, untracked=untracked,
                seen=self.seen,
            )  # fmt: skip
        state = MPCState(history, told, state.has_told or self.channels.n_v > 0, estimator, search)
        return inputs[0].copy(), state, info

    @cached_property
    def no_disturbances(self) -> FloatArray:
        """Rows of none."""
        return np.empty((self.problem.horizon + self.problem.delay, 0))

    def _untracked(self, asked: Request) -> tuple[str, ...]:
        if asked.tracked is None:
            return ()
        given = asked.tracked.reshape(-1, len(self.output_names)).all(axis=0)
        return tuple(self.output_names[i] for i in np.flatnonzero(~given))
