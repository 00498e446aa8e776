"""Markdown tables of the pages, made from the JSON in `benchmarks/results`; `docs/build.py` puts them in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

_YARDSTICK = "NMPC, true model"
_RATIO_SHOWN = 1000.0  # a larger one has its order of magnitude shown only


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _load(results: Path, name: str) -> dict[str, Any]:
    return json.loads((results / f"{name}.json").read_text())


def _figures(results: Path, condition: str) -> dict[str, dict[str, Any]]:
    """Controllers of every case under a condition, by `plant scenario`."""
    found = _load(results, "closed_loop")["figures"]
    cases = {tuple(title.rsplit(", ", 1)): v["controllers"] for title, v in found.items()}
    return {case: controllers for (case, under), controllers in cases.items() if under == condition}


def _by_controller(cases: dict[str, dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> str:
    if not cases:
        return "Not in these results.\n"
    names = dict.fromkeys(n for controllers in cases.values() for n in controllers if n != _YARDSTICK)
    rows = [[n, *(cell(c[n]) if n in c else "" for c in cases.values())] for n in names]
    return markdown(["", *(case.replace("_", " ") for case in cases)], rows)


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10.0 else f"{value:.0f}" if value < _RATIO_SHOWN else f"{value:.0e}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100.0 else f"{value:.2g}"


def _cost(found: dict[str, Any]) -> str:
    """Median cost over that of true-model NMPC, the worst seed in brackets, and how many seeds failed."""
    text = "none"
    if "cost_ratio" in found:
        ratio = found["cost_ratio"]
        text = _number(ratio["median"]) + (f" ({_number(ratio['max'])})" if ratio["n"] > 1 else "")
    return text + (f", {found['failed']} failed" if found.get("failed") else "")


def _final_error(found: dict[str, Any]) -> str:
    error = found.get("final_error")
    text = "none" if error is None else f"{_short(error['median'])} ({_short(error['max'])})"
    return text + (f", {found['failed']} failed" if found.get("failed") else "")


def _step(found: dict[str, Any]) -> str:
    if "median_step" not in found:
        return "none"
    milliseconds = 1e3 * found["median_step"]["median"]
    slow = found.get("p95_step")
    return _short(milliseconds) + (f" ({_short(1e3 * slow['median'])})" if slow else "")


def _troubles(found: dict[str, Any]) -> str:
    """Fall-backs, and the largest excess over output bounds."""
    if "cost_ratio" not in found:
        return "none"
    excess = found.get("y_excess", found.get("excess", 0.0))
    return f"{found['fallbacks']}" + (f", {excess:.4f}" if excess >= 5e-5 else "")


def loop_cost(results: Path) -> str:
    """Cost relative to true-model NMPC."""
    return _by_controller(_figures(results, "plain"), _cost)


def loop_noise(results: Path) -> str:
    """The same with measurement noise."""
    return _by_controller(_figures(results, "noise"), _cost)


def loop_load(results: Path) -> str:
    """Final errors under an unknown load; NMPC knows of none."""
    return _by_controller(_figures(results, "load"), _final_error)


def loop_step(results: Path) -> str:
    """Median step times in milliseconds."""
    return _by_controller(_figures(results, "plain"), _step)


def loop_trouble(results: Path) -> str:
    """Fall-backs and violations."""
    return _by_controller(_figures(results, "plain"), _troubles)


def loop_setting(results: Path) -> str:
    """Seeds, date and machine of the tables."""
    found = _load(results, "closed_loop")
    seeds, figures = len(found["seeds"]), found["figures"]
    return (
        f"`{found['command']}`, {found['date']}: {seeds} identification seeds, {len(figures)} cases, "
        f"{found['cores']} cores with {found['blas_threads']} BLAS thread.\n"
    )


def step_time(results: Path) -> str:
    """One step on Van der Pol and the bare solver, from the step benchmark."""
    figures = _load(results, "mpc_step")["figures"]
    plant = figures.get("van_der_pol")
    if plant is None:  # results of before there was a plant in the step benchmark
        seconds = figures["median_seconds"]
        rows = [[f"LinearMPC, {n} lifted states", f"{1e3 * seconds[n]:.3f}"] for n in ("50", "300", "1000")]
        rows.append(["bare `casadi.conic` call", f"{1e3 * seconds['bare']:.3f}"])
        return markdown(["", "median ms"], rows)
    late = plant["p95_seconds"]
    rows = [
        [name, f"{1e3 * s['median']:.3g}", f"{1e3 * late[name]['median']:.3g}"]
        for name, s in plant["seconds"].items()
    ]
    return markdown(["", "median ms", "95 % ms"], rows)


def selected(results: Path) -> str:
    """Records: the ensemble that `select` found, and hidden states with settings by hand."""
    found = _load(results, "selected")["figures"]
    by_hand = _load(results, "hidden_state")["figures"]
    rows = []
    for name in dict.fromkeys([*by_hand, *found]):
        f = found.get(name)
        hand = min((h["mean_rmse"] for h in by_hand.get(name, [])), default=None)
        for i in range(len(f["rmse"]) if f else 1):
            rows.append(
                [
                    name.replace("_", " ") + (f", test {i}" if f and len(f["rmse"]) > 1 else ""),
                    f"{f['rmse'][i]['median']:.3g}" if f else "",
                    f"{f['best_linear_rmse'][i]['median']:.3g}" if f else "",
                    f"{f['seconds']['median']:.0f}" if f else "",
                    f"{hand:.3g}" if hand is not None else "",
                ]
            )
    return markdown(
        ["record", "select", "best linear it found", "s", "hidden state, by hand, mean of members"], rows
    )


def record_peers(results: Path) -> str:
    """Records beside jax-sysid and SIPPY at the same orders, the best first."""
    rows = []
    for name, found in _load(results, "record_peers")["figures"].items():
        for label, f in sorted(found.items(), key=lambda pair: pair[1]["rmse"]["median"]):
            error = f["rmse"]
            worst = f"{error['max']:.3g}" if error["n"] > 1 else ""
            rows.append(
                [name.replace("_", " "), label, f"{error['median']:.3g}", worst, f"{f['fit_s']['median']:.2g}"]
            )
    return markdown(["record", "model", "RMSE, median of 3 seeds", "worst", "fit, s"], rows)


def unseen(results: Path) -> str:
    """Default settings on plants that nothing was tuned on: cost over true-model NMPC, median (worst), failed."""
    return _unseen(results, "plain")


def unseen_noise(results: Path) -> str:
    """The same with noise on records and measurements, with the filters' defaults."""
    return _unseen(results, "noise")


def unseen_load(results: Path) -> str:
    """The same under load and mismatch, with offset_free=True."""
    return _unseen(results, "load+mismatch")


def _unseen(results: Path, condition: str) -> str:
    figures = _load(results, "unseen_plants")["figures"]
    names = dict.fromkeys(n for f in figures.values() for n in f["ratios"].get(condition, {}))
    rows = []
    for plant, f in figures.items():
        row = [plant.replace("_", " ")]
        if condition not in f["ratios"]:
            continue
        for name in names:
            runs = f["ratios"][condition].get(name, [])
            good = sorted(v for v in runs if isinstance(v, float))
            text = (
                ""
                if not runs
                else "none"
                if not good
                else f"{_number(good[len(good) // 2])} ({_number(good[-1])})"
            )
            row.append(text + (f", {len(runs) - len(good)} failed" if runs and len(good) < len(runs) else ""))
        rows.append(row)
    return markdown(["", *names], rows)


def unseen_setting(results: Path) -> str:
    """Command and seeds, and how often a check of the design was right."""
    found = _load(results, "unseen_plants")
    verdicts = [v for f in found["figures"].values() for v in f["verdicts"]]
    bad, fine = ([v for v in verdicts if v["worse"] == w] for w in (True, False))
    return (
        f"`python benchmarks/unseen_plants.py --seeds {len(found['seeds'])}`, up to {found['date']}. `verify_design` flags "
        f"{sum(v['flagged'] is True for v in bad)} of {len(bad)} controllers that cost more than twice what the same one on "
        f"DMDc does on the true plant, and {sum(v['flagged'] is True for v in fine)} of {len(fine)} others.\n"
    )


def ltinet_reduction(results: Path) -> str:
    """Balanced reduction of linear networks beside pyMOR."""
    rows = []
    for name, f in _load(results, "ltinet_reduction")["figures"].items():
        theirs = f.get("error_pymor")
        ratio = f["pymor_s"] / f["reduce_s"] if theirs is not None else None
        rows.append(
            [
                name, str(f["states"]), str(f["order"]), f"{f['error']:.1e}",
                "" if theirs is None else f"{theirs:.1e}", f"{f['error_match_dc']:.1e}", f"{f['bound']:.1e}",
                f"{f['error_modal']:.1e}", f"{f['reduce_s']:.3f} s", "" if ratio is None else _short(ratio),
            ]
        )  # fmt: skip
    return markdown(
        ["model", "states", "order", "error", "pyMOR's", "static gain kept", "bound", "modal truncation", "time",
         "pyMOR's time over ours"],
        rows,
    )  # fmt: skip


def ltinet_large(results: Path) -> str:
    """Low-rank reduction of large sparse models."""
    found = _load(results, "ltinet_reduction")["large"]
    rows = [
        [name, str(f["states"]), str(f["order"]), f"{f['error']:.0e}", f"{f['bound']:.0e}", f"{f['seconds']:.1f} s"]
        for name, f in found.items()
    ]
    return markdown(["model", "states", "order", "error", "bound", "time"], rows)


def ltinet_simulation(results: Path) -> str:
    """Simulation of linear networks, the others' time over the network's."""
    rows = []
    for f in _load(results, "ltinet_simulation")["rows"]:
        if f["inputs"] > 1 or f["n"] not in (10, 100, 1000, 2000):
            continue
        own, few = f["network foh"], f["steps"] < 10_000
        times = (f[k] / own for k in ("forced_response", "lsim", "dense stepping", "dense blocked"))
        name = f"{f['plant']}, {f['n']}" + (f" ({f['steps']:,} steps)" if few else "")
        rows.append([name, f"{1e3 * own:.1f} ms", *(_short(x) for x in times), f"{f['network build']:.2g} s"])
    return markdown(
        ["plant, n", "network", "`forced_response`", "`lsim`", "dense stepping", "dense, 64 steps at once", "build"],
        rows,
    )


def ltinet_models(results: Path) -> str:
    """Transfer errors of networks of awkward models."""
    rows = [
        [name, str(f["states"]), str(f["layers"]), f"{f['cond']:.0e}", f"{f['error']:.0e}", f"{f['pointwise']:.0e}",
         f"{f['unrefined']:.0e}", f"{f['bound']:.0e}"]
        for name, f in _load(results, "ltinet_models")["figures"].items()
    ]  # fmt: skip
    return markdown(
        ["model", "states", "layers", "cond(T)", "error / peak", "relative down to 1e-8", "without balancing and refinement",
         "bound / peak"],
        rows,
    )  # fmt: skip


def _power(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def pde_accuracy(results: Path) -> str:
    """Errors of the equations beside their targets and what was published."""
    rows = [
        [name, _power(f["error"]["median"]), _power(f["error"]["max"]), _short(f["seconds"]["median"]),
         f"{f['states']['median']:.0f}", "" if isinstance(f["target"], str) else _power(f["target"]), f["published"]]
        for name, f in _load(results, "pde")["figures"]["accuracy"].items()
    ]  # fmt: skip
    return markdown(["equation", "error", "worst", "s", "states", "target", "published"], rows)


def pde_peers(results: Path) -> str:
    """Classical solvers on the same equations."""
    found = _load(results, "pde")["figures"]["peers"]
    return markdown(["", "error", "s"], [[n, _power(f["error"]), _short(f["seconds"])] for n, f in found.items()])


def pde_states(results: Path) -> str:
    """Error of the controlled flow by number of states."""
    found = _load(results, "pde")["figures"]["states"]
    return markdown(["", "error", "worst"], [[n, _power(f["error"]["median"]), _power(f["error"]["max"])] for n, f in found.items()])


def pde_tracking(results: Path) -> str:
    """Cost of following uniform speeds with Burgers' equation."""
    return _followed(results, "tracking")


def pde_canal(results: Path) -> str:
    """Cost of following levels with the equation of Korteweg and de Vries."""
    return _followed(results, "canal")


def _followed(results: Path, part: str) -> str:
    found = _load(results, "pde")["figures"][part]
    idle = found["no control"]["cost"]["median"]
    rows = [
        [n, f"{f['cost']['median'] / idle:.3f} ({f['cost']['max'] / idle:.3f})", f"{f['states']['median']:.0f}",
         _short(1e3 * f["step"]["median"]), _short(f["design"]["median"])]
        for n, f in found.items()
    ]  # fmt: skip
    return markdown(["", "cost over the median without control, median (worst start)", "states", "ms a step", "s to make"], rows)


def pde_plate(results: Path) -> str:
    """Cost of regulating the plate."""
    found = _load(results, "pde")["figures"]["plate"]
    best = found["all cells"]["cost"]["median"]
    return markdown(
        ["", "cost over that of all cells", "states"],
        [[n, f"{f['cost']['median'] / best:.3f}", str(f["states"])] for n, f in found.items()],
    )


def pde_inverse(results: Path) -> str:
    """Errors of parameters and gains by noise."""
    rows = [
        [noise, what, *(f"{100 * f[k]:.3f} %" for k in ("bias", "rms", "reported"))]
        for noise, values in _load(results, "pde")["figures"]["inverse"].items() for what, f in values.items()
    ]  # fmt: skip
    return markdown(["", "", "bias", "root mean square", "reported"], rows)


def _small(value: float) -> str:
    return f"{value:.1e}" if 0.0 < abs(value) < 1e-2 else f"{value:.3g}"


def _spread(found: dict[str, float]) -> str:
    """Median, and the worst seed in brackets."""
    return f"{_small(found['median'])} ({_small(found['max'])})"


def varying(results: Path) -> str:
    """Plants with a drifting parameter."""
    found = {n: f for n, f in _load(results, "parameter_varying")["figures"].items() if n != "grey"}
    names = dict.fromkeys(n for f in found.values() for kind in ("free_run", "cost_ratio") for n in f[kind])
    header = ["", *(f"{f['title']}: {what}" for f in found.values() for what in ("free run", "cost"))]
    rows = [
        [n, *(_spread(f[k][n]) if n in f[k] else "" for f in found.values() for k in ("free_run", "cost_ratio"))]
        for n in names
    ]
    return markdown(header, rows)


def grey_boxes(results: Path) -> str:
    """Grey boxes beside black boxes and the known part alone."""
    rows = []
    for plant, noises in _load(results, "parameter_varying")["figures"]["grey"].items():
        for noise, kinds in noises.items():
            for kind, f in kinds.items():
                cells = [_spread(f[k]) if k in f else "" for k in ("coefficient", "inside", "outside")]
                rows.append([f"{plant}, {noise}", kind, *cells])
    return markdown(["plant", "model", "worst coefficient, relative", "free run", "outside of the records"], rows)


def hamiltonian_energies(results: Path) -> str:
    """Energies from derivatives."""
    found = _load(results, "hamiltonian")["figures"]["energies"]
    rows = [[n, _spread(f["energy error"]), f"{f['seconds']['median']:.2g}"] for n, f in found.items()]
    return markdown(["system, neurons", "relative error of the energy, median (worst) of 3 seeds, one from 2,000 neurons on", "s, busy machine"], rows)


def hamiltonian_swing(results: Path) -> str:
    """Swing-ups from 200 samples."""
    found = _load(results, "hamiltonian")["figures"]["swing_ups"]
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
    found = _load(results, "hamiltonian")["figures"]["long_runs"]
    rows = [
        [n, *(_spread(f[k]) if k in f else "" for k in ("drift of the true energy", "drift of its own energy"))]
        for n, f in found.items()
    ]
    return markdown(["model", "true energy", "its own"], rows)


def hamiltonian_samples(results: Path) -> str:
    """Sample efficiency."""
    found = _load(results, "hamiltonian")["figures"]["sample_efficiency"]
    by: dict[str, dict[str, str]] = {}
    for key, f in found.items():
        pairs, model = key.split(" pairs, ")
        by.setdefault(model, {})[pairs] = _small(f["step error"]["median"])
    header = list(next(iter(by.values())))
    return markdown(["pairs", *header], [[m, *(row[h] for h in header)] for m, row in by.items()])


def hamiltonian_steps(results: Path) -> str:
    """From trajectories, against the sample time."""
    found = _load(results, "hamiltonian")["figures"]["trajectories"]
    by: dict[str, dict[str, str]] = {}
    for key, f in found.items():
        step, method = key.split(", ", 1)
        by.setdefault(method, {})[step] = _small(f["energy error"]["median"])
    header = list(next(iter(by.values())))
    return markdown(["", *(f"{h} s" for h in header)], [[m, *(row[h] for h in header)] for m, row in by.items()])


def hamiltonian_trained(results: Path) -> str:
    """Beside a network with all weights trained."""
    found = _load(results, "hamiltonian")["figures"]["gradient_trained"]
    rows = [
        [n, _small(f["energy error"]["median"]), f"{f['seconds']['median']:.2g}"] for n, f in found.items()
    ]
    return markdown(["pendulum, 2,000 points", "relative error of the energy", "s"], rows)


def hamiltonian_noise(results: Path) -> str:
    """Ports under noise."""
    found = _load(results, "hamiltonian")["figures"]["ports"]
    keys = ("energy error", "damping error", "gain error")
    return markdown(["", *keys], [[n, *(_spread(f[k]) for k in keys)] for n, f in found.items()])


def sampled_sets(results: Path) -> str:
    """Supervised data sets."""
    found = _load(results, "sampled_regression")["figures"]["data_sets"]
    names = list(next(iter(found.values())))
    rows = [
        [n, *(f"{f[n]['mean']:.3f}, {f[n]['mlp_time_ratio']:.2g}" for f in found.values())] for n in names
    ]
    return markdown(["mean over ten splits (R2, accuracy), time", *found], rows)


def sampled_widths(results: Path) -> str:
    """Barron functions."""
    found = _load(results, "sampled_regression")["figures"]["barron"]
    widths = list(next(iter(found.values()))["by_width"])
    peers = list(next(iter(found.values()))["peers"])
    rows = [
        [
            d,
            *(_small(f["by_width"][w]["median"]) for w in widths),
            f"{f['slope']:.2f}",
            *(_small(f["peers"][p]["error"]) for p in peers),
        ]
        for d, f in found.items()
    ]
    return markdown(["D", *widths, "slope", *peers], rows)


TABLES: dict[str, Callable[[Path], str]] = {
    f.__name__: f
    for f in (
        loop_cost,
        loop_noise,
        loop_load,
        loop_step,
        loop_trouble,
        loop_setting,
        step_time,
        selected,
        record_peers,
        unseen,
        unseen_load,
        unseen_noise,
        unseen_setting,
        ltinet_reduction,
        ltinet_large,
        ltinet_models,
        ltinet_simulation,
        pde_accuracy,
        pde_peers,
        pde_states,
        pde_tracking,
        pde_canal,
        pde_plate,
        pde_inverse,
        varying,
        grey_boxes,
        hamiltonian_energies,
        hamiltonian_swing,
        hamiltonian_long,
        hamiltonian_samples,
        hamiltonian_steps,
        hamiltonian_trained,
        hamiltonian_noise,
        sampled_sets,
        sampled_widths,
    )
}
