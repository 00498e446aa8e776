"""Fourth part: a known linear system as a sparse network of first- and second-order neurons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import control
import matplotlib.pyplot as plt
import numpy as np

from koopctrl._validation import FloatArray
from koopctrl.demo.part import Part
from koopctrl.ltinet import LTINetwork

N_MASSES = 20


def linear_network(out: Path, progress: Callable[[str], None]) -> Part:
    """Chain of masses as a network, beside python-control's simulation.

    Parameters
    ----------
    out : Path
        Existing folder for the figure and the network.
    progress : callable
        Told what is being done.
    """
    progress("LTI network: a chain of masses")
    A, B, C, D = chain(N_MASSES)
    net = LTINetwork.from_statespace((A, B, C, D))
    time = np.linspace(0.0, 60.0, 1201)
    push = np.where(time < 1.0, 1.0, 0.0)
    ours = net.simulate(time, push[:, None], hold="foh").outputs[:, 0]
    response: Any = control.forced_response(control.ss(A, B, C, D), time, push)  # pyright: ignore[reportArgumentType]
    theirs = response.outputs
    summary = net.summary()
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    rows = [
        {
            "model": "A, B, C, D",
            "numbers": summary.dense_weights,
            "what they are": f"{len(A)} coupled states",
        },
        {
            "model": "network",
            "numbers": summary.weights,
            "what they are": f"{net.n_neurons} neurons side by side",
        },
    ]
    axis = net.plot()
    axis.figure.suptitle(
        f"Chain of {N_MASSES} masses as {net.n_neurons} independent neurons", fontsize="medium"
    )
    axis.figure.savefig(out / "lti-network.png", dpi=150)
    plt.close(axis.figure)
    net.save(out / "lti-network.npz")
    finding = (
        f"A chain of {N_MASSES} masses falls apart into {net.n_neurons} independent oscillators; the network "
        f"of them answers as python-control's simulation does, to {error:.0e} of the largest deflection."
    )
    files = {
        "lti-network.png": "the network: each line one layer",
        "lti-network.npz": "the network; koopctrl.load reads it",
    }
    return Part("A known linear system as a sparse network", rows, finding, files, {"largest_error": error})


def chain(n: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Equal masses between springs and dampers, the first one pushed, the last one watched."""
    stiffness = 2.0 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    zero, one = np.zeros((n, n)), np.eye(n)
    A = np.block([[zero, one], [-4.0 * stiffness, -0.05 * stiffness - 0.02 * one]])
    B, C = np.zeros((2 * n, 1)), np.zeros((1, 2 * n))
    B[n, 0], C[0, n - 1] = 1.0, 1.0
    return A, B, C, np.zeros((1, 1))
