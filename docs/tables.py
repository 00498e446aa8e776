"""Markdown tables of the pages, made from the JSON in `benchmarks/results`; `docs/build.py` puts them in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from table_cells import load, markdown, number, short  # noqa: E402
from table_control import (  # noqa: E402
    bounded_estimates,
    bounded_peers,
    burgers_tracking,
    deployment_peers,
    explicit_peers,
    pipeline,
    pipeline_setting,
)
from table_networks import (  # noqa: E402
    ltinet_awkward,
    ltinet_large,
    ltinet_models,
    ltinet_reduction,
    ltinet_simulation,
    ltinet_sizes,
)
from table_sampled import (  # noqa: E402
    pde_accuracy,
    pde_peers,
    pde_states,
    pde_tracking,
    pde_canal,
    pde_plate,
    pde_inverse,
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
from table_varying import grey_boxes, varying  # noqa: E402

_YARDSTICK = "NMPC, true model"


def _figures(results: Path, condition: str) -> dict[str, dict[str, Any]]:
    """Controllers of every case under a condition, by `plant scenario`."""
    found = load(results, "closed_loop")["figures"]
    cases = {tuple(title.rsplit(", ", 1)): v["controllers"] for title, v in found.items()}
    return {case: controllers for (case, under), controllers in cases.items() if under == condition}


def _by_controller(cases: dict[str, dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> str:
    if not cases:
        return "Not in these results.\n"
    names = dict.fromkeys(n for controllers in cases.values() for n in controllers if n != _YARDSTICK)
    rows = [[n, *(cell(c[n]) if n in c else "" for c in cases.values())] for n in names]
    return markdown(["", *(case.replace("_", " ") for case in cases)], rows)


def _cost(found: dict[str, Any]) -> str:
    """Median cost over that of true-model NMPC, the worst seed in brackets, and how many seeds failed."""
    text = "none"
    if "cost_ratio" in found:
        ratio = found["cost_ratio"]
        text = number(ratio["median"]) + (f" ({number(ratio['max'])})" if ratio["n"] > 1 else "")
    return text + (f", {found['failed']} failed" if found.get("failed") else "")


def _final_error(found: dict[str, Any]) -> str:
    error = found.get("final_error")
    text = "none" if error is None else f"{short(error['median'])} ({short(error['max'])})"
    return text + (f", {found['failed']} failed" if found.get("failed") else "")


def _step(found: dict[str, Any]) -> str:
    if "median_step" not in found:
        return "none"
    milliseconds = 1e3 * found["median_step"]["median"]
    slow = found.get("p95_step")
    return short(milliseconds) + (f" ({short(1e3 * slow['median'])})" if slow else "")


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
    found = load(results, "closed_loop")
    seeds, figures = len(found["seeds"]), found["figures"]
    return (
        f"`{found['command']}`, {found['date']}: {seeds} identification seeds, {len(figures)} cases, "
        f"{found['cores']} cores with {found['blas_threads']} BLAS thread.\n"
    )


def step_time(results: Path) -> str:
    """One step on Van der Pol and the bare solver, from the step benchmark."""
    figures = load(results, "mpc_step")["figures"]
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
    found = load(results, "selected")["figures"]
    by_hand = load(results, "hidden_state")["figures"]
    rows = []
    for name in dict.fromkeys([*by_hand, *found]):
        f = found.get(name)
        hand = min((h["mean_rmse"] for h in by_hand.get(name, [])), default=None)
        for i in range(len(f["rmse"]) if f else 1):
            rows.append(
                [
                    name.replace("_", " ") + (f", test {i}" if f and len(f["rmse"]) > 1 else ""),
                    f"{f['rmse'][i]['median']:.3g} ({f['rmse'][i]['max']:.3g})" if f else "",
                    str(f["rmse"][i]["n"]) if f else "",
                    f"{f['target'][i]:.3g}" if f else "",
                    f"{f['best_linear_rmse'][i]['median']:.3g}" if f else "",
                    f"{f['budget_s'][0]:.0f}" if f else "",
                    f"{hand:.3g}" if hand is not None else "",
                ]
            )
    return markdown(
        [
            "record", "select, median (worst)", "seeds", "aimed at", "best linear it found", "budget, s",
            "by hand, mean of members",
        ],
        rows,
    )


def record_peers(results: Path) -> str:
    """Records beside jax-sysid and SIPPY at the same orders, the best first."""
    rows = []
    for name, found in load(results, "record_peers")["figures"].items():
        for label, f in sorted(found.items(), key=lambda pair: pair[1]["rmse"]["median"]):
            error = f["rmse"]
            worst = f"{error['max']:.3g}" if error["n"] > 1 else ""
            rows.append(
                [
                    name.replace("_", " "),
                    label,
                    f"{error['median']:.3g}",
                    worst,
                    f"{f['fit_s']['median']:.2g}",
                ]
            )
    return markdown(["record", "model", "RMSE, median of 3 seeds", "worst", "fit, s"], rows)


def block_plants(results: Path) -> str:
    """Simulated plants: errors over the outputs' spread, learned from records with noise and without."""
    rows = []
    for name, runs in load(results, "block_plants")["figures"].items():
        noisy, clean, seen, least = (
            float(np.median([r[k] for r in runs])) for k in ("noisy", "clean", "noisy_seen", "clean_seen")
        )
        rows.append(
            [
                name.replace("_", "-"),
                f"{seen:.3g}",
                f"{least:.3g}",
                f"{seen / least:.2f}",
                f"{noisy:.2g}",
                f"{clean:.2g}",
                str(len(runs)),
            ]
        )
    header = [
        "plant", "against noisy outputs", "the same, learned without noise", "ratio", "against clean outputs",
        "the same, learned without noise", "seeds",
    ]  # fmt: skip
    return markdown(header, rows)


def noisy_linear(results: Path) -> str:
    """Random linear plants: orders found, and errors over the noise."""
    rows = []
    for r in load(results, "noisy_linear")["figures"]["runs"]:
        chosen = r["select"]
        states = f"{chosen['n_states']} states" if chosen["n_states"] else f"window of {chosen['output_lags']}"
        if chosen["n_features"]:
            states += f", {chosen['n_features']} neurons"
        rows.append(
            [str(r["order"]), str(r["suggested"]), f"{r['suggested_ratio']:.3f}", states, f"{r['select_ratio']:.3f}"]
        )
    header = ["order", "`suggest_order`", "its model's error / noise", "`select`", "its model's error / noise"]
    return markdown(header, rows)


def hidden_cost(results: Path) -> str:
    """Seconds of one fit of a hidden state, median over seeds."""
    rows = [
        [name.split("_")[0], f"{size['samples']:,}", str(size["seconds"]["n"])]
        + [short(size[key]["median"]) for key in ("seconds", "process_seconds")]
        for name, found in load(results, "hidden_cost")["figures"].items()
        for size in found["sizes"]
    ]
    return markdown(["states", "samples", "seeds", "seconds", "of the process"], rows)


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
    figures = load(results, "unseen_plants")["figures"]
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
                else f"{number(good[len(good) // 2])} ({number(good[-1])})"
            )
            row.append(text + (f", {len(runs) - len(good)} failed" if runs and len(good) < len(runs) else ""))
        rows.append(row)
    return markdown(["", *names], rows)


def unseen_setting(results: Path) -> str:
    """Command and seeds, and how often a check of the design was right."""
    found = load(results, "unseen_plants")
    verdicts = [v for f in found["figures"].values() for v in f["verdicts"]]
    bad, fine = ([v for v in verdicts if v["worse"] == w] for w in (True, False))
    return (
        f"`python benchmarks/unseen_plants.py --seeds {len(found['seeds'])}`, up to {found['date']}. `verify_design` flags "
        f"{sum(v['flagged'] is True for v in bad)} of {len(bad)} controllers that cost more than twice what the same one on "
        f"DMDc does on the true plant, and {sum(v['flagged'] is True for v in fine)} of {len(fine)} others.\n"
    )


def c_single(results: Path) -> str:
    """Generated C in floats beside doubles, and what both take on a Cortex-M4."""
    rows = []
    for title, v in load(results, "c_single")["figures"].items():
        if "error" in v:
            off = v["error"].split(" by ")[1].split(" ")[0]  # of the outputs' spread, in one step
            rows.append([title.replace("_", " "), f"refused: {off} a step", *[""] * 6])
            continue
        both = [v[scalar]["cortex_m4"] for scalar in ("double", "float")]
        sizes = ["-"] * 4
        if all(isinstance(s, dict) for s in both):
            flash = [f"{(s['code'] + s['constants']) / 1024:.0f}" for s in both]
            sizes = [*flash, *(f"{s['state'] / 1024:.0f}" for s in both)]
        off = abs(v["cost"] - 1.0)
        cost = "1" if off < 5e-5 else f"{v['cost']:.4f}" if off < 0.05 else f"{v['cost']:.2f}"
        rows.append([title.replace("_", " "), f"{v['outputs']:.0e}", f"{v['inputs']:.0e}", cost, *sizes])
    header = ["", "outputs", "inputs", "cost", "flash, double", "float", "memory, double", "float"]
    return markdown(header, rows)


TABLES: dict[str, Callable[[Path], str]] = {
    f.__name__: f
    for f in (
        c_single,
        loop_cost,
        loop_noise,
        loop_load,
        loop_step,
        loop_trouble,
        loop_setting,
        step_time,
        selected,
        record_peers,
        block_plants,
        noisy_linear,
        hidden_cost,
        unseen,
        unseen_load,
        unseen_noise,
        unseen_setting,
        ltinet_reduction,
        ltinet_large,
        ltinet_models,
        ltinet_sizes,
        ltinet_awkward,
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
        bounded_estimates,
        bounded_peers,
        explicit_peers,
        deployment_peers,
        burgers_tracking,
        pipeline,
        pipeline_setting,
    )
}
