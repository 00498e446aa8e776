"""Dead time, order and uncertainty, against systems that are known."""

from dataclasses import replace

import numpy as np
import plants
import pytest

from koopctrl import KoopmanRNN, Trajectories, linear_uncertainty, subspace, suggest_delay, suggest_order
from koopctrl.errors import DataError, OptionError

DT = 0.1


def delayed(delays, n=1500, noise=0.05, seed=0, drop_last=False):
    """One output, one input for each dead time (None: no effect), a pole at 0.7."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(n, len(delays)))
    y = np.zeros(n)
    for k in range(n):
        drive = sum(u[k - d, j] for j, d in enumerate(delays) if d is not None and k >= d)
        y[k] = drive + (0.7 * y[k - 1] if k else 0.0)
    y += noise * rng.normal(size=n)
    return Trajectories.from_arrays(y[:, None], u[:-1] if drop_last else u, dt=DT)


@pytest.mark.parametrize("delays", [(1,), (0,), (6,), (3, 1), (2, None), (0, 5)])
def test_dead_times_are_found(delays):
    found = suggest_delay(delayed(delays))
    assert found.delay.tolist() == [[-1 if d is None else d for d in delays]]
    assert found.feedthrough == (0 in delays)
    assert "samples" in str(found)


def test_without_the_last_input_feedthrough_is_not_looked_for():
    found = suggest_delay(delayed((4,), drop_last=True))
    assert found.delay.tolist() == [[4]]
    assert not found.impulse[0].any()


def test_what_chance_shows_is_within_the_bound_as_often_as_said():
    false = [
        (suggest_delay(delayed((None,), n=400, noise=1.0, seed=s), confidence=0.9).delay >= 0).any()
        for s in range(60)
    ]
    assert np.mean(false) < 0.25  # 0.1 and what 60 tries allow


def test_delays_do_not_depend_on_units():
    data = delayed((3, 1))
    e = data[0]
    other = suggest_delay(Trajectories.from_arrays(1e9 * e.outputs, e.inputs * [1e-9, 1e6], dt=DT))
    assert other.delay.tolist() == [[3, 1]]
    np.testing.assert_allclose(other.impulse[3, 0, 0], 1e18 * suggest_delay(data).impulse[3, 0, 0], rtol=1e-6)


def test_too_little_to_look_for_delays_is_said():
    with pytest.raises(DataError, match="no inputs"):
        suggest_delay(Trajectories.from_arrays(np.arange(30.0), dt=DT))
    with pytest.raises(DataError, match="samples"):
        suggest_delay(Trajectories.from_arrays(np.arange(4.0), np.arange(4.0), dt=DT))


def oscillator(n=800, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    a, b, _ = plants.oscillator()
    u = np.random.default_rng(1).normal(size=(n, 1))  # the same excitation for every seed
    x = plants.roll(plants.linear_step(a, b), np.zeros(2), u)[:-1, :1]
    return Trajectories.from_arrays(x + noise * x.std() * rng.normal(size=x.shape), u, dt=DT)


def test_the_order_of_a_plant_is_found():
    found = suggest_order(oscillator(), max_order=5)
    assert found.order == 2
    assert found.errors[2] < 0.5 * found.errors[1]
    assert "<-" in str(found)
    with pytest.raises(DataError):
        suggest_order(Trajectories.from_arrays(np.arange(5.0), np.arange(5.0), dt=DT))


# --- uncertainty -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    """Uncertainties of thirty noisy records of one plant."""
    found = []
    for seed in range(30):
        data = oscillator(seed=seed)
        model = KoopmanRNN(0, n_states=2).fit(data)
        found.append(linear_uncertainty(model, data))
    return found


OMEGA = np.geomspace(0.3, 30.0, 12)


@pytest.mark.slow
def test_bands_of_gain_and_step_are_as_wide_as_repeated_records_scatter(many):
    gain = np.log([np.abs(f.frequency_response(OMEGA)[0][:, 0, 0]) for f in many])
    phase = np.unwrap([np.angle(f.frequency_response(OMEGA)[0][:, 0, 0]) for f in many], axis=0)
    told = np.mean([f.frequency_response(OMEGA)[1][:, 0, 0] for f in many], axis=0)
    told_phase = np.mean([f.frequency_response(OMEGA)[2][:, 0, 0] for f in many], axis=0)
    assert np.median(gain.std(axis=0) / told) == pytest.approx(1.0, abs=0.3)
    assert np.median(phase.std(axis=0) / told_phase) == pytest.approx(1.0, abs=0.3)
    steps = np.array([f.step_response(60)[0][5:, 0, 0] for f in many])
    told = np.mean([f.step_response(60)[1][5:, 0, 0] for f in many], axis=0)
    assert np.median(steps.std(axis=0) / told) == pytest.approx(1.0, abs=0.3)


@pytest.mark.slow
def test_bands_hold_the_true_response(many):
    a, b, _ = plants.oscillator()
    truth = np.array([np.linalg.solve(z * np.eye(2) - a, b)[0, 0] for z in np.exp(1j * OMEGA * DT)])
    inside = []
    for f in many:
        g, std, _ = f.frequency_response(OMEGA)
        inside.append(np.abs(np.log(np.abs(g[:, 0, 0] / truth))) <= f.factor(0.95) * std[:, 0, 0])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.06)


@pytest.mark.slow
def test_poles_scatter_as_told_and_zeros_are_those_of_the_matrices(many):
    top = [max(f.poles()[0], key=np.imag) for f in many]
    index = [int(np.argmax(f.poles()[0].imag)) for f in many]
    cov = np.mean([f.poles()[1][i] for f, i in zip(many, index, strict=True)], axis=0)
    np.testing.assert_allclose(np.std(np.real(top)), np.sqrt(cov[0, 0]), rtol=0.4)
    np.testing.assert_allclose(np.std(np.imag(top)), np.sqrt(cov[1, 1]), rtol=0.4)
    f = many[0]
    for z in f.zeros():
        pencil = np.block([[z * np.eye(2) - f.A, -f.B], [f.C, f.D]])
        assert np.linalg.svd(pencil)[1][-1] < 1e-8 * np.linalg.svd(pencil)[1][0]


def test_gradients_agree_with_finite_differences():
    """Of gain and step with respect to each entry, by a covariance that is one there and zero elsewhere."""
    data = oscillator(n=200)
    f = linear_uncertainty(subspace(data, 2), data)
    h = 1e-7
    sizes = [m.size for m in (f.A, f.B, f.C, f.D)]
    edges = np.cumsum([0, *sizes])
    for p in range(edges[-1]):
        which = int(np.searchsorted(edges, p, side="right") - 1)
        name = "ABCD"[which]
        change = np.zeros(edges[-1])
        change[p] = h
        change = change[edges[which] : edges[which + 1]].reshape(getattr(f, name).shape)
        other, before = (replace(f, **{name: getattr(f, name) + s * change}) for s in (1.0, -1.0))
        one = np.zeros(edges[-1])
        one[p] = 1.0
        unit = replace(f, cov=np.outer(one, one))
        step = np.abs(other.step_response(20)[0] - before.step_response(20)[0]) / (2 * h)
        np.testing.assert_allclose(unit.step_response(20)[1], step, rtol=1e-3, atol=1e-5)
        _, gain, phase = unit.frequency_response(OMEGA)
        ratio = np.log(other.frequency_response(OMEGA)[0] / before.frequency_response(OMEGA)[0]) / (2 * h)
        np.testing.assert_allclose(gain, np.abs(ratio.real), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(phase, np.abs(ratio.imag), rtol=1e-3, atol=1e-4)


def test_units_and_a_subspace_model_and_feedthrough():
    data = oscillator(n=300)
    e = data[0]
    scaled = Trajectories.from_arrays(1e6 * e.outputs, 1e-3 * e.inputs, dt=DT)
    for order, feedthrough in ((2, False), (2, True)):
        one = linear_uncertainty(subspace(data, order, feedthrough=feedthrough), data)
        other = linear_uncertainty(subspace(scaled, order, feedthrough=feedthrough), scaled)
        np.testing.assert_allclose(
            other.frequency_response(OMEGA)[1], one.frequency_response(OMEGA)[1], rtol=1e-4
        )
        assert one.D.any() == feedthrough
    assert len(one.plot().axes) == 4


def test_only_linear_models_with_records_enough():
    data = oscillator(n=300)
    with pytest.raises(OptionError, match="linear"):
        linear_uncertainty(KoopmanRNN(5, random_state=0).fit(data), data)
    with pytest.raises(DataError, match="parameters"):
        linear_uncertainty(subspace(data, 2), Trajectories([data[0].slice(0, 6)]))
    assert len(suggest_order(data, max_order=3).plot().axes) == 2
    assert len(suggest_delay(delayed((1, 2), n=300)).plot().axes) == 2
