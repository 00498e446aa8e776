"""Mirror images of records: what an odd plant's record does not show, its image does."""

import numpy as np
import pytest

from koopctrl import KoopmanRNN, Trajectories, load, select
from koopctrl.errors import OptionError


def pendulum(u, dt=0.1):
    """Angle of a damped pendulum driven by `u`, an odd plant."""
    q = v = 0.0
    y = np.empty((len(u), 1))
    for k, row in enumerate(u):
        y[k] = q
        for _ in range(10):
            v += 0.1 * dt * (row - 2.0 * np.sin(q) - 0.8 * v)
            q += 0.1 * dt * v
    return y


def one_sided(n, seed, sign=1.0, scale=1.0):
    rng = np.random.default_rng(seed)
    u = sign * np.repeat(rng.uniform(0.0, 1.6, n // 8 + 1), 8)[:n]
    return Trajectories.from_arrays(
        scale * pendulum(u), u[:, None] * scale, dt=0.1, output_names=["angle"], input_names=["torque"]
    )


TRAIN, OTHER_SIDE = one_sided(800, 0), one_sided(400, 1, sign=-1.0)
WINDOW = {"n_features": 40, "output_lags": 2, "input_lags": 2, "input_coupling": "network", "random_state": 0}
HIDDEN = {"n_features": 10, "n_states": 2, "max_iter": 20, "random_state": 0}


def error(model, data):
    return float(np.sqrt(np.mean((model.predict(data, n_init=10)[0] - data[0].outputs) ** 2)))


@pytest.mark.filterwarnings("ignore:1 of 1 roll-outs left")
@pytest.mark.parametrize("settings", [WINDOW, HIDDEN])
def test_the_other_side_is_learned_from_the_mirror_image(settings):
    plain, odd = (KoopmanRNN(**settings, symmetry=s).fit(TRAIN) for s in (None, "odd"))
    assert error(odd, OTHER_SIDE) < 0.3 * error(plain, OTHER_SIDE)
    low, high = odd.y_range_
    np.testing.assert_array_equal(low, -high)


def test_it_is_the_fit_to_both_records():
    image = Trajectories.from_arrays(
        -TRAIN[0].outputs, -TRAIN[0].inputs, dt=0.1, output_names=["angle"], input_names=["torque"]
    )
    both = Trajectories([*TRAIN, *image])
    for settings in (WINDOW | {"smooth": False}, HIDDEN):
        odd = KoopmanRNN(**settings, symmetry="odd").fit(TRAIN)
        twin = KoopmanRNN(**settings).fit(both)
        np.testing.assert_array_equal(odd.predict(OTHER_SIDE)[0], twin.predict(OTHER_SIDE)[0])


def test_streams_and_batches_see_the_images_too():
    whole = KoopmanRNN(**WINDOW, symmetry="odd", smooth=False).fit(TRAIN)
    for other in (
        KoopmanRNN(**WINDOW, symmetry="odd").fit(iter(TRAIN)),
        KoopmanRNN(**WINDOW, symmetry="odd").partial_fit(TRAIN),
    ):
        np.testing.assert_allclose(other.predict(OTHER_SIDE)[0], whole.predict(OTHER_SIDE)[0], atol=1e-6)


def test_units_do_not_matter():
    one, other = (
        KoopmanRNN(**WINDOW, symmetry="odd").fit(one_sided(400, 0, scale=s)).predict(one_sided(200, 1, -1, s))
        for s in (1.0, 1e-9)
    )
    np.testing.assert_allclose(other[0] * 1e9, one[0], rtol=1e-4, atol=1e-5)


def test_it_is_kept_in_files_and_checked(tmp_path):
    model = KoopmanRNN(**WINDOW, symmetry="odd").fit(TRAIN)
    model.save(tmp_path / "m.npz")
    assert load(tmp_path / "m.npz").symmetry == "odd"
    for wrong in ("even", True):
        with pytest.raises(OptionError, match="symmetry"):
            KoopmanRNN(symmetry=wrong).fit(TRAIN)
        with pytest.raises(OptionError, match="symmetry"):
            KoopmanRNN(2, n_states=2, symmetry=wrong).fit(TRAIN)


@pytest.mark.slow
def test_a_choice_takes_it_where_held_out_data_say_so():
    settings = [{**WINDOW, "symmetry": s} for s in (None, "odd")]
    for one in settings:
        one.pop("random_state")
    # A sensor that is off by a little: the image is wrong, and the record shows both sides.
    rng = np.random.default_rng(3)
    u = np.repeat(rng.uniform(-1.6, 1.6, 120), 8)[:800]
    biased = Trajectories.from_arrays(pendulum(u) + 0.5, u[:, None], dt=0.1)
    model = select(biased, max_trials=2, candidates=settings, random_state=0)
    assert getattr(model, "symmetry", None) is None
