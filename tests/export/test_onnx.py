"""The network's step as ONNX, run by onnxruntime, against the package's python-control block."""

import sys

import numpy as np
import pytest

from koopctrl import KoopmanRNN, Trajectories
from koopctrl.errors import OptionError

onnx = pytest.importorskip("onnx", reason="onnx is not installed; pip install koopctrl[deploy]")
runtime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed; pip install koopctrl[deploy]"
)

KINDS = {
    "network": {"input_coupling": "network"},
    "quadratic relu": {"input_coupling": "quadratic", "activation": "relu"},
    "linear": {"input_coupling": "linear", "n_features": 0},
    "held": {"rollout_margin": 0.1},
    "lags": {"output_lags": 3, "input_lags": 3, "rcond": 1e-8},
    "feedthrough": {"output_lags": 2, "input_lags": 2, "feedthrough": True, "rcond": 1e-8},
    "hidden": {"n_states": 2, "n_features": 8, "max_iter": 3, "rounds": 0},
    "hidden, readout": {"n_states": 2, "n_features": 6, "n_output_features": 5, "max_iter": 3, "rounds": 0,
                        "feedthrough": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (10, 81, 2)), np.zeros((10, 81, 2))
    for k in range(80):
        x[:, k + 1, 0] = 0.9 * x[:, k, 0] + 0.2 * np.tanh(x[:, k, 1]) + 0.1 * u[:, k, 0] * u[:, k, 1]
        x[:, k + 1, 1] = 0.8 * x[:, k, 1] - 0.1 * x[:, k, 0] + 0.3 * u[:, k, 1]
    return Trajectories.from_arrays(5.0 + 3.0 * x, 1e3 * u, dt=0.1, state_names=["level", "flow"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_step_is_that_of_the_model(data, kind, tmp_path):
    model = KoopmanRNN(**{"n_features": 15, "random_state": 0, **KINDS[kind]}).fit(data)
    model.to_onnx(tmp_path / "step.onnx")
    session = runtime.InferenceSession(str(tmp_path / "step.onnx"), providers=["CPUExecutionProvider"])
    block, rng = model.to_nlsys(), np.random.default_rng(1)
    inner = model._network.state if model.hidden else model._network
    x = inner.x_mean + (2.0 if kind == "held" else 0.7) * inner.x_scale * rng.normal(
        size=(50, inner.window.n_x)
    )
    u = 1e3 * rng.uniform(-1, 1, (50, 2))
    x_next, y = session.run(["x_next", "y"], {"x": x, "u": u})
    expected = np.array([block.dynamics(0.0, a, b, {}) for a, b in zip(x, u, strict=True)])
    np.testing.assert_allclose(x_next, expected, atol=1e-11 * np.abs(expected).max())
    expected = np.array([block.output(0.0, a, b, {}) for a, b in zip(x, u, strict=True)])
    np.testing.assert_allclose(y, expected, atol=1e-11 * np.abs(expected).max())
    if kind == "held":
        assert (x_next == model.rollout_bounds()[1]).any()
    single = runtime.InferenceSession(
        model.to_onnx(scalar="float").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    close = single.run(["x_next"], {"x": x.astype(np.float32), "u": u.astype(np.float32)})[0]
    assert close.dtype == np.float32
    np.testing.assert_allclose(close, x_next, rtol=1e-4, atol=1e-3 * np.abs(x_next).max())
    told = {p.key: p.value for p in onnx.load(tmp_path / "step.onnx").metadata_props}
    assert float(told["dt"]) == 0.1
    assert told["outputs"] == "level, flow"
    assert len(told["states"].split(", ")) == inner.window.n_x


def test_autonomous_models_have_no_input(tmp_path):
    x = np.cumsum(0.1 * np.random.default_rng(0).normal(size=(5, 40, 2)), axis=1)
    model = KoopmanRNN(8, random_state=0).fit(Trajectories.from_arrays(x, None, dt=0.1))
    session = runtime.InferenceSession(
        model.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert [i.name for i in session.get_inputs()] == ["x"]
    found = session.run(["x_next"], {"x": x[0]})[0]
    np.testing.assert_allclose(found, model._network.step(x[0], np.zeros((40, 0))), atol=1e-12)


def test_what_cannot_be_is_named(data, tmp_path, monkeypatch):
    model = KoopmanRNN(5, random_state=0).fit(data)
    with pytest.raises(OptionError, match="scalar is 'half'"):
        model.to_onnx(tmp_path / "m.onnx", scalar="half")
    with pytest.raises(OptionError, match="path is 3"):
        model.to_onnx(3)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OptionError, match="needs the package onnx"):
        model.to_onnx()
