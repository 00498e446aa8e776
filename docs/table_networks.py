"""Tables of linear networks."""

from __future__ import annotations

from pathlib import Path

from table_cells import load, markdown, short


def ltinet_reduction(results: Path) -> str:
    """Balanced reduction of linear networks beside pyMOR."""
    rows = []
    for name, f in load(results, "ltinet_reduction")["figures"].items():
        theirs = f.get("error_pymor")
        ratio = f["pymor_s"] / f["reduce_s"] if theirs is not None else None
        rows.append(
            [
                name, str(f["states"]), str(f["order"]), f"{f['error']:.1e}",
                "" if theirs is None else f"{theirs:.1e}", f"{f['error_match_dc']:.1e}", f"{f['bound']:.1e}",
                f"{f['error_modal']:.1e}", f"{f['reduce_s']:.3f} s", "" if ratio is None else short(ratio),
            ]
        )  # fmt: skip
    return markdown(
        ["model", "states", "order", "error", "pyMOR's", "static gain kept", "bound", "modal truncation", "time",
         "pyMOR's time over ours"],
        rows,
    )  # fmt: skip


def ltinet_large(results: Path) -> str:
    """Low-rank reduction of large sparse models."""
    found = load(results, "ltinet_reduction")["large"]
    rows = [
        [
            name, str(f["states"]), str(f["order"]), f"{f['error']:.0e}", f"{f['least']:.0e}" if "least" in f else "",
            f"{f['bound']:.0e}", f"{f['error_plain']:.1e}" if "error_plain" in f else "", f"{f['error_pymor']:.1e}" if "error_pymor" in f else "", f"{f['seconds']:.1f} s",
            short(f["pymor_s"] / f["seconds"]) if "pymor_s" in f else "",
        ]
        for name, f in found.items()
    ]  # fmt: skip
    return markdown(
        ["model", "states", "order", "error", "least possible", "bound", "gain at infinity kept", "pyMOR's", "time", "pyMOR's time over ours"], rows
    )


def ltinet_sizes(results: Path) -> str:
    """The largest models."""
    rows = [
        [
            name, f"{f['states']:,}", f"{f['neurons']:,}", f"{f['seconds']:.0f} s", f"{f['peak_gb']:.1f} GB", f"{f['error']:.0e}"
        ]
        for name, f in load(results, "ltinet_sizes")["figures"].items()
    ]  # fmt: skip
    return markdown(["model", "states", "neurons", "time", "memory", "error"], rows)


def ltinet_awkward(results: Path) -> str:
    """Ten thousand awkward systems."""
    found = load(results, "ltinet_awkward")
    f = found["figures"]
    return (
        f"{found['systems']:,} systems: {f['agrees']:,} agree within their bounds, {f['error']:,} are refused with the reason "
        f"(entries at the bottom of the range of float64), {f['wrong']} wrong.\n"
    )


def ltinet_simulation(results: Path) -> str:
    """Simulation of linear networks, the others' time over the network's."""
    rows = []
    for f in load(results, "ltinet_simulation")["rows"]:
        if f["inputs"] > 1 or f["n"] not in (10, 100, 1000, 2000):
            continue
        own, few = f["network foh"], f["steps"] < 10_000
        times = (f[k] / own for k in ("forced_response", "lsim", "dense stepping", "dense blocked"))
        name = f"{f['plant']}, {f['n']}" + (f" ({f['steps']:,} steps)" if few else "")
        rows.append([name, f"{1e3 * own:.1f} ms", *(short(x) for x in times), f"{f['network build']:.2g} s"])
    return markdown(
        ["plant, n", "network", "`forced_response`", "`lsim`", "dense stepping", "dense, 64 steps at once", "build"],
        rows,
    )


def ltinet_models(results: Path) -> str:
    """Transfer errors of networks of awkward models."""
    rows = [
        [name, str(f["states"]), str(f["layers"]), f"{f['cond']:.0e}", f"{f['error']:.0e}", f"{f['told']:.0e}",
         f"{f['pointwise']:.0e}", f"{f['told_pointwise']:.0e}", f"{f['unrefined']:.0e}", f"{f['bound']:.0e}"]
        for name, f in load(results, "ltinet_models")["figures"].items()
    ]  # fmt: skip
    return markdown(
        ["model", "states", "layers", "cond(T)", "error / peak", "`accuracy` says", "relative down to 1e-8", "`accuracy` says",
         "without balancing and refinement", "bound in time / peak"],
        rows,
    )  # fmt: skip
