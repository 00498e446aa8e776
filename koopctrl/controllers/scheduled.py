r"""Gain scheduling: a linear controller on a family of models, made for the parameter that is measured.

.. math:: u_k = \kappa(z_k;\ A(p_k), B(p_k), c(p_k))

At every sample the law is that of the frozen model at the present parameter, taken to stay. All models of a
family share their coordinates, so that the controller's memory (estimates, plans, inputs sent) goes on from
law to law.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray, as_float_array, check_number
from koopctrl.controllers.lqr import LQR
from koopctrl.controllers.mpc.linear import LinearMPC
from koopctrl.controllers.request import RequestReader
from koopctrl.errors import OptionError
from koopctrl.lifted.varying.family import LiftedFamily

# Laws that are kept, each some kilobytes to a megabyte.
_KEPT = 64


class GainScheduled:
    """`LQR` or `LinearMPC` on a `LiftedFamily`, whose parameter is told at every sample.

    Parameters
    ----------
    family : LiftedFamily
        From `model.lift_family()`.
    controller : {LQR, LinearMPC}
        The class.
    **options
        Its arguments beside the model. What it chooses by trials (`terminal`, `offset_free`) is chosen once,
        at `family.p_op`. `estimator` is a function of the frozen model:
        `lambda lifted: KalmanFilter(lifted, Qn, Rn)`.
    resolution : float
        Share of the parameter's box by which it must have changed for another law; 0 for every change. A law
        costs about a millisecond (LQR) to some ten (LinearMPC).

    Attributes
    ----------
    inner : LQR or LinearMPC
        The controller at the present parameter, with the memory of all.
    parameter : (n_p,) array
        What the present law is made for: the last one that was told, within the box of the records.

    Raises
    ------
    OptionError
        If `controller` is of another kind, or an estimator is given that belongs to one model.
    SolverError
        If there is no stabilising gain, at `family.p_op` or, from `control`, where the parameter goes.

    Notes
    -----
    A preview of the parameter is used by `RNNMPC` on the model itself (of one without neurons its plan is
    that of linear parameter-varying predictive control); here its first row counts. Rugh & Shamma, *Research
    on gain scheduling*, Automatica 36, 2000: nothing is proved for a parameter that moves fast.
    """

    def __init__(
        self, family: LiftedFamily, controller: type[LQR] | type[LinearMPC], *, resolution: float = 0.0,
        **options: Any,
    ) -> None:  # fmt: skip
        if not isinstance(family, LiftedFamily):
            raise OptionError(
                f"family is a {type(family).__name__}; expected a LiftedFamily, model.lift_family()"
            )
        if controller not in (LQR, LinearMPC):
            raise OptionError(
                f"controller is {controller!r}; expected LQR or LinearMPC. RNNMPC takes a model with "
                "parameters itself"
            )
        _check_arguments(controller, options)
        self.family, self._class = family, controller
        self.resolution = check_number(resolution, "resolution", low=0.0, high=1.0)
        self._estimator: Callable[..., Any] | None = options.pop("estimator", None)
        if self._estimator is not None and not callable(self._estimator):
            raise OptionError(
                f"estimator is a {type(self._estimator).__name__}, which belongs to one model; expected a "
                "function of "
                "the frozen model, such as lambda lifted: KalmanFilter(lifted, Qn, Rn)"
            )
        self.parameter = family.p_op.copy()
        lifted = family.frozen(self.parameter)
        first = controller(lifted, **options, **self._filter(lifted))
        self._settings = dict(first.settings)
        if isinstance(first, LinearMPC):
            self._settings |= {"terminal": first.terminal, "check": False}
        self._plain = family.without_network()
        self._made: OrderedDict[bytes, Any] = OrderedDict()
        self.inner: Any = first
        self._first = first
        self.reset()

    def _filter(self, lifted: Any) -> dict[str, Any]:
        return {} if self._estimator is None else {"estimator": self._estimator(lifted)}

    def _at(self, p: FloatArray) -> Any:
        """The controller at a parameter, without memory."""
        if np.array_equal(p, self.family.p_op):
            return self._first
        key = p.tobytes()
        if key not in self._made:
            lifted = self._plain.frozen(p)
            given: dict[str, Any] = self._settings | {"lifted": lifted} | self._filter(lifted)
            while len(self._made) >= _KEPT:
                self._made.popitem(last=False)
            self._made[key] = self._class(**given)
        self._made.move_to_end(key)
        return self._made[key]

    def control(
        self,
        measurement: ArrayLike,
        reference: ArrayLike | None = None,
        *,
        disturbance: ArrayLike | None = None,
        **asked: Any,
    ) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement, reference
            As of the controller.
        disturbance : (n_p,) or (n, n_p) array_like, optional
            The measured parameter, by default and where NaN the last one; of a preview the first row counts.
        **asked
            What else the controller's `control` takes.

        Returns
        -------
        (n_u,) array
        """
        if disturbance is not None:
            self._follow(as_float_array(disturbance, "disturbance"))
        return self.inner.control(measurement, reference, **asked)

    def _follow(self, told: FloatArray) -> None:
        n_p = self.family.n_p
        reader = RequestReader(self.family.n_y, self.family.n_u, n_p, 1, 0, self.family.y_op)
        row = reader.read(None, None, told).v
        assert row is not None  # a disturbance was read
        p = self.family.inside(np.where(np.isnan(row[0]), self.parameter, row[0]))
        width = self.family.model.p_max - self.family.model.p_min
        if (np.abs(p - self.parameter) <= self.resolution * width).all():
            return
        made = self._at(p)
        if made is not self.inner:
            made.state, made.info = self.inner.state, self.inner.info
        self.parameter, self.inner = p.copy(), made

    def reset(self) -> None:
        """Forget past measurements, inputs, plans and the parameter."""
        self.parameter, self.inner = self.family.p_op.copy(), self._first
        self.inner.reset()

    def applied(self, u: ArrayLike) -> None:
        """Tell what input `u` the plant really applied, where that differs from what was sent."""
        self.inner.applied(u)

    def to_c(self, *_: Any, **__: Any) -> None:
        """Refused: laws are made while it runs. Write `family.frozen(p)`'s controllers, or RNNMPC's."""
        raise OptionError(
            "a GainScheduled controller makes its laws while it runs and has no C code; expected a "
            "controller at a "
            "frozen parameter (controller.inner), or RNNMPC on the model with its parameters"
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write to the file `path` (`.npz`), with the parameter and the state; `koopctrl.load` reads it.

        A filter is written by its arguments, which have to be the same at all parameters.
        """
        from koopctrl.controllers.storage_scheduled import save_scheduled

        save_scheduled(self, path)

    @property
    def info(self) -> Any:
        """Of the last step."""
        return self.inner.info

    @property
    def state(self) -> Any:
        """All that is remembered beside the parameter."""
        return self.inner.state

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self.family.n_u

    @property
    def n_v(self) -> int:
        """Number of measured parameters."""
        return self.family.n_p

    def __getattr__(self, name: str) -> Any:
        """Sizes, names, weights and bounds are those of the controller at any parameter."""
        if name in _SHARED:
            return getattr(self.__dict__["inner"], name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __deepcopy__(self, memo: dict[int, Any]) -> GainScheduled:
        """A copy with its own memory; families are never written to, and shared."""
        made = object.__new__(type(self))
        memo[id(self)] = made
        memo[id(self.family)] = self.family
        made.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items()})
        return made

    def __repr__(self) -> str:
        """Kind, parameter and sizes."""
        return f"GainScheduled({self.inner!r}, parameter={self.parameter.tolist()})"


_SHARED = frozenset(
    (
        "dt", "n_measured", "set_point", "output_names", "input_names", "u_min", "u_max", "du_min", "du_max",
        "y_min", "y_max", "Q", "R", "horizon",
    )
)  # fmt: skip


def _check_arguments(controller: type[LQR] | type[LinearMPC], options: dict[str, Any]) -> None:
    """Refuse options that the controller does not take, and ask for those that it needs."""
    wanted = {n: p for n, p in inspect.signature(controller).parameters.items() if n != "lifted"}
    unknown = [name for name in options if name not in wanted]
    if unknown:
        raise OptionError(
            f"options have {', '.join(unknown)}, which {controller.__name__} does not take; expected some of "
            f"{', '.join(wanted)}"
        )
    missing = [n for n, p in wanted.items() if p.default is p.empty and n not in options]
    if missing:
        raise OptionError(
            f"options lack {', '.join(missing)}; expected what {controller.__name__} needs beside the model. "
            f"Pass {', '.join(f'{name}=...' for name in missing)}"
        )
