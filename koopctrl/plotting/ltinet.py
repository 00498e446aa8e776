"""Drawing of an LTINetwork: layers as horizontal lanes, signals running from left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray, check_integer
from koopctrl.ltinet.reduce.truncate import layer_contributions

if TYPE_CHECKING:
    from koopctrl.ltinet.structure import NetworkStructure

_LEFT, _FIRST, _LAST, _RIGHT = 0.0, 0.3, 0.62, 1.0
_POSITIVE, _NEGATIVE, _FIRST_ORDER, _SECOND_ORDER = "#2166ac", "#b2182b", "#4d9221", "#e08214"


def plot_network(net: NetworkStructure, ax: Any = None, *, max_lanes: int = 30, max_edges: int = 400) -> Any:
    """Draw a network.

    Inputs stand on the left, outputs on the right, one lane per layer between them; in a lane neurons are
    evaluated from left to right. Circles are first-order neurons, diamonds second-order ones. Edges are as
    thick as their weight is large (relative to the largest of the same input, of the same output, or among
    the links), blue where positive, red where negative. Lanes are sorted by their contribution (see
    `truncate`); beyond `max_lanes` the others share one strip at the bottom, in which each tick is a layer.

    Parameters
    ----------
    net : LTINetwork
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure otherwise.
    max_lanes, max_edges : int
        Lanes drawn one by one, and edges drawn per input, per output and among the links (the heaviest).

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        Limits that are not positive integers.
    """
    import matplotlib.pyplot as plt

    check_integer(max_lanes, "max_lanes", low=1)
    check_integer(max_edges, "max_edges", low=1)
    _, gains = layer_contributions(net)
    order = np.argsort(-gains, kind="stable")
    shown, folded = order[:max_lanes], order[max_lanes:]
    rows = len(shown) + (2 if len(folded) else 0)
    if ax is None:
        _, ax = plt.subplots(figsize=(9.0, min(10.0, 1.6 + 0.28 * max(rows, 5))), layout="constrained")
    place = _places(net, shown, len(folded))
    ys = -np.arange(len(shown), dtype=float)
    middle, span = 0.5 * (1 - rows), max(rows - 1, 1)
    ins = (
        middle + np.linspace(0.35, -0.35, net.B.shape[1]) * span
        if net.B.shape[1] > 1
        else np.full(net.B.shape[1], middle)
    )
    outs = (
        middle + np.linspace(0.35, -0.35, net.C.shape[0]) * span
        if net.C.shape[0] > 1
        else np.full(net.C.shape[0], middle)
    )

    for y in ys:
        ax.plot([_FIRST - 0.04, _LAST + 0.04], [y, y], color="0.93", lw=max(1.0, 240.0 / max(rows, 12)),
                zorder=0, solid_capstyle="round")  # fmt: skip
    states = np.flatnonzero(~np.isnan(place[:, 0]))
    sources = [((_LEFT, ins[j]), place[i], net.B[i, j]) for i in states for j in range(net.B.shape[1])]
    # inputs and outputs have units of their own: each is drawn relative to its own heaviest edge
    size_in, size_out = (np.abs(M).max(axis=axis, initial=0.0) for M, axis in ((net.B, 0), (net.C, 1)))
    size_in, size_out = (np.where(size > 0.0, size, 1.0) for size in (size_in, size_out))
    sources = [(a, b, weight / size_in[k % net.B.shape[1]]) for k, (a, b, weight) in enumerate(sources)]
    _edges(ax, sources, max_edges * max(net.B.shape[1], 1))
    sinks = [
        (place[i], (_RIGHT, outs[j]), net.C[j, i] / size_out[j])
        for j in range(net.C.shape[0])
        for i in states
    ]
    _edges(ax, sinks, max_edges * max(net.C.shape[0], 1))
    direct = [((_LEFT, ins[j]), (_RIGHT, outs[i]), net.D[i, j]) for i, j in np.argwhere(net.D)]
    _edges(ax, direct, max_edges, linestyle=":")
    _draw_lanes(ax, net, shown, place, ys, max_edges)
    if len(folded):
        _draw_strip(ax, net, folded, -float(len(shown)) - 0.7)
    for xs, values, names, side in (
        (_LEFT, ins, net.input_names, "right"), (_RIGHT, outs, net.output_names, "left"),
    ):  # fmt: skip
        ax.scatter(np.full(len(values), xs), values, marker="s", s=60, color="0.25", zorder=4)
        for y, name in zip(values, names, strict=True):
            ax.text(xs + (-0.02 if side == "right" else 0.02), y, name, ha=side, va="center", fontsize=9)
    _legend(ax, net)
    ax.set_xlim(-0.12, 1.14)
    ax.set_ylim(-rows + 0.2, 1.0)
    ax.axis("off")
    return ax


def _places(net: NetworkStructure, shown: np.ndarray, folded: int) -> FloatArray:
    """Position of every state's neuron, NaN where it is not drawn; the last neuron stands leftmost."""
    place = np.full((net.n_states, 2), np.nan)
    for lane, i in enumerate(shown.tolist()):
        neurons = net.layers[i].neurons
        xs = np.linspace(_LAST, _FIRST, len(neurons)) if len(neurons) > 1 else [0.5 * (_FIRST + _LAST)]
        for neuron, x in zip(neurons, xs, strict=True):
            place[list(neuron.states)] = (x, -float(lane))
    return place


def _draw_lanes(
    ax: Any, net: NetworkStructure, shown: np.ndarray, place: FloatArray, ys: FloatArray, most: int
) -> None:
    size = float(np.clip(1500.0 / max(len(shown), net.n_neurons if len(shown) < 5 else 1, 1), 8.0, 120.0))
    links = []
    for lane, i in enumerate(shown.tolist()):
        layer = net.layers[i]
        W, at = layer.weights, layer.start
        links += [(place[at + b], place[at + a], W[a, b]) for a, b in np.argwhere(W)]
        neurons = layer.neurons
        for kind, marker, color in ((1, "o", _FIRST_ORDER), (2, "D", _SECOND_ORDER)):
            firsts = [neuron.states[0] for neuron in neurons if neuron.order == kind]
            scale = 1.0 if kind == 1 else 0.8
            ax.scatter(place[firsts, 0], place[firsts, 1], marker=marker, s=size * scale, color=color,
                       zorder=3, edgecolors="white", linewidths=0.4)  # fmt: skip
        ax.text(_LAST + 0.06, ys[lane], _caption(neurons), fontsize=6.5, color="0.35", va="center",
                zorder=5,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6})  # fmt: skip
    _edges(ax, links, most, arc=0.3 if len(shown) > 1 else 0.75)


def _caption(neurons: Any) -> str:
    if len(neurons) > 1:
        return f"{len(neurons)} neurons"
    neuron = neurons[0]
    if neuron.order == 2:
        return f"{neuron.natural_frequency:.3g} rad/s, damping {neuron.damping or 0.0:.2g}"
    tau = neuron.time_constant
    return "integrator" if tau is None else f"{tau:.3g} s"


def _edges(ax: Any, edges: list[Any], most: int, arc: float = 0.0, linestyle: str = "-") -> None:
    """Draw the heaviest edges as curves that leave and arrive horizontally (or as arcs within a lane)."""
    from matplotlib.collections import LineCollection

    weights = np.array([float(weight) for *_, weight in edges])
    if not weights.size or not weights.any():
        return
    share = np.abs(weights) / np.abs(weights).max()
    keep = np.argsort(-share, kind="stable")[:most]
    keep = keep[share[keep] > 1e-3]
    s = np.linspace(0.0, 1.0, 24)
    ease = s * s * (3.0 - 2.0 * s)
    curves = []
    for k in keep.tolist():
        (x0, y0), (x1, y1) = edges[k][0], edges[k][1]
        # arcs within a lane rise with their length, so that near neighbours stay apart from far ones
        bump = 0.1 * bool(arc) + arc * abs(x1 - x0) / (_LAST - _FIRST)
        bump = bump * np.sin(np.pi * s)
        curves.append(np.column_stack([x0 + (x1 - x0) * s, y0 + (y1 - y0) * ease + bump]))
    colors = [_POSITIVE if weights[k] > 0 else _NEGATIVE for k in keep.tolist()]
    ax.add_collection(
        LineCollection(
            curves,
            colors=colors,
            linewidths=0.25 + 2.0 * share[keep],
            alpha=0.45,
            zorder=1,
            linestyles=linestyle,
        )
    )


def _draw_strip(ax: Any, net: NetworkStructure, folded: np.ndarray, y: float) -> None:
    """One tick per folded layer, from slow on the left to fast on the right."""
    speeds = np.array([float(np.abs(net.layers[i].neurons[0].eigenvalues[0])) for i in folded.tolist()])
    logs = np.log10(np.maximum(speeds, max(float(speeds.max(initial=0.0)), 1e-300) * 1e-12))
    low, high = float(logs.min()), float(logs.max())
    xs = _FIRST + (logs - low) / max(high - low, 1e-12) * (_LAST - _FIRST)
    ax.vlines(xs, y - 0.4, y + 0.4, color="0.35", lw=0.4, alpha=0.6)
    text = f"{len(folded)} further layers, |pole| {10**low:.3g} to {10**high:.3g} 1/s"
    ax.text(_LAST + 0.06, y, text, fontsize=6.5, color="0.35", va="center")


def _legend(ax: Any, net: NetworkStructure) -> None:
    from matplotlib.lines import Line2D

    orders = [neuron.order for layer in net.layers for neuron in layer.neurons]
    handles = []
    if 1 in orders:
        handles.append(
            Line2D([], [], marker="o", ls="", color=_FIRST_ORDER, label=f"{orders.count(1)} first-order")
        )
    if 2 in orders:
        handles.append(
            Line2D([], [], marker="D", ls="", color=_SECOND_ORDER, label=f"{orders.count(2)} second-order")
        )
    handles.append(Line2D([], [], color=_POSITIVE, label="positive weight"))
    handles.append(Line2D([], [], color=_NEGATIVE, label="negative weight"))
    ax.legend(
        handles=handles, loc="upper center", ncols=4, frameon=False, fontsize=8, bbox_to_anchor=(0.5, 1.06)
    )
