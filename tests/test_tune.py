"""`koopctrl tune`: what is shown is what runs, bad settings are named, and the page follows its sliders."""

import json
import socket
import struct
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from browser import Browser, executable
from command_line import run
from scipy import linalg

from koopctrl import KoopmanRNN, LiftedModel, LinearMPC, Trajectories, run_closed_loop
from koopctrl.errors import DataError, KoopctrlError, OptionError, ShapeError
from koopctrl.tune import Disturbed, Settings, serve
from koopctrl.tune.loop import Bench
from koopctrl.tune.settings import controls
from koopctrl_envs.van_der_pol import VanDerPol

PLANT = "koopctrl_envs:koopctrl/VanDerPol-v0"


@pytest.fixture(scope="module")
def model():
    plant, rng = VanDerPol(), np.random.default_rng(0)
    x, u = np.empty((20, 41, 2)), rng.uniform(-3, 3, (20, 40, 1))
    x[:, 0] = rng.uniform(-2, 2, (20, 2))
    for k in range(40):
        x[:, k + 1] = plant.step(x[:, k], u[:, k])
    records = Trajectories.from_arrays(x, u, dt=plant.dt, output_names=["x1", "x2"], input_names=["u"])
    return KoopmanRNN(20, random_state=0).fit(records)


@pytest.fixture(scope="module")
def hidden():
    rng = np.random.default_rng(1)
    a, u = np.array([[0.9, 0.2], [-0.2, 0.8]]), rng.uniform(-1, 1, (300, 1))
    x = np.zeros((301, 2))
    for k in range(300):
        x[k + 1] = a @ x[k] + [0.0, u[k, 0]]
    records = Trajectories.from_arrays(x[:, :1], u, dt=0.1)
    return KoopmanRNN(0, n_states=2, random_state=0).fit(records)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("tune") / "model.npz"
    model.save(path)
    return str(path)


def changed(model, **changes):
    return Settings.from_dict({**Settings.of_model(model).to_dict(), **changes}, model)


@pytest.mark.parametrize(
    ("plant", "changes"),
    [
        (None, {}),
        (PLANT, {"kind": "nonlinear", "horizon": 8}),
        pytest.param(
            None,
            {"q": [1.0, -3.0], "r_rate": [0.5], "y_max": [0.9, None], "u_min": [-1.0], "noise": 0.05},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            PLANT,
            {"tracked": [True, True], "load": [0.4], "offset_free": False, "seed": 3, "u_max": [None]},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_shown_is_what_runs(model, file, capsys, changes, plant):
    found = Bench(model, file, plant).run(changed(model, steps=12, **changes))
    assert "error" not in found
    space = {}
    exec(found["code"], space)
    assert float(capsys.readouterr().out) == pytest.approx(found["cost"], rel=1e-9)
    result = space["result"]
    assert [p["name"] for p in found["panels"]] == ["x1", "x2", "u"]
    for panel, values in zip(found["panels"], [*result.outputs.T, result.inputs[:, 0]], strict=True):
        np.testing.assert_allclose(panel["values"], values, rtol=1e-7, atol=1e-9)
    assert found["panels"][1]["unit"] == ("" if plant is None else "1/s")
    for i, (low, high) in enumerate(p["bounds"] for p in found["panels"]):
        for value, key in ((low, "min"), (high, "max")):
            wanted = changes.get(f"{'y' if i < 2 else 'u'}_{key}")
            if wanted is not None:
                assert value == wanted[i % 2 if i < 2 else 0]


def test_figures_say_what_the_signals_say(model, file):
    found = Bench(model, file).run(changed(model, y_max=[0.6, None], set_point=[1.5, 0.0], noise=0.1))
    y, u = np.array(found["panels"][0]["values"]), np.array(found["panels"][2]["values"])
    assert found["violations"] == np.sum(y[1:] > 0.6 + 1e-8 * np.abs(y).max())
    assert found["violations"] > 0
    r = np.array([np.nan if v is None else v for v in found["panels"][0]["reference"]])
    q, weight = 1.0 / model.network_.scaling.y_scale[0] ** 2, 0.1 / model.network_.scaling.u_scale[0] ** 2
    assert found["cost"] == pytest.approx(np.sum(q * (y - r)[1:] ** 2) + weight * np.sum(u**2), rel=2e-3)
    assert found["panels"][1]["reference"] == [None] * len(y)  # one input: the second output is free


def test_a_hidden_state_is_tuned_with_a_filter(hidden, tmp_path):
    hidden.save(tmp_path / "h.npz")
    assert controls(hidden)["kinds"] == ("linear",)
    found = Bench(hidden, str(tmp_path / "h.npz")).run(changed(hidden, offset_free=True, load=[0.2]))
    assert 'KalmanFilter(lifted, disturbance="output")' in found["code"]
    y, r = (np.array(found["panels"][0][k]) for k in ("values", "reference"))
    assert abs(y[-1] - r[-1]) < 0.02 * abs(r[0] - r[-1])


def test_settings_that_do_not_go_together_are_told_beside_the_program(model, file):
    found = Bench(model, file).run(changed(model, u_min=[2.0], u_max=[1.0]))
    assert "u_min" in found["error"]
    assert "u_min=[2.0]" in found["code"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 0}, "horizon is 0; expected a whole number from 2 to 100"),
        ({"horizon": 2.5}, "horizon is 2.5"),
        ({"steps": 10**9}, "steps is 1000000000"),
        ({"seed": True}, "seed is True"),
        ({"kind": "pid"}, "kind is 'pid'; expected linear or nonlinear"),
        ({"q": [1.0]}, r"q is \[1.0\]; expected 2 values"),
        ({"q": [1.0, None]}, "q has None"),
        ({"u_max": ["__import__('os')"]}, 'u_max has "__import__'),
        ({"load": [float("nan")]}, "load has nan"),
        ({"tracked": [1, 0]}, "tracked has 1"),
        ({"offset_free": "yes"}, "offset_free has 'yes'"),
        ({"more": 1}, r"settings are off at \['more'\]"),
    ],
)
def test_bad_settings_are_refused_by_name(model, change, message):
    with pytest.raises(OptionError, match=message):
        changed(model, **change)


def test_settings_that_are_no_mapping_or_do_not_go_with_a_hidden_state_are_refused(model, hidden):
    with pytest.raises(OptionError, match="settings are off at list"):
        Settings.from_dict([], model)
    with pytest.raises(OptionError, match="expected linear: the state of this model is hidden"):
        changed(hidden, kind="nonlinear")


def test_loads_and_noise_are_those_that_were_asked_for():
    a, b = np.array([[0.9, 0.2], [0.0, 0.7]]), np.array([[0.0], [1.0]])
    lifted = LiftedModel.from_matrices(a, b, dt=0.1)
    loop = {"Q": 1.0, "R": 0.1}
    plain = run_closed_loop(lambda x, u: a @ x + b @ u, LinearMPC(lifted, 5, **loop), 30, x0=[1.0, 0.0])
    same = Disturbed(lambda x, u: a @ x + b @ u, dt=0.1)
    quiet = run_closed_loop(same, LinearMPC(lifted, 5, **loop), 30, x0=[1.0, 0.0])
    np.testing.assert_array_equal(quiet.outputs, plain.outputs)
    pushed = Disturbed(lambda x, u: a @ x + b @ u, 0.0, 0.3, start=10, dt=0.1)
    result = run_closed_loop(pushed, LinearMPC(lifted, 5, **loop), 400, x0=[1.0, 0.0])
    np.testing.assert_array_equal(result.outputs[:11], plain.outputs[:11])
    # At rest under u = -K x of the settled predictions the load leaves what the closed loop's gain says.
    x, u = result.outputs[-1], result.inputs[-1]
    np.testing.assert_allclose(x, linalg.solve(np.eye(2) - a, b @ (u + 0.3)), atol=1e-9)
    assert abs(x[1]) > 1e-3
    noisy = Disturbed(lambda x, u: a @ x + b @ u, [0.5, 0.0], dt=0.1, seed=4)
    runs = [run_closed_loop(noisy, LinearMPC(lifted, 5, **loop), 500, x0=[1.0, 0.0]) for _ in range(2)]
    error = runs[0].outputs - runs[0].states
    assert error[:, 0].std() == pytest.approx(0.5, rel=0.15)
    np.testing.assert_array_equal(error[:, 1], 0.0)
    np.testing.assert_array_equal(runs[0].outputs, runs[1].outputs)
    with pytest.raises(OptionError, match="noise is -1"):
        Disturbed(same, -1.0)
    for wrong, error in (
        ({"start": -1}, OptionError),
        ({"seed": 0.5}, OptionError),
        ({"load": "a"}, DataError),
    ):
        with pytest.raises(error, match=next(iter(wrong))):
            Disturbed(same, **wrong)
    with pytest.raises(ShapeError, match="load has shape"):
        run_closed_loop(Disturbed(same, 0.0, [0.1] * 3), LinearMPC(lifted, 5, **loop), 3, x0=[1.0, 0.0])
    with pytest.raises(ShapeError, match="noise has shape"):
        run_closed_loop(Disturbed(same, [0.1] * 3), LinearMPC(lifted, 5, **loop), 3, x0=[1.0, 0.0])


@pytest.fixture(scope="module")
def address(model, file):
    with serve(model, file) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def ask(url, body=None, **headers):
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_server_answers_its_own_page_alone(address, model):
    status, text = ask(address)
    assert status == 200
    assert "<title>koopctrl tune</title>" in text
    status, text = ask(f"{address}setup")
    start = json.loads(text)["settings"]
    assert Settings.from_dict(start, model) == Settings.of_model(model)
    status, text = ask(f"{address}run", start)
    assert (status, len(json.loads(text)["time"])) == (200, 121)
    assert ask(f"{address}run", {**start, "horizon": -1})[0] == 400
    assert ask(f"{address}run", "x" * 200_000)[0] == 400
    assert ask(f"{address}../pyproject.toml")[0] == 404
    assert ask(f"{address}elsewhere", start)[0] == 400
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert ask(f"{address}run", start, **headers)[0] == 403
        assert ask(f"{address}setup", **headers)[0] == 403


def test_a_page_that_is_closed_while_it_waits_is_no_error(model, file, monkeypatch, capsys):
    server, answered = serve(model, file), threading.Event()
    run_once = Bench.run

    def slow(self, settings):
        assert closed.wait(30.0)
        return run_once(self, settings)

    closed, handle = threading.Event(), server.shutdown_request
    monkeypatch.setattr(Bench, "run", slow)
    monkeypatch.setattr(server, "shutdown_request", lambda r: (handle(r), answered.set()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        body = json.dumps(Settings.of_model(model).to_dict()).encode()
        with socket.create_connection(("127.0.0.1", server.server_port)) as page:
            head = f"POST /run HTTP/1.0\r\nHost: 127.0.0.1:1\r\nContent-Length: {len(body)}\r\n\r\n"
            page.sendall(head.encode() + body)
            page.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        closed.set()
        assert answered.wait(60.0)
        said = capsys.readouterr().err
        assert said == "", said
        assert ask(f"http://127.0.0.1:{server.server_port}/")[0] == 200
    finally:
        server.shutdown()
        server.server_close()


def test_models_without_inputs_and_ports_that_are_none_are_refused(tmp_path):
    x = np.cumsum(np.ones((3, 20, 1)), axis=1) ** 0.5
    model = KoopmanRNN(0).fit(Trajectories.from_arrays(x, dt=0.1))
    with pytest.raises(OptionError, match="model has no inputs"):
        serve(model, "m.npz")
    model.save(tmp_path / "m.npz")
    done = run(tmp_path, "tune", "m.npz", "--port", 70000)
    assert "--port is 70000; expected 0 to 65535" in done.stderr
    assert "has no inputs" in run(tmp_path, "tune", "m.npz", "--no-open").stderr


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        ("koopctrl_envs:koopctrl/Nope-v0", "plant is .*Nope.* cannot make"),
        ("nowhere:koopctrl/X-v0", "plant is .*nowhere.* cannot make"),
        ("koopctrl_envs:koopctrl/CartPole-v0", "measures 5 signals; expected the model's 2: x1, x2"),
    ],
)
def test_plants_that_do_not_fit_are_refused_when_it_begins(model, file, plant, message):
    with pytest.raises(KoopctrlError, match=message):
        serve(model, file, plant=plant)


def test_a_port_that_is_taken_and_a_file_that_is_gone_are_told(model, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OptionError, match=f"port is {taken.getsockname()[1]}, where no page"):
            serve(model, "m.npz", port=taken.getsockname()[1])
    found = Bench(model, str(tmp_path / "gone.npz")).run(Settings.of_model(model))
    assert "gone.npz" in found["error"]
    assert "gone.npz" in found["code"]


def test_the_command_serves_until_it_is_stopped(file, tmp_path, monkeypatch):
    from koopctrl.tune import server

    seen, opened = [], []

    def stop(self):
        seen.append(self.server_port)
        raise KeyboardInterrupt

    monkeypatch.setattr(server.ThreadingHTTPServer, "serve_forever", stop)
    monkeypatch.setattr("webbrowser.open", opened.append)
    done = run(tmp_path, "tune", file)
    assert done.returncode == 0, done.stderr
    assert opened == [f"http://127.0.0.1:{seen[0]}/"]
    assert opened[0] in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(executable() is None, reason="no browser: apt install chromium")
def test_moving_a_slider_changes_the_figure_and_the_program(address):
    value = "document.querySelector('#figure path.value').getAttribute('d')"
    idle = "!document.getElementById('numbers').classList.contains('waiting')"
    with Browser() as browser:
        browser.open(address)
        browser.wait_for(f"document.querySelectorAll('#figure path.value').length === 3 && {idle}")
        before, numbers = (
            browser.evaluate(value),
            browser.evaluate("document.querySelector('#numbers').textContent"),
        )
        assert "cost" in numbers
        for slider, to, code in (("set_point-0", -0.5, "[-0.5, np.nan]"), ("load-0", 0.5, "load=[0.5]")):
            browser.evaluate(
                f"(e => {{ e.value = {to}; e.dispatchEvent(new Event('input', {{bubbles: true}})) }})"
                f"(document.getElementById('{slider}'))"
            )
            browser.wait_for(f"{value} !== {json.dumps(before)} && {idle}")
            before = browser.evaluate(value)
            browser.evaluate(
                "document.getElementById('code').hidden && document.getElementById('show').click()"
            )
            assert code in browser.evaluate("document.getElementById('code').innerText")
        assert browser.evaluate("document.querySelector('#numbers').textContent") != numbers
        assert browser.evaluate("document.querySelectorAll('#figure line.bound').length") == 2
        assert browser.evaluate(
            "[...document.querySelectorAll('svg text')].some(t => t.textContent === 'time [s]')"
        )
        browser.evaluate("document.getElementById('reset').click()")
        browser.wait_for(f"document.querySelector('#numbers').textContent.includes('cost') && {idle}")
        assert browser.complaints(address) == []
