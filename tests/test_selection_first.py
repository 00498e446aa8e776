"""What `select` begins with: among the first hidden states one suits the plant before anything is drawn."""

import numpy as np
import plants

from koopctrl import Trajectories
from koopctrl.identification.folds import make_folds
from koopctrl.selection import Trial
from koopctrl.selection.drawn_candidates import draw_candidates
from koopctrl.selection.first_candidates import first_candidates
from koopctrl.selection.search import score_fold

NOISE = 0.02


def record(curve, n, seed):
    """An oscillator behind an actuator, under held steps of random length, 2 % noise on the output."""
    rng = np.random.default_rng(seed)
    a, b, _ = plants.oscillator()
    u = np.concatenate([np.full(rng.integers(1, 20), rng.uniform(-1.0, 1.0)) for _ in range(n)])[:n, None]
    y = plants.roll(plants.linear_step(a, b), np.zeros(2), curve(u))[:-1, :1]
    return Trajectories.from_arrays(y + NOISE * y.std() * rng.normal(size=y.shape), u, dt=0.1)


def test_one_of_the_first_hidden_states_comes_near_the_noise_behind_a_saturating_actuator():
    """Wide neurons alone err twice as much."""
    data = record(lambda u: np.tanh(1.5 * u), 1500, 0)
    fold = make_folds(data, 3)[0]
    hidden = {c["feature_scale"]: c for c in first_candidates(data, (False,), []) if c.get("n_states") == 2}
    errors = [score_fold(c, 0, fold, None)[0] for c in hidden.values()]
    assert min(errors) < 1.3 * NOISE


def test_an_order_that_the_clock_let_see_few_folds_is_compared_on_these():
    """The better one wins, though others saw all folds; an unlucky first fold is everybody's."""

    def linear(order, *errors):
        return Trial({"n_states": order, "n_features": 0}, list(errors), [0.1] * len(errors), n_folds=4)

    data = record(lambda u: u, 400, 0)
    tried = [linear(2, 0.9, 0.7, 0.2, 0.2), linear(4, 0.8, 0.6, 0.1, 0.1)]

    def orders(*more):
        found = first_candidates(data, (False,), [*tried, *more])
        return {c["n_states"] for c in found if "n_states" in c} - {2}

    assert orders(linear(6, 0.2), linear(8, np.inf)) == {6}
    assert orders(linear(6, 0.7)) == {6}  # more than the others' means, less than their first folds
    assert orders(linear(6, 0.85)) == {4}


def test_the_mirrored_twin_of_the_best_is_drawn_unless_it_was_tried():
    """A plant may know no sign; whether it does decides how a model goes on beyond the records."""
    data = record(lambda u: u, 400, 0)
    first = next(c for c in first_candidates(data, (False,), []) if "output_lags" in c)
    best = Trial(first | {"symmetry": None}, [0.1] * 4, [0.1] * 4, n_folds=4)
    twin = Trial(first | {"symmetry": "odd"}, [0.2] * 4, [0.1] * 4, n_folds=4)
    drawn = [
        draw_candidates(data, (False,), [], tried, np.random.default_rng(0), 3, hidden=False)
        for tried in ([best], [best, twin])
    ]
    assert drawn[0][0] == twin.settings
    assert twin.settings not in drawn[1]
    assert len(drawn[0]) == len(drawn[1]) == 3
