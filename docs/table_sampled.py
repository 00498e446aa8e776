"""Tables of what is solved and learned with sampled networks: equations, Hamiltonian models, supervised sets."""

from __future__ import annotations

from pathlib import Path

from table_cells import load, markdown, power, short, small


def pde_accuracy(results: Path) -> str:
    """Errors of the equations beside their targets and what was published."""
    rows = [
        [name, power(f["error"]["median"]), power(f["error"]["max"]), short(f["seconds"]["median"]),
         f"{f['states']['median']:.0f}", "" if isinstance(f["target"], str) else power(f["target"]), f["published"]]
        for name, f in load(results, "pde")["figures"]["accuracy"].items()
    ]  # fmt: skip
    return markdown(["equation", "error", "worst", "s", "states", "target", "published"], rows)


def pde_peers(results: Path) -> str:
    """Classical solvers on the same equations."""
    found = load(results, "pde")["figures"]["peers"]
    return markdown(["", "error", "s"], [[n, power(f["error"]), short(f["seconds"])] for n, f in found.items()])


def pde_states(results: Path) -> str:
    """Error of the controlled flow by number of states."""
    found = load(results, "pde")["figures"]["states"]
    return markdown(["", "error", "worst"], [[n, power(f["error"]["median"]), power(f["error"]["max"])] for n, f in found.items()])


def pde_tracking(results: Path) -> str:
    """Cost of following uniform speeds with Burgers' equation."""
    return _followed(results, "tracking")


def pde_canal(results: Path) -> str:
    """Cost of following levels with the equation of Korteweg and de Vries."""
    return _followed(results, "canal")


def _followed(results: Path, part: str) -> str:
    found = load(results, "pde")["figures"][part]
    idle = found["no control"]["cost"]["median"]
    rows = [
        [n, f"{f['cost']['median'] / idle:.3f} ({f['cost']['max'] / idle:.3f})", f"{f['states']['median']:.0f}",
         short(1e3 * f["step"]["median"]), short(f["design"]["median"])]
        for n, f in found.items()
    ]  # fmt: skip
    return markdown(["", "cost over the median without control, median (worst start)", "states", "ms a step", "s to make"], rows)


def pde_plate(results: Path) -> str:
    """Cost of regulating the plate."""
    found = load(results, "pde")["figures"]["plate"]
    best = found["all cells"]["cost"]["median"]
    return markdown(
        ["", "cost over that of all cells", "states"],
        [[n, f"{f['cost']['median'] / best:.3f}", str(f["states"])] for n, f in found.items()],
    )


def pde_inverse(results: Path) -> str:
    """Errors of parameters and gains by noise."""
    rows = [
        [noise, what, *(f"{100 * f[k]:.3f} %" for k in ("bias", "rms", "reported"))]
        for noise, values in load(results, "pde")["figures"]["inverse"].items() for what, f in values.items()
    ]  # fmt: skip
    return markdown(["", "", "bias", "root mean square", "reported"], rows)


def _spread(found: dict[str, float]) -> str:
    """Median, and the worst seed in brackets."""
    return f"{small(found['median'])} ({small(found['max'])})"


def hamiltonian_energies(results: Path) -> str:
    """Energies from derivatives."""
    found = load(results, "hamiltonian")["figures"]["energies"]
    rows = [[n, _spread(f["energy error"]), f"{f['seconds']['median']:.2g}"] for n, f in found.items()]
    return markdown(["system, neurons", "relative error of the energy, median (worst) of 3 seeds, one from 2,000 neurons on", "s, busy machine"], rows)


def hamiltonian_swing(results: Path) -> str:
    """Swing-ups from 200 samples."""
    found = load(results, "hamiltonian")["figures"]["swing_ups"]
    names = list(next(iter(found.values())))
    header = ["", *(f"{p}: cost, worst, upright, ms a step" for p in found)]
    rows = []
    for n in names:
        cells = []
        for plant in found.values():
            f = plant[n]
            share = "always" if f["upright"]["min"] == 1.0 else "never" if f["upright"]["max"] == 0.0 else "some"
            cells.append(
                f"{f['cost']['median']:.0f} ({f['cost']['max']:.0f}), {share}, {f['ms a step']['median']:.2g}"
            )
        rows.append([n, *cells])
    return markdown(header, rows)


def hamiltonian_long(results: Path) -> str:
    """Long roll-outs."""
    found = load(results, "hamiltonian")["figures"]["long_runs"]
    rows = [
        [n, *(_spread(f[k]) if k in f else "" for k in ("drift of the true energy", "drift of its own energy"))]
        for n, f in found.items()
    ]
    return markdown(["model", "true energy", "its own"], rows)


def hamiltonian_samples(results: Path) -> str:
    """Sample efficiency."""
    found = load(results, "hamiltonian")["figures"]["sample_efficiency"]
    by: dict[str, dict[str, str]] = {}
    for key, f in found.items():
        pairs, model = key.split(" pairs, ")
        by.setdefault(model, {})[pairs] = small(f["step error"]["median"])
    header = list(next(iter(by.values())))
    return markdown(["pairs", *header], [[m, *(row[h] for h in header)] for m, row in by.items()])


def hamiltonian_steps(results: Path) -> str:
    """From trajectories, against the sample time."""
    found = load(results, "hamiltonian")["figures"]["trajectories"]
    by: dict[str, dict[str, str]] = {}
    for key, f in found.items():
        step, method = key.split(", ", 1)
        by.setdefault(method, {})[step] = small(f["energy error"]["median"])
    header = list(next(iter(by.values())))
    return markdown(["", *(f"{h} s" for h in header)], [[m, *(row[h] for h in header)] for m, row in by.items()])


def hamiltonian_trained(results: Path) -> str:
    """Beside a network with all weights trained."""
    found = load(results, "hamiltonian")["figures"]["gradient_trained"]
    rows = [
        [n, small(f["energy error"]["median"]), f"{f['seconds']['median']:.2g}"] for n, f in found.items()
    ]
    return markdown(["pendulum, 2,000 points", "relative error of the energy", "s"], rows)


def hamiltonian_noise(results: Path) -> str:
    """Ports under noise."""
    found = load(results, "hamiltonian")["figures"]["ports"]
    keys = ("energy error", "damping error", "gain error")
    return markdown(["", *keys], [[n, *(_spread(f[k]) for k in keys)] for n, f in found.items()])


def sampled_sets(results: Path) -> str:
    """Supervised data sets."""
    found = load(results, "sampled_regression")["figures"]["data_sets"]
    names = list(next(iter(found.values())))
    rows = [
        [n, *(f"{f[n]['mean']:.3f}, {f[n]['mlp_time_ratio']:.2g}" for f in found.values())] for n in names
    ]
    return markdown(["mean over ten splits (R2, accuracy), time", *found], rows)


def sampled_widths(results: Path) -> str:
    """Barron functions."""
    found = load(results, "sampled_regression")["figures"]["barron"]
    widths = list(next(iter(found.values()))["by_width"])
    peers = list(next(iter(found.values()))["peers"])
    rows = [
        [
            d,
            *(small(f["by_width"][w]["median"]) for w in widths),
            f"{f['slope']:.2f}",
            *(small(f["peers"][p]["error"]) for p in peers),
        ]
        for d, f in found.items()
    ]
    return markdown(["D", *widths, "slope", *peers], rows)
