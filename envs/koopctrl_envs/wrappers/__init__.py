"""What lies between a controller and a plant in practice, one wrapper a file.

Any of them goes around any other, and around gymnasium's own; what each does is told in `info`:

=========================  ===============================================================================
Wrapper                    Its entries of `info`
=========================  ===============================================================================
`MeasurementNoise`         `noise`: what was added to the observation
`Quantisation`             `observation_rounding`, `action_rounding`: what rounding added
`PartialObservation`       `hidden`: entries of the observation that were left out
`ActuatorSaturation`       `saturated`: which entries of the action were clipped
`RateLimit`                `rate_limited`: which entries of the action were held back
`DeadZone`                 `dead`: which entries of the action fell into the dead zone
`InputDelay`               `pending`: actions on their way, next one first; `u_accepted`: input that set out
`LoadDisturbance`          `load`: what acted beside the input over the step
`ParameterRandomisation`   `parameters`: values drawn for the episode, by name
`ParameterDrift`           `parameters`: values over the step, by name
=========================  ===============================================================================

`info["u"]` stays what the plant says: the input that really acted, whatever stood between. So
`koopctrl.collect` and `koopctrl.run_closed_loop` record that. Widths, limits and steps are in the units of
the space that is wrapped. What is random draws from a stream of the wrapper's own, spawned from
`reset(seed=...)`: taking another wrapper away leaves it as it was.
"""

from koopctrl_envs.wrappers.actuator_saturation import ActuatorSaturation
from koopctrl_envs.wrappers.dead_zone import DeadZone
from koopctrl_envs.wrappers.input_delay import InputDelay
from koopctrl_envs.wrappers.load_disturbance import LoadDisturbance
from koopctrl_envs.wrappers.measurement_noise import MeasurementNoise
from koopctrl_envs.wrappers.parameter_drift import ParameterDrift
from koopctrl_envs.wrappers.parameter_randomisation import ParameterRandomisation
from koopctrl_envs.wrappers.partial_observation import PartialObservation
from koopctrl_envs.wrappers.quantisation import Quantisation
from koopctrl_envs.wrappers.rate_limit import RateLimit

__all__ = [
    "ActuatorSaturation",
    "DeadZone",
    "InputDelay",
    "LoadDisturbance",
    "MeasurementNoise",
    "ParameterDrift",
    "ParameterRandomisation",
    "PartialObservation",
    "Quantisation",
    "RateLimit",
]
