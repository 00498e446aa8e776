"""Figures of `docs/results.md`: for every experiment a free run with its truth, and what all models err by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiment_rows import BASELINES, GRADIENT, TITLES, Row, brief, chosen, rows_of, selected, short


@dataclass(frozen=True)
class Axes:
    """What is shown of an experiment: the first output with its unit, and samples to a unit of time."""

    output: str
    unit: str  # of the errors; empty where they are relative
    step: float
    time: str
    samples: int = 400


SECONDS, TIMES = "time after the last given sample, s", "Lyapunov times after the last given sample"
AXES = {
    "van_der_pol": Axes("position", "", 0.05, SECONDS),
    "lorenz63": Axes("first state", "", 0.02 * 0.9056, TIMES),
    "roessler": Axes("first state", "", 0.1 * 0.0714, TIMES),
    "lorenz96": Axes("first state", "", 0.05 * 1.68, TIMES, 120),
    "kuramoto_sivashinsky": Axes("field at the first point", "", 0.25 * 0.048, TIMES),
    "mackey_glass": Axes("x", "", 0.0051, TIMES),
    "weather": Axes("temperature at EWR, degrees F", "", 1.0, "hours after the last given sample"),
    "hair_dryer": Axes("outlet temperature, V", "V", 0.08, SECONDS),
    "robot_arm": Axes("acceleration, record's unit", "", 1.0, "samples after the last given one"),
    "cascaded_tanks": Axes("lower level, V", "V", 4.0, SECONDS),
    "silverbox": Axes("output, V", "V", 1.0 / 610.35, SECONDS, 150),
    "ball_hoop": Axes("ball's position, V", "V", 0.1, SECONDS),
    "bouc_wen": Axes("displacement, m", "m", 1.0 / 750.0, SECONDS, 150),
    "f16_reduced": Axes("acceleration, normalised", "", 1.0 / 400.0, SECONDS, 250),
    "quarter_drone": Axes("angle, degrees", "degrees", 0.01, SECONDS),
}
FAR = 3.0  # times the error of the worst baseline: no axis goes on beyond that
OURS, PEER, TRAINED = "tab:blue", "tab:orange", "tab:green"


def axes_of(name: str) -> Axes:
    """Of an experiment or the one whose variant it is."""
    return next(a for key, a in AXES.items() if name == key or name.startswith(key + "_"))


def draw(results: Path, folder: Path) -> None:
    """One figure for every experiment that has cells, and that of the sweeps."""
    import matplotlib

    matplotlib.use("Agg")
    for name in TITLES:
        rows, _ = rows_of(results, name)
        if any(r.ours for r in rows):
            _figure(name, rows, folder / f"experiment-{name}.png")
    _draw_sweeps(results, folder / "experiment-sweeps.png")


def finding(name: str, ours: Row, picked: Row | None, peer: Row | None) -> str:
    """What the figure shows, in a line."""
    unit = axes_of(name).unit
    if ours.higher:
        told = f"right for {short(ours.error)} Lyapunov times"
    else:
        told = f"{ours.cells[0]['unit']} {short(ours.error)}{' ' + unit if unit else ''}"
    told += f", select {short(picked.error)}" if picked is not None else ""
    beside = f", {peer.name} {short(peer.error)}" if peer is not None else ""
    return f"{TITLES[name]}: KoopmanRNN {told}{beside}"


def _figure(name: str, rows: list[Row], path: Path) -> None:
    from matplotlib import pyplot as plt

    ours, axes = chosen(rows), axes_of(name)
    assert ours is not None
    peers = [r for r in rows if not r.ours and r.name not in BASELINES and r.name != "direct regression"]
    peer = peers[0] if peers else None
    trained = next((r for r in rows if r.name in ("LSTM", "GRU") and r is not peer), None)
    listed = [r for r in rows if r is ours or r.selected or not r.ours][::-1]
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(10.5, max(3.4, 1.0 + 0.19 * len(listed))), width_ratios=(1.5, 1.0), layout="constrained"
    )  # fmt: skip
    fig.suptitle(finding(name, ours, selected(rows), peer), fontsize=11)
    _runs(left, axes, ours, peer, trained)
    _errors(right, axes, ours, listed)
    fig.savefig(path, dpi=100)
    plt.close(fig)


def _runs(ax: Any, axes: Axes, ours: Row, peer: Row | None, trained: Row | None) -> None:
    """Truth and free runs of the first test episode."""
    shown = _shown(ours)
    if shown is None:
        ax.axis("off")
        return
    start, truth = shown["start"], shown["truth"][: axes.samples]
    at = [axes.step * k for k in range(1 - start, len(truth) - start + 1)]
    ax.plot(at, truth, color="0.75", lw=4.0, label="truth")
    for r, color in ((peer, PEER), (trained, TRAINED), (ours, OURS)):
        run = _shown(r) if r is not None else None
        if r is not None and run is not None:
            ax.plot(at, run["predicted"][: axes.samples], color=color, lw=1.0, label=r.name)
    ax.axvline(0.0, color="0.6", lw=0.8)
    low, high = min(truth), max(truth)
    ax.set_ylim(low - 0.15 * (high - low), high + 0.45 * (high - low))
    ax.set_xlabel(axes.time)
    ax.set_ylabel(axes.output)
    wide = any(len(str(line.get_label())) > 25 for line in ax.lines)
    ax.legend(fontsize=8, ncols=1 if wide else 2, loc="upper left", framealpha=0.9)


def _shown(row: Row | None) -> dict[str, Any] | None:
    """Run that a cell of the first seed keeps."""
    return next((c["shown"] for c in row.cells if "shown" in c), None) if row is not None else None


def _errors(ax: Any, axes: Axes, ours: Row, listed: list[Row]) -> None:
    """One line a model, the best on top, with the seconds of its fit."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    # What leaves for good would squeeze all others: it stands at the rim, with its figure.
    rim = FAR * max((r.error for r in listed if r.name in BASELINES), default=float("inf"))
    for i, r in enumerate(listed):
        color = OURS if r.ours else TRAINED if r.name in GRADIENT else PEER
        beyond = not ours.higher and r.error > rim
        ax.plot([min(r.error, rim) if beyond else r.error], [i], ">" if beyond else "o", color=color, ms=5)
        if beyond:
            ax.annotate(short(r.error), (rim, i), (-6, 0), textcoords="offset points", fontsize=7, ha="right", va="center")
        ax.text(1.02, i, f"{brief(r.seconds)} s", transform=ax.get_yaxis_transform(), fontsize=7, va="center")
    ax.set_yticks(range(len(listed)), [r.name for r in listed], fontsize=7)
    ax.set_ylim(-0.7, len(listed) - 0.3)
    ax.grid(axis="x", color="0.9")
    unit = ours.cells[0]["unit"] + (f", {axes.unit}" if axes.unit else "")
    ax.set_xlabel(f"{unit} ({'more' if ours.higher else 'less'} is better)\nright: seconds of the fit")
    errors = [min(r.error, rim) if not ours.higher else r.error for r in listed]
    if not ours.higher and max(errors) > 4.0 * min(errors):
        ax.set_xscale("log")
        if max(errors) < 20.0 * min(errors):
            ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.xaxis.set_minor_formatter("")


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


