"""Odd envs, in `collect` and in the closed loop: what they answer is said in one line, or made usable."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from koopctrl import LQR, LiftedModel, collect, run_closed_loop
from koopctrl.errors import DataError, KoopctrlWarning, OptionError, ShapeError

LIFTED = LiftedModel.from_matrices([[0.5]], [[1.0]], dt=0.1)


class Odd:
    """`x+ = x / 2 + u`, with one thing changed."""

    dt = 0.1

    def __init__(self, **changes):
        self.changes = changes
        if "space" in changes:
            self.action_space = changes["space"]

    def _see(self):
        see = self.changes.get("see", lambda x, k: x.copy())
        return see(self.x, self.k)

    def reset(self, *, seed=None, options=None):
        self.x, self.k = np.ones(1), 0
        if "reset" in self.changes:
            return self.changes["reset"](self._see())
        return self._see(), {}

    def step(self, action):
        self.k += 1
        self.x = 0.5 * self.x + np.ravel(action)
        if "step" in self.changes:
            return self.changes["step"](self._see(), self.k)
        return self._see(), 0.0, False, False, {}


def loop(env, n_steps=5):
    return run_closed_loop(env, LQR(LIFTED, 1.0, 1.0), n_steps)


def record(env, n_steps=5):
    return collect(env, lambda y: np.zeros(1), max_steps=n_steps)


BOTH = pytest.mark.parametrize("run", [loop, record])


@BOTH
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": lambda y, k: (y, 0.0, False, {})}, "env.step returned 4 values"),
        ({"step": lambda y, k: None}, "env.step returned a NoneType"),
        ({"step": lambda y, k: (y, 0.0, False, False, "info")}, "a str as info"),
        ({"reset": lambda y: y}, r"env.reset returned a ndarray; expected \(observation, info\)"),
        ({"reset": lambda y: np.array([1.0, 2.0])}, "env.reset returned a ndarray"),
        ({"see": lambda x, k: {"angle": x, "speed": x}}, r"a dict with keys \['angle', 'speed'\]"),
        ({"see": lambda x, k: None}, "observation is None"),
        ({"see": lambda x, k: "ready"}, "the plant's observation has dtype"),
        ({"see": lambda x, k: np.ones(1 + (k > 2))}, "2 entries, and had 1 before"),
    ],
)
def test_answers_that_cannot_be_used_are_named(run, changes, said):
    with pytest.raises((DataError, ShapeError), match=said):
        run(Odd(**changes))


@BOTH
@pytest.mark.parametrize(
    "changes",
    [
        {"step": lambda y, k: (y, None, False, False, {})},
        {"step": lambda y, k: (y, 0.0, False, False, None)},
        {"step": lambda y, k: (y, np.zeros(1), np.False_, np.False_, {"u": None, "x": None})},
        {"reset": lambda y: (y, None)},
        {"see": lambda x, k: float(x[0])},
        {"see": lambda x, k: x[0]},
    ],
)
def test_answers_that_can_be_used_are(run, changes):
    data = run(Odd(**changes))
    assert (data[0] if run is record else data).outputs.shape == (6, 1)


def test_a_missing_reward_is_nan_and_a_wrong_one_is_named():
    assert np.isnan(loop(Odd(step=lambda y, k: (y, None, False, False, {}))).rewards).all()
    with pytest.raises(ShapeError, match="reward has shape"):
        loop(Odd(step=lambda y, k: (y, np.zeros(2), False, False, {})))


class OldReset(Odd):
    def reset(self):
        self.x, self.k = np.ones(1), 0
        return self.x.copy(), {}


def test_a_reset_without_seed_is_used_where_no_seed_is_given():
    assert run_closed_loop(OldReset(), LQR(LIFTED, 1.0, 1.0), 3, seed=None).n_steps == 3
    assert len(collect(OldReset(), lambda y: np.zeros(1), max_steps=3)[0]) == 4
    for call in (lambda: loop(OldReset()), lambda: collect(OldReset(), lambda y: 0, seed=1, max_steps=2)):
        with pytest.raises(OptionError, match=r"env\.reset does not take seed"):
            call()


@BOTH
def test_an_action_of_another_size_is_refused_before_the_plant_sees_it(run):
    with pytest.raises(ShapeError, match=r"has shape \(1,\); expected \(2,\)"):
        run(Odd(space=spaces.Box(-1, 1, (2,))))
    with pytest.raises(OptionError, match=r"Discrete\(3\)"):
        run(Odd(space=spaces.Discrete(3)))
    for shape in ((), (1, 1)):
        data = run(Odd(space=spaces.Box(-1, 1, shape)))
        assert (data[0] if run is record else data).inputs.shape == (5, 1)


def test_discrete_actions_can_be_recorded():
    env = Odd(space=spaces.Discrete(3))
    assert collect(env, lambda y: 2, max_steps=3)[0].inputs.tolist() == [[2.0]] * 3
    assert collect(env, seed=0, max_steps=3)[0].inputs.shape == (3, 1)


def test_actions_that_are_none_or_change_size_are_refused():
    with pytest.raises(DataError, match="action is None"):
        collect(Odd(), lambda y: None, max_steps=3)
    sizes = iter([1, 2])
    with pytest.raises(ShapeError, match="2 entries, and had 1 before"):
        collect(Odd(see=lambda x, k: np.zeros(1)), lambda y: np.zeros(next(sizes)), max_steps=3)


def test_an_error_of_the_plant_says_which_step_and_action():
    def broken(y, k):
        raise ZeroDivisionError("pole")

    with pytest.raises(ZeroDivisionError, match="pole") as caught:
        loop(Odd(step=broken))
    assert "env.step at step 0" in caught.value.__notes__[0]


def test_a_state_that_the_plant_reports_only_now_and_then_is_nan_between():
    env = Odd(step=lambda y, k: (y, 0.0, False, False, {"x": np.full(2, k)} if k % 2 else {}))
    states = loop(env).states
    np.testing.assert_array_equal(states[:, 0], [np.nan, 1, np.nan, 3, np.nan, 5])
    assert states.shape == (6, 2)


@pytest.mark.parametrize("cause", ["terminated", "truncated"])
def test_an_end_at_the_very_last_step_is_said_without_a_warning(cause):
    env = Odd(
        step=lambda y, k: (y, 0.0, k == 5 and cause == "terminated", k == 5 and cause == "truncated", {})
    )
    assert loop(env).ended == cause
    assert loop(env, 4).ended == ""


@pytest.mark.parametrize(("first", "n_steps"), [(1, 30), (15, 30), (0, 4)])
def test_outputs_that_are_lost_for_good_are_warned_of(first, n_steps):
    env = Odd(see=lambda x, k: x.copy() if k < first else np.full(1, np.nan))
    with pytest.warns(KoopctrlWarning, match=f"y0 from sample {first} on"):
        loop(env, n_steps)


def test_samples_lost_now_and_then_are_not():
    loop(Odd(see=lambda x, k: np.full(1, np.nan) if k % 3 == 2 else x.copy()), 31)


def test_vector_envs_and_classes_are_refused_in_the_closed_loop():
    env = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("Pendulum-v1")] * 2)
    with pytest.raises(OptionError, match="vector env"):
        loop(env)
    with pytest.raises(OptionError, match="the class LQR"):
        run_closed_loop(Odd(), LQR, 3)
    with pytest.raises(ShapeError, match=r"shape \(1, 1\)"):
        loop(Odd(see=lambda x, k: x[None]))
    with pytest.raises(OptionError, match="options is a list"):
        run_closed_loop(Odd(), LQR(LIFTED, 1.0, 1.0), 3, options=[1.0])
    with pytest.raises(OptionError, match="preview is 'yes'"):
        run_closed_loop(Odd(), LQR(LIFTED, 1.0, 1.0), 3, preview="yes")
    with pytest.raises(OptionError, match="seed"):
        run_closed_loop(Odd(), LQR(LIFTED, 1.0, 1.0), 3, seed="a")


@pytest.mark.parametrize("answer", [None, np.ones((1, 1)), "full", []])
def test_what_is_not_an_input_is_refused(answer):
    controller = type("C", (), {"reset": lambda s: None, "control": lambda s, y, reference=None: answer})()
    with pytest.raises((ShapeError, DataError), match="controller returned"):
        run_closed_loop(Odd(), controller, 2)


def test_callables_with_other_arguments_are_refused_by_name():
    with pytest.raises(OptionError, match="policy takes other arguments"):
        collect(Odd(), lambda y, z: 0.0, max_steps=2)
    with pytest.raises(OptionError, match="reference takes other arguments"):
        run_closed_loop(Odd(), LQR(LIFTED, 1.0, 1.0), 2, reference=lambda: [0.0])
    with pytest.raises(OptionError, match="state_names is 4"):
        collect(Odd(), lambda y: 0.0, max_steps=2, state_names=4)
