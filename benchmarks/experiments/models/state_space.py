"""jax-sysid's neural state space and SIPPY's subspace methods, in an environment of their own: the former
pins an older SciPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.experiments.models.contender import Contender, Info, Standard, inputs_of, outputs_of
from benchmarks.experiments.problem import Array, Predict, Problem
from koopctrl import Trajectories

RHO = 1e-4  # jax-sysid's penalty on weights and initial states, as in its examples
EPOCHS = 1000


def jax_sysid(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """One hidden layer in the state's and one in the output's equation, Adam and L-BFGS, as its documentation
    shows; initial states by its own smoother.
    """
    import jax
    import jax.numpy as jnp
    from jax_sysid.models import Model

    jax.config.update("jax_enable_x64", True)
    of_y, of_u = Standard.of(outputs_of(train)), Standard.of(inputs_of(train))
    ys = [of_y.to(e.outputs) for e in train]
    us = [of_u.to(_held(e.inputs, len(e))) for e in train]
    n, q, n_y, n_u = settings["states"], settings["neurons"], train.n_y, train.n_u
    direct = float(info.kind == "record")

    @jax.jit
    def state(x: Any, u: Any, params: Any) -> Any:
        a, b, _, w1, w2, w3, b1, b2 = params[:8]
        return a @ x + b @ u + w3 @ jnp.tanh(w1 @ x + w2 @ u + b1) + b2

    @jax.jit
    def output(x: Any, u: Any, params: Any) -> Any:
        w4, w5, b3, b4, d = params[8:]
        return params[2] @ x + w5 @ jnp.tanh(w4 @ x + b3) + b4 + direct * (d @ u)

    rng = np.random.default_rng(seed)
    sizes = [(n, n, 0.0), (n, n_u, 0.1), (n_y, n, 0.1), (q, n, 0.1), (q, n_u, 0.5), (n, q, 0.5)]
    p = [s * rng.normal(size=(i, j)) for i, j, s in sizes]
    p[0] = 0.5 * np.eye(n)
    p += [np.zeros(q), np.zeros(n), 0.5 * rng.normal(size=(q, n)), 0.5 * rng.normal(size=(n_y, q))]
    p += [np.zeros(q), np.zeros(n_y), np.zeros((n_y, n_u))]
    model = Model(n, n_y, n_u, state_fcn=state, output_fcn=output)
    model.init(params=p)
    model.loss(rho_x0=RHO, rho_th=RHO)
    epochs = 20 if info.smoke else EPOCHS // 6 if info.trial else EPOCHS
    model.optimization(adam_epochs=epochs, lbfgs_epochs=epochs, iprint=-1)
    model.fit(ys if len(ys) > 1 else ys[0], us if len(us) > 1 else us[0])

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        found = []
        for e in data:
            u = of_u.to(_held(e.inputs, len(e)))
            x0 = model.learn_x0(u[:n_init], of_y.to(e.outputs[:n_init]))
            run = of_y.back(np.asarray(model.predict(x0, u)[0]))
            found.append(np.concatenate([e.outputs[:n_init], run[n_init:]]))
        return found

    return predict


def sippy(train: Trajectories, settings: dict[str, Any], seed: int, info: Info) -> Predict:
    """A subspace method; the initial state by least squares over the samples that are given."""
    from sippy_unipi import system_identification

    y, u = train[0].outputs, _held(train[0].inputs, len(train[0]))
    of_y, of_u = Standard.of(y), Standard.of(u)
    options = {"SS_fixed_order": settings["order"], "SS_D_required": True, "SS_A_stability": True}
    model = system_identification(of_y.to(y).T, of_u.to(u).T, settings["method"], **options)
    a, b, c, d = (np.asarray(getattr(model, name)) for name in "ABCD")

    def simulate(x: Array, inputs: Array) -> Array:
        out = []
        for row in inputs:
            out.append(c @ x + d @ row)
            x = a @ x + b @ row
        return np.array(out)

    def predict(data: Trajectories, n_init: int) -> list[Array]:
        found = []
        for e in data:
            v, first = of_u.to(_held(e.inputs, len(e))), of_y.to(e.outputs[:n_init])
            forced = simulate(np.zeros(len(a)), v[:n_init])
            free = [simulate(unit, np.zeros_like(v[:n_init])).ravel() for unit in np.eye(len(a))]
            x0 = np.linalg.lstsq(np.stack(free, axis=1), (first - forced).ravel(), rcond=None)[0]
            found.append(np.concatenate([e.outputs[:n_init], of_y.back(simulate(x0, v))[n_init:]]))
        return found

    return predict


def _held(u: Array, n: int) -> Array:
    """`n` inputs, the last one held where it is not given."""
    return u[:n] if len(u) >= n else np.concatenate([u, u[-1:]])


def _jax_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    if smoke:
        return [{"states": 2, "neurons": 4}]
    return [{"states": n, "neurons": q} for n, q in ((2, 10), (4, 10), (3, 20), (6, 20), (8, 10), (2, 40))]


def _sippy_space(kind: str, smoke: bool) -> list[dict[str, Any]]:
    return [{"order": n, "method": m} for m in ("PARSIM-K", "N4SID") for n in (2, 4, 8)]


def _has_inputs(problem: Problem) -> str:
    return "" if problem.train.n_u else "its models need an input, and there is none"


def _one_record(problem: Problem) -> str:
    if not problem.train.n_u:
        return _has_inputs(problem)
    return "" if len(problem.train) == 1 else "one record alone, and there are several"


CONTENDERS = (
    Contender("jax-sysid", jax_sysid, _jax_space, needs=("jax_sysid",), refuses=_has_inputs),
    Contender(
        "SIPPY subspace", sippy, _sippy_space, needs=("sippy_unipi",), refuses=_one_record, seeded=False
    ),
)
