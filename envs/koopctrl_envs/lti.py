"""Any linear system of python-control as a plant to control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from koopctrl_envs.checks import FloatArray, as_number, as_vector
from koopctrl_envs.system_env import SystemEnv

if TYPE_CHECKING:
    import control


class LTIEnv(SystemEnv):
    r"""A `control.StateSpace` behind `reset` and `step`, exact under held inputs.

    .. math::

        x_{k+1} = A_d x_k + B_d u_k, \qquad y_k = C x_k + D u_k, \qquad
        A_d = e^{A\,dt}, \quad B_d = \int_0^{dt} e^{A s}\,ds\, B

    Reward, limits, `info` and pictures are those of `SystemEnv`. At `reset` the output sees
    `input_reference`.

    Parameters
    ----------
    system : control.StateSpace
        Continuous, sampled at `dt`, or discrete with a sample time.
    dt : float, optional
        Sample time in seconds; a discrete system has its own.
    x0_low, x0_high : array_like, (n_x,) or scalar
        Box from which starts are drawn; zeros by default.
    **options
        `u_min`, `u_max`, `y_min`, `y_max`, `Q`, `R`, `reference`, `input_reference`, `measurement_noise` and
        `render_mode`, as in `SystemEnv`.

    Raises
    ------
    ValueError
        If `system` is none, has no sample time and `dt` is not given, or has another one than `dt`.
    """

    def __init__(
        self,
        system: control.StateSpace,
        dt: float | None = None,
        *,
        x0_low: ArrayLike = 0.0,
        x0_high: ArrayLike = 0.0,
        **options: Any,
    ) -> None:
        import control

        if not isinstance(system, control.StateSpace):
            raise ValueError(
                f"system is a {type(system).__name__}; expected control.StateSpace. control.ss(...) makes one"
            )
        discrete = _sampled(system, dt)
        names = (discrete.state_labels, discrete.input_labels, discrete.output_labels)
        super().__init__(float(discrete.dt or 0.0), names, **options)
        n = discrete.nstates
        self._x0_low, self._x0_high = (
            as_vector(v, name, n, spread=True) for v, name in ((x0_low, "x0_low"), (x0_high, "x0_high"))
        )
        if (self._x0_low > self._x0_high).any():
            raise ValueError(f"x0_low is {self._x0_low.tolist()}, above x0_high, {self._x0_high.tolist()}")
        self._A, self._B, self._C, self._D = (
            np.array(m) for m in (discrete.A, discrete.B, discrete.C, discrete.D)
        )

    @property
    def system(self) -> control.StateSpace:
        """The discrete system that runs; made anew, since those of python-control cannot be pickled."""
        import control

        return control.StateSpace(
            self._A, self._B, self._C, self._D, self.dt, states=list(self.plant.state_names),
            inputs=list(self.plant.input_names), outputs=list(self.plant.output_names),
            remove_useless_states=False,
        )  # fmt: skip

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """Uniform in `[x0_low, x0_high]`."""
        return rng.uniform(self._x0_low, self._x0_high)

    def next_state(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """State one sample later."""
        return self._A @ x + self._B @ u

    def output(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Output, with feedthrough."""
        return self._C @ x + self._D @ u


def _sampled(system: control.StateSpace, dt: float | None) -> control.StateSpace:
    import control

    own = system.dt
    if own is None or own is True:
        if dt is None:
            raise ValueError("dt is None, and system names no sample time; expected a sample time in seconds")
        # A timebase that is not specified counts as continuous, as in python-control's own functions.
        if own is True:
            return control.StateSpace(system, dt=as_number(dt, "dt", positive=True))
    if own:
        if dt is not None and abs(as_number(dt, "dt", positive=True) - own) > 1e-9 * own:
            raise ValueError(f"dt is {dt}, but system is sampled at {own:g} s; leave dt out, or resample it")
        return system
    if dt is None:
        raise ValueError("dt is None, and system is continuous; expected a sample time in seconds")
    return control.sample_system(system, as_number(dt, "dt", positive=True), method="zoh")
