"""The commands' words: options for arguments, JSON for programs, tables that take no text for markup."""

import io
import json

import numpy as np
import pytest
from command_line import run
from rich.console import Console

from koopctrl.cli import output
from koopctrl.cli.output import Output
from koopctrl.cli.words import in_own_words


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("output_lags is 0; expected 1 or more", "--output-lags is 0; expected 1 or more"),
        ("Pass n_states=4 instead", "Pass --states 4 instead"),
        ("Pass dt=...", "Pass --dt SECONDS"),
        ("say feedthrough=True", "say --feedthrough"),
        ("try delimiter=';' or decimal=','", "try --delimiter ';' or --decimal ,"),
        (r"try delimiter='\t'", r"try --delimiter $'\t'"),
        ("dt is None; expected seconds", "--dt is not given; expected seconds"),
        ('no cut. Use by="time" to cut within episodes', "no cut. Take another --test-fraction"),
        ("gaps is 'fill'; expected one of 'refuse'", "--gaps is 'fill'; expected one of 'refuse'"),
        ("dt is -1; expected more", "--dt is -1; expected more"),
        ("outputs is empty; expected", "--outputs is empty; expected"),
        ("a time is 5 seconds", "a time is 5 seconds"),
        # Words of a sentence, names of columns and of calls stay.
        ("the time between outputs", "the time between outputs"),
        ("column 'ridge' is empty", "column 'ridge' is empty"),
        ("horizon(3) of my_horizon", "horizon(3) of my_horizon"),
    ],
)  # fmt: skip
def test_arguments_become_options_and_english_stays(message, words):
    assert in_own_words(message) == words


def shown(do, as_json=False):
    """What an output prints to its console."""
    said = Output()
    said.console = Console(file=io.StringIO(), markup=False, highlight=False, width=80, soft_wrap=True)
    said.begin(as_json)
    do(said)
    return said.console.file.getvalue()


def test_tables_have_a_row_a_name_and_take_nothing_for_markup():
    rows = [{"free run": "[bold]y[/m]", "R2": 0.123456, "n": 3}, {"free run": "b", "R2": np.inf, "n": 4}]
    text = shown(lambda said: said.table("[red]title", rows))
    for part in ("[red]title", "[bold]y[/m]", "0.1235", "-", "free run"):
        assert part in text
    assert shown(lambda said: (said.say("hello [b]"), said.table("t", rows)), as_json=True) == ""
    assert shown(lambda said: said.say("hello [b]")) == "hello [b]\n"


def test_json_holds_all_figures_and_nothing_that_json_has_not(capsys):
    said = Output()
    said.begin(True)
    said.keep(a=np.float32(0.5), b=np.array([[1, 2]]), c=float("nan"), d=(True, None), e={1: np.inf})
    said.keep(path=output.Text("x"))
    said.finish()
    found = json.loads(capsys.readouterr().out)
    assert found == {"a": 0.5, "b": [[1, 2]], "c": None, "d": [True, None], "e": {"1": None}, "path": "x"}
    said.begin(False)
    said.finish()
    assert (capsys.readouterr().out, said.collected) == ("", {})


def test_warnings_and_errors_are_one_line_on_stderr(capsys):
    output.told("error", "no column [b]'y'[/b]")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: no column [b]'y'[/b]\n")


def test_compare_refuses_a_model_named_twice_and_one_that_is_none(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no model")
    (tmp_path / "d.csv").write_text("y\n1\n2\n")
    twice = run(tmp_path, "compare", "a.npz", "a.npz", "--data", "d.csv")
    assert twice.returncode
    assert "named twice" in twice.stderr
    none = run(tmp_path, "compare", "a.npz", "--data", "d.csv")
    assert none.returncode
    assert "a.npz" in none.stderr
    assert "Traceback" not in none.stderr


def test_fit_names_a_penalty_that_is_no_number(tmp_path):
    (tmp_path / "d.csv").write_text("y,u\n" + "".join(f"{k % 7},{k % 3}\n" for k in range(40)))
    signals = ("--outputs", "y", "--inputs", "u", "--dt", 0.1)
    done = run(tmp_path, "fit", "d.csv", *signals, "--ridge", "much")
    assert done.returncode
    assert "--ridge is 'much'; expected a number or auto" in done.stderr


def test_the_demo_shows_its_parts_in_order_and_lists_what_it_wrote(tmp_path, monkeypatch):
    import koopctrl.demo.in_c
    import koopctrl.demo.lti_network
    import koopctrl.demo.pendulum
    import koopctrl.demo.robot_arm

    class Part:
        def __init__(self, key):
            self.title, self.finding = f"Part {key}", f"Finding of {key}. " * 10
            self.rows, self.files = [{"what": key, "n": 1}], {f"{key}.png": f"picture of {key}"}

        def to_dict(self):
            return {"key": self.title}

    mpc, given = object(), []
    monkeypatch.setattr(koopctrl.demo.pendulum, "swing_up", lambda out, progress: (Part("swing"), mpc))
    monkeypatch.setattr(koopctrl.demo.robot_arm, "measured_record", lambda out, progress: Part("arm"))
    monkeypatch.setattr(
        koopctrl.demo.in_c, "controller_in_c", lambda out, m, progress: (given.append(m), Part("c"))[1]
    )
    monkeypatch.setattr(koopctrl.demo.lti_network, "linear_network", lambda out, progress: Part("lti"))
    done = run(tmp_path, "demo", "--out", "here")
    assert done.returncode == 0, done.stderr
    assert given == [mpc]
    places = [done.stdout.index(f"{i}. Part {k}") for i, k in enumerate(("swing", "arm", "c", "lti"), 1)]
    assert places == sorted(places)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "swing.png     picture of swing" in done.stdout
    written = json.loads((tmp_path / "here" / "figures.json").read_text())
    assert written["robot_arm"] == {"key": "Part arm"}
