"""A first-order lag as an env that may spoil what it is handed."""

import gymnasium
import numpy as np
from gymnasium import spaces

from koopctrl import LiftedModel

LIFTED = LiftedModel.from_matrices([[0.5]], [[0.5]], dt=0.1)


class Lag(gymnasium.Env):
    """`x+ = 0.5 x + 0.5 clip(u, -1, 1)`, with noise where asked; what it is handed it may write to."""

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, spoil=False, report=False, dt=0.1, box=1.0, noise=0.0):
        self.action_space = spaces.Box(-box, box, (1,), dtype=np.float64)
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), dtype=np.float64)
        self.spoil, self.report, self.noise = spoil, report, noise
        if dt is not None:
            self.dt = dt

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1.0, 1.0, 1)
        if self.spoil and options:
            options.clear()
        return self.x.copy(), {}

    def step(self, action):
        u = np.clip(np.array(action, dtype=float), -1.0, 1.0)
        if self.spoil:
            action *= 10.0
        self.x = 0.5 * self.x + 0.5 * u + self.noise * self.np_random.standard_normal(1)
        return self.x.copy(), 0.0, False, False, {"u": u} if self.report else {}
