"""Excitations: bounds and rates kept, spectra and levels as promised, units without effect."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from koopctrl import excitation
from koopctrl.data.excitation import (
    ExcitationPolicy,
    chirp,
    filtered_noise,
    multilevel,
    multisine,
    prbs,
    staircase,
)
from koopctrl.errors import KoopctrlError

KINDS = [chirp, filtered_noise, multilevel, multisine, prbs, staircase]
SEEDED = [f for f in KINDS if f is not chirp]


def draw(kind, n, low, high, seed=0, **options):
    return kind(n, low, high, **({} if kind is chirp else {"seed": seed}), **options)


@given(
    st.sampled_from(KINDS), st.integers(60, 400), st.integers(1, 3), st.floats(1e-9, 1e9), st.floats(-3, 3),
    st.integers(0, 99), st.booleans(),
)  # fmt: skip
def test_bounds_and_rates_are_kept_in_any_units(kind, n, n_u, scale, centre, seed, limited):
    low = scale * (centre - np.linspace(1.0, 2.0, n_u))
    high = scale * (centre + np.linspace(0.5, 1.5, n_u))
    du_max = 0.05 * (high - low) if limited else None
    u = draw(kind, n, low, high, seed, du_max=du_max)
    assert u.shape == (n, n_u)
    assert u.dtype == np.float64
    assert (u >= low).all()
    assert (u <= high).all()
    if limited:
        assert (np.abs(np.diff(u, axis=0)) <= du_max * (1 + 1e-9)).all()
    unit = draw(kind, n, low / scale, high / scale, seed, du_max=None if du_max is None else du_max / scale)
    np.testing.assert_allclose(u / scale, unit, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_range_is_used(kind):
    u = draw(kind, 4000, [-1.0, 2.0], [1.0, 6.0])
    reach = (u.max(axis=0) - u.min(axis=0)) / [2.0, 4.0]
    assert (reach > 0.8).all()


@pytest.mark.parametrize("kind", SEEDED)
def test_the_same_seed_gives_the_same_signal(kind):
    options = {"order": "random"} if kind is staircase else {}
    a, b, c = (draw(kind, 200, -1, 1, s, **options) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize("kind", [multilevel, multisine, prbs, filtered_noise])
def test_several_inputs_are_told_apart(kind):
    u = draw(kind, 20_000, [-1] * 3, [1] * 3, **({"hold": (1, 10)} if kind is multilevel else {}))
    correlation = np.corrcoef(u.T) - np.eye(3)
    assert np.abs(correlation).max() < 0.06


@pytest.mark.parametrize("kind", [chirp, staircase])
def test_or_excited_one_after_the_other(kind):
    u = draw(kind, 300, [-1, 0, 5], [1, 4, 7])
    for i in range(3):
        others = np.delete(np.arange(300), np.arange(100 * i, 100 * i + 100))
        assert (u[others, i] == [0.0, 2.0, 6.0][i]).all()


def test_a_multisine_has_equal_lines_in_its_band_alone():
    u = multisine(1000, -2.0, 2.0, dt=0.01, f_min=1.0, f_max=10.0, seed=0)[:, 0]
    lines = np.abs(np.fft.rfft(u)) / 500
    inside = np.arange(10, 101)
    np.testing.assert_allclose(lines[inside], lines[10], rtol=1e-9)
    assert np.delete(lines, inside).max() < 1e-12
    assert np.abs(u).max() == pytest.approx(2.0)
    # The best of several draws peaks lower than draws do on average.
    crests = [1 / multisine(1000, -1, 1, n_trials=1, seed=s).std() for s in range(20)]
    assert 1 / multisine(1000, -1, 1, n_trials=30, seed=0).std() < np.mean(crests)


def test_the_inputs_of_a_multisine_have_frequencies_of_their_own():
    spectrum = np.abs(np.fft.rfft(multisine(512, [-1, -1], [1, 1], seed=0), axis=0))
    lines = spectrum > 1e-6 * spectrum.max()
    assert not (lines[:, 0] & lines[:, 1]).any()
    assert lines.sum() == 255


def test_a_multisine_repeats_after_its_period():
    u = multisine(900, -1, 1, period=300, seed=0)
    np.testing.assert_array_equal(u[:300], u[300:600])


@pytest.mark.parametrize(("n", "hold"), [(255, 1), (1023, 1), (7 * 127, 7)])
def test_a_prbs_has_the_autocorrelation_of_a_maximum_length_sequence(n, hold):
    u = prbs(n, -1.0, 1.0, hold=hold, seed=3)[::hold, 0]
    m = len(u)
    assert set(u) == {-1.0, 1.0}
    circular = np.fft.ifft(np.abs(np.fft.fft(u)) ** 2).real / m
    assert circular[0] == pytest.approx(1.0)
    np.testing.assert_allclose(circular[1:], -1.0 / m, atol=1e-9)


def test_a_chirp_sweeps_from_the_lowest_to_the_highest_frequency():
    dt, n = 0.001, 20_000
    for spacing in ("logarithmic", "linear"):
        u = chirp(n, -1, 1, dt=dt, f_min=2.0, f_max=50.0, spacing=spacing)[:, 0]
        phase = np.unwrap(np.angle(signal.hilbert(u)))
        frequency = np.gradient(phase, dt) / (2 * np.pi)
        t = dt * np.arange(n)
        expected = 2.0 * 25.0 ** (t / t[-1]) if spacing == "logarithmic" else 2.0 + 48.0 * t / t[-1]
        inner = slice(n // 10, -n // 10)
        assert np.abs(frequency[inner] / expected[inner] - 1).max() < 0.1


def test_filtered_noise_has_the_spectrum_of_its_filter():
    dt, cutoff = 0.02, 2.5
    u = filtered_noise(400_000, -3.0, 3.0, dt=dt, cutoff=cutoff, seed=0)[:, 0]
    assert u.std() == pytest.approx(1.0, rel=0.03)
    f, density = signal.welch(u, 1 / dt, nperseg=1024)
    sections = signal.butter(2, cutoff, fs=1 / dt, output="sos")
    _, response = signal.sosfreqz(sections, f, fs=1 / dt)
    inside = (f > 0.2) & (f < 2 * cutoff)
    shape = np.abs(response[inside]) ** 2
    np.testing.assert_allclose(density[inside] / density[inside].mean(), shape / shape.mean(), rtol=0.25)


def test_multilevel_holds_and_levels():
    u = multilevel(50_000, 0.0, 1.0, n_levels=3, hold=(4, 9), seed=0)[:, 0]
    assert set(u) == {0.0, 0.5, 1.0}
    u = multilevel(200_000, 0.0, 1.0, hold=(4, 9), seed=0)[:, 0]
    holds = np.diff(np.flatnonzero(np.diff(u)))
    assert (holds.min(), holds.max()) == (4, 9)
    expected = np.log(np.arange(5, 11) / np.arange(4, 10)) / np.log(10 / 4)
    np.testing.assert_allclose(np.bincount(holds)[4:] / len(holds), expected, atol=0.01)
    assert (np.diff(np.flatnonzero(np.diff(multilevel(1000, 0, 1, hold=7, seed=1)[:, 0]))) == 7).all()


def test_held_levels_excite_low_frequencies_more_than_white_ones_and_high_ones_still():
    def density(u):
        return signal.welch(u[:, 0], nperseg=512)

    f, held = density(multilevel(200_000, -1, 1, seed=0))
    _, white = density(multilevel(200_000, -1, 1, hold=1, seed=0))
    assert held[(f > 0.002) & (f < 0.01)].mean() > 8 * white.mean()
    assert held[f > 0.4].mean() > 0.01 * white.mean()


def test_stairs_go_up_and_down():
    u = staircase(90, 0.0, 4.0, n_levels=5)[:, 0]
    assert u[::10].tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 0]
    assert staircase(50, 0.0, 4.0, order="up")[::10, 0].tolist() == [0, 1, 2, 3, 4]
    assert sorted(staircase(50, 0.0, 4.0, order="random", seed=1)[::10, 0]) == [0, 1, 2, 3, 4]


# --- policies --------------------


def test_a_policy_gives_the_signal_row_by_row_and_goes_on():
    policy = ExcitationPolicy(multilevel, [-1, 0], [1, 5], n_steps=50, hold=(2, 5))
    policy.reset(seed=8)
    got = np.array([policy(np.zeros(3)) for _ in range(120)])
    rng = np.random.default_rng(8)
    expected = np.concatenate([multilevel(50, [-1, 0], [1, 5], hold=(2, 5), seed=rng) for _ in range(3)])
    np.testing.assert_array_equal(got, expected[:120])
    policy.reset(seed=8)
    first = policy(None)
    first[:] = 9.0
    policy.reset(seed=8)
    np.testing.assert_array_equal(policy(None), expected[0])


def test_a_policy_around_another_adds_to_it():
    policy = ExcitationPolicy(prbs, -0.1, 0.1, around=lambda y: -2.0 * y, seed=0)
    u = np.array([policy(np.array([0.5])) for _ in range(40)])
    np.testing.assert_allclose(np.unique(u), [-1.1, -0.9])

    class Controller:
        resets = 0

        def reset(self):
            self.resets += 1

        def control(self, y):
            return -2.0 * y

    controller = Controller()
    policy = ExcitationPolicy(prbs, -0.1, 0.1, around=controller, seed=0)
    before = controller.resets
    policy.reset(seed=1)
    assert controller.resets == before + 1
    assert abs(policy(np.array([0.5]))[0] + 1.0) == pytest.approx(0.1)
    assert isinstance(ExcitationPolicy(chirp, -1, 1, n_steps=30)(None), np.ndarray)


@pytest.mark.parametrize(
    "call",
    [
        lambda: multilevel(0, -1, 1),
        lambda: multilevel(10.5, -1, 1),
        lambda: multilevel(10, 1, -1),
        lambda: multilevel(10, [-1, -1], [1, 1, 1]),
        lambda: multilevel(10, -np.inf, 1),
        lambda: multilevel(10, None, 1),
        lambda: multilevel(10, -1, 1, hold=0),
        lambda: multilevel(10, -1, 1, hold=(5, 2)),
        lambda: multilevel(10, -1, 1, hold=(1, 2, 3)),
        lambda: multilevel(10, -1, 1, hold="long"),
        lambda: multilevel(10, -1, 1, n_levels=1),
        lambda: multilevel(10, -1, 1, du_max=0.0),
        lambda: multilevel(10, -1, 1, du_max=[1, 2]),
        lambda: multilevel(10, -1, 1, seed="a"),
        lambda: multilevel(10, -1, 1, seed=-1),
        lambda: prbs(10, -1, 1, hold=1.5),
        lambda: multisine(100, -1, 1, f_min=0.4, f_max=0.2),
        lambda: multisine(100, -1, 1, f_min=0.201, f_max=0.202),
        lambda: multisine(100, -1, 1, f_max=0.7),
        lambda: multisine(100, -1, 1, dt=0),
        lambda: multisine(100, -1, 1, n_trials=0),
        lambda: multisine(100, -1, 1, period=1),
        lambda: chirp(100, -1, 1, spacing="cubic"),
        lambda: chirp(100, -1, 1, f_min=0.1, f_max=0.1),
        lambda: chirp(1, [-1, -1], [1, 1]),
        lambda: filtered_noise(100, -1, 1, cutoff=0.5),
        lambda: filtered_noise(100, -1, 1, cutoff=0.0),
        lambda: staircase(3, -1, 1),
        lambda: staircase(30, -1, 1, order="down"),
        lambda: ExcitationPolicy("prbs", -1, 1),
        lambda: ExcitationPolicy(prbs, -1, 1, around=3),
        lambda: ExcitationPolicy(prbs, -1, 1, hold=0),
    ],
)
def test_settings_that_make_no_signal_are_refused(call):
    with pytest.raises(KoopctrlError, match="expected"):
        call()


def test_the_module_is_public():
    assert set(excitation.__all__) == {f.__name__ for f in KINDS} | {"ExcitationPolicy"}
