"""Tables and figures of `docs/results.md`, made from the cells in `benchmarks/results/experiments`."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TITLES = {
    "van_der_pol": "Van der Pol, autonomous",
    "van_der_pol_forced": "Van der Pol, forced",
    "van_der_pol_x1": "Van der Pol, forced, seen through its position alone",
    "lorenz63": "Lorenz-63",
    "lorenz63_noisy": "Lorenz-63, 1 % noise",
    "roessler": "Roessler",
    "roessler_noisy": "Roessler, 1 % noise",
    "lorenz96": "Lorenz-96, 40 states",
    "lorenz96_noisy": "Lorenz-96, 1 % noise",
    "kuramoto_sivashinsky": "Kuramoto-Sivashinsky, 64 points",
    "kuramoto_sivashinsky_noisy": "Kuramoto-Sivashinsky, 1 % noise",
    "mackey_glass": "Mackey-Glass",
    "mackey_glass_noisy": "Mackey-Glass, 1 % noise",
    "weather_day": "Weather, one day",
    "weather_week": "Weather, one week",
    "hair_dryer": "Hair dryer",
    "robot_arm": "Robot arm",
    "cascaded_tanks": "Cascaded tanks",
    "silverbox": "Silverbox",
    "ball_hoop": "Ball and hoop",
    "bouc_wen": "Bouc-Wen",
    "f16_reduced": "F-16",
    "quarter_drone": "Quarter drone",
}
NEAR = 0.05  # of the first: what counts as first too
GRADIENT = ("LSTM", "GRU", "SUBNET-like encoder", "jax-sysid")
# Baselines that no one would call a model.
BASELINES = ("persistence", "climatology")


def cells(results: Path, name: str) -> list[dict[str, Any]]:
    """All cells of an experiment, those that ran and those that say why not."""
    return [json.loads(p.read_text()) for p in sorted((results / "experiments" / name).glob("*.json"))]


class Row:
    """One model on one experiment, over its seeds."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.cells = [c for c in found if "error" in c and isinstance(c["error"], int | float)]
        self.name, self.higher = found[0]["model"], any(c.get("higher_is_better") for c in found)
        self.reason = next((c["cannot_run"] for c in found if "cannot_run" in c), "")
        self.ours = self.name.startswith("KoopmanRNN")

    def median(self, key: str) -> float:
        """Of a figure over seeds."""
        values = [c["figures"].get(key, c.get(key)) for c in self.cells]
        return statistics.median(float(v) for v in values)

    @property
    def error(self) -> float:
        """Median of what counts."""
        return statistics.median(c["error"] for c in self.cells)

    @property
    def rank(self) -> float:
        """Smaller is better."""
        return -self.error if self.higher else self.error

    @property
    def spread(self) -> str:
        """Worst seed, where there are several."""
        if len(self.cells) < 2:
            return ""
        errors = [c["error"] for c in self.cells]
        return f" ({short(min(errors) if self.higher else max(errors))})"

    @property
    def held_out(self) -> float:
        """Median error of the settings that were chosen, on the held-out part of the training data; infinite where
        settings were stated and nothing was held out.
        """
        if any(not c.get("trials") for c in self.cells):
            return float("inf")
        return statistics.median(min(float(t["error"]) for t in c["trials"]) for c in self.cells)

    @property
    def seconds(self) -> float:
        """Of the last fit."""
        return statistics.median(c["fit_s"] for c in self.cells)

    @property
    def search(self) -> float:
        """Of all trials and the last fit."""
        return statistics.median(c["fit_s"] + c["search_s"] for c in self.cells)


def rows_of(results: Path, name: str) -> tuple[list[Row], list[Row]]:
    """Models that ran, the best first, and those that could not."""
    by_model: dict[str, list[dict[str, Any]]] = {}
    for cell in cells(results, name):
        by_model.setdefault(cell["model"], []).append(cell)
    rows = [Row(found) for found in by_model.values()]
    return sorted((r for r in rows if r.cells), key=lambda r: r.rank), [r for r in rows if not r.cells]


def chosen(rows: list[Row]) -> Row | None:
    """The KoopmanRNN that the training part alone speaks for: the test's best of ten would be a lucky one."""
    ours = [r for r in rows if r.ours]
    return min(ours, key=lambda r: r.held_out, default=None)


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, ["---"] * len(header), *rows))


def experiment(results: Path, name: str) -> str:
    """All models of one experiment, and why the others have no answer."""
    rows, without = rows_of(results, name)
    if not rows:
        return "Not in these results.\n"
    first = rows[0].cells[0]
    chaotic = "density_distance" in first["figures"]
    header = ["model", f"{first['unit']}{' (worst seed)' if any(len(r.cells) > 1 for r in rows) else ''}"]
    header += ["density distance"] if chaotic else []
    header += ["fit, s", "with trials, s", "prediction, s", "MB", "seeds"]
    lines = []
    for r in rows:
        line = [f"**{r.name}**" if r.ours else r.name, short(r.error) + r.spread]
        line += [f"{r.median('density_distance'):.2f}"] if chaotic else []
        line += [short(r.seconds), short(r.search), short(r.median("predict_s")), f"{r.median('memory_mb'):.0f}"]
        lines.append([*line, str(len(r.cells))])
    text = markdown(header, lines)
    banded = [r for r in rows if "interval_score" in r.cells[0]["figures"]]
    if banded:
        told = "; ".join(
            f"{r.name} {r.median('band_coverage'):.0%} and {short(r.median('interval_score'))}" for r in banded
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
    """The KoopmanRNN that was chosen on the training part beside the peer that is best on the test part, and how
    long gradients take.
    """
    lines = []
    for name, title in TITLES.items():
        rows, _ = rows_of(results, name)
        best = chosen(rows)
        peers = [r for r in rows if not r.ours and r.name not in (*BASELINES, "direct regression")]
        if best is None or not peers:
            continue
        peer = peers[0]
        ratio = best.error / peer.error if peer.error else float("inf")
        lead = ratio >= 1.0 - NEAR if best.higher else ratio <= 1.0 + NEAR
        trained = [r for r in rows if r.name in ("LSTM", "GRU")]
        slower = min((r.seconds for r in trained), default=0.0) / best.seconds if trained else 0.0
        lines.append(
            [
                title,
                f"{short(best.error)} ({best.name.removeprefix('KoopmanRNN ')})",
                f"{short(peer.error)} ({peer.name})",
                "yes" if lead else "no",
                ", ".join(f"{r.name} {short(r.error)}" for r in trained),
                f"{slower:.0f}" if trained else "",
            ]
        )
    header = ["experiment", "KoopmanRNN, chosen on the training part", "best peer on the test part", "first or within 5 %", "trained by gradients"]
    return markdown([*header, "their fit over its"], lines)


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


def draw(results: Path, folder: Path) -> None:
    """One figure for every experiment that has cells: a prediction, and error against the time of the fit."""
    import matplotlib

    matplotlib.use("Agg")
    for name in TITLES:
        rows, _ = rows_of(results, name)
        if any(r.ours for r in rows):
            _figure(name, rows, folder / f"experiment-{name}.png")
    _draw_sweeps(results, folder / "experiment-sweeps.png")


def _figure(name: str, rows: list[Row], path: Path) -> None:
    from matplotlib import pyplot as plt

    ours = chosen(rows)
    assert ours is not None
    peer = next((r for r in rows if not r.ours and r.name not in BASELINES and "shown" in r.cells[0]), None)
    trained = next((r for r in rows if r.name in ("LSTM", "GRU") and r is not peer), None)
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), width_ratios=(1.7, 1.0), layout="constrained")
    shown = ours.cells[0]["shown"]
    start = shown["start"]
    steps = range(-start, len(shown["truth"]) - start)
    left.plot(steps, shown["truth"], color="0.2", lw=2.2, label="truth")
    for r, color in ((peer, "tab:orange"), (trained, "tab:green"), (ours, "tab:blue")):
        if r is not None and "shown" in r.cells[0]:
            left.plot(steps, r.cells[0]["shown"]["predicted"], color=color, lw=1.0, label=r.name)
    left.axvline(0, color="0.6", lw=0.8)
    low, high = min(shown["truth"]), max(shown["truth"])
    left.set_ylim(low - 0.35 * (high - low), high + 0.35 * (high - low))
    left.set(title=f"{TITLES[name]}: first output", xlabel="samples after the last one that is given")
    left.legend(fontsize=7, ncols=2, loc="upper left")
    for r in rows:
        color = "tab:blue" if r.ours else "tab:green" if r.name in GRADIENT else "tab:orange"
        if r.error <= 0:
            continue
        right.scatter(max(r.seconds, 1e-3), r.error, color=color, s=18)
        if not r.ours or r is ours:  # the others of ours are in the table, and lie on top of each other
            right.annotate(
                r.name.replace("KoopmanRNN ", ""), (max(r.seconds, 1e-3), r.error), fontsize=5.5,
                xytext=(3, 2), textcoords="offset points",
            )  # fmt: skip
    unit = ours.cells[0]["unit"]
    right.set(xscale="log", xlabel="fit, s", title=f"{unit}, {'more' if ours.higher else 'less'} is better")
    if not ours.higher:
        right.set_yscale("log")
    fig.savefig(path, dpi=100)
    plt.close(fig)


def _draw_sweeps(results: Path, path: Path) -> None:
    source = results / "experiment_sweeps.json"
    if not source.exists():
        return
    from matplotlib import pyplot as plt

    found = json.loads(source.read_text())["figures"]
    columns = 3
    fig, axes = plt.subplots(
        -(-len(found) // columns), columns, figsize=(9, 2.4 * -(-len(found) // columns)), layout="constrained"
    )
    for ax in axes.ravel()[len(found) :]:
        ax.axis("off")
    for ax, (name, sweep) in zip(axes.ravel(), found.items(), strict=False):
        numeric = all(isinstance(v, int | float) for v in sweep["values"])
        x = sweep["values"] if numeric else range(len(sweep["values"]))
        for low, high, at in zip(sweep["low"], sweep["high"], x, strict=True):
            ax.plot([at, at], [low, high], color="tab:blue", lw=1.0, alpha=0.5)
        ax.plot(x, sweep["error"], "o-" if numeric else "o", ms=3, color="tab:blue")
        ax.set_yscale("log")
        if numeric:
            ax.set_xscale("log")
        else:
            ax.set_xticks(list(x), sweep["values"], fontsize=7)
        slope = "" if sweep["slope"] is None else f", slope {sweep['slope']:.1f}"
        ax.set_title(name + slope, fontsize=8)
        ax.tick_params(labelsize=7)
        ax.xaxis.set_minor_formatter("")
        ax.yaxis.set_minor_formatter("")
    fig.savefig(path, dpi=100)
    plt.close(fig)


if __name__ == "__main__":
    draw(ROOT / "benchmarks" / "results", ROOT / "docs" / "figures")
