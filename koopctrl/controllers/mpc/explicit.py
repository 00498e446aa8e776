"""ExplicitMPC: a small linear predictive controller as a table that is looked up."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from koopctrl._threads import one_blas_thread
from koopctrl._validation import FloatArray, as_float_array, as_vector, broadcast_vector, check_integer
from koopctrl.controllers.mpc.base import PredictiveController
from koopctrl.controllers.mpc.explicit_law import (
    ExplicitLaw,
    RegionTable,
    explicit_law,
    sees_last_input,
    with_table,
)
from koopctrl.controllers.mpc.linear_law import LinearLaw
from koopctrl.errors import OptionError

if TYPE_CHECKING:
    from koopctrl.controllers.mpc.linear import LinearMPC
    from koopctrl.export.c.model import GeneratedPart

_MOST_STATES, _MOST_STEPS = 4, 10


class ExplicitMPC(PredictiveController):
    r"""The answers of a `LinearMPC`, worked out beforehand: made by `mpc.to_explicit(...)`.

    In each of its regions of the state (the set-point and the last input, where they are parameters) the plan
    is affine. A step finds the region and multiplies once: no solver runs, in Python or in C.

    Parameters
    ----------
    controller : LinearMPC
        With at most 4 states and 10 steps (blocks), whose state is measured, without features, dead time,
        measured disturbances, `offset_free`, and parameters that change along a preview.
    x_min, x_max : scalar or (n_x,) array_like
        Box of states in which regions are looked for.
    references : None, (n_y,) array_like, or (r_min, r_max)
        None: its `set_point` for ever; a vector: that one; a pair of bounds: any in that box, all of which
        must be within reach.
    max_regions : int
        More are refused.

    Attributes
    ----------
    table : RegionTable
    n_regions : int
    info : MPCInfo or None
        Of the last step. The status is `optimal` in a region; outside of all it is a fall-back, where the
        online controller may still have a solution that is softened.

    Raises
    ------
    OptionError, ShapeError
        If the controller is too large or of a kind that has no table, by name and with the count.
    """

    law: ExplicitLaw

    def __init__(
        self,
        controller: LinearMPC,
        x_min: ArrayLike,
        x_max: ArrayLike,
        *,
        references: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
        max_regions: int = 2000,
    ) -> None:
        law = _checked(controller)
        most = check_integer(max_regions, "max_regions", low=1)
        low, high = _box("x_min", "x_max", x_min, x_max, law.lifted.n_x)
        fixed, low_r, high_r = _references(references, law)
        parts = [(low, high), (low_r, high_r)]
        if sees_last_input(law):
            p = law.problem
            if not np.isfinite([p.u_min, p.u_max]).all():
                raise OptionError(
                    "the controller weighs or bounds moves, so that the last input is a parameter, but u_min "
                    "and u_max are not finite; expected both, its box"
                )
            parts.append((p.u_min, p.u_max))
        box = np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])
        with one_blas_thread():
            made = explicit_law(law, box, fixed, most)
        self._hold(
            controller, made, {"x_min": low, "x_max": high, "references": references, "max_regions": most}
        )

    def _hold(self, controller: LinearMPC, law: ExplicitLaw, own: dict[str, Any]) -> None:
        self.controller, self.lifted = controller, controller.lifted
        self.K, self.P, self.target = controller.K, controller.P, controller.target
        self._begin(law, {**controller.settings, **own})
        self._own = own

    @classmethod
    def _from_table(
        cls, controller: LinearMPC, own: dict[str, Any], fixed: FloatArray | None, table: RegionTable
    ) -> ExplicitMPC:
        made = object.__new__(cls)
        made._hold(controller, with_table(controller.law, table, fixed), own)
        return made

    @property
    def table(self) -> RegionTable:
        """The regions and their laws."""
        return self.law.table

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return self.table.n_regions

    def _remade(self, settings: dict[str, Any]) -> ExplicitMPC:
        own = {name: settings[name] for name in self._own}
        online = self.controller.with_(**{k: v for k, v in settings.items() if k not in own})
        return ExplicitMPC(online, **own)

    def control(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, measurement: ArrayLike, reference: ArrayLike | None = None
    ) -> FloatArray:
        """Input at this sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
            Newest measured signals; NaN marks missing ones.
        reference : (n_y,) array_like, optional
            Set-point; of a preview all rows are the same.

        Returns
        -------
        (n_u,) array
            Within its bounds.
        """
        if reference is None:
            reference = self.law.fixed
        else:
            given = as_float_array(reference, "reference")
            if np.isnan(given).any():
                raise OptionError(
                    "reference has NaN; expected a set-point for all outputs: the table knows no other"
                )
            if given.ndim == 2 and len(given) and (given != given[:1]).any():
                raise OptionError(
                    "reference is a preview whose rows differ; expected a set-point: the table has no "
                    "previews"
                )
            reference = given[0] if given.ndim == 2 and len(given) else given
        return super().control(measurement, reference)

    def to_c(self, folder: str | PathLike[str], name: str = "koopctrl_mpc", **options: Any) -> GeneratedPart:  # pyright: ignore[reportIncompatibleMethodOverride]
        """C99 that looks the input up; see `koopctrl.export.c.explicit.explicit_to_c`.

        Written to `folder`; `name` starts every file and identifier; there are no `options`.
        """
        from koopctrl.export.c.explicit import explicit_to_c

        if options:
            raise OptionError(f"to_c was given {', '.join(options)}; expected folder and name alone")
        return explicit_to_c(self, folder, name)

    def compile(self, compiler: str | None = None, **options: Any) -> NoReturn:
        """Refused, whatever `compiler` and `options` are: `to_c` writes a function of the state alone."""
        raise OptionError(
            "ExplicitMPC has a lookup in C, not a controller; use to_c, or compile() of the LinearMPC"
        )

    def __repr__(self) -> str:
        """Dimensions, and the size of the table."""
        return f"{super().__repr__()[:-1]}, regions: {self.n_regions}, rows: {len(self.table.heights)})"


def _checked(controller: Any) -> LinearLaw:
    """The law of a controller that has a table."""
    law = getattr(controller, "law", None)
    if not isinstance(law, LinearLaw) or isinstance(law, ExplicitLaw):
        raise OptionError(f"controller is a {type(controller).__name__}; expected a LinearMPC")
    p, lifted = law.problem, law.lifted
    if lifted.n_z != lifted.n_x:
        raise OptionError(
            f"the model has {lifted.n_z - lifted.n_x} features; expected a linear model of its state"
        )
    if lifted.n_z > _MOST_STATES or len(p.blocks) > _MOST_STEPS:
        raise OptionError(
            f"the controller has {lifted.n_z} states and {len(p.blocks)} steps (blocks); expected at most "
            f"{_MOST_STATES} and {_MOST_STEPS}: beyond, regions are too many. Use blocks=..., or the "
            "online controller"
        )
    named = {
        "input_delay": p.delay > 0, "measured_disturbances": law.channels.n_v > 0,
        "offset_free (or an estimator of disturbances)": law.model.n_d > 0,
    }  # fmt: skip
    for name, there in named.items():
        if there:
            raise OptionError(
                f"the controller has {name}; expected one without: its table would have more parameters"
            )
    return law


def _box(name_low: str, name_high: str, low: Any, high: Any, n: int) -> tuple[FloatArray, FloatArray]:
    a, b = broadcast_vector(low, name_low, n), broadcast_vector(high, name_high, n)
    if (a >= b).any():
        raise OptionError(
            f"{name_low} is {a.tolist()} and {name_high} is {b.tolist()}; expected {name_low} < {name_high}"
        )
    return a.copy(), b.copy()


def _references(given: Any, law: LinearLaw) -> tuple[FloatArray | None, FloatArray, FloatArray]:
    """The fixed set-point, or the box of all."""
    none = np.empty(0)
    if not isinstance(given, tuple):
        fixed = law.set_point if given is None else as_vector(given, "references", law.lifted.n_y)
        return fixed.copy(), none, none
    if len(given) != 2:
        raise OptionError(f"references has {len(given)} parts; expected (r_min, r_max)")
    low, high = _box("references[0]", "references[1]", *given, law.lifted.n_y)
    for corner in np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(len(low), -1).T:
        if not np.array_equal(law.reachable.nearest(corner, none, none, None)[0], corner):
            raise OptionError(
                f"references holds {corner.tolist()}, which no input within its bounds can hold; expected a "
                "box of set-points within reach"
            )
    return None, low, high
