"""Roll-outs held within the training range: NumPy, CasADi, generated C and python-control do the same."""

import shutil
import subprocess

import casadi
import control
import numpy as np
import plants
import pytest
from c_tools import call, loaded

from koopctrl import KoopmanRNN, Trajectories

DT = 0.1


def record(n=300, feedthrough=False):
    rng = np.random.default_rng(0)
    a, b, _ = plants.oscillator()
    u = np.repeat(rng.uniform(-1, 1, (n // 5, 1)), 5, axis=0)
    x = plants.roll(plants.linear_step(a, b), np.zeros(2), u)[:-1, :1]
    return Trajectories.from_arrays(x + (0.3 * u if feedthrough else 0.0), u, dt=DT)


MODELS = {
    "window": KoopmanRNN(8, output_lags=2, input_lags=2, random_state=0),
    "feedthrough": KoopmanRNN(8, output_lags=2, input_lags=2, feedthrough=True, random_state=0),
    "hidden": KoopmanRNN(5, n_states=2, max_iter=5, random_state=0),
}


@pytest.fixture(scope="module", params=sorted(MODELS))
def bounded(request):
    """A model held to a tenth around its range, and inputs four times those of training that drive it out."""
    data = record(feedthrough=request.param == "feedthrough")
    model = MODELS[request.param].set_params(rollout_margin=0.1).fit(data)
    u = 4.0 * data[0].inputs[:120]
    return model, u


def truth(model, u):
    """States along the bounded roll-out from the training data's first state, and whether it was held."""
    x0 = model.snapshots_.x[0]
    low, high = model.rollout_bounds()
    net = model.network_.state if model.hidden else model.network_
    y, left = net.bounded_rollout(x0[None], u[None], low, high)
    assert left[0] <= len(u)  # the bounds are reached
    return x0, y[0]


def test_casadi_and_its_c_code_are_held_too(bounded, tmp_path):
    model, u = bounded
    x0, expected = truth(model, u)
    functions = [model.to_casadi()]
    if shutil.which("gcc"):
        generator = casadi.CodeGenerator("step.c")
        generator.add(functions[0])
        generator.generate(f"{tmp_path}/")
        source, library = tmp_path / "step.c", tmp_path / "step.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
        functions.append(casadi.external("koopman_rnn", str(library)))
    n_y = expected.shape[1]
    for function in functions:
        x = x0
        for k, row in enumerate(u):
            found = function(x, row)
            x = np.asarray(found[0] if isinstance(found, (tuple, list)) else found).ravel()
            np.testing.assert_allclose(x[:n_y], expected[k + 1], rtol=1e-9, atol=1e-9)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_generated_c_is_held_too(bounded, tmp_path):
    model, u = bounded
    x0, expected = truth(model, u)
    lib, n_y = loaded(model.to_c(tmp_path, "plant")), expected.shape[1]
    inner = model.network_.state if model.hidden else model.network_
    low, high = model.rollout_bounds()
    x, found, held = x0.copy(), np.empty(len(x0)), 0
    for k, row in enumerate(u):
        a, b = np.empty((len(x), len(x))), np.empty((len(x), 1))
        call(lib.plant_jacobian, x, row, a, b)
        free = inner.step(x[None], row[None])[0][:n_y]
        outside = (free < low) | (free > high)
        held += int(outside.any())
        assert not a[:n_y][outside].any()
        assert not b[:n_y][outside].any()
        assert a[:n_y][~outside].any(axis=1).all()
        call(lib.plant_step, x, row, found)
        x = found.copy()
        np.testing.assert_allclose(x[:n_y], expected[k + 1], rtol=1e-9, atol=1e-9)
    assert held


def test_python_control_is_held_too(bounded):
    model, u = bounded
    x0, expected = truth(model, u)
    system = model.to_nlsys()
    response = control.input_output_response(system, np.arange(len(u)) * DT, u.T, X0=x0, squeeze=False)
    n_y = expected.shape[1]
    np.testing.assert_allclose(response.x[:n_y].T, expected[:-1], rtol=1e-9, atol=1e-9)
