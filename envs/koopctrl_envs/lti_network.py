"""A linear network as a plant to control: from a large model to a quick environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from koopctrl_envs.checks import FloatArray, as_number
from koopctrl_envs.system_env import SystemEnv


class LTINetworkEnv(SystemEnv):
    r"""A `koopctrl.LTINetwork` behind `reset` and `step`, exact under held inputs.

    Reward, limits, `info` and pictures are those of `SystemEnv`; `info["x"]` are the neuron states.

    Parameters
    ----------
    net : LTINetwork
        Continuous, sampled at `dt`, or discrete. Without dead times.
    dt : float, optional
        Sample time in seconds; a discrete network has its own.
    x0_scale : float
        Starts are drawn from `[-x0_scale, x0_scale]` times what each neuron reaches under a unit step.
    **options
        `u_min`, `u_max`, `y_min`, `y_max`, `Q`, `R`, `reference`, `input_reference`, `measurement_noise` and
        `render_mode`, as in `SystemEnv`.

    Attributes
    ----------
    net : LTINetwork
        The discrete network that runs.
    dt : float
        Sample time, s.

    Raises
    ------
    ValueError
        A network without a sample time, limits the wrong way round, or vectors of another size.
    """

    def __init__(self, net: Any, dt: float | None = None, *, x0_scale: float = 0.0, **options: Any) -> None:
        if dt is None and not net.sample_time:
            raise ValueError("dt is None, and the network is continuous; expected a sample time in seconds")
        if net.delayed:
            raise ValueError("net has dead times; expected none. Use a wrapper that delays actions instead")
        self.net = net.sample(net.sample_time if dt is None else dt)
        states = [f"x{i}" for i in range(self.net.n_states)]
        names = (states, self.net.input_names, self.net.output_names)
        super().__init__(self.net.sample_time, names, **options)
        self._spread = as_number(x0_scale, "x0_scale") * _reach(self.net)

    def draw_start(self, rng: np.random.Generator) -> FloatArray:
        """Neuron states uniform in a box; see `x0_scale`."""
        return self._spread * rng.uniform(-1.0, 1.0, self._spread.size)

    def next_state(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Neuron states one sample later."""
        return self.net.next_state(x, u)

    def output(self, x: FloatArray, u: FloatArray) -> FloatArray:
        """Outputs of the network."""
        return self.net.output(x, u)


def _reach(net: Any) -> FloatArray:
    """What each neuron reaches over a hundred samples of unit inputs."""
    x, largest = np.zeros(net.n_states), np.zeros(net.n_states)
    u = np.ones(net.B.shape[1])
    for _ in range(100):
        x = np.asarray(net.next_state(x, u))
        largest = np.maximum(largest, np.abs(x))
    return largest
