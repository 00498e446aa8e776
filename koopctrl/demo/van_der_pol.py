"""Second half of the demo: a plant as a gymnasium env, from episodes to controllers in closed loop on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from koopctrl.controllers import LQR, NMPC, LinearMPC, run_closed_loop
from koopctrl.data.collect import collect
from koopctrl.koopman_rnn import KoopmanRNN
from koopctrl.plotting import plot_closed_loops, plot_horizon_errors, plot_spectrum

PLANT = "koopctrl_envs:koopctrl/VanDerPol-v0"
SET_POINTS = (1.0, -1.0, 0.5, 0.0)  # of x1; x2 = 0 in steady state
STEPS_EACH = 50
Q, R = np.diag([1.0, 0.1]), np.array([[0.01]])
HORIZON = 20


def run_van_der_pol(out: Path, progress: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Collect, fit, report, export, LQR and linear MPC on the env beside NMPC with the true model.

    Parameters
    ----------
    out : Path
        Existing folder for the figures and the model.
    progress : callable
        Told what is being done.

    Returns
    -------
    dict
        Every figure that the demo prints.
    """
    env = gymnasium.make(PLANT)
    progress("collecting 50 training and 20 test episodes")
    train = collect(env, n_episodes=50, seed=0, max_steps=150)
    test = collect(env, n_episodes=20, seed=1_000, max_steps=100)
    progress("fitting 300 neurons, no gradients")
    model = KoopmanRNN(300, input_coupling="bilinear", random_state=0).fit(train)
    model.save(out / "van-der-pol.npz")
    progress("reporting on unseen episodes")
    lifted = model.lift_at(x_op=0.0, u_op=0.0)
    report = model.report(test)
    plot_horizon_errors(report, title="Van der Pol, unseen episodes").savefig(
        out / "van-der-pol-horizons.png", dpi=150
    )
    plot_spectrum(lifted.spectrum(), title="Van der Pol, eigenvalues of the lifted face").savefig(
        out / "van-der-pol-spectrum.png", dpi=150
    )

    plant: Any = env.unwrapped.plant  # type: ignore[attr-defined]
    bounds = {"u_min": plant.u_min, "u_max": plant.u_max}
    controllers: dict[str, Any] = {
        "NMPC, true model": NMPC(plant.step_components, 2, 1, HORIZON, Q, R, dt=plant.dt, **bounds),
        "LinearMPC": LinearMPC(lifted, HORIZON, Q, R, **bounds),
        "LQR": LQR(lifted, Q, R, **bounds),
    }
    reference = np.repeat([[s, 0.0] for s in SET_POINTS], STEPS_EACH, axis=0)
    results = {}
    for name, controller in controllers.items():
        progress(f"closed loop on the env: {name}")
        results[name] = run_closed_loop(
            env, controller, len(reference), reference, seed=0, x0=[-2.0, 1.0], Q=Q, R=R
        )
    plot_closed_loops(results, title="Van der Pol env, set-point sequence").savefig(
        out / "van-der-pol-closed-loop.png", dpi=150
    )
    best = results["NMPC, true model"].cost
    rows = []
    for name, result in results.items():
        metrics = result.metrics()
        rows.append(
            {
                "controller": name,
                "cost": result.cost,
                "cost_/_NMPC": result.cost / best,
                "largest_|u|": float(np.abs(result.inputs).max()),
                "median_step_ms": 1e3 * metrics["solve_time_median"],
                "fallbacks": metrics["n_fallbacks"],
            }
        )
    system = lifted.to_statespace()
    return {
        "horizons": [
            {"horizon": h.horizon, "nonlinear_face": h.rnn_nrmse, "lifted_face": h.lifted_nrmse}
            for h in report.horizons
        ],
        "closed_loop": rows,
        "report": report.to_dict(),
        "statespace_states": system.nstates,
    }
