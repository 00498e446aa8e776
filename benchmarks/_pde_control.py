"""Control and inverse problems of `pde.py`: on plants that are other discretisations than the models."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import _common as c
import _pde_references as ref
import control
import numpy as np
from _pde_canal import canal
from scipy import linalg

from koopctrl import LQR, KalmanFilter, LiftedModel, LinearMPC
from koopctrl.controllers import FieldMPC
from koopctrl.sampled.pde import (
    PDE,
    Box,
    Diffusion,
    FieldObserver,
    FieldRecord,
    Interval,
    Neumann,
    Product,
    identify,
)
from koopctrl_envs.burgers import Burgers

Array = np.ndarray
CENTRES = (0.25, 0.75)
SHAPES = [lambda x, c=c: np.exp(-((15 * (x[:, 0] - c)) ** 2)) for c in CENTRES]


def flow(nu: float = 0.01, **extra: Any) -> PDE:
    """Periodic Burgers with the two actuators and ten sensors; the viscosity is a parameter."""
    return PDE(
        Interval(0, 1, periodic=True), [Diffusion(1.0, parameter="nu"), Product(-1.0, "u", "u_x")],
        actuators=SHAPES, sensors=np.arange(10) / 10, parameters={"nu": nu}, **extra,
    )  # fmt: skip


def profile(a: float) -> Callable[[Array], Array]:
    """Starts of Arbabi, Korda and Mezic."""
    return lambda x: a * np.exp(-((5 * (x[:, 0] - 0.5)) ** 2)) + (1 - a) * np.sin(4 * np.pi * x[:, 0]) ** 2


# -- open loop: states against error


def states_needed(n_seeds: int) -> dict[str, Any]:
    """Largest relative error over 2 s under random inputs, by number of states, against 512 Fourier modes."""
    dt, found = 0.05, {}
    solver = ref.Pseudospectral(1.0, 512, lambda k: -0.01 * k**2, dt / 50)
    shapes = np.array([s(solver.x[:, None]) for s in SHAPES])
    for n in (20, 30, 38, 40, 49):
        worst = []
        for seed in range(n_seeds):
            rng = np.random.default_rng(seed)
            model = flow(initial=profile(0.2)).discretise(
                300, n_points=200, pair_distance=0.05, max_states=n, random_state=seed
            )
            face, u = model.step_face(dt), profile(0.2)(solver.x[:, None])
            face.reset()
            errors = []
            for _ in range(40):
                v = rng.uniform(-0.1, 0.1, 2)
                face.step(v)
                u = solver.run(u, 50, v @ shapes)
                errors.append(np.linalg.norm(model.evaluate(face.x, solver.x) - u) / np.linalg.norm(u))
            worst.append(max(errors))
        found[f"{n} states"] = {"error": c.spread(worst)}
    return found


# -- predictive control of Burgers, ten sensors


DT, HORIZON, N_STEPS = 0.2, 10, 100
Q, R = 0.1, 0.01


def references() -> Array:
    """Uniform speeds: 0.5, then 0.6, then 0.45, each to be followed by all ten sensors."""
    levels = np.repeat([0.5, 0.6, 0.45], [30, 35, 35])
    return np.tile(levels[:, None], (1, 10))


class DelayLift:
    """Koopman model of Arbabi, Korda and Mezic: five samples of ten sensors, four of two inputs, energy,
    one.
    """

    size = 5 * 10 + 4 * 2 + 2

    def __init__(self, outputs: list[Array], inputs: list[Array]) -> None:
        before, after, acting = [], [], []
        for y, v in zip(outputs, inputs, strict=True):
            z = np.array([self.lift(y[k - 4 : k + 1], v[k - 4 : k]) for k in range(4, len(y))])
            before.append(z[:-1])
            after.append(z[1:])
            acting.append(v[4:])
        z, target = np.concatenate(before), np.concatenate(after)
        solved = np.linalg.lstsq(np.hstack([z, np.concatenate(acting)]), target)[0].T
        self.A, self.B = solved[:, : self.size], solved[:, self.size :]
        self.C = np.eye(10, self.size)

    @staticmethod
    def lift(y: Array, v: Array) -> Array:
        """From outputs `(5, 10)` and inputs `(4, 2)`, oldest first."""
        return np.concatenate([y[::-1].ravel(), v[::-1].ravel(), [y[-1] @ y[-1]], [1.0]])


def records(plant: Burgers, seed: int) -> tuple[list[Array], list[Array]]:
    """A hundred runs of eight seconds from random starts under random inputs."""
    rng = np.random.default_rng(1000 + seed)
    x = np.array([plant.profile(rng.uniform(), 0.0, rng.uniform(0.3, 1.2)) for _ in range(100)])
    v = rng.uniform(-0.1, 0.1, (100, 40, 2))
    fields = [x]
    for k in range(40):
        fields.append(plant.step(fields[-1], v[:, k]))
    every = plant.n_points // 10
    y = np.array(fields)[:, :, ::every].transpose(1, 0, 2)
    return list(y), list(v)


def tracking(n_seeds: int) -> dict[str, Any]:
    """Cost of following the references, the same weights, horizon, bounds and sensors for all."""
    plant = Burgers(n_points=200, dt=DT, n_substeps=240)
    found: dict[str, list[Any]] = {}
    for seed in range(n_seeds):
        start = plant.profile(0.2 + 0.3 * seed, 0.0, 1.0)
        for name, make in (("equation", _on_equation), ("delay lift", _on_delays), ("no control", _idle)):
            began = time.perf_counter()
            controller, size = make(plant, seed)
            design = time.perf_counter() - began
            cost, spent = _episode(plant, controller, start)
            row = {"cost": cost, "design": design, "step": spent, "states": size}
            found.setdefault(name, []).append(row)
    return {
        name: {key: c.spread([row[key] for row in rows]) for key in rows[0]} for name, rows in found.items()
    }


def _episode(
    plant: Burgers, controller: Callable[[Array, Array, Array], Array], x: Array
) -> tuple[float, float]:
    """Mean over samples of `Q |y - r|^2 + R |v|^2`, and median seconds of a step."""
    r, v, cost, spent = references(), np.zeros(2), 0.0, []
    every = plant.n_points // 10
    for k in range(N_STEPS):
        began = time.perf_counter()
        v = controller(x[::every].copy(), r[k], v)
        spent.append(time.perf_counter() - began)
        x = plant.step(x, v)
        e = x[::every] - r[k]
        cost += Q * e @ e + R * v @ v
    return cost / N_STEPS, float(np.median(spent))


def _on_equation(plant: Burgers, seed: int) -> tuple[Callable[[Array, Array, Array], Array], int]:
    model = flow(initial=0.5).discretise(
        300, n_points=160, pair_distance=0.05, max_states=40, random_state=seed
    )
    observer = FieldObserver(model, DT, 1e-5, 1e-6, P0=0.1)
    mpc = FieldMPC(model, HORIZON, Q, R, dt=DT, u_min=-0.1, u_max=0.1, estimator=observer)
    return (lambda y, r, v: mpc.control(y, reference=r)), model.n_states


def _on_delays(plant: Burgers, seed: int) -> tuple[Callable[[Array, Array, Array], Array], int]:
    lift = DelayLift(*records(plant, seed))
    lifted = LiftedModel.from_matrices(lift.A, lift.B, lift.C, dt=DT)
    mpc = LinearMPC(lifted, HORIZON, Q=Q, R=R, u_min=-0.1, u_max=0.1, terminal="none")
    past_y: list[Array] = []
    past_v: list[Array] = []

    def control_(y: Array, r: Array, v: Array) -> Array:
        past_y.append(y)
        past_v.append(v)
        if len(past_y) < 5:  # the same for all: nothing can be lifted yet
            return np.zeros(2)
        z = lift.lift(np.array(past_y[-5:]), np.array(past_v[-4:]))
        return mpc.control(z, reference=r)

    return control_, lift.size


def _idle(plant: Burgers, seed: int) -> tuple[Callable[[Array, Array, Array], Array], int]:
    return (lambda y, r, v: np.zeros(2)), 0


# -- a plate, heaters along its edges, six sensors

PLACES = [[0.2, 0.2], [0.8, 0.3], [0.5, 0.5], [0.3, 0.8], [0.7, 0.75], [0.1, 0.55]]


def plate(n_seeds: int) -> dict[str, Any]:
    """LQR from six noisy sensors against LQR that knows all cells of the plant, both on the finite volumes.

    Cost per sample of `mean of u^2 + 0.01 |v|^2`, from a random smooth field and under random heat.
    """
    k, loss, dt, n, noise = 0.1, 0.5, 0.1, 24, 0.01
    a, b, centres = ref.plate_by_volumes(n, k, loss)
    whole = control.sample_system(control.ss(a.toarray(), b, np.eye(n * n), np.zeros((n * n, 4))), dt)
    A, B = np.asarray(whole.A), np.asarray(whole.B)
    weight = np.eye(n * n) / n**2
    P = linalg.solve_discrete_are(A, B, weight, 0.01 * np.eye(4))
    full = np.linalg.solve(0.01 * np.eye(4) + B.T @ P @ B, B.T @ P @ A)
    index = [int(np.argmin(np.abs(centres - x))) * n + int(np.argmin(np.abs(centres - y))) for x, y in PLACES]
    at = np.array([[centres[i // n], centres[i % n]] for i in index])
    rows: dict[str, list[float]] = {"six sensors": [], "all cells": [], "no control": []}
    grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    states = 0
    for seed in range(n_seeds):
        heater = [Neumann(p, loss=loss, shape=1.0, name=p) for p in ("x-", "x+", "y-", "y+")]
        pde = PDE(Box([0, 0], [1, 1]), [Diffusion(k)], heater, sensors=at)
        model = pde.discretise(300, n_points=900, pair_distance=0.3, max_states=40, random_state=seed)
        states = model.n_states
        system = control.sample_system(model.to_statespace(), dt)
        lifted = LiftedModel.from_matrices(system.A, system.B, system.C, system.D, dt=dt)
        # The basis is orthonormal on the unit square: the mean of u^2 is |c|^2.
        kalman = KalmanFilter(
            lifted, Qn=1e-4 * np.eye(states), Rn=noise**2 * np.eye(6), P0=0.1 * np.eye(states)
        )
        lqr = LQR(lifted, np.eye(states), 0.01, estimator=kalman)
        rng = np.random.default_rng(seed)
        field = sum(
            rng.standard_normal() * np.cos(np.pi * i * grid[:, 0]) * np.cos(np.pi * j * grid[:, 1])
            for i in range(3) for j in range(3)
        )  # fmt: skip
        shocks = rng.standard_normal((300, 4))
        for name in rows:
            x, cost, draw = np.asarray(field).copy(), 0.0, np.random.default_rng(seed)
            for step in range(300):
                y = x[index] + noise * draw.standard_normal(6)
                v = (
                    lqr.control(y)
                    if name == "six sensors"
                    else -full @ x
                    if name == "all cells"
                    else np.zeros(4)
                )
                cost += float(np.mean(x**2) + 0.01 * v @ v)
                x = A @ x + B @ (v + 0.3 * shocks[step])
            lqr.reset()
            rows[name].append(cost / 300)
    return {
        name: {"cost": c.spread(v), "states": states if name == "six sensors" else n * n}
        for name, v in rows.items()
    }


# -- inverse problem


def inverse(n_seeds: int) -> dict[str, Any]:
    """Viscosity and gains of Burgers from 100 stations, 0.01 s apart over 4 s, by noise; ten draws a seed."""
    t = np.linspace(0, 4, 401)
    truth = {"nu": 0.01, "gain v0": 1.3, "gain v1": 0.8}
    solver = ref.Pseudospectral(1.0, 400, lambda k: -0.01 * k**2, 0.01 / 10)
    shapes = np.array([s(solver.x[:, None]) for s in SHAPES])
    found: dict[str, Any] = {}
    for noise in (0.0, 0.01, 0.05):
        errors: dict[str, list[float]] = {name: [] for name in truth}
        reported: dict[str, list[float]] = {name: [] for name in truth}
        for seed in range(n_seeds):
            v = np.repeat(np.random.default_rng(seed).uniform(-0.1, 0.1, (10, 2)), 40, axis=0)
            u = [0.5 * np.exp(np.sin(2 * np.pi * solver.x))]
            for held in v:
                u.append(solver.run(u[-1], 10, (held * [1.3, 0.8]) @ shapes))
            fields = np.array(u)[:, ::4]
            model = flow(0.3).discretise(300, pair_distance=0.05, random_state=seed)
            for draw in range(10 if noise else 1):
                rng = np.random.default_rng([seed, draw])
                noisy = fields + noise * fields.std() * rng.standard_normal(fields.shape)
                got = identify(model, np.arange(100) / 100, FieldRecord(t, noisy, v), gains=True)
                for name, value in truth.items():
                    errors[name].append(got.values[name] / value - 1.0)
                    reported[name].append(got.std[name] / value)
        found[f"noise {noise:.0%}"] = {
            name: {
                "bias": float(np.mean(errors[name])), "rms": c.rmse(np.array(errors[name])),
                "reported": float(np.median(reported[name])),
            }
            for name in truth
        }  # fmt: skip
    return found


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "states": states_needed, "tracking": tracking, "canal": canal, "plate": plate, "inverse": inverse,
}  # fmt: skip


def show(name: str, found: dict[str, Any]) -> None:
    """Print one part."""
    if name == "inverse":
        rows = [
            [noise, what, f["bias"], f["rms"], f["reported"]]
            for noise, all_ in found.items() for what, f in all_.items()
        ]  # fmt: skip
        c.print_table("Inverse problem, relative errors", ["noise", "", "bias", "rms", "reported"], rows)
        return
    keys = list(next(iter(found.values())))
    rows = [
        [n, *(f[k]["median"] if isinstance(f[k], dict) else f[k] for k in keys)] for n, f in found.items()
    ]
    c.print_table(name, ["", *keys], rows)
