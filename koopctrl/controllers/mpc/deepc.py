"""DeePC: predictive control on records themselves, a baseline without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import as_weight, check_choice, check_integer, check_number
from koopctrl.controllers.channels import InputChannels
from koopctrl.controllers.mpc.base import PredictiveController
from koopctrl.controllers.mpc.deepc_law import DeePCLaw, build_deepc_law
from koopctrl.controllers.mpc.hankel import behaviour
from koopctrl.controllers.mpc.problem import describe_problem
from koopctrl.controllers.settings import arguments
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import OptionError


class DeePC(PredictiveController):
    r"""Data-enabled predictive control: plans are combinations of recorded windows.

    .. math::
        \min_{u, g} \sum_{k=1}^{N} |y_k - r_k|_Q^2 + \sum_{k=0}^{N-1} |u_k - u_s|_R^2 + |u_k - u_{k-1}|_S^2
        + \lambda_g |\Pi g|^2 + \lambda_y |\sigma|^2
        \quad\text{s.t.}\quad [1; u_{ini}; u; y_{ini} + \sigma; y] = H g

    `H` has all windows of the records as its columns, `u_ini` and `y_ini` are the last `n_past` samples. On
    noise-free records of a linear plant it plans as `LinearMPC` with the exact model does.

    Parameters
    ----------
    data : Trajectories
        Records with inputs that excite the plant.
    horizon : int
        `N`, in samples.
    Q : scalar, (n_y,) or (n_y, n_y) array_like
        Weight on outputs.
    R : scalar, (n_u,) or (n_u, n_u) array_like
        Weight on inputs, measured from steady inputs that the records combine to hold the set-point.
    n_past : int
        Past samples that tell the state: at least as many as the plant's outputs need to (1 is enough where
        the state is measured).
    lambda_g : float
        Weight on the combination; in what an error of one spread in all outputs costs, with the windows'
        weights times the root of their number. 0 is for noise-free records of a linear plant alone: of others
        a plan would take its outputs as it likes, and it is refused.
    regularisation : {"projected", "norm"}
        Whether that is on the part of `g` that inputs and past outputs do not explain, which lets noise
        average out and draws nothing to the records' mean, or on all of `g`, as first published.
    lambda_y : float
        Weight on the distance from the past outputs, in their spread, in the same cost.
    R_rate, u_min, u_max, du_min, du_max, y_min, y_max, soft, soft_weights, solver, solver_options,
    max_solve_time
        As in `LinearMPC`.

    Attributes
    ----------
    info : MPCInfo or None
        Status, time, certificate and plan of the last step.
    lambda_g : float
        What was asked for.
    n_columns : int
        Windows in the records.
    set_point : (n_y,) array
        Where no reference is given: the records' mean.

    Raises
    ------
    DataError
        If the records are too short, or their inputs do not excite the plant.
    OptionError, ShapeError
        If the problem cannot be posed, with the reason.

    Notes
    -----
    There is no C code. Coulson, Lygeros & Dorfler, *Data-enabled predictive control: in the shallows of the
    DeePC*, European Control Conference 2019; of records about an operating point: Berberich, Kohler, Muller &
    Allgower, *Linear tracking MPC for nonlinear systems - part II*, IEEE Transactions on Automatic Control
    67, 2022.
    """

    law: DeePCLaw

    def __init__(
        self,
        data: Trajectories | Iterable[Trajectory],
        horizon: int,
        Q: ArrayLike,
        R: ArrayLike,
        *,
        n_past: int = 4,
        lambda_g: float = 100.0,
        regularisation: str = "projected",
        lambda_y: float = 1e4,
        R_rate: ArrayLike | None = None,
        u_min: ArrayLike | None = None,
        u_max: ArrayLike | None = None,
        du_min: ArrayLike | None = None,
        du_max: ArrayLike | None = None,
        y_min: ArrayLike | None = None,
        y_max: ArrayLike | None = None,
        soft: bool = True,
        soft_weights: tuple[float, float] = (1e3, 1e3),
        solver: str = "daqp",
        solver_options: Mapping[str, Any] | None = None,
        max_solve_time: float | None = None,
    ) -> None:
        settings = arguments(locals())
        data = settings["data"] = Trajectories.coerce(data, "data")
        if not data.n_u:
            raise OptionError(
                "data has no inputs, so nothing can be controlled; expected records with inputs"
            )
        horizon = settings["horizon"] = check_integer(horizon, "horizon", low=1)
        n_past = check_integer(n_past, "n_past", low=0)
        on_past = check_number(lambda_y, "lambda_y", low=0.0, strict=True)
        weight = as_weight(Q, "Q", data.n_y)
        with one_blas_thread():
            known = behaviour(data, n_past, horizon)
            problem = describe_problem(
                data.n_y, data.n_y, data.n_u, horizon=horizon,
                Q=np.broadcast_to(weight, (horizon, *weight.shape)), R=R, R_rate=R_rate, u_min=u_min,
                u_max=u_max, du_min=du_min, du_max=du_max, y_min=y_min, y_max=y_max, constraints=None,
                terminal_set=None, soft=soft, soft_weights=soft_weights, blocks=None, terminal="none",
                input_delay=0, max_solve_time=max_solve_time, centre=np.tile(known.y_mean, 2),
            )  # fmt: skip
            self.lambda_g = check_number(lambda_g, "lambda_g", low=0.0)
            projected = check_choice(regularisation, "regularisation", ("projected", "norm")) == "projected"
            channels = InputChannels(np.arange(data.n_u), np.arange(0))
            law = build_deepc_law(
                known, problem, channels, (self.lambda_g, on_past), projected, solver, solver_options,
                (data.output_names, data.input_names, data.dt),
            )  # fmt: skip
        self.n_columns = known.n_columns
        self._begin(law, settings | {"estimator": None})

    def _remade(self, settings: dict[str, Any]) -> DeePC:
        return DeePC(**{name: value for name, value in settings.items() if name != "estimator"})

    def to_c(self, folder: str | PathLike[str], name: str = "koopctrl_mpc", **options: Any) -> NoReturn:
        """Refused, whatever `folder`, `name` and `options` are: it is a baseline."""
        raise OptionError(
            "DeePC has no C code: it is a baseline. Use LinearMPC or RNNMPC on an identified model"
        )

    def compile(self, compiler: str | None = None, **options: Any) -> NoReturn:
        """Refused, as `to_c` is, whatever `compiler` and `options` are."""
        self.to_c("")

    def __repr__(self) -> str:
        """Dimensions, windows and penalties."""
        lambdas = f"lambda_g={self.lambda_g:.3g}, lambda_y={self.law.penalties[1]:.3g}"
        return f"{super().__repr__()[:-1]}, windows: {self.n_columns}, {lambdas})"
