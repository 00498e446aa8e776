"""A shifted plan that runs away from what was foreseen is led back by feedback along it."""

import numpy as np
import pytest

from koopctrl import RNNMPC, KoopmanRNN, Trajectories, run_closed_loop
from koopctrl.controllers.mpc.rnn_course import GROWN, JUMP, Course

STATES = np.array([[0.0, 0.0], [1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
SIZE = np.array([1.0, 10.0])


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize(
    ("first", "last", "cost", "left"),
    [
        (0.1, 0.1 * GROWN * 1.01, JUMP * 1.01, True),
        (0.1, 0.1 * GROWN * 0.99, JUMP * 1.01, False),  # the error does not grow
        (0.1, 0.1 * GROWN * 1.01, JUMP * 0.99, False),  # it costs next to nothing
        (1e-9, 1.0, JUMP * 1.01, False),  # rounding alone
        (0.1, np.nan, np.inf, True),
    ],
)
def test_a_course_is_left_where_errors_grow_along_it(first, last, cost, left, unit):
    course = Course(STATES * unit, 5.0, True)
    states = np.vstack([STATES[1:], STATES[-1:]]) * unit
    states[0, 1] += first * SIZE[1] * unit
    states[2, 0] += last * SIZE[0] * unit
    assert course.left(states, 5.0 * cost, SIZE * unit) is left
    assert not Course(STATES * unit, 5.0, False).left(states, 5.0 * cost, SIZE * unit)
    np.testing.assert_array_equal(course.shifted(), np.vstack([STATES[1:], STATES[-1:]]) * unit)


class Pole:
    """An inverted pendulum whose speed is shaken at every sample."""

    dt = 0.1

    def __init__(self, noise):
        self.noise = noise

    def reset(self, *, seed=None, options=None):
        self.rng, self.x = np.random.default_rng(0), np.array(options["x0"], dtype=float)
        return self.x.copy(), {"x": self.x}

    def step(self, u):
        for _ in range(10):
            speed = self.x[1] + 0.01 * (9.0 * np.sin(self.x[0]) + float(u[0]))
            self.x = np.array([self.x[0] + 0.01 * speed, speed])
        self.x = self.x + self.noise * self.rng.normal(size=2) * [0.0, 1.0]
        return self.x.copy(), 0.0, False, False, {"x": self.x}


@pytest.fixture(scope="module")
def pole():
    rng, y, u = np.random.default_rng(1), [], []
    for _ in range(80):
        plant, inputs = Pole(0.0), np.repeat(rng.uniform(-8, 8, 8), 2)[:, None]
        start = plant.reset(options={"x0": rng.uniform(-1.5, 1.5, 2)})[0]
        y.append(np.array([start] + [plant.step(v)[0] for v in inputs]))
        u.append(inputs)
    return KoopmanRNN(80, random_state=0).fit(Trajectories.from_arrays(y, u, dt=0.1))


def test_one_qp_a_sample_holds_an_unstable_plant_under_noise(pole, monkeypatch):
    """Led back, the plan starts where one QP is enough; the shifted one leads astray."""
    size = {"Q": [1.0, 0.1], "R": 0.01, "u_min": -8.0, "u_max": 8.0, "n_iterations": 1}
    costs, x0 = {}, [0.5, 0.0]
    for kind in ("led", "shifted"):
        if kind == "shifted":
            monkeypatch.setattr(Course, "left", lambda *args: False)
        mpc = RNNMPC(pole, 25, **size)
        costs[kind] = run_closed_loop(Pole(0.4), mpc, 150, [0.0, 0.0], x0=x0).cost
    assert costs["led"] < 0.5 * costs["shifted"]
