"""The network as an object: neurons, right-hand side, exports, drawing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import control
import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import solve_ivp

from koopctrl import LTINetwork
from koopctrl.errors import OptionError, ShapeError, SolverError
from tests.ltinet import oracles
from tests.plants_lti import (
    boundary_inputs_2d,
    chain,
    convection_diffusion_1d,
    diffusion_2d,
    duffing_step,
    jordan,
    laplacian_2d,
    lifted_duffing,
    random_mimo,
)


def test_a_lifted_model_identified_from_data_becomes_a_network() -> None:
    lifted = lifted_duffing()
    net = LTINetwork.from_statespace(control.StateSpace(*lifted))
    assert net.summary().second_order >= 2
    A, B, C, D, dt = lifted
    rng = np.random.default_rng(0)
    u, x = rng.uniform(-1, 1, (400, 1)), rng.standard_normal(6)
    y = net.simulate(dt * np.arange(400), u, x).outputs
    expected = []
    for k in range(400):
        expected.append(C @ x + D @ u[k])
        x = A @ x + B @ u[k]
    np.testing.assert_allclose(y, expected, atol=1e-12 * net.cond)
    # between the samples the network is a continuous system: halving the step changes nothing at the samples
    fine = net.simulate(dt / 2 * np.arange(799), np.repeat(u, 2, axis=0)[:799]).outputs[::2]
    np.testing.assert_allclose(fine, net.simulate(dt * np.arange(400), u).outputs, atol=1e-12 * net.cond)
    assert (net.error_bound().total < 1e-9).all()


def test_from_data_to_a_sparse_network() -> None:
    """The whole chain: records of the Duffing plant, KoopmanRNN, lifted model, network."""
    from koopctrl import KoopmanRNN, Trajectories

    rng = np.random.default_rng(0)
    x, dt = rng.uniform(-1.2, 1.2, (20, 2)), 0.1
    states, inputs = [x], rng.uniform(-1.0, 1.0, (20, 60, 1))
    for k in range(60):
        x = duffing_step(x.T, inputs[:, k, 0], dt).T
        states.append(x)
    records = Trajectories.from_arrays(np.stack(states, axis=1), inputs, dt=dt, input_names=["force"])
    model = KoopmanRNN(n_features=50, random_state=0).fit(records)
    sys = model.to_statespace()
    net = LTINetwork.from_statespace(sys)
    assert net.input_names == ("force",)
    assert net.sample_time == dt
    assert net.n_neurons < len(net.T)  # some neurons are of second order
    u = rng.uniform(-1.0, 1.0, (200, 1))
    theirs = control.forced_response(sys, dt * np.arange(200), u.T, squeeze=False).outputs.T
    ours = net.simulate(dt * np.arange(200), u).outputs
    assert oracles.relative(ours, theirs) <= 1e3 * net.cond * oracles.EPS


def test_discrete_integrator_and_slow_pole_need_no_division_by_zero() -> None:
    discrete = control.StateSpace(
        [[1.0, 0.0], [0.0, 1.0 - 1e-13]], [[1.0], [1.0]], np.eye(2), np.zeros((2, 1)), 0.5
    )
    net = LTINetwork.from_statespace(discrete)
    y = net.simulate(0.5 * np.arange(6), np.ones(6)).outputs
    np.testing.assert_allclose(y, np.tile(np.arange(6.0)[:, None], 2), rtol=1e-11)


def test_ode_agrees_with_the_exact_simulation() -> None:
    model = random_mimo(12, 2, 2, 7)
    net = LTINetwork.from_statespace(model)
    t = np.linspace(0, 4, 41)
    x0 = np.random.default_rng(1).standard_normal(12)

    def u(at: float) -> np.ndarray:
        return np.array([1.0, 2.0 * at])

    solution = solve_ivp(net.ode, (0, 4), net.to_neurons(x0), args=(u,), t_eval=t, rtol=1e-10, atol=1e-12)
    inputs = np.array([u(s) for s in t])
    y = net.simulate(t, inputs, x0, hold="foh", states=True)
    assert y.states is not None
    np.testing.assert_allclose(net.output(solution.y.T, inputs), y.outputs, atol=1e-7)
    np.testing.assert_allclose(net.to_states(solution.y.T), y.states, atol=1e-7)
    np.testing.assert_array_equal(net.ode(0.0, np.ones(12)), net.block_matrix() @ np.ones(12))
    with pytest.raises(ShapeError, match="to_neurons"):
        net.ode(0.0, np.ones(3))


def test_second_order_neuron_as_in_its_docstring() -> None:
    net = LTINetwork.from_statespace(chain(1, 0.3, 0.0))
    (neuron,) = net.layers[0].neurons
    assert (neuron.order, net.layers[0].depth, neuron.time_constant) == (2, 1, None)
    M, (v1, v2), x = neuron.matrix, (0.7, -0.4), np.array([0.3, 0.9])
    rate = M @ x + (v1, v2)
    y, z = x[0], M[0, 0] * x[0] + M[0, 1] * x[1]
    assert rate[0] == pytest.approx(z + v1)
    z_rate = M[0, 0] * rate[0] + M[0, 1] * rate[1]
    assert z_rate == pytest.approx(np.trace(M) * z - np.linalg.det(M) * y + M[0, 1] * v2 + M[0, 0] * v1)
    assert neuron.natural_frequency == pytest.approx(np.sqrt(2.0))
    assert neuron.damping == pytest.approx(0.3 / (2 * np.sqrt(2.0)))


def test_layers_and_summary_count_what_is_there() -> None:
    net = LTINetwork.from_statespace(jordan(5))
    (layer,) = net.layers
    assert [neuron.time_constant for neuron in layer.neurons] == [1.0] * 5
    np.testing.assert_array_equal(layer.weights, np.diag(np.ones(4), 1))
    summary = net.summary()
    assert (summary.depth, summary.intra_layer_weights, summary.first_order) == (5, 4, 5)
    assert "5 first-order" in str(summary)
    many = LTINetwork.from_statespace(diffusion_2d(6)).summary()
    assert (many.n_layers, many.depth, many.intra_layer_weights) == (36, 1, 0)
    assert many.weights < many.dense_weights / 5


def test_slow_modes_of_a_large_sparse_system() -> None:
    N = 60
    B, C = boundary_inputs_2d(N)
    C = C[[2]]
    net = LTINetwork.from_statespace((laplacian_2d(N), B, C, 0), n_modes=20)
    assert net.T.shape == (N * N, 20)
    k = np.arange(1, N + 1)
    line = -4 * (N + 1) ** 2 * np.sin(np.pi * k / (2 * (N + 1))) ** 2
    exact = np.sort((line[:, None] + line).ravel())[::-1][:20]
    np.testing.assert_allclose(net.eigenvalues.real, exact, rtol=1e-9)
    # the stationary response to a constant input misses no more than the bound says
    stationary = -C @ sparse.linalg.spsolve(sparse.csc_array(laplacian_2d(N)), B)
    mine = -net.C @ (net.B / net.eigenvalues.real[:, None])
    np.testing.assert_allclose(net.D, stationary - mine, rtol=1e-6)
    bare = LTINetwork.from_statespace((laplacian_2d(N), B, C, 0), n_modes=20, match_dc=False)
    assert not bare.D.any()
    assert (np.linalg.norm(stationary - mine, 2, axis=1) <= bare.defects.left_out).all()
    assert (np.linalg.norm(stationary - mine, 2, axis=1) <= net.defects.left_out).all()
    with pytest.raises(OptionError, match="original"):
        net.to_statespace("original")
    with pytest.raises(ShapeError, match="symmetric"):
        LTINetwork.from_statespace(convection_diffusion_1d(5, 0.3), n_modes=2)
    with pytest.raises(OptionError, match="n_modes"):
        LTINetwork.from_statespace((sparse.eye_array(5000), np.ones((5000, 1)), np.ones((1, 5000)), 0))


def test_casadi_function_and_compiled_c(tmp_path: Path) -> None:
    import casadi

    net = LTINetwork.from_statespace(random_mimo(9, 2, 3, 11))
    function = net.to_casadi("plant")
    rng = np.random.default_rng(0)
    x, u = rng.standard_normal(9), rng.standard_normal(2)
    dx, y = (np.array(v).ravel() for v in function(x, u))
    np.testing.assert_allclose(dx, net.ode(0.0, x, u), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(y, net.output(x, u), rtol=1e-12, atol=1e-13)
    assert (function.name_in(), function.name_out()) == (["x", "u"], ["dx", "y"])
    compiler = shutil.which("cc")
    assert compiler, "there is no C compiler on the PATH; install gcc"
    generator = casadi.CodeGenerator("plant.c")
    generator.add(function)
    generator.generate(f"{tmp_path}/")
    library = tmp_path / "plant.so"
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", str(tmp_path / "plant.c"), "-o", str(library), "-lm"],
        check=True,
    )
    compiled = casadi.external("plant", str(library))
    for ours, theirs in zip(function(x, u), compiled(x, u), strict=True):
        np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-13, atol=1e-14)


def test_responses_become_python_controls() -> None:
    model = random_mimo(5, 2, 3, 2)
    net = LTINetwork.from_statespace(control.StateSpace(*model, name="plant"))
    t = np.linspace(0, 3, 31)
    u = np.random.default_rng(0).standard_normal((31, 2))
    ours = net.simulate(t, u, np.ones(5), hold="foh", states=True).to_timeresponse()
    theirs = control.forced_response(control.StateSpace(*model), t, u.T, np.ones(5), squeeze=False)
    np.testing.assert_allclose(ours.outputs, theirs.outputs, atol=1e-10)
    np.testing.assert_allclose(ours.states, theirs.states, atol=1e-10)
    np.testing.assert_allclose(ours.inputs, theirs.inputs)
    batch = net.simulate(t, np.stack([u, -u, 2 * u])).to_timeresponse()
    assert batch.outputs.shape == (3, 3, 31)


def test_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    for model, lanes in ((chain(5), 5), (diffusion_2d(9), 30), (convection_diffusion_1d(40, 0.9), 1)):
        net = LTINetwork.from_statespace(model)
        ax = net.plot()
        markers = [c for c in ax.collections if c.get_offsets().shape[1] == 2 and len(c.get_paths()) == 1]
        drawn = (
            sum(len(c.get_offsets()) for c in markers if len(c.get_offsets()))
            - net.B.shape[1]
            - net.C.shape[0]
        )
        assert (
            drawn == sum(len(net.layers[i].neurons) for i in range(len(net.layers)))
            if lanes != 30
            else drawn >= 30
        )
        ax.figure.canvas.draw()
        plt.close(ax.figure)
    response = LTINetwork.from_statespace(chain(2)).simulate(np.linspace(0, 1, 11), 1.0)
    assert response.plot() is not None
    plt.close("all")


def test_every_output_is_seen_to_be_connected_whatever_its_unit() -> None:
    import matplotlib.pyplot as plt

    A, B, C, D = random_mimo(12, 2, 5, 3)
    units = 10.0 ** np.array([-6.0, -3.0, 0.0, 3.0, 6.0])
    counts = []
    for scale in (np.ones(5), units):
        net = LTINetwork.from_statespace((A, B, C * scale[:, None], 0 * D))
        ax = net.plot()
        ends = [
            path.vertices[-1] for c in ax.collections for path in c.get_paths() if len(path.vertices) == 24
        ]
        heights = sorted({round(float(y), 9) for x, y in ends if x == 1.0})
        assert len(heights) == 5
        counts.append([sum(x == 1.0 and round(float(y), 9) == h for x, y in ends) for h in heights])
        plt.close(ax.figure)
    assert counts[0] == counts[1]


def test_transfer_function_through_python_control() -> None:
    model = random_mimo(10, 2, 2, 4)
    ours, theirs = LTINetwork.from_statespace(model).to_statespace(), control.StateSpace(*model)
    for s in oracles.random_points(model[0], 10):
        np.testing.assert_allclose(ours(s), theirs(s), rtol=1e-11)


@pytest.mark.parametrize(
    "call",
    [
        lambda net: net.output([1.0]),
        lambda net: net.output([1.0, 2.0, 3.0, 4.0], [1.0, 2.0]),
        lambda net: net.to_neurons([1.0]),
        lambda net: net.to_states([[1.0, 2.0]]),
        lambda net: net.to_states(3.0),
    ],
)
def test_states_of_another_size_are_refused(call) -> None:
    with pytest.raises(ShapeError, match="expected"):
        call(LTINetwork.from_statespace(chain(2)))


@pytest.mark.parametrize("A", [[[-1.0]], [[-1.0, 1.0], [0.0, -1.0]], [[-1.0, 1.0], [-1.0, -1.0]]])
@pytest.mark.parametrize(("n_u", "n_y"), [(0, 1), (1, 0), (0, 0)])
def test_networks_without_inputs_or_outputs_have_bounds(A, n_u, n_y) -> None:
    n = len(A)
    net = LTINetwork.from_statespace((A, np.ones((n, n_u)), np.ones((n_y, n)), np.zeros((n_y, n_u))))
    assert net.error_bound(x0_bound=1.0).total.shape == (n_y,)
    assert np.isfinite(net.summary().bound)
    assert net.simulate([0.0, 1.0], x0=np.ones(n)).outputs.shape == (2, n_y)


def test_a_network_without_states_can_be_truncated_and_drawn() -> None:
    net = LTINetwork.from_statespace((np.zeros((0, 0)), np.zeros((0, 1)), np.zeros((1, 0)), [[1.0]]))
    assert net.truncate(0.1).kept == ()
    assert net.plot() is not None


def test_neurons_that_overflow_or_are_too_fast_are_refused() -> None:
    u = np.ones((2, 1))
    growing = LTINetwork.from_statespace(([[5000.0]], [[1.0]], [[1.0]], [[0.0]]))
    with pytest.raises(SolverError, match="float64's range"):
        growing.simulate_neurons([0.0, 1.0], u)
    stiff = LTINetwork.from_statespace((np.diag([-1e12, -1.0]), np.ones((2, 1)), np.ones((1, 2)), [[0.0]]))
    with pytest.raises(SolverError, match="too fast to integrate"):
        stiff.simulate_neurons([0.0, 1.0], u)


@pytest.mark.parametrize("name", ["bad name!", "", 3])
def test_names_that_are_no_identifiers_are_refused(name) -> None:
    with pytest.raises(OptionError, match="name is"):
        LTINetwork.from_statespace(chain(2)).to_casadi(name)
