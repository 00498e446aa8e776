"""Making a `LiftedFamily`: from a network's derivatives, or by least squares on its records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_weight, check_choice, check_integer, check_number
from koopctrl.errors import DataError, OptionError
from koopctrl.identification.held_out import Snapshots, cut, episodes, rows, split
from koopctrl.identification.least_squares import AUTO, QRAccumulator
from koopctrl.lifted.choice import REGRET, simplest_of_the_best
from koopctrl.lifted.dictionary import raw_layer, reduce_dictionary
from koopctrl.lifted.edmd import jacobian_at
from koopctrl.lifted.observables import Observables
from koopctrl.lifted.operating_point import operating_point
from koopctrl.lifted.regulator_trial import RegulatorTrial, relative_costs
from koopctrl.lifted.varying.family import LiftedFamily
from koopctrl.lifted.varying.frozen import (
    frozen_model,
    frozen_runs,
    parameter_at,
    parameter_range,
    varying_network,
)
from koopctrl.ltinet.varying.affine import AffineModel, combine, sample_points
from koopctrl.network.recurrent import RecurrentNetwork

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

METHODS = ("auto", "edmd", "jacobian", "linear")
_CUTS = (0.3, 0.1, 0.03, 0.01, 1e-3)
_RANK_TOL = 1e-2
_SEGMENTS, _PER_AXIS, _POOR = 200, 5, 2.0

Parts = tuple[FloatArray, FloatArray, FloatArray]  # A (1 + n_p, n_z, n_z), B, c


def lift_family(
    model: KoopmanRNN,
    x_op: ArrayLike | None = None,
    u_op: ArrayLike | None = None,
    *,
    parameter: ArrayLike | None = None,
    method: str = "auto",
    horizon: int = 20,
    rank_tol: float | None = None,
    Q: ArrayLike | None = None,
    R: ArrayLike | None = None,
) -> LiftedFamily:
    """Linear models that are affine in a model's measured parameters.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted with `parameters`, without feedthrough and with `input_lags=1`.
    x_op, u_op : array_like, optional
        Operating point, as in `lift_at` at `parameter`.
    parameter : (n_p,) array_like, optional
        Where the operating point is an equilibrium by default; the records' mean.
    method : {"auto", "edmd", "jacobian", "linear"}
        `"jacobian"` has the network's derivatives at the operating point, exact to first order for all
        parameters if outer weights are affine in them; `"linear"` is least squares of the records on the
        state alone, `"edmd"` on the reduced features too. `"auto"` tries their regulators on the network,
        frozen at three parameters, as `lift_at` does at one, and keeps the simplest of the best.
    horizon : int
        Samples of these regulators, and of the free runs (`family.errors`).
    rank_tol : float, optional
        Relative cut of the features, 1e-2 by default; when given, `"auto"` is `"edmd"`.
    Q, R : scalar, diagonal or matrix, optional
        Weights on outputs and inputs of the controller to be designed, as in `lift_at`.

    Returns
    -------
    LiftedFamily

    Raises
    ------
    OptionError, ShapeError, DataError
        Naming the argument at fault.
    """
    check_choice(method, "method", METHODS)
    horizon = check_integer(horizon, "horizon", low=1)
    if rank_tol is not None:
        check_number(rank_tol, "rank_tol", low=0.0, high=1.0, strict=True)
        if method in ("jacobian", "linear"):
            raise OptionError(f"method is {method!r}, without features; expected no rank_tol")
    if (Q is None) != (R is None):
        raise OptionError("Q and R belong together; expected both or neither")
    net = varying_network(model, "lift_family")
    if net.window.shift:
        raise OptionError("the model has feedthrough; lift_family expected one without")
    p_op = parameter_at(model, parameter)
    work = _Fit(model, net, *operating_point(frozen_model(model, p_op), x_op, u_op), p_op, horizon)
    if method == "auto" and rank_tol is None:
        n_y, n_u = net.window.n_y, len(work.u_op)
        weights = (None if Q is None else as_weight(Q, "Q", n_y), None)
        if R is not None:
            weights = (weights[0], as_weight(R, "R", n_u, definite=True))
        return work.best(weights, horizon)
    return work.make("edmd" if method == "auto" else method, _RANK_TOL if rank_tol is None else rank_tol)


class _Fit:
    """Data and candidates of one family."""

    def __init__(
        self, model: KoopmanRNN, net: RecurrentNetwork, x_op: FloatArray, u_op: FloatArray, p_op: FloatArray,
        horizon: int,
    ) -> None:  # fmt: skip
        self.model, self.net, self.x_op, self.u_op, self.p_op = model, net, x_op, u_op, p_op
        self.moved, self.where = net.coupling.moved, list(net.coupling.parameters)
        data = model.snapshots_
        self.data, self.p = data, data.u[:, self.where]
        self.x_next = net.window.advance(data.x, data.u, data.y_next)
        self.low, self.high = parameter_range(model)
        if not (self.low < self.high).all():
            names = [model.input_names_[i] for i in self.where]
            raise DataError(
                f"parameters {names} run from {self.low.tolist()} to {self.high.tolist()} over the records; "
                "expected "
                "records in which each of them changes"
            )
        self.full = np.empty(net.window.n_u)
        self.full[self.moved], self.full[self.where] = u_op, p_op
        self.dictionary = reduce_dictionary(raw_layer(net, self.full), data.x, x_op, net.x_scale)
        self.fit, judge = split(episodes(net.window, data))
        longest = max((r.stop - r.start for r in judge), default=0)
        self.segments = cut(data, judge, min(horizon, longest), _SEGMENTS) if longest else None

    def observables(self, method: str, rank_tol: float) -> Observables:
        """The lift of a candidate."""
        if method == "edmd":
            return self.dictionary.observables(self.dictionary.rank(rank_tol))
        return Observables.identity(self.x_op, self.net.x_scale)

    def make(self, method: str, rank_tol: float) -> LiftedFamily:
        """The family of one method, from all data."""
        observables, misfit = self.observables(method, rank_tol), 0.0
        if method == "jacobian":
            (A, B, c), misfit = self._derivatives()
        else:
            A, B, c = self._regression(observables, np.arange(len(self.data.x)))
        n_y, n_z = self.net.window.n_y, A.shape[1]
        C = np.zeros((n_y, n_z))
        C[:, :n_y] = np.diag(observables.x_scale[:n_y])
        model, names = self.model, self.model.input_names_
        affine = AffineModel(
            tuple(A), tuple(B), (C,), (np.zeros((n_y, len(self.u_op))),), self.low.copy(), self.high.copy()
        )
        return LiftedFamily(
            affine, tuple(c), model.dt_, self.u_op, self.x_op[:n_y].copy(), self.p_op, observables,
            self.net.frozen(self.p_op).window, model.output_names_, tuple(names[i] for i in self.moved),
            tuple(names[i] for i in self.where), method, {}, {}, misfit, self.net,
        )  # fmt: skip

    def best(self, weights: tuple[FloatArray | None, FloatArray | None], horizon: int) -> LiftedFamily:
        """What regulates the frozen networks best (by free runs where nothing is moved), and is simplest."""
        made: list[tuple[str, str, float, Observables, Parts]] = []
        ranks: set[int] = set()
        for method, rank_tol in (("linear", 1.0), ("jacobian", 1.0), *(("edmd", t) for t in _CUTS)):
            observables = self.observables(method, rank_tol)
            rank = observables.n_z - len(self.x_op)
            if method == "edmd" and (rank in ranks or not rank):
                continue
            ranks.add(rank)
            if method == "jacobian":
                parts = self._derivatives()[0]
            else:
                parts = self._regression(observables, rows(self.fit))
            name = method if method != "edmd" else f"edmd {rank_tol:g}"
            made.append((name, method, rank_tol, observables, parts))
        errors = {name: self._error(observables, parts) for name, _, _, observables, parts in made}
        score = np.array(list(errors.values()))
        costs: dict[str, float] = {}
        if len(self.u_op):
            trials = self._trials(weights, horizon)
            found = [
                np.concatenate([t.costs(o, *(combine(list(part), p) for part in parts)) for p, t in trials])
                for _, _, _, o, parts in made
            ]
            mean, worst = relative_costs(found)
            # Plain least squares is a yardstick where it does the job itself.
            score = np.where((worst <= REGRET) | (mean[0] > _POOR * mean.min()), mean, np.inf)
            costs = dict(zip(errors, mean.tolist(), strict=True))
        chosen = simplest_of_the_best(score, np.array([o.n_z for _, _, _, o, _ in made]))
        _, method, rank_tol, _, _ = made[chosen]
        return replace(self.make(method, rank_tol), errors=errors, costs=costs)

    def _trials(
        self, weights: tuple[FloatArray | None, FloatArray | None], horizon: int
    ) -> list[tuple[FloatArray, RegulatorTrial]]:
        """Closed loops on the network frozen at the operating parameter, and at two far ones."""
        spread = np.quantile(self.p, (0.1, 0.9), axis=0)
        return [
            (p, RegulatorTrial(net, runs, self.x_op, self.u_op, horizon, *weights))
            for p in (self.p_op, *spread)
            for net in [self.net.frozen(p)]
            for runs in [frozen_runs(self.net, net, self.data)]
        ]

    def _error(self, observables: Observables, parts: Parts) -> float:
        """As `koopctrl.identification.penalty.free_run_error` has it, of a family; NaN without such data."""
        segments = self.segments
        if segments is None or not len(segments):
            return np.nan
        n_y, scale = self.net.window.n_y, self.net.scaling.y_scale
        z, error = observables(segments.x0), np.zeros((len(segments), segments.horizon, n_y))
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(segments.horizon):
                u = segments.u[:, k]
                weight = np.concatenate([np.ones((len(u), 1)), u[:, self.where]], axis=1)
                u_dev = u[:, self.moved] - self.u_op
                A, B, c = (np.tensordot(weight, part, axes=1) for part in parts)
                z = np.einsum("nij,nj->ni", A, z) + np.einsum("nij,nj->ni", B, u_dev) + c
                y = self.x_op[:n_y] + z[:, :n_y] * observables.x_scale[:n_y]
                error[:, k] = (y - segments.y[:, k]) / scale
            rms = np.sqrt(np.mean(error**2, axis=(1, 2)))
        return float(np.mean(np.minimum(np.where(np.isfinite(rms), rms, 1.0), 1.0)))

    def _raw(self, parts: list[FloatArray]) -> FloatArray:
        """From parts that multiply `1, (p - mean) / scale` to parts that multiply `1, p`."""
        mean, scale = self.net.scaling.u_mean[self.where], self.net.scaling.u_scale[self.where]
        factors = [part / s for part, s in zip(parts[1:], scale, strict=True)]
        constant = parts[0] - sum(m * f for m, f in zip(mean, factors, strict=True))
        return np.stack([constant, *factors])

    def _weights(self, p: FloatArray) -> FloatArray:
        """`[1, (p - mean) / scale]` of `(n, n_p)` parameters."""
        s = self.net.scaling
        standard = (p - s.u_mean[self.where]) / s.u_scale[self.where]
        return np.concatenate([np.ones((len(p), 1)), standard], axis=1)

    def _derivatives(self) -> tuple[Parts, float]:
        """Derivatives at the operating point, affine in the parameter, and what is not affine in them."""
        box = AffineModel((), (), (), (), self.low, self.high)
        points = sample_points(box, _PER_AXIS if len(self.where) == 1 else 3)
        found = []
        for p in points:
            _, A, B, c, *_ = jacobian_at(self.net.frozen(p), self.x_op, self.u_op)
            found.append(np.concatenate([A, B, c[:, None]], axis=1).ravel())
        values, weights = np.array(found), self._weights(points)
        coef = np.linalg.lstsq(weights, values, rcond=None)[0]
        change = float(np.linalg.norm(values - values.mean(axis=0)))
        misfit = float(np.linalg.norm(values - weights @ coef)) / change if change > 0 else 0.0
        n_x, n_u = self.net.window.n_x, len(self.u_op)
        parts = self._raw(list(coef.reshape(-1, n_x, n_x + n_u + 1)))
        return (parts[:, :, :n_x], parts[:, :, n_x : n_x + n_u], parts[:, :, -1]), misfit

    def _regression(self, observables: Observables, chosen: np.ndarray) -> Parts:
        """Least squares for all parts at once, penalties by evidence."""
        data = Snapshots(self.data.x[chosen], self.data.u[chosen], self.data.y_next[chosen])
        z, z_next = observables(data.x), observables(self.x_next[chosen])
        left = np.concatenate([z, data.u[:, self.moved] - self.u_op, np.ones((len(z), 1))], axis=1)
        weights = self._weights(self.p[chosen])
        n, n_z = left.shape[1], z.shape[1]
        accumulator = QRAccumulator(n * weights.shape[1], n_z)
        accumulator.update((weights[:, :, None] * left[:, None, :]).reshape(len(z), -1), z_next - z)
        w = accumulator.solve(1e-12, AUTO).coef.reshape(weights.shape[1], n, n_z).transpose(0, 2, 1).copy()
        w[0, :, :n_z] += np.eye(n_z)
        parts = self._raw(list(w))
        return parts[:, :, :n_z], parts[:, :, n_z:-1], parts[:, :, -1]
