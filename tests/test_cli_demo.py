"""`koopctrl demo`."""

import json
import re

import pytest
from command_line import run


@pytest.mark.slow
def test_demo_prints_what_it_writes_and_keeps_its_word(tmp_path):
    done = run(tmp_path, "demo", "--out", "demo")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    written = json.loads((tmp_path / "demo" / "figures.json").read_text())
    nonlinear, linear = written["pendulum"]["rows"]
    assert nonlinear["tilt at the end, deg"] < 1.0
    assert linear["tilt at the end, deg"] > 90.0
    assert nonlinear["largest torque, N m"] <= 5.0 + 1e-9
    network, arx = written["robot_arm"]["rows"]
    assert network["free-run error (RMS)"] < 0.8 * arx["free-run error (RMS)"]
    assert f"{network['free-run error (RMS)']:.4g}" in done.stdout
    assert written["c_code"]["largest_difference"] < 1e-6
    assert written["lti_network"]["largest_error"] < 1e-9
    listed = re.findall(r"^  (\S+)  ", done.stdout, re.MULTILINE)
    folder = tmp_path / "demo"
    made = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert set(listed) == {name for name in made if not name.endswith(".so")}
