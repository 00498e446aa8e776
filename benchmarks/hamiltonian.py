"""Hamiltonian and port-Hamiltonian networks: energies, trajectories, noise, long roll-outs, swing-up.

Points are uniform in each system's box (`_hamiltonian_systems.py`), 6,000 to fit and as many to judge;
errors are relative L2 errors of the energy, its constant set at one state; medians over seeds. Times are
those of one fit. Trajectories are pairs of states, 2,000 of them, from Runge-Kutta steps 100 times shorter.
The long roll-out has 100,000 steps of 0.1 s from four starts; beside it a plain KoopmanRNN with as many
neurons, from the same pairs. The swing-ups are identified from 200 samples under random inputs and run on the
true plants, from hanging at rest; NMPC on the true plant is the yardstick. The gradient-trained Hamiltonian
network is one of NumPy and L-BFGS (`_trained_hamiltonian.py`); torch is not among the peers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import _common as c
import casadi
import numpy as np
from _hamiltonian_systems import SYSTEMS, System
from _trained_hamiltonian import TrainedHamiltonian

from koopctrl import RNNMPC, KoopmanRNN, Trajectories
from koopctrl.controllers import NMPC, EnergyShaping
from koopctrl.sampled import HamiltonianNetwork, MechanicalNetwork
from koopctrl_envs.cart_pole import CartPole
from koopctrl_envs.pendulum import Pendulum

N = 6000
EXPENSIVE = 2000  # neurons from which on there are fewer seeds
DAMPING = 0.3
NOISE = (0.0, 1e-3, 1e-2, 1e-1)


def energy_error(net: HamiltonianNetwork | TrainedHamiltonian, system: System, x: np.ndarray) -> float:
    """Relative L2 error, both energies less those of the first point."""
    wanted, found = system.energy(x), net.energy(x)
    wanted, found = wanted - wanted[0], found - found[0]
    shift = np.mean(found - wanted)
    return float(np.linalg.norm(found - wanted - shift) / np.linalg.norm(system.energy(x)))


def pairs(system: System, seed: int, n: int, h: float, inside: float = 1.0) -> Trajectories:
    """Pairs of neighbouring states."""
    x = inside * system.draw(np.random.default_rng(seed), n)
    return Trajectories.from_arrays(np.stack([x, system.flow(x, h)], axis=1), dt=h)


def table(title: str, cases: dict[str, Callable[[int], dict[str, float]]], n_seeds: int) -> dict[str, Any]:
    """Median and spread of what each case gives, over seeds."""
    found: dict[str, Any] = {}
    for name, run in cases.items():
        rows = [run(seed) for seed in range(n_seeds)]
        found[name] = {k: c.spread([r[k] for r in rows]) for k in rows[0]}
    keys = list(dict.fromkeys(k for f in found.values() for k in f))
    c.print_table(
        title, ["", *keys], [[n, *(f[k]["median"] if k in f else "" for k in keys)] for n, f in found.items()]
    )
    return found


def energies(n_seeds: int, few: int) -> dict[str, Any]:
    """From derivatives."""
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "pendulum, 1000 uniform": ("pendulum", {"n_features": 1000, "feature_scale": 1.0}),
        "pendulum, 1000 adaptive": ("pendulum", {"n_features": 1000, "sampler": "adaptive"}),
        "pendulum, 1000 elm": ("pendulum", {"n_features": 1000, "sampler": "elm"}),
        "pendulum, angle and kinetic energy known": (
            "pendulum", {"n_features": 50, "structure": "quadratic", "angles": (0,)}
        ),
        "Henon-Heiles, 1500": ("Henon-Heiles", {"n_features": 1500, "feature_scale": 0.2}),
        "Henon-Heiles, 5000": ("Henon-Heiles", {"n_features": 5000, "feature_scale": 0.2}),
        "Lotka-Volterra, 1000": ("Lotka-Volterra", {"n_features": 1000}),
        "double pendulum, 2000": ("double pendulum", {"n_features": 2000}),
        "double pendulum, 2000, angles": ("double pendulum", {"n_features": 2000, "angles": (0, 1)}),
        "double pendulum, 300 a part, inverse mass matrix, angles": (
            "double pendulum", {"n_features": 300, "structure": "mobility", "angles": (0, 1)}
        ),
        "double pendulum, 150 a part, mass matrix, angles": (
            "double pendulum", {"n_features": 150, "structure": "mass_matrix", "angles": (0, 1)}
        ),
        "two bodies, 2000": ("two bodies", {"n_features": 2000, "feature_scale": 0.5}),
        "two bodies, 500, kinetic energy known": (
            "two bodies", {"n_features": 500, "structure": "quadratic"}
        ),
    }  # fmt: skip

    def case(system: System, settings: dict[str, Any]) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            x = system.draw(np.random.default_rng(seed), N)
            test = system.draw(np.random.default_rng(1000 + seed), N)
            net = HamiltonianNetwork(random_state=seed, **settings)
            _, seconds = c.timed(lambda: net.fit_derivatives(x, system.rhs(x)))
            return {"energy error": energy_error(net, system, test), "seconds": seconds}

        return run

    made = {n: case(SYSTEMS[s], k) for n, (s, k) in cases.items()}
    wide = {n for n, (_, k) in cases.items() if k["n_features"] >= EXPENSIVE}
    found = table("Energies from derivatives", {n: m for n, m in made.items() if n not in wide}, n_seeds)
    return {**found, **table("The widest", {n: made[n] for n in wide}, few)}


def trajectories(n_seeds: int) -> dict[str, Any]:
    """The pendulum from pairs of states."""
    system = SYSTEMS["pendulum"]
    methods = {
        "mixed point": {"method": "mixed"},
        **{f"Gauss, {s} stages": {"n_stages": s} for s in (2, 4)},
    }

    def case(h: float, settings: dict[str, Any]) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            test = 0.9 * system.draw(np.random.default_rng(1000 + seed), N)
            net = HamiltonianNetwork(400, random_state=seed, **settings)
            _, seconds = c.timed(lambda: net.fit(pairs(system, seed, 2000, h)))
            return {"energy error": energy_error(net, system, test), "seconds": seconds}

        return run

    cases = {f"h = {h}, {m}": case(h, k) for h in (0.05, 0.2, 0.8) for m, k in methods.items()}
    return table("Pendulum from trajectories, 400 neurons", cases, n_seeds)


def ports(n_seeds: int) -> dict[str, Any]:
    """Damped driven pendulum, noise on the derivatives."""
    system = SYSTEMS["pendulum"]

    def case(noise: float) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            rng = np.random.default_rng(seed)
            x, u = system.draw(rng, N), rng.uniform(-1.0, 1.0, (N, 1))
            xdot = system.rhs(x)
            xdot[:, 1] += (1.2 + 0.5 * np.cos(x[:, 0])) * u[:, 0] - DAMPING * x[:, 1]
            xdot += noise * xdot.std(axis=0) * rng.normal(size=xdot.shape)
            net = HamiltonianNetwork(1000, damping="constant", input_gain="varying", random_state=seed)
            net.fit_derivatives(x, xdot, u)
            q = np.linspace(-6.0, 6.0, 200)[:, None]
            gain, wanted = net.input_gain_at(q)[:, 0, 0], 1.2 + 0.5 * np.cos(q[:, 0])
            return {
                "energy error": energy_error(net, system, system.draw(np.random.default_rng(1000 + seed), N)),
                "damping error": float(abs(net.damping_at([0.0])[0] / DAMPING - 1.0)),
                "gain error": float(np.linalg.norm(gain - wanted) / np.linalg.norm(wanted)),
            }

        return run

    return table("Damped driven pendulum", {f"noise {100 * s:g} %": case(s) for s in NOISE}, n_seeds)


def long_runs(n_seeds: int, n_steps: int) -> dict[str, Any]:
    """Drift of the true energy along long free runs, beside a plain KoopmanRNN."""
    system, h = SYSTEMS["pendulum"], 0.1
    starts = np.random.default_rng(7).uniform([-0.9, -0.4], [0.9, 0.4], (4, 2))  # speeds stay below one

    def drift(run: np.ndarray) -> float:
        energy = system.energy(run.reshape(-1, 2)).reshape(len(run), -1)
        worst = np.abs(energy - energy[0]).max(axis=0)
        return float(np.median(np.where(np.isfinite(worst), worst, np.inf)))

    def hamiltonian(seed: int) -> dict[str, float]:
        net = HamiltonianNetwork(300, random_state=seed).fit(pairs(system, seed, 2000, h))
        path = net.simulate(starts, n_steps, h)
        own = float(np.abs(net.energy(path) - net.energy(path[0])).max())
        return {"drift of the true energy": drift(path), "drift of its own energy": own}

    def plain(seed: int) -> dict[str, float]:
        model = KoopmanRNN(300, random_state=seed).fit(pairs(system, seed, 2000, h))
        path = np.stack([model.simulate(s, n_steps) for s in starts], axis=1)
        return {"drift of the true energy": drift(path)}

    return table(
        f"Pendulum, {n_steps} steps of {h} s, four starts",
        {
            "Hamiltonian, discrete gradient": hamiltonian,
            "KoopmanRNN": plain,
        },
        n_seeds,
    )


def sample_efficiency(n_seeds: int) -> dict[str, Any]:
    """Error of one step of 0.4 s against the number of pairs."""
    system, h = SYSTEMS["pendulum"], 0.4
    kinds: dict[str, Callable[[int, int], Any]] = {
        "Hamiltonian": lambda n, s: HamiltonianNetwork(min(500, 2 * n), random_state=s),
        "Hamiltonian, structure known": lambda n, s: HamiltonianNetwork(
            min(30, n), structure="quadratic", angles=(0,), random_state=s
        ),
        "KoopmanRNN": lambda n, s: KoopmanRNN(max(1, min(500, n // 2)), random_state=s),
    }

    def case(n: int, make: Callable[[int, int], Any]) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            model = make(n, seed).fit(pairs(system, seed, n, h))
            x = 0.9 * system.draw(np.random.default_rng(1000 + seed), 300)
            wanted = system.flow(x, h)
            if isinstance(model, KoopmanRNN):
                found = np.stack([model.simulate(s, 1)[-1] for s in x])
            else:
                found = model.simulate(x, 1, h, method="gauss", n_stages=4)[-1]
            return {"step error": c.rmse((found - wanted) / wanted.std(axis=0))}

        return run

    cases = {
        f"{n} pairs, {name}": case(n, make)
        for n in (10, 30, 100, 300, 1000, 3000)
        for name, make in kinds.items()
    }
    return table("Pendulum, one step of 0.4 s", cases, n_seeds)


def swing_ups(n_seeds: int) -> dict[str, Any]:
    """Cost on the true plants, from 200 samples."""
    found: dict[str, Any] = {}
    for plant in (Pendulum(), CartPole()):
        found[type(plant).__name__] = swing_up(plant, n_seeds)
    return found


def swing_up(plant: Any, n_seeds: int) -> dict[str, Any]:
    """All controllers on one plant."""
    cart = isinstance(plant, CartPole)
    order = [0, 2, 1, 3] if cart else [0, 1]
    Q = np.diag([1.0, 0.1, 10.0, 10.0, 0.1] if cart else [10.0, 10.0, 0.1])
    R, bound, d = (0.01, 10.0, 2) if cart else (0.01, 5.0, 1)
    target = np.array([0.0, 0.0, 1.0, 0.0, 0.0] if cart else [1.0, 0.0, 0.0])
    start, n_steps = np.array([0.0, 0.0, np.pi, 0.0] if cart else [np.pi, 0.0]), 150

    def to_state(y: np.ndarray) -> np.ndarray:
        return np.array(
            [y[0], np.arctan2(y[3], y[2]), y[1], y[4]] if cart else [np.arctan2(y[1], y[0]), y[2]]
        )

    def unwrapped() -> Callable[[np.ndarray], np.ndarray]:
        """The same with an angle that does not jump, which NMPC's warm start lives on."""
        last = [np.pi]

        def read(y: np.ndarray) -> np.ndarray:
            x = to_state(y)
            last[0] += (x[d - 1] - last[0] + np.pi) % (2.0 * np.pi) - np.pi
            x[d - 1] = last[0]
            return x

        return read

    def cost(controller: Any) -> dict[str, float]:
        x, total, seconds = start, 0.0, 0.0
        for _ in range(n_steps):
            y = plant.output(x)
            u, spent = c.timed(lambda y=y: controller.control(y, reference=target))
            e = plant.output(x) - target
            total, seconds = total + float(e @ Q @ e + R * u @ u), seconds + spent
            x = plant.step(x, u)
        end = plant.output(x) - target
        return {
            "cost": total,
            "upright": float(np.abs(end).max() < 0.05),
            "ms a step": 1e3 * seconds / n_steps,
        }

    def record(seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        x = np.empty((10, 21, plant.n_x))
        x[:, 0] = rng.uniform(plant.x0_low, plant.x0_high, (10, plant.n_x))
        u = rng.uniform(plant.u_min, plant.u_max, (10, 20, 1))
        for k in range(20):
            x[:, k + 1] = plant.step(x[:, k], u[:, k])
        return x, u

    def mechanical(seed: int) -> MechanicalNetwork:
        x, u = record(seed)
        data = Trajectories.from_arrays(x[..., order], u, dt=plant.dt)
        return MechanicalNetwork(angles=[d - 1], damping="constant").fit(data)

    def shaping(seed: int) -> dict[str, float]:
        settings: dict[str, Any] = {"travel": 1.0} if cart else {}
        return cost(
            EnergyShaping(
                mechanical(seed), np.zeros(2 * d), dt=plant.dt, u_min=-bound, u_max=bound,
                to_state=to_state, n_measured=len(target), **settings,
            )
        )  # fmt: skip

    options: dict[str, Any] = {"Q": Q, "R": R, "dt": plant.dt, "u_min": -bound, "u_max": bound, "P": 10.0 * Q}

    def on_model(seed: int) -> dict[str, float]:
        model = mechanical(seed)
        rhs = model.to_casadi().expand()

        def output(x: Any, xp: Any = casadi) -> Any:
            v = casadi.vertsplit(rhs(casadi.vertcat(*x), 0.0)[:d])
            turn = (casadi.cos(x[d - 1]), casadi.sin(x[d - 1]))
            return (x[0], v[0], *turn, v[1]) if cart else (*turn, v[0])

        read = unwrapped()

        def state(y: np.ndarray) -> np.ndarray:
            return model.momentum(read(y))

        step = model.to_casadi(dt=plant.dt, substeps=2)
        return cost(NMPC(step, 2 * d, 1, 40, output=output, to_state=state, **options))

    def true_nmpc(_: int) -> dict[str, float]:
        read = unwrapped()

        def state(y: np.ndarray) -> np.ndarray:
            return read(y)[np.argsort(order)]

        return cost(
            NMPC(
                plant.step_components, 2 * d, 1, 30, output=plant.output_components, to_state=state, **options
            )
        )

    def rnn(seed: int) -> dict[str, float]:
        x, u = record(seed)
        model = KoopmanRNN(random_state=seed).fit(Trajectories.from_arrays(plant.output(x), u, dt=plant.dt))
        return cost(RNNMPC(model, 40, Q=Q, R=R, u_min=-bound, u_max=bound))

    name = "cart-pole" if cart else "pendulum"
    figures = table(
        f"Swing-up of the {name} from 200 samples, {n_steps} steps",
        {"EnergyShaping": shaping, "NMPC on MechanicalNetwork": on_model, "RNNMPC on KoopmanRNN": rnn},
        n_seeds,
    )
    return {**figures, **table("The true plant", {"NMPC, true model": true_nmpc}, 1)}


def gradient_trained(n_seeds: int) -> dict[str, Any]:
    """Networks with all weights trained, beside sampled ones of the same width on the same points."""
    system, width, max_iter = SYSTEMS["pendulum"], 200, 3000

    def trained(seed: int) -> dict[str, float]:
        x = system.draw(np.random.default_rng(seed), 2000)
        net = TrainedHamiltonian(width, max_iter, seed)
        _, seconds = c.timed(lambda: net.fit_derivatives(x, system.rhs(x)))
        if net.check() > 1e-5:
            raise RuntimeError("the gradient of the trained network is wrong")
        test = system.draw(np.random.default_rng(1000 + seed), N)
        return {
            "energy error": energy_error(net, system, test),
            "seconds": seconds,
            "iterations": float(net.iterations),
        }

    def sampled(n_features: int) -> Callable[[int], dict[str, float]]:
        def run(seed: int) -> dict[str, float]:
            x = system.draw(np.random.default_rng(seed), 2000)
            net = HamiltonianNetwork(n_features, random_state=seed)
            _, seconds = c.timed(lambda: net.fit_derivatives(x, system.rhs(x)))
            test = system.draw(np.random.default_rng(1000 + seed), N)
            return {"energy error": energy_error(net, system, test), "seconds": seconds}

        return run

    cases = {
        f"trained, {width} neurons, L-BFGS": trained,
        f"sampled, {width} neurons": sampled(width),
        "sampled, 1000 neurons": sampled(1000),
    }
    return table("Pendulum, 2,000 points", cases, n_seeds)


def main() -> None:
    """All tables, or those named."""
    p = c.parser(__doc__, seeds=3)
    p.add_argument(
        "--steps", type=int, default=100_000, help="steps of the long roll-outs (default %(default)s)"
    )
    p.add_argument("--few", type=int, default=1, help="seeds of what takes minutes (default %(default)s)")
    p.add_argument("--only", nargs="+", help="tables to make, the others are kept from the last results")
    args = p.parse_args()
    c.quiet()
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "energies": lambda: energies(args.seeds, args.few),
        "trajectories": lambda: trajectories(args.seeds),
        "ports": lambda: ports(args.seeds),
        "long_runs": lambda: long_runs(args.few, args.steps),
        "sample_efficiency": lambda: sample_efficiency(args.seeds),
        "swing_ups": lambda: swing_ups(args.seeds),
        "gradient_trained": lambda: gradient_trained(args.few),
    }
    figures = c.earlier(args, "hamiltonian") if args.only else {}
    with c.threads(args.threads):
        for name, run in runs.items():
            if not args.only or name in args.only:
                figures[name] = run()
                c.write(args, "hamiltonian", figures, ["casadi"])


if __name__ == "__main__":
    main()
