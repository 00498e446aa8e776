"""Spectra, coherence, detrending and excitation advice, against closed forms."""

import numpy as np
import pytest

from koopctrl import Trajectories, excitation_advice, subspace
from koopctrl.data.spectrum import record_spectrum
from koopctrl.errors import DataError, OptionError, ShapeError

DT = 0.05
RNG = np.random.default_rng(0)


def filtered(n=6000, noise=0.0, n_u=1, seed=0):
    """`y[k] = 0.8 y[k-1] + u0[k-1] (- 0.5 u1[k-2])`, white inputs."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(n, n_u))
    y = np.zeros(n)
    for k in range(1, n):
        y[k] = 0.8 * y[k - 1] + u[k - 1, 0] - (0.5 * u[k - 2, 1] if n_u > 1 and k > 1 else 0.0)
    return (y + noise * rng.normal(size=n))[:, None], u


def test_power_adds_up_to_the_variance_and_is_flat_for_white_noise():
    y, u = filtered()
    s = record_spectrum(Trajectories.from_arrays(y, u, dt=DT), 256)
    width = s.frequency[1]
    assert s.frequency[-1] == pytest.approx(0.5 / DT)
    np.testing.assert_allclose(s.input_power[1:].sum() * width, u.var(), rtol=0.05)
    np.testing.assert_allclose(s.output_power[1:].sum() * width, y.var(), rtol=0.1)
    np.testing.assert_allclose(s.input_power[2:-1].mean(), 2.0 * DT, rtol=0.05)


def test_response_and_coherence_of_two_inputs():
    y, u = filtered(20_000, n_u=2)
    s = record_spectrum(Trajectories.from_arrays(y, u, dt=DT), 256)
    z = np.exp(2j * np.pi * s.frequency * DT)
    truth = np.stack([1.0 / (z - 0.8), -0.5 / z / (z - 0.8)], axis=1)
    error = np.abs(s.response[2:, 0] - truth[2:]) / np.abs(truth[2:])
    assert np.median(error) < 0.03
    assert (s.coherence[2:, 0] > 0.9).all()


def test_the_spread_of_the_response_is_what_repeated_records_show():
    runs = [
        record_spectrum(Trajectories.from_arrays(*filtered(4000, noise=2.0, seed=k), dt=DT), 128)
        for k in range(60)
    ]
    spread = np.std([s.response[3:-3, 0, 0] for s in runs], axis=0)
    told = np.mean([s.response_std[3:-3, 0, 0] for s in runs], axis=0)
    assert np.median(spread / told) == pytest.approx(1.0, abs=0.25)


def test_coherence_of_strangers_is_below_its_bound_as_often_as_said():
    rng = np.random.default_rng(4)
    above = []
    for _ in range(40):
        s = record_spectrum(
            Trajectories.from_arrays(rng.normal(size=(3000, 1)), rng.normal(size=(3000, 1)), dt=DT), 128
        )
        above.append(np.mean(s.coherence[2:-1] > s.coherence_bound))
    assert np.mean(above) == pytest.approx(0.05, abs=0.02)


def test_several_records_and_units_change_nothing():
    y, u = filtered(4000)
    data = Trajectories.from_arrays([y[:2000], y[2000:]], [u[:2000], u[2000:]], dt=DT)
    scaled = Trajectories.from_arrays(
        [1e9 * y[:2000], 1e9 * y[2000:]], [1e-9 * u[:2000], 1e-9 * u[2000:]], dt=DT
    )
    a, b = data.spectrum(256), scaled.spectrum(256)
    np.testing.assert_allclose(b.response, 1e18 * a.response, rtol=1e-9)
    np.testing.assert_allclose(b.coherence, a.coherence, rtol=1e-9)
    with pytest.raises(DataError, match="n_samples"):
        data.spectrum(3000)
    assert np.isnan(Trajectories.from_arrays(y, dt=DT).spectrum(128).coherence).all()


# --- offsets and drifts ------------------------------------------------------------------------------------


def drifting(n=400, missing=False):
    y, u = filtered(n)
    time = np.arange(n)[:, None] * DT
    y = y + 3.0 + 0.2 * time
    if missing:
        y[::7] = np.nan
    return Trajectories.from_arrays([y, y[:200] + 1.0], [u + 5.0, u[:200] + 5.0], dt=DT, missing=missing)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", ["mean", "linear", "none"])
def test_what_was_taken_out_comes_back(kind, missing):
    data = drifting(missing=missing)
    found = data.detrend(outputs=kind, inputs="mean")
    for back, e in zip(found.restore([e.outputs for e in found.records]), data, strict=True):
        np.testing.assert_allclose(back, e.outputs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        np.concatenate([e.inputs for e in found.records]).mean(axis=0), 0.0, atol=1e-12
    )
    if kind == "linear":
        for e in found.records:
            y = e.outputs[:, 0]
            seen = np.isfinite(y)
            np.testing.assert_allclose(np.polyfit(e.time[seen], y[seen], 1), 0.0, atol=1e-10)


def test_a_model_of_detrended_records_is_exported_in_physical_units():
    y, u = filtered(800)
    data = Trajectories.from_arrays(y + 20.0, u + 5.0, dt=DT)
    found = data.detrend()
    small = subspace(found.records, 1)
    model = found.restore_model(small)
    run = model.predict(data, 10)[0]
    np.testing.assert_allclose(run, found.restore(small.predict(found.records, 10))[0], atol=1e-9)
    np.testing.assert_allclose(run, data[0].outputs, atol=1e-6)
    test = found.apply(data)
    np.testing.assert_allclose(test.records[0].outputs, found.records[0].outputs, atol=1e-12)


def test_misuse_of_trends_is_named():
    data = drifting()
    with pytest.raises(OptionError, match="outputs"):
        data.detrend(outputs="quadratic")
    with pytest.raises(DataError, match="straight line"):
        data.detrend(outputs="linear").apply(data)
    with pytest.raises(ShapeError, match="rows"):
        data.detrend().restore([np.zeros(3), np.zeros(3)])


# --- advice ------------------------------------------------------------------------------------------------


def advice_of(y, u):
    return " ".join(excitation_advice(Trajectories.from_arrays(y, u, dt=DT)))


def test_rich_records_get_no_advice():
    y, u = filtered(2000, noise=0.01, n_u=2)
    assert advice_of(y, u) == ""


def test_each_flaw_is_named():
    y, u = filtered(2000, n_u=2)
    assert "u1 never changes" in advice_of(y, u * [1, 0])
    assert "2 levels" in advice_of(y, np.sign(u))
    assert "move together" in advice_of(y, np.concatenate([u[:, :1], u[:, :1] + 0.01 * u[:, 1:]], axis=1))
    slow = np.convolve(np.convolve(u[:, 0], np.hanning(80), "same"), np.hanning(80), "same")[:, None]
    assert "no power above" in advice_of(y, slow)
    assert "inputs explain" in advice_of(RNG.normal(size=y.shape), u)
    assert "drift" in advice_of(0.1 * y + np.linspace(0, 100, len(y))[:, None], u)


def test_figures_have_axes_of_every_signal():
    y, u = filtered(600, n_u=2)
    data = Trajectories.from_arrays([y, y], [u, u], dt=DT)
    assert len(data.plot().axes) == 3
    assert len(data.spectrum().plot().axes) == 3
