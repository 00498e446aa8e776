"""Warnings point at the caller's line, and each fit speaks, however often the line is run."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import plants
import pytest

import koopctrl
from koopctrl import KoopmanRNN, Trajectories
from koopctrl.errors import KoopctrlWarning, NumericalWarning, RolloutWarning

A, B, DT = plants.oscillator()
DATA = plants.record(plants.linear_step(A, B), 2, 1, DT, n_episodes=4, n_steps=30)
MODEL = KoopmanRNN(5, random_state=0, ridge=1e-8).fit(DATA)
FAR = Trajectories.from_arrays([1e3 + e.outputs for e in DATA], [e.inputs for e in DATA], dt=DT)
STILL = Trajectories.from_arrays([e.outputs for e in DATA], [0 * e.inputs for e in DATA], dt=DT)
SHORT = Trajectories([*DATA, DATA[0].slice(0, 1, "tiny")])

WARNING = {
    "predict": (RolloutWarning, lambda: MODEL.predict(FAR)),
    "score": (RolloutWarning, lambda: MODEL.score(FAR)),
    "simulate": (RolloutWarning, lambda: MODEL.simulate([1e3, 1e3], np.zeros((5, 1)))),
    "fit": (NumericalWarning, lambda: KoopmanRNN(5, random_state=0).fit(STILL)),
    "lift": (NumericalWarning, lambda: MODEL.lift_at([1e3, 0.0], 0.0, method="linear")),
    "short episodes": (KoopctrlWarning, lambda: KoopmanRNN(5, random_state=0).fit(SHORT)),
    "split": (KoopctrlWarning, lambda: DATA[:1].split(0.3)),
}


@pytest.mark.parametrize("name", WARNING)
def test_a_warning_points_here(name):
    category, act = WARNING[name]
    with pytest.warns(category) as caught:
        act()
    mine = [w for w in caught if issubclass(w.category, category)]
    assert {Path(w.filename).name for w in mine} == {Path(__file__).name}


@pytest.mark.parametrize("name", WARNING)
def test_each_call_speaks_under_pythons_own_filter(name):
    category, act = WARNING[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter("default")
        for _ in range(3):
            act()
    assert sum(issubclass(w.category, category) for w in caught) == 3


def test_filters_of_the_users_own_are_kept_to():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=RolloutWarning)
        MODEL.predict(FAR)
        with pytest.raises(KoopctrlWarning, match="one record"):
            DATA[:1].split(0.3)


def test_in_a_script_the_line_shown_is_the_scripts(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "import numpy as np\nfrom koopctrl import Trajectories\n"
        "data = Trajectories.from_arrays(np.arange(20.0), dt=1.0)\n"
        "data.split(0.3)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert "mine.py:4: KoopctrlWarning" in done.stderr


def test_no_module_warns_in_another_way():
    package = Path(koopctrl.__file__).parent
    others = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "warnings.warn(" in path.read_text() and path.name != "_warnings.py"
    ]
    assert others == []
