"""One definition, five faces: env, batch, python-control, CasADi and do-mpc take the same steps."""

import pickle
import warnings

import casadi
import control
import gymnasium
import numpy as np
import pytest

import koopctrl_envs
from koopctrl_envs import Plant, PlantEnv

IDS = sorted(name for name in gymnasium.registry if name.startswith("koopctrl/"))
each_id = pytest.mark.parametrize("name", IDS)
N = 6


def make(name: str, **options) -> PlantEnv:
    env = gymnasium.make(name, **options).unwrapped
    assert isinstance(env, PlantEnv)
    return env


def symbols(plant: Plant) -> str:
    """Scalars for small plants; of large ones do-mpc would handle tens of thousands of them."""
    return "SX" if plant.n_x <= 10 else "MX"


def width(plant: Plant) -> np.ndarray:
    return np.subtract(plant.x0_high, plant.x0_low)


def inputs(env: PlantEnv) -> np.ndarray:
    """Inputs near the resting one, under which no plant fails at once."""
    rng, plant = np.random.default_rng(0), env.plant
    reach = 0.2 * np.subtract(plant.u_max, plant.u_min)
    return env.inputs_of(env.input_reference + reach * rng.uniform(-1, 1, (N, plant.n_u)))


def trial(name: str) -> tuple[PlantEnv, np.ndarray, np.ndarray]:
    """An env, inputs, and the states that they lead the env through."""
    env = make(name)
    u = inputs(env)
    states = [env.reset(seed=3)[1]["x"]]
    for u_k in u:
        _, _, terminated, _, info = env.step(u_k)
        states.append(info["x"])
        if terminated:
            break
    return env, u[: len(states) - 1], np.array(states)


@each_id
def test_five_faces_agree_step_by_step(name):
    env, u, x = trial(name)
    plant = env.plant

    def agrees(states, what):
        np.testing.assert_allclose((states - x) / width(plant), 0.0, atol=1e-10, err_msg=what)

    batch = gymnasium.make_vec(name, num_envs=2)
    batch.reset(options={"x0": x[0]})
    agrees(np.array([x[0], *(batch.step(np.tile(u_k, (2, 1)))[4]["x"][1] for u_k in u)]), "batch")

    time = plant.dt * np.arange(len(x))
    held = np.concatenate([u, u[-1:]]).T
    response = control.input_output_response(plant.to_nlsys(plant.dt), time, held, x[0], squeeze=False)
    agrees(response.states.T, "python-control")
    np.testing.assert_allclose(response.outputs.T, plant.output(x), rtol=1e-12, atol=1e-12)

    step, states, outputs = plant.to_casadi(), [x[0]], []
    for u_k in u:
        ahead, y = step(states[-1], u_k)
        states.append(np.array(ahead)[:, 0])
        outputs.append(np.array(y)[:, 0])
    agrees(np.array(states), "casadi")
    np.testing.assert_allclose(outputs, plant.output(x[:-1]), rtol=1e-9, atol=1e-10)

    model = plant.to_do_mpc(symvar_type=symbols(plant))
    f = casadi.Function("f", [model.x, model.u], [model._rhs])
    states = [x[0]]
    for u_k in u:
        states.append(np.array(f(states[-1], u_k))[:, 0])
    agrees(np.array(states), "do-mpc")


@each_id
def test_every_face_keeps_the_names_and_the_sample_time(name):
    plant = make(name).plant
    step, model, dt = plant.to_casadi(), plant.to_do_mpc(symvar_type=symbols(plant)), plant.dt
    assert (step.name_in(), step.name_out()) == (["x", "u"], ["x_next", "y"])
    assert (step.size1_in(0), step.size1_in(1), step.size1_out(1)) == (plant.n_x, plant.n_u, plant.n_y)
    assert tuple(model._x.keys()) == plant.state_names
    assert tuple(k for k in model._u.keys() if k != "default") == plant.input_names  # noqa: SIM118
    linear = plant.linearize(plant.equilibria[0], plant.equilibrium_inputs[0], dt)
    for system in (plant.to_nlsys(dt), linear):
        assert tuple(system.state_labels) == plant.state_names
        assert tuple(system.input_labels) == plant.input_names
        assert tuple(system.output_labels) == plant.output_names
        assert system.dt == dt


@each_id
def test_linearize_is_the_slope_of_the_nlsys_face(name):
    plant = make(name).plant
    x, u = plant.equilibria[0], plant.equilibrium_inputs[0]
    for dt in (0.0, plant.dt):
        system = plant.linearize(x, u, dt)
        assert isinstance(system, control.StateSpace)
        A, B = plant.jacobians(x, u, dt)
        np.testing.assert_array_equal(system.A, A)
        np.testing.assert_array_equal(system.B, B)
        assert not system.D.any()
        # python-control's own forward differences, with their rounding.
        theirs = plant.to_nlsys(dt).linearize(x, u, eps=1e-6)
        scale, reach = width(plant), np.subtract(plant.u_max, plant.u_min)
        slope = np.abs(A * scale).max()
        np.testing.assert_allclose(theirs.A * scale / slope, A * scale / slope, atol=1e-3)
        np.testing.assert_allclose(theirs.B * reach / slope, B * reach / slope, atol=1e-3)
        size = np.abs(system.C * scale).max()
        np.testing.assert_allclose(theirs.C * scale / size, system.C * scale / size, atol=1e-3)


@each_id
@pytest.mark.parametrize("integrator", ["solve_ivp", "cvodes"])
def test_the_integrators_of_choice_agree_with_the_fixed_steps_to_the_stated_error(name, integrator):
    env, u, x = trial(name)
    other = make(name, integrator=integrator)
    allowed = env.plant.step_error + 1e-7
    for k in range(min(2, len(u))):
        other.reset(options={"x0": np.clip(x[k], other.plant.x_min, other.plant.x_max)})
        error = (other.step(u[k])[4]["x"] - x[k + 1]) / width(env.plant)
        assert np.abs(error).max() <= allowed


@pytest.mark.parametrize("name", ["koopctrl/CSTR-v0", "koopctrl/Burgers-v0"])
def test_cvodes_on_symbols_is_the_envs_cvodes(name):
    plant = make(name).plant
    x, u = plant.draw_start(np.random.default_rng(0)), np.array(plant.u_max)
    symbolic = np.array(plant.to_casadi(integrator="cvodes")(x, u)[0])[:, 0]
    np.testing.assert_array_equal(symbolic, plant.exact_step(x, u, method="cvodes"))
    np.testing.assert_allclose((symbolic - plant.exact_step(x, u)) / width(plant), 0.0, atol=1e-8)


def test_cvodes_masters_what_is_too_stiff_for_fixed_steps():
    stiff = make("koopctrl/VanDerPol-v0", mu=1000.0, n_substeps=1, integrator="cvodes")
    stiff = pickle.loads(pickle.dumps(stiff))
    stiff.reset(options={"x0": [2.0, 0.0]})
    x1, x2 = stiff.step([0.0])[4]["x"]
    assert x2 == pytest.approx(x1 / (1000.0 * (1.0 - x1 * x1)), rel=1e-4)


def test_another_sample_time_and_continuous_do_mpc():
    plant = koopctrl_envs.Pendulum()
    x, u = np.array([0.3, -0.5]), np.array([2.0])
    ahead = np.array(plant.to_casadi(0.12)(x, u)[0])[:, 0]
    np.testing.assert_allclose(ahead, plant.step(x, u, 0.12), atol=1e-12)
    model = plant.to_do_mpc(0.0, symvar_type="MX", process_noise=True)
    f = casadi.Function("f", [model.x, model.u, model.w], [model._rhs])
    np.testing.assert_allclose(np.array(f(x, u, [0.0, 0.0]))[:, 0], plant.rhs(x, u), atol=1e-14)


def test_do_mpc_simulates_and_controls_the_model_face():
    """do-mpc's own simulator takes the env's steps, and its MPC brings the oscillator to rest."""
    import do_mpc

    env = make("koopctrl/VanDerPol-v0")
    model = env.plant.to_do_mpc(measurement_noise=False)
    simulator = do_mpc.simulator.Simulator(model)
    simulator.set_param(t_step=env.dt)
    simulator.setup()
    mpc = do_mpc.controller.MPC(model)
    mpc.settings.n_horizon, mpc.settings.t_step = 15, env.dt
    mpc.settings.supress_ipopt_output()
    cost = model.aux["x1"] ** 2 + model.aux["x2"] ** 2
    mpc.set_objective(mterm=cost, lterm=cost)
    mpc.set_rterm(u=0.01)
    mpc.bounds["lower", "_u", "u"], mpc.bounds["upper", "_u", "u"] = -3.0, 3.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mpc.setup()
    x = env.reset(options={"x0": [1.0, 0.0]})[1]["x"]
    simulator.x0 = mpc.x0 = x[:, None]
    mpc.set_initial_guess()
    for _ in range(40):
        u = mpc.make_step(x[:, None])
        y = simulator.make_step(u)
        x = env.step(u[:, 0])[4]["x"]
        np.testing.assert_allclose(y[:, 0], x, atol=1e-9)
    assert np.abs(x).max() < 0.05


def test_the_nlsys_face_joins_python_controls_diagrams():
    """Pendulum upright under its own LQR, closed by `interconnect`."""
    plant = koopctrl_envs.Pendulum()
    x, u = plant.equilibria[0], plant.equilibrium_inputs[0]
    linear = plant.linearize(x, u)
    K, _, _ = control.lqr(linear.A, linear.B, np.eye(2), np.eye(1))
    law = control.nlsys(
        None,
        lambda _t, _x, y, _p: -K @ np.array([np.arctan2(y[1], y[0]), y[2]]),
        inputs=["cos_theta", "sin_theta", "omega"],
        outputs=["torque"],
        name="law",
    )
    loop = control.interconnect([plant.to_nlsys(), law], inplist=[], outlist=["Pendulum.sin_theta"])
    time = np.linspace(0.0, 5.0, 51)
    response = control.input_output_response(loop, time, 0.0, [0.2, 0.0])
    closed = control.ss(linear.A - linear.B @ K, linear.B, np.eye(2), 0)
    slow = np.exp(np.max(closed.poles().real) * 5.0)
    tilt = response.outputs.ravel()
    assert abs(tilt[-1]) < 2.0 * slow + 1e-6
    assert abs(tilt[0] - np.sin(0.2)) < 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.to_casadi(integrator="solve_ivp"), "expected 'rk4' .* or 'cvodes'"),
        (lambda p: p.to_casadi(dt=0.0), "dt is 0.0; expected a positive"),
        (lambda p: p.to_do_mpc(symvar_type="DM"), "symvar_type is 'DM'"),
        (lambda p: p.linearize([0.0], [0.0]), r"x has shape \(1,\)"),
        (lambda p: p.linearize([0.0, 0.0], [0.0], dt=-1.0), "dt is -1.0"),
        (lambda p: p.exact_step([0.0, 0.0], [0.0], method="euler"), "method is 'euler'"),
    ],
)
def test_bad_arguments_of_faces_are_refused_clearly(call, message):
    with pytest.raises(ValueError, match=message):
        call(koopctrl_envs.VanDerPol())
