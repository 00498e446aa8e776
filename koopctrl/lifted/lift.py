r"""From a fitted network to its lifted face: the linear model around an operating point that controls it
best.

1. Candidates are made from the training data: the state alone or with the network's own reduced features
   (`koopctrl.lifted.candidates`).
2. Each one's regulator is tried on the network (`koopctrl.lifted.regulator_trial`), and its free run on data
that
   were held out; the simplest of the best is made again from all the data (`koopctrl.lifted.choice`).
3. The drift `c` of candidates that are lifted is not fitted: it is where the nonlinear face takes the
operating
   point, `c = lift(f(x_op, u_op))`, so the linear face is exact there and `c = 0` at an equilibrium.

In the spirit of Korda & Mezic, *Linear predictors for nonlinear dynamical systems*, Automatica 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import (
    FloatArray,
    as_weight,
    check_bool,
    check_choice,
    check_integer,
    check_number,
)
from koopctrl._warnings import warn
from koopctrl.errors import NumericalWarning, OptionError
from koopctrl.identification.held_out import episodes, split
from koopctrl.lifted.candidates import Workshop
from koopctrl.lifted.choice import LiftChoice, choose
from koopctrl.lifted.edmd import edmd_at, jacobian_at, least_squares_at
from koopctrl.lifted.model import LiftedModel
from koopctrl.lifted.observables import Observables
from koopctrl.lifted.operating_point import operating_point
from koopctrl.lifted.regulator_trial import GAINS, RegulatorTrial

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

METHODS = ("auto", "edmd", "jacobian", "linear")
_RANK_TOL = 1e-6
_MAX_TRAINING = 5_000


def lift_network(
    model: KoopmanRNN,
    x_op: ArrayLike | None = None,
    u_op: ArrayLike | None = None,
    *,
    horizon: int = 20,
    method: str = "auto",
    rank_tol: float | None = None,
    bilinear: bool = False,
    Q: ArrayLike | None = None,
    R: ArrayLike | None = None,
) -> LiftedModel:
    """Linear face of a fitted model around `(x_op, u_op)`.

    Parameters
    ----------
    model : KoopmanRNN
        Fitted.
    x_op : (n_x,) or (n_y,) array_like or scalar, optional
        Operating point; a scalar stands for all entries, one sample of the outputs for a steady lag window.
        By default the model's equilibrium under `u_op` nearest to the data's mean, if there is one within the
        data's range, else the mean.
    u_op : (n_u,) array_like or scalar, optional
        Operating input; the mean of the data by default.
    horizon : int
        Samples over which candidates are compared: that of the controller to be designed.
    method : {"auto", "edmd", "jacobian", "linear"}
        `"auto"` compares the candidates named in `koopctrl.lifted.candidates` and keeps the best, and says so
        in `lifted.choice`; `"edmd"` makes one lift, cut at `rank_tol`; `"jacobian"` takes the network's
        derivatives at the operating point, `"linear"` least squares of the data, both on the state alone.
    rank_tol : float, optional
        Relative cut-off of the dictionary's singular values, 1e-6 by default; when given, or with `bilinear`,
        `"auto"` is `"edmd"`.
    bilinear : bool
        Whether to fit the terms `(u - u_op)_i N_i z` too.
    Q, R : scalar, diagonal or matrix, optional
        Weights on outputs and inputs of the controller to be designed, under which candidates are then
        compared: pass them where they are known. Without them outputs and inputs count relative to their
        spread, once with cheap and once with dear inputs.

    Returns
    -------
    LiftedModel

    Raises
    ------
    OptionError, ShapeError, DataError
        Naming the argument at fault.

    Warns
    -----
    NumericalWarning
        If the operating point lies outside the training data's range by more than half of it, or there are
        no more snapshots than features.
    """
    net = model._network
    check_choice(method, "method", METHODS)
    check_bool(bilinear, "bilinear")
    horizon = check_integer(horizon, "horizon", low=1)
    if rank_tol is not None:
        check_number(rank_tol, "rank_tol", low=0.0, high=1.0)
    if (Q is None) != (R is None):
        raise OptionError("Q and R belong together; expected both or neither")
    weight_y = None if Q is None else as_weight(Q, "Q", net.window.n_y)
    weight_u = None if R is None else as_weight(R, "R", net.window.n_u, definite=True)
    plain = method in ("jacobian", "linear")
    if plain and (bilinear or rank_tol is not None):
        raise OptionError(f"method is {method!r}, without features; expected neither rank_tol nor bilinear")
    x0, u0 = operating_point(model, x_op, u_op)
    n_features = net.layer.n_features
    if not plain and len(model.snapshots_.x) <= n_features:
        warn(
            f"{len(model.snapshots_.x)} snapshots for {n_features} features: the lifted coordinates fit these"
            " data only",
            NumericalWarning,
        )
    if method == "edmd" or rank_tol is not None or bilinear:
        made = edmd_at(net, model.snapshots_, x0, u0, _RANK_TOL if rank_tol is None else rank_tol, bilinear)
        return _assemble(model, *made)
    if method == "linear":
        return _assemble(model, *least_squares_at(net, model.snapshots_, x0, u0))
    if method == "jacobian" or not n_features:
        return _assemble(model, *jacobian_at(net, x0, u0))
    runs = episodes(net.window, model.snapshots_)
    fit, judge = split(runs)
    longest = max((r.stop - r.start for r in judge), default=horizon)
    workshop = Workshop(net, model.snapshots_, x0, u0, fit, judge, min(horizon, longest))
    # With feedthrough the input acts before the state it is chosen from; without inputs nothing is
    # controlled.
    controlled = net.window.n_u > 0 and not net.window.shift
    trial = None
    if controlled:
        told = weight_y is not None or weight_u is not None
        gains = GAINS if told else (1.0,)  # with weights of its own the trial is a sketch of the loop
        trial = RegulatorTrial(net, model.snapshots_, x0, u0, horizon, weight_y, weight_u, gains)
    found, choice = choose(workshop, trial, horizon)
    return _assemble(model, found.observables, found.A, found.B, found.c, None, u0, None, choice)


def _assemble(
    model: KoopmanRNN,
    observables: Observables,
    A: FloatArray,
    B: FloatArray,
    c: FloatArray,
    N: FloatArray | None,
    u_op: FloatArray,
    singular_values: FloatArray | None,
    choice: LiftChoice | None = None,
) -> LiftedModel:
    """The model with its outputs, names and training snapshots."""
    net, snapshots = model._network, model.snapshots_
    n_y, n_z, x_op = net.window.n_y, len(A), observables.x_op
    state_c = np.zeros((n_y, n_z))
    state_c[:, :n_y] = np.diag(observables.x_scale[:n_y])
    if net.window.shift:  # the state ends one sample before the output: y_k is read off the next state
        out_c, out_d, y_op = state_c @ A, state_c @ B, x_op[:n_y] + state_c @ c
    else:
        out_c, out_d, y_op = state_c, np.zeros((n_y, len(u_op))), x_op[:n_y]
    # What filters take their noise from is as it was measured.
    smoothing = getattr(model, "smoothing_", None)
    measured = snapshots if smoothing is None else smoothing.measured
    chosen = slice(None, None, max(1, -(-len(measured.x) // _MAX_TRAINING)))
    x, u = measured.x[chosen], measured.u[chosen]
    x_next = net.window.advance(x, u, measured.y_next[chosen])
    return LiftedModel(
        A, B, out_c, out_d, c, N, model.dt_, u_op, y_op, observables, net.window, model.output_names_,
        model.input_names_, np.ones(net.window.n_x) if singular_values is None else singular_values,
        (observables(x), u - u_op, observables(x_next)), choice, net,
    )  # fmt: skip
