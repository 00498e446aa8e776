"""Neuron-by-neuron integration: each layer with steps of its own, its neurons last to first.

A neuron's trajectory over one of its steps is the collocation polynomial on Radau points; what neurons
further right send it is known at those points when its turn comes. Start values of all steps follow from one
recursion, which runs in compiled code, so that a neuron costs a few array operations whatever the number of
steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike
from scipy.signal import lfilter

from koopctrl._validation import FloatArray, check_number
from koopctrl._warnings import warn
from koopctrl.errors import NumericalWarning, OptionError, SolverError
from koopctrl.ltinet.neurons import Layer
from koopctrl.ltinet.simulate.input_function import InputFunction
from koopctrl.ltinet.simulate.response import NeuronResponse, read_grid, read_inputs, read_start
from koopctrl.ltinet.structure import NetworkStructure

_STAGES = 6
_MOST_POINTS = 2_000_000  # steps x points of one layer; finer steps would only add rounding
_FITTING_POINTS = 20_000_000  # more do not fit into memory


@cache
def radau(stages: int = _STAGES) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Radau points `c` on (0, 1], integration matrix `Aij`, and the same at check points between them.

    Returns
    -------
    points (s,), integration (s, s), check points (s,), interpolation and integration at those (2, s, s)
    """
    # right Radau points: roots of P_s - P_(s-1) on [-1, 1]
    roots = legendre.legroots(np.eye(stages + 1)[stages] - np.pad(np.eye(stages)[stages - 1], (0, 1)))
    roots = np.sort(roots.real)
    roots[-1] = 1.0
    edges = np.concatenate([[-1.0], roots])
    checks = 0.5 * (edges[1:] + edges[:-1])

    basis = np.linalg.inv(legendre.legvander(roots, stages - 1))

    def integral(at: FloatArray) -> FloatArray:
        antiderivatives = np.array([legendre.legint(np.eye(stages)[j], lbnd=-1) for j in range(stages)])
        return 0.5 * legendre.legval(at, antiderivatives.T).T @ basis

    interpolation = legendre.legvander(checks, stages - 1) @ basis
    return (
        0.5 * (roots + 1.0),
        integral(roots),
        0.5 * (checks + 1.0),
        np.stack([interpolation, integral(checks)]),
    )


def simulate_neurons(
    net: NetworkStructure,
    t: ArrayLike,
    u: ArrayLike | Callable[[float], ArrayLike] | None = None,
    x0: ArrayLike | None = None,
    tol: float = 1e-8,
) -> NeuronResponse:
    """Integrate each neuron's equation numerically, every layer with its own step.

    Steps divide the intervals of `t` by a power of two, halved per layer until the largest defect
    `|w' - A_i w - B_i u|`, checked between the collocation points, is below `tol` times the largest rate.

    Parameters
    ----------
    net : NetworkStructure
    t : array (N + 1,)
        Uniform grid in seconds.
    u : array (N or N + 1, n_u), callable of t, scalar or None
        Arrays are held over each interval. A callable is read once, on a grid of its own that follows it to a
        tenth of `tol`, and not by every layer anew; jumps belong on instants of `t`.
    x0 : array (n,), optional
        Initial state in the original coordinates.
    tol : float
        Relative defect, at least 1e-14.

    Returns
    -------
    NeuronResponse
        With the steps and defects per layer; `net.error_bound(tol=response.defects)` bounds their effect.

    Raises
    ------
    ShapeError, TimeBaseError, DataError, OptionError
        Input that cannot be used.
    SolverError
        A layer is too fast for the grid, or the response of an unstable system overflows.

    Warns
    -----
    NumericalWarning
        A layer's defect stayed above `tol`.
    """
    tol = check_number(tol, "tol", low=1e-14)
    if net.discrete or net.delayed:
        what = "a discrete network" if net.discrete else "a network with dead times"
        raise OptionError(f"simulate_neurons was called of {what}; expected neither. Use simulate")
    time, h = read_grid(t)
    n_u, N = net.B.shape[1], len(time) - 1
    held = np.zeros((0, n_u)) if callable(u) else read_inputs(u, len(time), n_u, "zoh")[0][0]

    function = InputFunction(u, time, n_u, 0.1 * tol) if callable(u) else None

    points, _, checks, _ = radau()
    kept: dict[int, tuple[FloatArray, FloatArray]] = {}

    def inputs(pieces: int) -> tuple[FloatArray, FloatArray]:
        """Inputs at the collocation and check points; layers with equal steps share them."""
        if pieces not in kept:
            count = N * pieces
            starts, interval = time[0] + h / pieces * np.arange(count), np.arange(count) // pieces
            if function is None:
                shape = (count, _STAGES, n_u)
                both = np.broadcast_to(held[interval][:, None, :], shape)
                values = both, both
            else:
                at = (starts[:, None] + h / pieces * c for c in (points, checks))
                one, two = (function(instants, interval) for instants in at)
                values = one, two
            if sum(v[0].size for v in kept.values()) > _MOST_POINTS:
                kept.clear()
            kept[pieces] = values
        return kept[pieces]

    w0 = read_start(x0, net.T.shape[0], 1)[0] @ net.T_inv.T
    W = np.empty((N + 1, net.n_states))
    steps, defects, late = np.empty(len(net.blocks)), np.empty(len(net.blocks)), []
    for i, layer in enumerate(net.layers):
        rows = slice(layer.start, layer.start + len(layer.matrix))
        fastest = float(np.abs(np.linalg.eigvals(layer.matrix)).max())
        pieces = 2 ** max(0, int(np.ceil(np.log2(max(fastest * h / 4.0, 1.0)))))
        if pieces * N * _STAGES > _FITTING_POINTS:
            raise SolverError(
                f"layer {i} is too fast to integrate: its rate {fastest:.3g} 1/s asks for {pieces * N:.3g} "
                "steps. Use simulate, which is exact, or a shorter t"
            )
        while True:
            with np.errstate(over="ignore", invalid="ignore"):
                W[:, rows], defects[i], rate = _layer(layer, net.B[rows], w0[rows], time, h, pieces, inputs)
            if defects[i] <= tol * rate or 2 * pieces * N * _STAGES > _MOST_POINTS:
                break
            pieces *= 2
        if defects[i] > tol * rate:
            late.append(i)
        steps[i] = h / pieces
    if not np.isfinite(W).all():
        at = int(np.argmin(np.isfinite(W).all(axis=1)))
        raise SolverError(
            f"the response leaves float64's range at t[{at}] ({time[at] - time[0]:.6g} s after the start): "
            "the system is unstable. Shorten the horizon or stabilise the system first"
        )
    if late:
        warn(
            f"layers {late[:5]} kept a defect above tol={tol:g} at the smallest step; use simulate, which is "
            "exact, or a looser tol",
            NumericalWarning,
        )
    U = held if function is None else function.at_instants()
    return NeuronResponse(
        time, W @ net.C.T + U @ net.D.T, U, W @ net.T.T, net.input_names, net.output_names, net.state_names,
        "zoh" if function is None else "callable", steps, defects,
    )  # fmt: skip


def _layer(
    layer: Layer,
    B: FloatArray,
    w0: FloatArray,
    time: FloatArray,
    h: float,
    pieces: int,
    inputs: Callable[[int], tuple[FloatArray, FloatArray]],
) -> tuple[FloatArray, float, float]:
    """States of a layer at the instants of `time`, its largest defect and its largest rate."""
    _, integration, _, (to_checks, integration_checks) = radau()
    N, k = len(time) - 1, len(layer.matrix)
    step, count = h / pieces, (len(time) - 1) * pieces
    drive, drive_checks = (values @ B.T for values in inputs(pieces))
    W = layer.weights
    X, X_checks = np.zeros((count, _STAGES, k)), np.zeros((count, _STAGES, k))
    ends = np.empty((count + 1, k))
    defect, rate = 0.0, 0.0
    for neuron in reversed(layer.neurons):
        rows = [state - layer.start for state in neuron.states]
        v = drive[:, :, rows] + X @ W[rows].T if W[rows].any() else drive[:, :, rows]
        v_checks = (
            drive_checks[:, :, rows] + X_checks @ W[rows].T if W[rows].any() else drive_checks[:, :, rows]
        )
        M, p = neuron.matrix, neuron.order
        # (I - step A x M) X = x_start + step A v, over stages and states together
        system = np.eye(_STAGES * p) - step * np.kron(integration, M)
        solve = np.linalg.inv(system)
        forced = (step * np.einsum("ij,cjp->cip", integration, v)).reshape(count, -1) @ solve.T
        free = solve @ np.kron(np.ones((_STAGES, 1)), np.eye(p))
        begin = _recursion(free[-p:], forced[:, -p:], w0[rows])
        ends[:, rows] = begin
        stages = (forced + begin[:-1] @ free.T).reshape(count, _STAGES, p)
        X[:, :, rows] = stages
        slope = stages @ M.T + v
        between = begin[:-1, None] + step * np.einsum("ij,cjp->cip", integration_checks, slope)
        X_checks[:, :, rows] = between
        gap = np.einsum("ij,cjp->cip", to_checks, slope) - between @ M.T - v_checks
        defect = max(defect, float(np.abs(gap).max(initial=0.0)))
        rate = max(rate, float(np.abs(slope).max(initial=0.0)))
    return ends[::pieces][: N + 1], defect, rate


def _recursion(P: FloatArray, forced: FloatArray, start: FloatArray) -> FloatArray:
    """`x_(k+1) = P x_k + forced_k` for one or two states, by scipy's recursive filter."""
    out = np.empty((len(forced) + 1, len(P)))
    out[0] = start
    if len(P) == 1:
        out[1:, 0] = lfilter([1.0], [1.0, -P[0, 0]], forced[:, 0], zi=P[0] * start)[0]
        return out
    values, V = np.linalg.eig(P)
    modes = np.linalg.inv(V)
    q, z0 = forced @ modes.T, modes @ start
    z = np.stack(
        [lfilter([1.0], [1.0, -values[i]], q[:, i], zi=np.array([values[i] * z0[i]]))[0] for i in (0, 1)],
        axis=1,
    )
    out[1:] = np.real(z @ V.T)
    return out
