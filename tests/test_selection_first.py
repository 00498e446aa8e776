"""What `select` begins with: among the first hidden states one suits the plant before anything is drawn."""

import numpy as np
import plants

from koopctrl import Trajectories
from koopctrl.identification.candidates import first_candidates
from koopctrl.identification.folds import make_folds
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
