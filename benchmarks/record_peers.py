"""Measured records beside jax-sysid and SIPPY: same training halves, same orders, same samples to start from.

Orders and numbers of neurons are given alike to all (tanks 2 states, hair dryer 4, robot arm 8), so that the
methods are compared and not the search; `selected.py` has the search. jax-sysid runs as its documentation
shows (scaled signals, 1,000 Adam and 1,000 L-BFGS iterations, initial states by its own smoother), several
seeds; SIPPY's subspace methods have one answer, and their initial state by least squares over the samples
that initialise.

Needs the `bench-peers` extra, in an environment of its own: jax-sysid pins older releases of SciPy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import _common as c
import numpy as np
from selected import free_run_rmse, load

from koopctrl import KoopmanEnsemble, KoopmanRNN, Trajectories, subspace

RECORDS: dict[str, dict[str, Any]] = {
    "cascaded_tanks": {"order": 2, "neurons": 10, "direct": False},
    "hair_dryer": {"order": 4, "neurons": 10, "direct": False},
    "robot_arm": {"order": 8, "neurons": 20, "direct": True},
}
RHO = 1e-4  # jax-sysid's penalty on weights and initial states, as in its examples
Run = Callable[[int], tuple[float, float]]  # seed -> RMSE, seconds


def ours(train: Trajectories, test: Trajectories, n_init: int, make: Callable[[int], Any]) -> Run:
    """One of koopctrl's models."""

    def run(seed: int) -> tuple[float, float]:
        model, seconds = c.timed(lambda: make(seed))
        return free_run_rmse(model, test, n_init), seconds

    return run


def jax_sysid(
    train: Trajectories, test: Trajectories, n_init: int, spec: dict[str, Any], neurons: int
) -> Run:
    """Linear (`neurons` 0), or with one hidden layer in the state's and one in the output's equation."""
    import jax
    import jax.numpy as jnp
    from jax_sysid.models import LinearModel, Model

    jax.config.update("jax_enable_x64", True)
    y, u = train[0].outputs, train[0].inputs[: len(train[0])]
    scale = [(a.mean(axis=0), a.std(axis=0)) for a in (y, u)]
    ys, us = ((a - m) / s for a, (m, s) in zip((y, u), scale, strict=True))
    y_test, u_test = test[0].outputs, test[0].inputs[: len(test[0])]
    yt, ut = ((a - m) / s for a, (m, s) in zip((y_test, u_test), scale, strict=True))
    n, n_y, n_u, direct = spec["order"], y.shape[1], u.shape[1], spec["direct"]

    @jax.jit
    def state(x: Any, u: Any, params: Any) -> Any:
        a, b, _, w1, w2, w3, b1, b2 = params[:8]
        return a @ x + b @ u + w3 @ jnp.tanh(w1 @ x + w2 @ u + b1) + b2

    @jax.jit
    def output(x: Any, u: Any, params: Any) -> Any:
        w4, w5, b3, b4, d = params[8:]
        return params[2] @ x + w5 @ jnp.tanh(w4 @ x + b3) + b4 + d @ u

    def run(seed: int) -> tuple[float, float]:
        def fit() -> Any:
            if not neurons:
                model = LinearModel(n, n_y, n_u, feedthrough=direct)
                model.loss(rho_x0=1e-3, rho_th=RHO)
                model.optimization(lbfgs_epochs=1000, iprint=-1)
                model.init(seed=seed)
            else:
                model = Model(n, n_y, n_u, state_fcn=state, output_fcn=output)
                rng, q = np.random.default_rng(seed), neurons
                sizes = [(n, n, 0.0), (n, n_u, 0.1), (n_y, n, 0.1), (q, n, 0.1), (q, n_u, 0.5), (n, q, 0.5)]
                p = [s * rng.normal(size=(i, j)) for i, j, s in sizes]
                p[0] = 0.5 * np.eye(n)
                p += [np.zeros(q), np.zeros(n)]
                p += [0.5 * rng.normal(size=(q, n)), 0.5 * rng.normal(size=(n_y, q))]
                p += [np.zeros(q), np.zeros(n_y), np.zeros((n_y, n_u))]
                model.init(params=p)
                model.loss(rho_x0=RHO, rho_th=RHO)
                model.optimization(adam_epochs=1000, lbfgs_epochs=1000, iprint=-1)
            model.fit(ys, us)
            return model

        model, seconds = c.timed(fit)
        x0 = model.learn_x0(ut[:n_init], yt[:n_init])
        predicted = np.asarray(model.predict(x0, ut)[0]) * scale[0][1] + scale[0][0]
        return c.rmse(predicted[n_init:] - y_test[n_init:]), seconds

    return run


def sippy(train: Trajectories, test: Trajectories, n_init: int, spec: dict[str, Any], method: str) -> Run:
    """A subspace method of SIPPY."""
    from sippy_unipi import system_identification

    y, u = train[0].outputs, train[0].inputs[: len(train[0])]
    y_mean, u_mean = y.mean(axis=0), u.mean(axis=0)

    def run(seed: int) -> tuple[float, float]:
        options = {"SS_fixed_order": spec["order"], "SS_D_required": spec["direct"], "SS_A_stability": True}
        model, seconds = c.timed(
            lambda: system_identification((y - y_mean).T, (u - u_mean).T, method, **options)
        )
        matrices = [np.asarray(getattr(model, name)) for name in "ABCD"]
        y_test, u_test = test[0].outputs - y_mean, test[0].inputs[: len(test[0])] - u_mean
        return c.rmse(_free_run(*matrices, u_test, y_test[:n_init])[n_init:] - y_test[n_init:]), seconds

    return run


def _free_run(a: Any, b: Any, cc: Any, d: Any, u: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Outputs from the initial state that fits the first ones best."""

    def simulate(x: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        out = []
        for row in inputs:
            out.append(cc @ x + d @ row)
            x = a @ x + b @ row
        return np.array(out)

    n = len(first)
    forced = simulate(np.zeros(len(a)), u[:n])
    free = np.stack([simulate(e, np.zeros_like(u[:n])).ravel() for e in np.eye(len(a))], axis=1)
    x0 = np.linalg.lstsq(free, (first - forced).ravel(), rcond=None)[0]
    return simulate(x0, u)


def contenders(name: str, folder: c.Path) -> dict[str, tuple[Run, bool]]:
    """Runs by label, and whether seeds matter."""
    train, (test, *_), n_init = load(name, folder)
    spec = RECORDS[name]
    n, q, direct = spec["order"], spec["neurons"], spec["direct"]

    def hidden(neurons: int, seed: int) -> KoopmanRNN:
        return KoopmanRNN(neurons, n_states=n, feedthrough=direct, rollout_margin=0.5, random_state=seed)

    return {
        "koopctrl, subspace": (
            ours(train, test, n_init, lambda _: subspace(train, n, feedthrough=direct)), False,
        ),
        "koopctrl, refined, linear": (ours(train, test, n_init, lambda s: hidden(0, s).fit(train)), False),
        "koopctrl, refined": (ours(train, test, n_init, lambda s: hidden(q, s).fit(train)), True),
        "koopctrl, mean of 8": (
            ours(
                train, test, n_init,
                lambda s: KoopmanEnsemble(hidden(q, 0), 8, n_folds=0, random_state=s).fit(train),
            ), True,
        ),
        "SIPPY, N4SID": (sippy(train, test, n_init, spec, "N4SID"), False),
        "SIPPY, PARSIM-K": (sippy(train, test, n_init, spec, "PARSIM-K"), False),
        "jax-sysid, linear": (jax_sysid(train, test, n_init, spec, 0), True),
        "jax-sysid": (jax_sysid(train, test, n_init, spec, q), True),
    }  # fmt: skip


def main() -> None:
    """All records and contenders."""
    p = c.parser(__doc__, seeds=5)
    c.data_folder(p, "dataBenchmark.csv")
    p.add_argument("--records", nargs="+", choices=sorted(RECORDS), default=sorted(RECORDS))
    args = p.parse_args()
    c.quiet()
    warnings.simplefilter("ignore")
    figures: dict[str, Any] = {}
    with c.threads(args.threads):
        for name in args.records:
            figures[name] = {}
            for label, (run, seeded) in contenders(name, args.data).items():
                found = [run(s) for s in range(args.seeds if seeded else 1)]
                figures[name][label] = {
                    "rmse": c.spread([e for e, _ in found]), "fit_s": c.spread([t for _, t in found])
                }  # fmt: skip
    rows = [
        [name, label, f["rmse"]["median"], f["rmse"]["max"], f["fit_s"]["median"]]
        for name, found in figures.items()
        for label, f in sorted(found.items(), key=lambda pair: pair[1]["rmse"]["median"])
    ]
    c.print_table("Free run on the test part, RMSE", ["record", "model", "median", "worst", "fit, s"], rows)
    c.write(args, "record_peers", figures)


if __name__ == "__main__":
    main()
