"""Measured records that ship with the package; see `LICENSE` beside the files."""

from __future__ import annotations

from importlib import resources

from koopctrl.data.trajectories import Trajectories

__all__ = ["hair_dryer", "robot_arm"]


def hair_dryer() -> Trajectories:
    """Feedback's process trainer PT326, a "hair dryer": heater voltage `u` to outlet temperature `y`.

    1,000 samples, 0.08 s apart; both signals in volts of the rig. Conventional split: first half train,
    second half test, its first 20 samples initialise.

    Source: Ljung, *System Identification*; DaISy; SLICOT benchmark IB01AD (BSD-3 licence).
    """
    return _load("hairdryer.csv", dt=0.08)


def robot_arm() -> Trajectories:
    """Flexible robot arm: reaction torque of the structure `u` to acceleration of the arm `y`.

    1,024 samples; the sample time was not published and is taken as 1 s. Conventional split: first half
    train, second half test, its first 20 samples initialise.

    Source: DaISy; SLICOT benchmark IB03AD (BSD-3 licence).
    """
    return _load("robot_arm.csv", dt=1.0)


def _load(name: str, dt: float) -> Trajectories:
    with resources.as_file(resources.files(__name__) / name) as path:
        return Trajectories.from_csv(path, outputs=["y"], inputs=["u"], dt=dt)
