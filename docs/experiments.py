"""Tables of `docs/results.md`, made from the cells in `benchmarks/results/experiments`."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
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
    reasons: dict[str, list[str]] = {}
    for r in without:
        reasons.setdefault(r.reason, []).append(r.name)
    if reasons:
        told = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
        text += f"\nCannot run: {told}.\n"
    return text


def summary(results: Path) -> str:
    """KoopmanRNN beside the peer that is best on the test part, and how long gradients take."""
    lines, counts, ratios = [], [0, 0], []
    for name, title in TITLES.items():
        rows, _ = rows_of(results, name)
        best, picked = chosen(rows), selected(rows)
        peers = [r for r in rows if not r.ours and r.name not in (*BASELINES, "direct regression")]
        if best is None or not peers:
            continue
        peer = peers[0]
        leads = [leading(best, peer), leading(picked or best, peer)]
        counts = [n + lead for n, lead in zip(counts, leads, strict=True)]
        trained = {r.name: r for r in rows if r.name in ("LSTM", "GRU")}
        slower = ""
        if trained:
            gradients = min(r.seconds for r in trained.values())
            quick = next((r for r in rows if r.name == "KoopmanRNN one step"), best)
            ratios.append([gradients / max(r.seconds, SHORTEST) for r in (best, quick)])
            slower = short_ratio(ratios[-1][0])
            if quick is not best:
                slower += f" (one step, {short(quick.error)}: {short_ratio(ratios[-1][1])})"
        line = [title, f"{short(best.error)} ({best.name.removeprefix('KoopmanRNN').strip(' ,')})"]
        line += [short(picked.error) if picked else "", f"{short(peer.error)} ({peer.name})"]
        line += [("yes" if leads[0] else "no") + (f", {'yes' if leads[1] else 'no'}" if picked else "")]
        line += [short(trained[n].error) if n in trained else "" for n in ("LSTM", "GRU")]
        lines.append([*line, slower])
    header = ["experiment", "KoopmanRNN, chosen on the training part", "`select`", "best peer that was run, on the test part"]
    header += ["first or within 5 %", "LSTM", "GRU", "the quicker one's fit over KoopmanRNN's"]
    text = markdown(header, lines)
    if lines:
        shares = [f"{n} of {len(lines)} experiments ({n / len(lines):.0%})" for n in counts]
        text += (
            f"\nFirst or within 5 % of the first of what was run: {shares[0]} with as many trials as the peers, {shares[1]} where "
            "`select` answers for measured records."
        )
    if ratios:
        of_best, of_quick = zip(*ratios, strict=True)
        text += (
            f" The quicker of LSTM and GRU takes at least 50 times as long to fit as that KoopmanRNN in "
            f"{sum(r >= 50.0 for r in of_best)} of {len(ratios)} (median {short_ratio(statistics.median(of_best))}, "
            f"least {short_ratio(min(of_best))}), and as its one-step fit in {sum(r >= 50.0 for r in of_quick)}."
        )
    return text + "\n"


def leading(ours: Row, peer: Row) -> bool:
    """First, or within `NEAR` of it."""
    ratio = ours.error / peer.error if peer.error else float("inf")
    return ratio >= 1.0 - NEAR if ours.higher else ratio <= 1.0 + NEAR


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
    return f"{len(found)} cells, {when}, one thread; {named}.\n"


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
    """Cells that have not been run, by experiment."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    from benchmarks.experiments.models import all_contenders

    everyone = set(all_contenders())
    of_seasons = {"climatology", "KoopmanRNN of the season's residual"}
    lines = []
    for name, title in TITLES.items():
        there = {c["model"] for c in cells(results, name)}
        absent = sorted(everyone - there - (set() if name.startswith("weather") else of_seasons))
        if not there:
            lines.append(f"- {title}: none of its cells.\n")
        elif absent:
            lines.append(f"- {title}: {'; '.join(absent)}.\n")
    return "".join(lines) or "None: every cell is filled or says why not.\n"


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
