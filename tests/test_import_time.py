"""What is loaded when: heavy libraries wait until they are used. Modules are counted, clocks are not read."""

import subprocess
import sys

import pytest

HEAVY = (
    "sklearn",
    "control",
    "casadi",
    "gymnasium",
    "matplotlib",
    "pandas",
    "rich",
    "typer",
    "koopctrl_envs",
)


def loaded_after(code: str) -> set[str]:
    """Modules in a fresh interpreter that ran `code`."""
    script = f"import sys\n{code}\nprint('\\n'.join(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not set(HEAVY) & loaded_after("import koopctrl")


def test_plants_take_checks_alone_and_the_package_no_plants():
    loaded = {m for m in loaded_after("import koopctrl_envs") if m.startswith("koopctrl.")}
    assert loaded <= {"koopctrl._validation", "koopctrl._warnings", "koopctrl._time", "koopctrl.errors"}
    assert "koopctrl_envs" not in loaded_after("from koopctrl import KoopmanRNN, collect, load, LinearMPC")


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        (
            "from koopctrl import Trajectories; Trajectories.from_arrays([1.0, 2.0], dt=0.1).snapshots()",
            set(),
        ),
        ("from koopctrl import datasets; datasets.hair_dryer()", set()),
        ("from koopctrl import collect", set()),
        ("from koopctrl import LiftedModel; LiftedModel.from_matrices(0.5, 1, dt=1).spectrum()", set()),
        (
            "from koopctrl import KoopmanRNN, Trajectories\n"
            "m = KoopmanRNN(2).fit(Trajectories.from_arrays([1.0, 2.0, 0.5, 1.0], dt=0.1)).lift_at()",
            {"sklearn", "pandas"},  # scikit-learn looks at pandas by itself
        ),
    ],
)
def test_each_step_loads_only_what_it_needs(code, allowed):
    assert not (set(HEAVY) - allowed) & loaded_after(code)


def test_a_linear_controller_waits_for_no_network_schedule_or_fit():
    loaded = loaded_after("from koopctrl import LQR, KalmanFilter, LinearMPC, LiftedModel")
    others = ("koopctrl.ltinet", "koopctrl.controllers.scheduled", "koopctrl.koopman_rnn", "scipy.signal")
    assert not {"sklearn", "control", "gymnasium", "matplotlib", *others} & loaded


def test_the_test_of_this_test():
    loaded = loaded_after("import koopctrl; koopctrl.KoopmanRNN; koopctrl.LQR")
    assert {"sklearn", "koopctrl.controllers.lqr"} <= loaded
