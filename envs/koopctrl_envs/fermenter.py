"""The continuous fermenter whose product inhibits its own growth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from koopctrl_envs.base import PlantEnv
from koopctrl_envs.checks import FloatArray
from koopctrl_envs.plant import Components, Plant

OPERATING_SUBSTRATE = 5.0
FEED = 20.0
"""Substrate left over at the operating point, and in the feed there, g/L."""


@dataclass(frozen=True, kw_only=True)
class Fermenter(Plant):
    r"""Stirred vessel in which cells grow on substrate and make product.

    Parameters
    ----------
    Y : float
        Cells made from substrate, g/g.
    alpha : float
        Product made by growing cells, g/g.
    beta : float
        Product made by all cells, 1/h.
    mu_m : float
        Largest specific growth rate, 1/h.
    Pm : float
        Concentration of product at which growth stops, g/L.
    Km : float
        Saturation constant of the substrate, g/L.
    Ki : float
        Inhibition constant of the substrate, g/L.
    dt, n_substeps, u_min, u_max, x0_low, x0_high, x_min, x_max
        As in `Plant`.
    """

    state_names: ClassVar = ("X", "S", "P")
    state_units: ClassVar = ("g/L", "g/L", "g/L")
    input_names: ClassVar = ("D", "Sf")
    input_units: ClassVar = ("1/h", "g/L")
    output_names: ClassVar = state_names
    output_units: ClassVar = state_units
    positive: ClassVar = ("Y", "alpha", "beta", "mu_m", "Pm", "Km", "Ki")
    step_error: ClassVar = 1e-6

    Y: float = 0.4
    alpha: float = 2.2
    beta: float = 0.2
    mu_m: float = 0.48
    Pm: float = 50.0
    Km: float = 1.2
    Ki: float = 22.0
    dt: float = 1800.0
    n_substeps: int = 10
    u_min: tuple[float, ...] = (0.05, 10.0)
    u_max: tuple[float, ...] = (0.35, 30.0)
    x0_low: tuple[float, ...] = (3.0, 2.0, 12.0)
    x0_high: tuple[float, ...] = (8.0, 10.0, 28.0)
    x_min: tuple[float, ...] = (0.1, -0.1, 0.0)
    x_max: tuple[float, ...] = (14.0, 31.0, 50.0)

    @property
    def equilibria(self) -> FloatArray:
        """With a quarter of the substrate left over."""
        X = self.Y * (FEED - OPERATING_SUBSTRATE)
        (D, _), *_ = self.equilibrium_inputs
        P = (self.alpha * D + self.beta) * X / D
        return np.array([[X, OPERATING_SUBSTRATE, P]])

    @property
    def equilibrium_inputs(self) -> FloatArray:
        """Dilution and feed that hold it."""
        # With P = (alpha D + beta) X / D, D = mu(S, P) is quadratic in D.
        S, X = OPERATING_SUBSTRATE, self.Y * (FEED - OPERATING_SUBSTRATE)
        rate = self.mu_m * S / (self.Km + S + S * S / self.Ki)
        a, b, c = 1.0, rate * (self.alpha * X / self.Pm - 1.0), rate * self.beta * X / self.Pm
        root = b * b - 4.0 * a * c
        if root < 0.0:
            raise ValueError(
                f"{self} has no state at rest with {S:g} g/L of substrate left over; raise mu_m or Pm"
            )
        return np.array([[0.5 * (-b + root**0.5) / a, FEED]])

    def rhs_components(self, x: Components, u: Components, xp: Any = np) -> tuple[Any, ...]:
        """Time derivative of `X`, `S`, `P`, per second; see `Plant.rhs_components`."""
        del xp
        X, S, P = x
        D, Sf = u
        mu = self.mu_m * (1.0 - P / self.Pm) * S / (self.Km + S + S * S / self.Ki)
        per_hour = (
            (mu - D) * X,
            D * (Sf - S) - mu * X / self.Y,
            (self.alpha * mu + self.beta) * X - D * P,
        )
        return per_hour[0] / 3600.0, per_hour[1] / 3600.0, per_hour[2] / 3600.0


class FermenterEnv(PlantEnv):
    r"""Continuous fermenter with inhibition by substrate and product: `koopctrl/Fermenter-v0`.

    .. math::

        \dot X = (\mu - D) X, \qquad \dot S = D (S_f - S) - \frac{\mu X}{Y}, \qquad
        \dot P = (\alpha \mu + \beta) X - D P, \qquad
        \mu = \mu_m \left(1 - \frac{P}{P_m}\right) \frac{S}{K_m + S + S^2/K_i}

    Cells `X` live on substrate `S` and make the product `P`, in which they cease to grow. Diluted too fast,
    they are washed out; around the dilution of most product the gain changes its sign. The task is to hold
    the operating point by dilution `D` and feed `Sf`.

    ==================  ===========================================  ================  =========
    Parameter           Meaning                                      Default           Unit
    ==================  ===========================================  ================  =========
    `Y`                 cells made from substrate                    0.4               g/g
    `alpha`             product made by growing cells                2.2               g/g
    `beta`              product made by all cells                    0.2               1/h
    `mu_m`              largest specific growth rate                 0.48              1/h
    `Pm`                product at which growth stops                50                g/L
    `Km`                saturation constant of the substrate         1.2               g/L
    `Ki`                its inhibition constant                      22                g/L
    `dt`                sample time                                  1800              s
    `n_substeps`        Runge-Kutta steps per sample                 10
    `u_min, u_max`      limits of dilution and feed                  [0.05, 10],       1/h, g/L
                                                                     [0.35, 30]
    `x0_low, x0_high`   box the starts are drawn from                [3, 2, 12],       g/L
                                                                     [8, 10, 28]
    `x_min, x_max`      limits of the state                          [0.1, -0.1, 0],   g/L
                                                                     [14, 31, 50]
    ==================  ===========================================  ================  =========

    **Observation**: `[X, S, P]`. **Action**: `[D, Sf]`. **Reward**: :math:`-(y - r)^T Q (y - r)
    - (u - u_r)^T R (u - u_r)` with `Q = diag(1, 0.1, 0.1)`, `R = diag(10, 0.01)`, the operating point
    `[6, 5, 19.1]` and the inputs that hold it, 0.202 1/h and 20 g/L. **Start**: uniform in the box, or
    `reset(options={"x0": [6.0, 5.0, 19.0]})`. **End**: outside the limits (washed out, or growth stopped by
    product); truncated after 200 steps (100 h).

    Noise, disturbance, `info` and the other arguments are those of `PlantEnv`.

    Source: M. A. Henson, D. E. Seborg, *Nonlinear control strategies for continuous fermenters*, Chemical
    Engineering Science 47(4), 1992.
    """

    plant_class = Fermenter
    body = "fermenter"
    default_Q = (1.0, 0.1, 0.1)
    default_R = (10.0, 0.01)
