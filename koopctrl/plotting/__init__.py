"""Every figure. Functions return the pyplot figure, and draw on `ax` or `axes` where the caller passes them.

Axes carry the signals' names, and units where names have them; titles say what came out unless one is given.
"""

from koopctrl.plotting.animation import animate_closed_loop
from koopctrl.plotting.benchmark import plot_benchmark
from koopctrl.plotting.closed_loop import plot_closed_loop, plot_closed_loops
from koopctrl.plotting.design import plot_design
from koopctrl.plotting.identification import (
    plot_free_run,
    plot_horizon_errors,
    plot_spectrum,
    plot_step_and_bode,
)
from koopctrl.plotting.records import (
    plot_delays,
    plot_directions,
    plot_orders,
    plot_record_spectrum,
    plot_records,
    plot_uncertainty,
)
from koopctrl.plotting.residuals import plot_residual_analysis

__all__ = [
    "animate_closed_loop",
    "plot_benchmark",
    "plot_closed_loop",
    "plot_closed_loops",
    "plot_delays",
    "plot_design",
    "plot_directions",
    "plot_free_run",
    "plot_horizon_errors",
    "plot_orders",
    "plot_record_spectrum",
    "plot_records",
    "plot_residual_analysis",
    "plot_spectrum",
    "plot_step_and_bode",
    "plot_uncertainty",
]
