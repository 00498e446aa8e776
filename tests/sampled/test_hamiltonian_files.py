"""Hamiltonian and mechanical models in files: the same numbers to the bit, whatever they are made of."""

import numpy as np
import pytest

from koopctrl import Trajectories, load
from koopctrl.errors import DataError, NotFittedError
from koopctrl.sampled import HamiltonianNetwork, MechanicalNetwork


def points(n=120):
    return np.random.default_rng(0).uniform([-3.0, -1.5], [3.0, 1.5], (n, 2))


def derivatives(x, u):
    return np.stack([x[:, 1], -np.sin(x[:, 0]) - 0.3 * x[:, 1] + (1.2 + 0.1 * np.cos(x[:, 0])) * u[:, 0]], 1)


def same(model, path, x, u):
    model.save(path)
    again = load(path)
    assert type(again) is type(model)
    assert again.get_params() == model.get_params()
    assert again.state_names_ == model.state_names_
    assert again.input_names_ == model.input_names_
    for name in ("energy", "energy_gradient"):
        np.testing.assert_array_equal(getattr(again, name)(x), getattr(model, name)(x))
    np.testing.assert_array_equal(again.rhs(x, u), model.rhs(x, u))
    np.testing.assert_array_equal(again.scale_, model.scale_)
    one = model.simulate(x[0], u[:5], dt=0.05)
    np.testing.assert_array_equal(again.simulate(x[0], u[:5], dt=0.05), one)
    return again


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"structure": "quadratic", "damping": "constant"},
        {"structure": "mobility", "angles": (0,), "damping": "varying", "input_gain": "varying"},
        {"structure": "mass_matrix", "activation": "softplus", "sampler": "adaptive"},
    ],
    ids=str,
)
def test_hamiltonian_networks(options, tmp_path):
    x, u = points(), np.random.default_rng(1).uniform(-1, 1, (120, 1))
    model = HamiltonianNetwork(30, random_state=0, **options)
    model.fit_derivatives(x, derivatives(x, u), u, gauge=([0.0, 0.0], 1.0), input_names=["torque"])
    again = same(model, tmp_path / "model.npz", x, u)
    again.fit_derivatives(x, derivatives(x, u), u)  # it is an estimator still


def test_mechanical_networks(tmp_path):
    rng = np.random.default_rng(2)
    x, u = np.empty((6, 21, 2)), rng.uniform(-1, 1, (6, 20, 1))
    x[:, 0] = rng.uniform(-1, 1, (6, 2))
    for k in range(20):
        x[:, k + 1] = x[:, k]
        for _ in range(50):
            x[:, k + 1] += 0.001 * derivatives(x[:, k + 1], u[:, k])
    data = Trajectories.from_arrays(x, u, dt=0.05, output_names=["angle", "speed"])
    model = MechanicalNetwork(angles=[0], damping="constant", input_matrix=[[1.3]]).fit(data)
    again = same(model, tmp_path / "model.npz", points(), np.random.default_rng(1).uniform(-1, 1, (120, 1)))
    np.testing.assert_array_equal(again.mass_matrix([0.3]), model.mass_matrix([0.3]))


def test_what_is_refused(tmp_path):
    with pytest.raises(NotFittedError, match="not fitted"):
        HamiltonianNetwork().save(tmp_path / "model.npz")
    x = points()
    model = HamiltonianNetwork(10, random_state=0).fit_derivatives(x, derivatives(x, 0.0 * x[:, :1]))
    model.save(tmp_path / "model.npz")
    from koopctrl.storage_file import reading, write_file

    with reading(tmp_path / "model.npz") as (header, arrays):
        kept, own = dict(header), {k: np.array(v) for k, v in arrays.items()}
    for change in (
        {"energy_coef": own["energy_coef"][:-1]},
        {"energy_basis_scale": -own["energy_basis_scale"]},
    ):
        write_file(tmp_path / "bad.npz", kept.pop("kind", "HamiltonianNetwork"), kept, own | change)
        with pytest.raises(DataError, match="array"):
            load(tmp_path / "bad.npz")
