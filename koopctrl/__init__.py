"""koopctrl: gradient-free recurrent networks read as Koopman models, for predictive control.

The public names load on first use, so that `import koopctrl` stays fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Trajectory": "koopctrl.data.trajectory",
    "Trajectories": "koopctrl.data.trajectories",
    "collect": "koopctrl.data.collect",
    "KoopmanRNN": "koopctrl.koopman_rnn",
    "KoopmanEnsemble": "koopctrl.ensemble",
    "select": "koopctrl.selection",
    "subspace": "koopctrl.identification.subspace",
    "compare": "koopctrl.identification.comparison",
    "residual_analysis": "koopctrl.identification.residuals",
    "suggest_delay": "koopctrl.identification.structure",
    "suggest_order": "koopctrl.identification.structure",
    "linear_uncertainty": "koopctrl.identification.uncertainty",
    "prediction_bands": "koopctrl.identification.prediction_bands",
    "excitation_advice": "koopctrl.data.excitation_advice",
    "LiftedModel": "koopctrl.lifted.model",
    "LTINetwork": "koopctrl.ltinet",
    "LQR": "koopctrl.controllers",
    "KalmanFilter": "koopctrl.controllers",
    "ExtendedKalmanFilter": "koopctrl.controllers",
    "UnscentedKalmanFilter": "koopctrl.controllers",
    "MovingHorizonEstimator": "koopctrl.controllers",
    "LinearMPC": "koopctrl.controllers",
    "RNNMPC": "koopctrl.controllers",
    "DeePC": "koopctrl.controllers",
    "TubeMPC": "koopctrl.controllers",
    "run_closed_loop": "koopctrl.controllers",
    "verify_design": "koopctrl.controllers",
    "design_mpc": "koopctrl.controllers",
    "bench": "koopctrl.benchmark.run",
    "load": "koopctrl.storage",
}

_MODULES = {"datasets": "koopctrl.data.datasets", "excitation": "koopctrl.data.excitation"}

__all__ = [*sorted(_HOME), "__version__", *_MODULES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'koopctrl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


if TYPE_CHECKING:
    from koopctrl.ltinet import LTINetwork as LTINetwork
