"""Units on axes: a plant's own reach the figure of its loop, files keep them, the caller's go first."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import koopctrl
from koopctrl import Trajectories, run_closed_loop
from koopctrl.controllers.loop.result_file import result_of_parts
from koopctrl.errors import DataError, OptionError
from koopctrl.plotting import plot_closed_loops, plot_free_run, plot_records
from koopctrl_envs.wrappers import PartialObservation


class Hold:
    """No torque."""

    def reset(self):
        pass

    def control(self, measurement, reference=None):
        return np.zeros(1)


def labels(figure):
    return [axis.get_ylabel() for axis in figure.axes]


@pytest.fixture(scope="module")
def run():
    env = gymnasium.make("koopctrl_envs:koopctrl/Pendulum-v0")
    return run_closed_loop(env, Hold(), 5, x0=[1.0, 0.0])


def test_a_closed_loop_has_the_plants_units(run):
    assert run.units == {"cos_theta": "1", "sin_theta": "1", "omega": "rad/s", "torque": "N m"}
    assert labels(run.plot()) == ["cos_theta", "sin_theta", "omega [rad/s]", "torque [N m]"]
    turned = {"omega": "1/min", "cos_theta": "-"}
    assert labels(run.plot(units=turned)) == ["cos_theta [-]", "sin_theta", "omega [1/min]", "torque [N m]"]
    named = replace(run, output_names=("c", "s [1]", "omega"), units={"s [1]": "m", "torque": ""})
    assert labels(plot_closed_loops({"a": named})) == ["c", "s [1]", "omega", "torque"]


def test_a_wrapper_that_hides_outputs_and_a_plant_without_units_are_right_too():
    part = PartialObservation(gymnasium.make("koopctrl_envs:koopctrl/Pendulum-v0"), ["omega"])
    assert run_closed_loop(part, Hold(), 3, x0=[1.0, 0.0]).units == {"omega": "rad/s", "torque": "N m"}
    assert run_closed_loop(lambda x, u: 0.5 * x + u, Hold(), 3, x0=[1.0], dt=0.1).units == {}


def test_files_keep_units_and_older_ones_have_none(run, tmp_path):
    run.save(tmp_path / "r.npz")
    assert koopctrl.load(tmp_path / "r.npz").units == run.units
    from koopctrl.storage_packed import Packed

    packed = Packed()
    written = {n: packed.put(f"result.{n}", v) for n, v in vars(run).items() if n not in ("artist", "units")}
    assert result_of_parts({"fields": written}, packed.arrays).units == {}
    spoilt = {**written, "units": packed.put("result.units", {"omega": 3})}
    with pytest.raises(DataError, match="units are not what save"):
        result_of_parts({"fields": spoilt}, packed.arrays)


def test_records_and_free_runs_take_units():
    data = Trajectories.from_arrays(
        np.arange(6.0), np.ones(6), dt=0.1, output_names=["level"], input_names=["pump [V]"]
    )
    units = {"level": "cm", "pump [V]": "V"}
    assert labels(data.plot(units=units)) == ["level [cm]", "pump [V]"]
    figure = plot_free_run(data[0], {"m": data[0].outputs}, units=units)
    assert labels(figure) == ["level [cm]", "error of level [cm]", "pump [V]"]
    for draw in (lambda u: plot_records(data, units=u), lambda u: plot_free_run(data[0], {}, units=u)):
        with pytest.raises(OptionError, match="units is a list; expected a mapping"):
            draw(["cm"])
