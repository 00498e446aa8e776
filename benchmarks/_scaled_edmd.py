"""pykoop on a benchmark case: signals as deviations from rest over their spread, and the same QP."""

from __future__ import annotations

from typing import Any

import numpy as np
from _edmd import Array, EdmdMPC, identify_edmd, polynomials, splines

from koopctrl import Trajectories
from koopctrl.benchmark.case import Case
from koopctrl.network.lag_window import LagWindow


class ScaledEdmd:
    """pykoop's model of scaled signals.

    pykoop is given deviations from the resting point, each over its spread in the records, and of its
    polynomials and splines those whose roll-outs over the horizon err least on held-out episodes.

    Parameters
    ----------
    case : Case
        Its records, lags and resting point are used.
    """

    def __init__(self, case: Case) -> None:
        records, lags = case.records, case.knowledge.lags
        self.y_rest, self.u_rest = case.y_rest, case.u_rest
        self.y_scale = _spread([e.outputs for e in records])
        self.u_scale = _spread([e.inputs for e in records])
        scaled = Trajectories.from_arrays(
            [(e.outputs - self.y_rest) / self.y_scale for e in records],
            [(e.inputs - self.u_rest) / self.u_scale for e in records],
            dt=records.dt,
        )
        window = LagWindow(lags, lags, False, records.n_y, records.n_u)
        functions = polynomials(window.n_x) | splines(case.seed)
        self.edmd = identify_edmd(scaled, window, functions, np.zeros(window.n_y), case.horizon)


class ScaledEdmdMPC:
    """LinearMPC on a pykoop model of scaled signals, with the weights and limits of a case."""

    def __init__(self, case: Case, model: ScaledEdmd) -> None:
        self.y_rest, self.u_rest = model.y_rest, model.u_rest
        self.y_scale, self.u_scale = model.y_scale, model.u_scale
        self._mpc = EdmdMPC(
            model.edmd, "riccati", horizon=case.horizon, offset_free=case.offset_free,
            Q=case.Q * self.y_scale * self.y_scale[:, None], R=case.R * self.u_scale * self.u_scale[:, None],
            u_min=(case.u_min - self.u_rest) / self.u_scale, u_max=(case.u_max - self.u_rest) / self.u_scale,
        )  # fmt: skip
        self.dt, self.horizon, self.note = case.dt, case.horizon, self._mpc.note

    @property
    def info(self) -> Any:
        """Status."""
        return self._mpc.info

    def reset(self) -> None:
        """Forget."""
        self._mpc.reset()

    def applied(self, u: Array) -> None:
        """The plant applied another input."""
        self._mpc.applied((np.asarray(u) - self.u_rest) / self.u_scale)

    def control(self, measurement: Any, reference: Any = None) -> Array:
        """Input."""
        goal = None if reference is None else (np.asarray(reference) - self.y_rest) / self.y_scale
        u = self._mpc.control((np.asarray(measurement) - self.y_rest) / self.y_scale, goal)
        return self.u_rest + self.u_scale * u


def _spread(parts: list[Array]) -> Array:
    spread = np.concatenate(parts).std(axis=0)
    return np.where(spread > 0.0, spread, 1.0)
