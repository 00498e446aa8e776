"""Tables of estimators and of what leaves for other machines."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import Any

from table_cells import load, markdown, number, short

_OUTPUTS = "nmpc_outputs"
_NAMES = {
    "rnn_mpc": "RNNMPC", "linear_mpc": "LinearMPC, chosen lift", "dmdc": "LinearMPC, DMDc",
    "pykoop": "LinearMPC, pykoop",
}  # fmt: skip
CLOSE = 1.05


def bounded_estimates(results: Path) -> str:
    """Errors of states and loads over the extended Kalman filter's."""
    cases = load(results, "moving_horizon")["figures"]
    rows = []
    for name in next(iter(cases.values()))["estimators"]:
        cells = []
        for case in cases.values():
            found = case["estimators"][name]
            cells += [
                f"{r['median']:.2f} ({r['max']:.2f})" for r in (found["states_ratio"], found["load_ratio"])
            ]
        times = [1e3 * case["estimators"][name]["step_s"]["median"] for case in cases.values()]
        rows.append([name, *cells, f"{short(min(times))} to {short(max(times))}"])
    header = ["", *(f"{case}, {part}" for case in cases for part in ("states", "load")), "ms of processor"]
    return markdown(header, rows)


def bounded_peers(results: Path) -> str:
    """do-mpc's MHE on the same problems."""
    cases = load(results, "moving_horizon")["figures"]
    rows = []
    for name, case in cases.items():
        peer = case["do_mpc"]
        own, time = peer["own_error_ratio"], peer["time_ratio"]
        rows.append([
            name, f"{peer['alike']} of {peer['samples']}", f"{peer['median_gap']:.0e}", f"{peer['cheaper']}",
            f"{peer['dearer']}", f"{short(1.0 / time['median'])}",
            f"{own['median']:.2f} ({own['min']:.2f} to {own['max']:.2f})",
        ])  # fmt: skip
    header = [
        "", "same estimate (1e-5)", "median gap", "ours the cheaper optimum", "ours the dearer",
        "do-mpc's time over ours", "error with its own arrival cost over ours",
    ]  # fmt: skip
    return markdown(header, rows)


def explicit_peers(results: Path) -> str:
    """Tables of regions beside the online controller and PPOPT."""
    rows = []
    for title, v in load(results, "deployment")["figures"]["explicit"].items():
        times = v["step_seconds"]
        rows.append([
            title, f"{v['regions']} ({v['regions_ppopt']})",
            f"{v['gap_online']:.0e} at {v['in_a_region']} states", f"{v['gap_ppopt']:.0e} at {v['points_ppopt']}",
            short(v["seconds_ppopt"] / v["seconds"]),
            *(short(times["online"] / times[name]) for name in ("looked up", "looked up in C, with ctypes", "PPOPT")),
        ])  # fmt: skip
    header = [
        "", "regions (PPOPT's)", "gap to the online controller", "gap to PPOPT", "PPOPT's time to make it over ours",
        "online's time over the lookup's", "over the lookup's in C", "over PPOPT's lookup",
    ]  # fmt: skip
    return markdown(header, rows)


def deployment_peers(results: Path) -> str:
    """Retuned C, an FMU and an ONNX graph beside Python and their peers."""
    found = load(results, "deployment")["figures"]
    tuned, unit, graph = found["retuning"], found["fmu"], found["onnx"]
    times = tuned["seconds"]
    rows = [
        ["retuned C", "Python's `with_`", f"{tuned['gap']['Python']:.0e}", short(times["Python"] / times["C"])],
        ["retuned C", "do-mpc, the weight a parameter", f"{tuned['gap']['do-mpc']:.0e}", short(times["do-mpc"] / times["C"])],
        ["FMU in fmpy", "Python", f"{unit['gap']:.0e}", short(unit["step_seconds"]["Python"] / unit["step_seconds"]["fmpy"])],
    ]  # fmt: skip
    for key, v in graph.items():
        if isinstance(v, dict):
            scalar, n = key.split(", ")
            rows.append([
                f"ONNX in onnxruntime, {scalar}s, {n} state{'s' if n != '1' else ''}", "NumPy", f"{v['gap']:.0e}",
                short(v["seconds"]["NumPy"] / v["seconds"]["onnxruntime"]),
            ])  # fmt: skip
    return markdown(["", "beside", "largest gap", "its time over this one's"], rows)


def _ratios(found: dict[str, Any]) -> list[float]:
    """Costs over NMPC's of all seeds; infinite where the plant failed or there was no controller."""
    pairs = zip(found["ratios"], found["failed"], strict=True)
    return [math.inf if failed else float(ratio) for ratio, failed in pairs if failed or ratio is not None]


def pipeline(results: Path) -> str:
    """Every plant and task from records to a loop: median over seeds, the worst in brackets, how many failed."""
    rows = []
    for plant, f in load(results, "pipeline")["figures"].items():
        for task, t in f["tasks"].items():
            cells = []
            for name in _NAMES:
                values = _ratios(t["controllers"][name]) if name in t["controllers"] else []
                good = [v for v in values if math.isfinite(v)]
                text = number(median(good)) if good else "none" if values else ""
                text += f" ({number(max(good))})" if len(good) > 1 else ""
                cells.append(
                    text + (f", {len(values) - len(good)} failed" if len(good) < len(values) else "")
                )
            own = t["controllers"].get(_OUTPUTS)
            rows.append([plant, task, *cells, number(own["ratios"][0]) if own else ""])
    return markdown(["plant", "task", *_NAMES.values(), "NMPC that estimates the state"], rows)


def pipeline_setting(results: Path) -> str:
    """Command and seeds, and on how many plants each controller is close to NMPC."""
    found = load(results, "pipeline")
    plants, counts = found["figures"], []
    for name, title in _NAMES.items():
        close = 0
        for f in plants.values():
            values = [
                v for t in f["tasks"].values() if name in t["controllers"]
                for v in _ratios(t["controllers"][name])
            ]  # fmt: skip
            close += bool(values) and median(values) <= CLOSE
        counts.append(f"{title} on {close}")
    beside = sum(median(_beside_outputs(f)) <= CLOSE for f in plants.values())
    return (
        f"`python benchmarks/pipeline.py --seeds {len(found['seeds'])}`, up to {found['date']}. Within "
        f"{100.0 * (CLOSE - 1.0):.0f} % of NMPC's cost, the median over tasks and seeds: {', '.join(counts)} of "
        f"{len(plants)} plants; {_NAMES['rnn_mpc']} on {beside} within that of NMPC that has to estimate the state "
        "too.\n"
    )


def _beside_outputs(figures: dict[str, Any]) -> list[float]:
    """Costs of RNNMPC over those of NMPC that knows the plant and estimates what is not measured."""
    ratios = []
    for task in figures["tasks"].values():
        own = task["controllers"].get(_OUTPUTS)
        best = own["ratios"][0] if own else 1.0
        ratios += [v / best for v in _ratios(task["controllers"]["rnn_mpc"])]
    return ratios


def burgers_tracking(results: Path) -> str:
    """Burgers' equation from ten sensors beside MPC on the plant's own linearisation."""
    rows = []
    for condition, found in load(results, "burgers_tracking")["figures"].items():
        for name, f in found.items():
            cost, ratio = f["cost"], f["ratio"]
            rows.append([
                condition, name, f"{median(cost):.1f}", f"{median(ratio):.3f} ({max(ratio):.3f})",
                short(max(f["final_error"])),
            ])  # fmt: skip
    return markdown(["", "", "cost", "over the own linearisation's", "largest error at ends, m/s"], rows)
