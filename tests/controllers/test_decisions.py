"""Controllers, blocks, copies, pickles and files decide alike: what is remembered is in the state alone."""

import copy
import pickle

import numpy as np
import pytest

from koopctrl import (
    LQR,
    ExtendedKalmanFilter,
    KalmanFilter,
    KoopmanRNN,
    LiftedModel,
    LinearMPC,
    Trajectories,
    load,
)
from koopctrl.controllers import RNNMPC
from koopctrl.controllers.state import ravel, unravel

A = np.array([[0.95, 0.2], [-0.1, 0.9]])
B = np.array([[0.0, 0.3], [0.5, 0.1]])


@pytest.fixture(scope="module")
def folded():
    """`y+ = 0.6 y + 0.4 (0.3 u + 0.5 sin 4u)`: several inputs hold one output."""
    rng = np.random.default_rng(0)
    y, u = np.empty((20, 101, 1)), rng.uniform(-1, 1, (20, 100, 1))
    y[:, 0] = rng.uniform(-1, 1, (20, 1))
    for k in range(100):
        y[:, k + 1] = 0.6 * y[:, k] + 0.4 * (0.3 * u[:, k] + 0.5 * np.sin(4.0 * u[:, k]))
    data = Trajectories.from_arrays(y, u, dt=0.1, state_names=["level"], input_names=["valve"])
    return KoopmanRNN(50, input_coupling="network", random_state=0).fit(data)


def folded_step(x, u):
    return 0.6 * x + 0.4 * (0.3 * u + 0.5 * np.sin(4.0 * u))


def linear_step(x, u):
    return A @ x + B @ np.clip(u, -2.0, 2.0)


def make(kind, folded, lag_model):
    model = LiftedModel.from_matrices(A, B, dt=0.1)
    one = LiftedModel.from_matrices(A, B, [[1.0, 0.0]], dt=0.1)
    told = {"measured_disturbances": [0], "input_delay": 2}
    return {
        "lqr": lambda: LQR(model, 1.0, 0.1, u_min=-1, u_max=1, offset_free=0.5),
        "lqr, filter": lambda: LQR(one, 1.0, 0.1, observer=KalmanFilter(one, 1e-2, 1e-2, gate=3.0)),
        "mpc": lambda: LinearMPC(model, 8, 1.0, 0.1, u_min=-1, u_max=1, y_max=0.4, offset_free=True),
        "mpc, told": lambda: LinearMPC(model, 8, 1.0, 0.1, u_min=-1, u_max=1, du_max=0.3, R_rate=0.1, **told),
        "mpc, filter": lambda: LinearMPC(
            one, 8, 1.0, 0.1, u_min=-1, u_max=1,
            observer=KalmanFilter(one, 1e-2, 1e-2, disturbance="output", Qd=1e-3, steady=False, gate=3.0),
        ),
        "mpc, window": lambda: LinearMPC(
            lag_model[0].lift_at(x_op=0, u_op=0), 8, 1.0, 0.1, u_min=-1, u_max=1, offset_free=0.5
        ),
        "rnn": lambda: RNNMPC(folded, 6, 1.0, 0.01, u_min=-1, u_max=1),
        "rnn, offset-free": lambda: RNNMPC(folded, 6, 1.0, 0.01, u_min=-1, u_max=1, offset_free=0.3),
        "rnn, filter": lambda: RNNMPC(
            folded, 6, 1.0, 0.01, u_min=-1, u_max=1,
            observer=ExtendedKalmanFilter(folded, 1e-4, 1e-4, disturbance="input", gate=4.0),
        ),
    }[kind]()  # fmt: skip


# A gross error may be what a filter starts from: it then says that it starts anew.
pytestmark = pytest.mark.filterwarnings("ignore::koopctrl.errors.RolloutWarning")
KINDS = [
    "lqr", "lqr, filter", "mpc", "mpc, told", "mpc, filter", "mpc, window", "rnn", "rnn, offset-free",
    "rnn, filter",
]  # fmt: skip


def plant_of(controller):
    """`(step, number of states, number of measured outputs)` of a plant that the controller can act on."""
    if len(controller.output_names) == 1 and isinstance(controller, RNNMPC):
        return folded_step, 1
    if controller.lifted.n_u == 1:
        return lambda x, u: np.array([[0.9, 0.2], [-0.2, 0.8]]) @ x + np.array([0.0, 0.5]) * u, 2
    return linear_step, 2


def run(controller, decide, n_steps, seed=0):
    """Inputs over a run with changing references, previews, missing samples and gross errors.

    Each third of it has a reference of another kind, and each of the faults at least once.
    """
    every = min(25, n_steps // 3)
    rng = np.random.default_rng(seed)
    step, n_x = plant_of(controller)
    x, r, inputs = np.zeros(n_x), None, []
    n_y, n_v = len(controller.output_names), getattr(controller, "n_v", 0)
    for k in range(n_steps):
        if k % every == 0:
            level = rng.choice([0.4, 0.7, 0.4, -0.3, 2.0])
            r = [np.full(n_y, level), None, level * rng.uniform(0.2, 1.0, (int(rng.integers(1, 12)), n_y))][
                k // every % 3
            ]
        y = x[: controller.n_measured].copy()
        if rng.random() < 0.1 or k == n_steps // 2:
            y[rng.integers(len(y))] = np.nan
        if rng.random() < 0.03 or k == n_steps // 2 + 2:
            y += 20.0
        v = 0.2 * rng.normal(size=n_v)
        u = decide(y, r, v)
        inputs.append(u)
        full = controller.join(u, v) if n_v else u
        x = step(x, full) + 0.01 * rng.normal(size=n_x)
    return np.array(inputs)


def told(v):
    return {"disturbance": v} if len(v) else {}


@pytest.mark.parametrize("kind", KINDS)
def test_resets_copies_pickles_and_files_decide_alike(kind, folded, lag_model, tmp_path):
    controller = make(kind, folded, lag_model)
    n_steps = 250 if not kind.startswith("rnn") else 30
    expected = run(controller, lambda y, r, v: controller.control(y, r, **told(v)), n_steps)
    controller.reset()
    np.testing.assert_array_equal(
        run(controller, lambda y, r, v: controller.control(y, r, **told(v)), n_steps), expected
    )
    controller.reset()
    others = [controller]

    def decide(y, r, v):
        """By another of the five at each sample, all of which are kept alike by the copying itself."""
        k = len(decided)
        if k % 10 == 3:
            others[0] = copy.deepcopy(others[0])
        elif k % 10 == 5:
            others[0] = copy.copy(others[0])
        elif k % 10 == 7:
            others[0] = pickle.loads(pickle.dumps(others[0]))
        elif k % 50 == 9:
            others[0].save(tmp_path / "c.npz")
            others[0] = load(tmp_path / "c.npz")
        u = others[0].control(y, r, **told(v))
        decided.append(u)
        return u

    decided = []
    np.testing.assert_array_equal(run(controller, decide, n_steps), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_pure_and_its_state_is_a_vector(kind, folded, lag_model):
    controller = make(kind, folded, lag_model)
    law, initial = controller.law, controller.law.initial()
    state, vector = [initial], [ravel(initial)]

    def decide(y, r, v):
        asked = law.reader.read(r, None, v if len(v) else None)
        before = ravel(state[0])
        u, after, info = law.step(unravel(initial, vector[0]), y, asked)
        again, same, told_again = law.step(state[0], y, asked)
        law.step(initial, y + 1.0, asked)  # another's sample in between
        np.testing.assert_array_equal(ravel(state[0]), before)
        np.testing.assert_array_equal(again, u)
        np.testing.assert_array_equal(ravel(same), ravel(after))
        assert told_again.status == info.status
        state[0], vector[0] = after, ravel(after)
        return u

    n_steps = 150 if not kind.startswith("rnn") else 30
    found = run(controller, decide, n_steps)
    expected = run(controller, lambda y, r, v: controller.control(y, r, **told(v)), n_steps)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_decides_as_its_controller(kind, folded, lag_model):
    controller = make(kind, folded, lag_model)
    block = controller.to_nlsys()
    memory = [np.zeros(block.nstates)]
    default = controller.set_point

    def decide(y, r, v):
        one = default if r is None else np.atleast_2d(r)[0]
        signals = np.concatenate([y, one, v])
        u = controller.control(y, one, **told(v))
        block.dynamics(0.0, memory[0], signals * 0.5)  # what a simulator throws away
        np.testing.assert_array_equal(block.output(0.0, memory[0], signals), u)
        memory[0] = block.dynamics(0.0, memory[0], signals)
        return u

    run(controller, decide, 250 if not kind.startswith("rnn") else 30)


def settled(decide, r, n=60):
    """Output and input after `n` samples at one set-point."""
    x = settled.x
    for _ in range(n):
        u = decide(x, np.array([r]))
        x = folded_step(x, u)
    settled.x = x
    return float(x[0]), float(u[0])


def test_reset_is_a_reset_on_a_plant_with_several_steady_states(folded):
    mpc = RNNMPC(folded, 10, 1.0, 1e-3, u_min=-1, u_max=1)
    settled.x = np.zeros(1)
    fresh = settled(mpc.control, 0.4)
    assert abs(fresh[0] - 0.4) < 0.02
    settled(mpc.control, 0.7)
    settled(mpc.control, 0.4)
    mpc.reset()
    settled.x = np.zeros(1)
    assert settled(mpc.control, 0.4) == fresh


def test_a_block_follows_its_controller_between_steady_states(folded):
    mpc = RNNMPC(folded, 10, 1.0, 1e-3, u_min=-1, u_max=1)
    block = mpc.to_nlsys()
    assert (list(block.input_labels), list(block.output_labels)) == (["level", "r_level"], ["valve"])
    memory = np.zeros(block.nstates)
    x = np.zeros(1)
    for r in np.repeat([0.7, 0.4, 0.7], 40):
        signals = np.append(x, r)
        u = mpc.control(x, [r])
        np.testing.assert_array_equal(block.output(0.0, memory, signals), u)
        memory, x = block.dynamics(0.0, memory, signals), folded_step(x, u)
