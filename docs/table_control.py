"""Tables of estimators and of what leaves for other machines."""

from __future__ import annotations

from pathlib import Path

from table_cells import load, markdown, short


def bounded_estimates(results: Path) -> str:
    """Errors of states and loads over the extended Kalman filter's."""
    cases = load(results, "moving_horizon")["figures"]
    rows = []
    for name in next(iter(cases.values()))["estimators"]:
        cells = []
        for case in cases.values():
            found = case["estimators"][name]
            cells += [f"{r['median']:.2f} ({r['max']:.2f})" for r in (found["states_ratio"], found["load_ratio"])]
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
