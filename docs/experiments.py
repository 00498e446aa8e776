"""Tables of `docs/results.md`, made from the cells in `benchmarks/results/experiments`."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

from experiment_figures import draw  # noqa: E402
from experiment_rows import (  # noqa: E402
    BASELINES,
    NEAR,
    TITLES,
    Row,
    brief,
    cells,
    chosen,
    markdown,
    rows_of,
    selected,
    short,
)

FIRST_LIMIT = 300  # s, of cells from before the limit was recorded in them
SHORTEST = 0.01  # s: processor time is counted in hundredths


def experiment(results: Path, name: str) -> str:
    """All models of one experiment, and why the others have no answer."""
    rows, without = rows_of(results, name)
    if not rows:
        return "Not in these results.\n"
    first = rows[0].cells[0]
    chaotic = "density_distance" in first["figures"]
    header = ["model", f"{first['unit']}{' (worst seed)' if any(r.seeds > 1 for r in rows) else ''}"]
    header += ["density distance"] if chaotic else []
    header += ["fit, s", "with trials, s", "prediction, s", "MB", "seeds"]
    lines = []
    for r in rows:
        line = [f"**{r.name}**" if r.ours else r.name, short(r.error) + r.spread]
        line += [f"{r.median('density_distance') or 0.0:.2f}"] if chaotic else []
        line += [brief(r.seconds), brief(r.search), brief(r.median("predict_s")), rounded(r.median("memory_mb"))]
        lines.append([*line, str(r.seeds)])
    text = markdown(header, lines)
    banded = [r for r in rows if "interval_score" in r.cells[0]["figures"]]
    if banded:
        told = "; ".join(
            f"{r.name} {r.median('band_coverage') or 0.0:.0%} and {short(r.median('interval_score') or 0.0)}" for r in banded
        )
        text += f"\nBands that are to hold 90 %, samples inside and interval score (less is better): {told}.\n"
    if chaotic:
        text += f"\nDensity distance of two true runs: {first['notes']['density_floor']:.2f}.\n"
    text += ended(rows)
    reasons: dict[str, list[str]] = {}
    for r in without:
        reasons.setdefault(r.reason, []).append(r.name)
    if reasons:
        told = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
        text += f"\nCannot run: {told}.\n"
    return text


def ended(rows: list[Row]) -> str:
    """Which models were stopped by a limit, of the last fit or of the trials."""
    text = ""
    stopped = [r.name for r in rows if r.stopped]
    if stopped:
        text += f"\nStopped by the clock before the last fit had converged: {', '.join(stopped)}.\n"
    cut = [f"{r.name} after {r.cut}" for r in rows if r.cut is not None]
    if cut:
        text += f"\nTrials ended with half of the cell's time: {', '.join(cut)}.\n"
    return text


def summary(results: Path) -> str:
    """KoopmanRNN beside the peer that is best on the test part, and how long gradients take."""
    lines, counts = [], [0, 0, 0]
    ratios: dict[str, list[float]] = {"LSTM": [], "GRU": [], "quicker": [], "one step": []}
    for name, title in TITLES.items():
        rows, _ = rows_of(results, name)
        best, picked = chosen(rows), selected(rows)
        peers = [r for r in rows if not r.ours and r.name not in (*BASELINES, "direct regression")]
        if best is None or not peers:
            continue
        peer = max(peers, key=lambda r: behind(best, r))
        likewise = chosen(rows, ours=False) or peer
        leads = [behind(best, peer) <= 1.0 + NEAR, behind(picked or best, peer) <= 1.0 + NEAR]
        leads.append(behind(best, likewise) <= 1.0 + NEAR)
        counts = [n + lead for n, lead in zip(counts, leads, strict=True)]
        trained = {r.name: r for r in rows if r.name in ("LSTM", "GRU")}
        quick = next((r for r in rows if r.name == "KoopmanRNN one step"), best)
        same = shared(best, peer)
        on_these = best.error_of(same)
        line = [title, f"{short(best.error)} ({best.name.removeprefix('KoopmanRNN').strip(' ,')}{told_seeds(best.by_seed)})"]
        line += [short(picked.error) if picked else "", f"{short(peer.error_of(same))} ({peer.name}{told_seeds(same)})"]
        if short(on_these) != short(best.error):
            line[-1] += f"; KoopmanRNN on the same {short(on_these)}"
        line += [f"{short(likewise.error)} ({likewise.name})" if likewise is not peer else "the same"]
        line += [("yes" if leads[0] else "no") + (f", {'yes' if leads[1] else 'no'}" if picked else "")]
        for n in ("LSTM", "GRU"):
            if n not in trained:
                line.append("")
                continue
            ratios[n].append(trained[n].seconds / max(best.seconds, SHORTEST))
            line.append(f"{short(trained[n].error)}, {short_ratio(ratios[n][-1])}{'+' if trained[n].stopped else ''}")
        told = ""
        if trained:
            gradients = min(r.seconds for r in trained.values())
            ratios["quicker"].append(gradients / max(best.seconds, SHORTEST))
            ratios["one step"].append(gradients / max(quick.seconds, SHORTEST))
            if quick is not best:
                told = f"{short(quick.error)}, {short_ratio(ratios['one step'][-1])}"
        lines.append([*line, told])
    header = ["experiment", "KoopmanRNN, chosen on the training part", "`select`", "best peer that was run, on the test part"]
    header += ["peer chosen on the training part", "first or within 5 % of the best peer", *(f"{n}: error, times as long to fit" for n in ("LSTM", "GRU"))]
    text = markdown([*header, "one step instead: error, times as fast as the quicker of the two"], lines)
    if lines:
        shares = [f"{n} of {len(lines)} experiments ({n / len(lines):.0%})" for n in counts]
        text += (
            f"\nFirst or within 5 % of the peer that is best on the test part: {shares[0]} chosen on one held-out fifth, {shares[1]} "
            "where `select` answers for measured records. First or within 5 % of the peer that is chosen as KoopmanRNN is, on the "
            f"training part: {shares[2]}. A + says that the clock stopped a fit that would have taken longer."
        )
    if ratios["quicker"]:
        text += (
            f" Times as long to fit as that KoopmanRNN: LSTM {told_ratios(ratios['LSTM'])}; GRU {told_ratios(ratios['GRU'])}; "
            f"the quicker of the two {told_ratios(ratios['quicker'])}; and over the one-step fit "
            f"{told_ratios(ratios['one step'])}."
        )
    return text + "\n"


def told_ratios(found: list[float]) -> str:
    """Median, least, and in how many it is 50."""
    if not found:
        return "not run"
    fifty = sum(r >= 50.0 for r in found)
    return f"median {short_ratio(statistics.median(found))}, least {short_ratio(min(found))}, 50 or more in {fifty} of {len(found)}"


def told_seeds(seeds: Collection[int]) -> str:
    """How many there are, where there are several."""
    return f", {len(seeds)} seeds" if len(seeds) > 1 else ""


def shared(ours: Row, peer: Row) -> set[int]:
    """Seeds that both have where data are simulated, and differ by seed; of measured data every seed is as good."""
    return set() if ours.cells[0]["group"] in ("measured", "weather") else ours.by_seed.keys() & peer.by_seed.keys()


def behind(ours: Row, peer: Row) -> float:
    """How many times worse we are than a peer."""
    seeds = shared(ours, peer)
    a, b = ours.error_of(seeds), peer.error_of(seeds)
    if ours.higher:
        a, b = b, a
    return a / b if b else float("inf")


def rounded(value: float | None) -> str:
    """Without digits behind the point, or nothing."""
    return "" if value is None else f"{value:.0f}"


def short_ratio(value: float) -> str:
    """Two digits, no exponent."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10.0 else f"{value:.1f}"


def setting(results: Path) -> str:
    """Versions, machine and dates of the cells."""
    found = [c for p in (results / "experiments").glob("*") if p.is_dir() for c in cells(results, p.name)]
    found = [c for c in found if "error" in c]
    versions: dict[str, set[str]] = {}
    for c in found:
        for package, version in c["versions"].items():
            versions.setdefault(package, set()).add(version)
    named = ", ".join(f"{p} {' and '.join(sorted(v))}" for p, v in sorted(versions.items()))
    dates = sorted({c["date"] for c in found})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    limits: dict[int, int] = {}
    for c in found:
        limits[c.get("limit_s", FIRST_LIMIT)] = limits.get(c.get("limit_s", FIRST_LIMIT), 0) + 1
    told = ", ".join(f"{limits[s]} with {s} s" for s in sorted(limits, reverse=True))
    slow = [c["speed"] for c in found if "speed" in c]
    if slow:
        told += f" ({len(slow)} of them on a machine {1.0 / min(slow):.1f} times slower: their times are divided by it)"
    return f"{len(found)} cells, {when}, one thread; processor time that a cell may take: {told}; {named}.\n"


def sweeps(results: Path) -> str:
    """Errors along each sweep, and slopes of their logarithms."""
    path = results / "experiment_sweeps.json"
    if not path.exists():
        return "Not in these results.\n"
    lines = []
    for name, sweep in json.loads(path.read_text())["figures"].items():
        points = ", ".join(f"{x}: {short(e)}" for x, e in zip(sweep["values"], sweep["error"], strict=True))
        slope = "" if sweep["slope"] is None else f"{sweep['slope']:.2f}"
        cost = "" if sweep["fit_slope"] is None else f"{sweep['fit_slope']:.2f}"
        lines.append([name, points, slope, cost])
    return markdown(["sweep", "error (median of seeds)", "slope of the error", "slope of the fit's time"], lines)


def control(results: Path) -> str:
    """Cost over that of NMPC with the true model, and seconds of fit and loop."""
    path = results / "experiment_control.json"
    if not path.exists():
        return "Not in these results.\n"
    found = json.loads(path.read_text())["figures"]
    names = dict.fromkeys(n for f in found.values() for n in f["models"])

    def cell(f: dict[str, Any], name: str) -> str:
        runs = f["models"].get(name)
        if not runs:
            return ""
        median = {k: statistics.median(float(r[k]) for r in runs) for k in ("cost_ratio", "fit_s", "loop_s")}
        ratio = median["cost_ratio"]
        shown = f"{ratio:.3f}" if ratio < 10.0 else short(ratio)
        return f"{shown}; {short(median['fit_s'])} s; {median['loop_s'] / float(f['true_loop_s']):.2g}"

    rows = [[n, *(cell(f, n) for f in found.values())] for n in names]
    return markdown(["cost ratio; fit; loop's time over the true model's", *(n.replace("_", " ") for n in found)], rows)


def streaming(results: Path) -> str:
    """Time and memory against the number of pairs, and the workers' runs."""
    path = results / "streaming_fit.json"
    if not path.exists():
        return "Not in these results.\n"
    found = json.loads(path.read_text())["figures"]
    rows = [
        [f"{r['pairs']:,}", short(r["fit_s"]), short(r["stream_s"]), f"{r['peak_gib']:.2f}"] for r in found["sizes"]
    ]
    said = found["said"]
    rows.append([f"{said['pairs']:,}, by the line through these", f"{said['fit_s']:.0f}", "", ""])
    text = markdown(["pairs", "fit, s", "making the stream, s", "peak, GiB"], rows)
    if "workers" in found:
        w = found["workers"]
        text += (
            f"\n{w['pairs']:,} pairs on a Dask cluster of this machine: one worker {short(w['one_s'])} s, "
            f"{w['workers']} workers {short(w['several_s'])} s ({w['over_halving']:.2f} times the ideal share), "
            f"with one of them killed half-way {short(w['killed_s'])} s. Free runs differ from those of one process by "
            f"{w['one_difference']:.0e}, {w['several_difference']:.0e} and {w['killed_difference']:.0e} of their size.\n"
        )
    return text


def missing(results: Path) -> str:
    """Cells that have not been run, by model."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    from benchmarks.experiments.models import all_contenders

    of_seasons = {"climatology", "KoopmanRNN of the season's residual"}
    there = {name: {c["model"] for c in cells(results, name)} for name in TITLES}
    lines, n = [], 0
    for model in all_contenders():
        wanted = [name for name in TITLES if model not in of_seasons or name.startswith("weather")]
        absent = [name for name in wanted if model not in there[name]]
        n += len(absent)
        present = [TITLES[name] for name in wanted if name not in absent]
        if absent and not present:
            lines.append(f"- {model}: all {len(absent)}.\n")
        elif absent and len(absent) > len(present):
            lines.append(f"- {model}: {len(absent)}, all but {'; '.join(present)}.\n")
        elif absent:
            lines.append(f"- {model}: {'; '.join(TITLES[name] for name in absent)}.\n")
    if not lines:
        return "None: every cell is filled or says why not.\n"
    total = sum(len(found) for found in there.values())
    return f"{n} cells, beside {total} that are filled or say why they cannot be.\n\n" + "".join(lines)


TABLES: dict[str, Callable[[Path], str]] = {
    "experiments_summary": summary,
    "experiments_setting": setting,
    "experiments_sweeps": sweeps,
    "experiments_control": control,
    "experiments_streaming": streaming,
    "experiments_missing": missing,
    **{f"experiment_{name}": partial(experiment, name=name) for name in TITLES},
}


if __name__ == "__main__":
    draw(ROOT / "benchmarks" / "results", ROOT / "docs" / "figures")
