"""Transfer functions and responses against 60 digits, on models that rounding likes to spoil."""

from __future__ import annotations

from functools import cache

import control
import numpy as np
import pytest
from effort import many

from koopctrl import LTINetwork
from koopctrl.errors import OptionError, SolverError
from tests.ltinet import digits, oracles
from tests.ltinet.test_totals import tanks
from tests.plants_lti import (
    Matrices,
    chain,
    companion,
    convection_diffusion_1d,
    convection_diffusion_2d,
    diffusion_2d,
    random_mimo,
)


def with_condition(n: int, cond: float, seed: int, kind: str) -> Matrices:
    """Poles of a kind, in coordinates of the given condition number."""
    rng = np.random.default_rng(seed)
    blocks = np.zeros((n, n))
    for i in range(0, n - 1, 2):
        if kind == "lightly damped":
            w = 10.0 ** rng.uniform(-1, 1)
            blocks[i : i + 2, i : i + 2] = w * np.array([[-1e-3, 1.0], [-1.0, -1e-3]])
        elif kind == "stiff":
            blocks[i, i], blocks[i + 1, i + 1] = -(10.0 ** rng.uniform(-3, 3, 2))
        elif kind == "nearly defective":
            blocks[i : i + 2, i : i + 2] = [[-1.0, 1.0], [0.0, -1.0 - 1e-4]]
            blocks[i : i + 2, i : i + 2] *= 1.0 + i
        else:
            a, w = 10.0 ** rng.uniform(-1, 1, 2)
            blocks[i : i + 2, i : i + 2] = [[-a, w], [-w, -a]]
    if n % 2:
        blocks[-1, -1] = -1.0
    U, V = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    T = U @ np.diag(np.geomspace(1.0, cond, n)) @ V
    return (
        np.linalg.solve(T.T, (T @ blocks).T).T, rng.standard_normal((n, 1)), rng.standard_normal((1, n)),
        np.zeros((1, 1)),
    )  # fmt: skip


def badly_scaled(model: Matrices, seed: int, decades: float) -> Matrices:
    d = 10.0 ** np.random.default_rng(seed).uniform(-decades, decades, len(model[0]))
    A, B, C, D = model
    return A * d / d[:, None], B / d[:, None], C * d, D


@cache
def models() -> dict[str, Matrices]:
    out: dict[str, Matrices] = {}
    for i, kind in enumerate(("plain", "lightly damped", "stiff", "nearly defective")):
        for cond in (1e1, 1e3, 1e6):
            out[f"{kind}, cond {cond:.0e}"] = with_condition(9, cond, i, kind)
    for decades in (2.0, 6.0):
        out[f"chain in mixed units, {decades:g} decades"] = badly_scaled(chain(5), 1, decades)
        out[f"plate in mixed units, {decades:g} decades"] = badly_scaled(diffusion_2d(3), 2, decades)
        out[f"random in mixed units, {decades:g} decades"] = badly_scaled(
            random_mimo(10, 1, 1, 3), 3, decades
        )
        out[f"channel in mixed units, {decades:g} decades"] = badly_scaled(
            convection_diffusion_1d(12, 0.4), 4, decades
        )
    out |= {
        "beam, 0.1 % damping": chain(8, 1e-3, 1e-3),
        "masses, undamped nearly": chain(6, 1e-6, 0.0),
        "distillation (stiff, badly scaled)": badly_scaled(tanks(10.0 ** np.linspace(-4, 4, 9)), 5, 4.0),
        "tanks, equal": tanks(np.ones(12)),
        "tanks, nearly equal": tanks(1.0 + 1e-6 * np.arange(12)),
        "companion, integers": companion(-np.arange(1.0, 8.0)),
        "companion, decades": companion(-(10.0 ** np.arange(-3.0, 4.0))),
        "channel, Peclet 0.5": convection_diffusion_1d(16, 0.5),
        "channel, Peclet 0.95": convection_diffusion_1d(16, 0.95),
        "plate with flow": convection_diffusion_2d(3, 0.4),
    }
    return out


def test_there_are_thirty_models() -> None:
    assert len(models()) == 30


NAMES = list(models())


def rounding_of_entries(model: Matrices, points: np.ndarray) -> float:
    """What a change of A by one unit in its last place may do to the response, at the worst point."""
    A, B, C, _ = model
    largest = 0.0
    for s in points:
        shifted = s * np.eye(len(A)) - A
        left, right = np.linalg.solve(shifted.T, C.T), np.linalg.solve(shifted, B)
        largest = max(largest, float(np.linalg.norm(left) * np.linalg.norm(right)))
    return np.finfo(float).eps * float(np.linalg.norm(A)) * largest


@pytest.mark.parametrize("name", NAMES)
def test_transfer_function_to_the_last_digits_or_within_the_stated_bound(name: str) -> None:
    model = models()[name]
    net = LTINetwork.from_statespace(model)
    size = np.abs(net.eigenvalues)
    points = 1j * np.concatenate(
        [np.geomspace(0.03 * size.min(), 30 * size.max(), 6), net.eigenvalues.imag[::5]]
    )
    G = digits.transfer(model, points)
    mine = (net.block_matrix().toarray(), net.B, net.C, net.D)
    difference = digits.transfer_difference(model, mine, points)
    gap, here = np.linalg.norm(difference, axis=2), np.linalg.norm(G, axis=2)
    peak = here.max()
    assert gap.max() <= net.error_bound().total.max()
    # resonances of Q = 1e6 lose six digits to the last one of a frequency, whatever is done
    allowed = (1e-9 if name == "masses, undamped nearly" else 1e-12) * peak
    if name.startswith("nearly defective"):
        # one layer: what is left below its triangle is rounding of A, and the processor decides how it falls
        allowed = max(allowed, rounding_of_entries(mine, points))
    assert gap.max() <= allowed
    seen = here > 1e-8 * peak
    assert (gap[seen] / here[seen]).max() <= max(1e-8, allowed / peak)
    # what the network says of itself: to a few per cent, and never too little
    told = net.accuracy(points.imag)
    assert (gap <= told.bound).all()
    assert (told.bound <= 1.1 * gap + 1e-25 * peak).all()
    np.testing.assert_allclose(
        net.transfer_error(points), difference, rtol=0.02, atol=0.02 * gap.max() + 1e-30 * peak
    )
    assert (
        told.relative(1e-8)
        >= 0.999 * np.where(here > 1.001e-8 * here.max(axis=0), gap / here, 0.0).max(axis=0)
    ).all()
    assert (told.of_peak <= 1.2 * gap.max(axis=0) / here.max(axis=0) + 1e-25).all()


@pytest.mark.parametrize("model", [chain(110), random_mimo(240, 2, 1, 0), convection_diffusion_2d(15, 0.3)])
def test_more_than_two_hundred_states_are_judged_within_a_tenth(model: Matrices) -> None:
    net = LTINetwork.from_statespace(model)
    values = net.eigenvalues
    omega = np.array([0.0, np.sort(np.abs(values))[30], np.abs(values.imag).max()])
    told = net.accuracy(omega)
    mine = (net.block_matrix().toarray(), net.B, net.C, net.D)
    for i, w in enumerate(omega):
        G, H = (
            M[2].astype(np.clongdouble) @ oracles.resolvent_input(M, 1j * w) + M[3] for M in (model, mine)
        )
        gap = np.linalg.norm((G - H).astype(complex), axis=1)
        # the oracle has 64 bits itself
        known = float(np.finfo(np.longdouble).eps) * oracles.transfer_scale(mine, 1j * w)
        assert (gap <= told.bound[i] + known).all()
        assert (told.bound[i] <= 1.5 * gap + known).all()


def test_where_sizes_alone_are_known_the_bound_holds_all_the_same() -> None:
    model = chain(5)
    net = LTINetwork.from_statespace(model)
    late = LTINetwork.from_statespace(model, input_delays=0.3, output_delays=[0.0, 0.2])
    omega = np.geomspace(0.1, 3.0, 9)
    np.testing.assert_allclose(late.accuracy(omega).bound, net.accuracy(omega).bound)
    sampled = net.sample(0.2)
    exact = [control.c2d(control.StateSpace(*model), 0.2)(np.exp(0.2j * w)) for w in omega]
    gap = np.linalg.norm(sampled.transfer_function(np.exp(0.2j * omega)) - np.array(exact), axis=2)
    assert (gap <= 20 * sampled.accuracy(omega).bound + 1e-12).all()
    assert (sampled.accuracy(omega).bound <= 1e-9).all()
    with pytest.raises(OptionError, match="accuracy"):
        sampled.transfer_error([1.0])
    with pytest.raises(OptionError, match="norms alone"):
        net.reduce(3).accuracy()
    parted = net.truncate(0.5)
    gap = np.linalg.norm(
        net.transfer_function(1j * omega) - parted.network.transfer_function(1j * omega), axis=2
    )
    assert (gap <= parted.network.accuracy(omega).bound).all()


@pytest.mark.parametrize("seed", range(8))
def test_chains_of_slow_and_fast_rates_stay_within_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    rates = rng.choice([1e-6, 1e-3, 1.0, 1e3, 1e6], n) * (1.0 + rng.uniform(0, 1e-3, n))
    A, B, C, D = tanks(rates)
    A = A + np.diag(rng.uniform(0, 1, n - 1) * rates[:-1], 1) * rng.choice([0.0, -0.5])
    model = (A, B, C, D)
    for method in ("auto", "schur"):
        try:
            net = LTINetwork.from_statespace(model, method=method)
        except SolverError as error:
            # twelve decades between the rates, and feedback: refused, with the reason
            if "float64 does not hold" not in str(error):
                raise
            continue
        for h in 10.0 ** rng.uniform(-4, 4, 2):
            u = rng.choice([-1.0, 1.0], (12, 1))
            y = net.simulate(h * np.arange(12), u).outputs
            exact = digits.held_response(model, h, u)
            bound = net.error_bound(1.0, horizon=None if net.stable else 12 * h, step=h).total
            assert (np.abs(y - exact).max(axis=0) <= bound).all()


@pytest.mark.slow
def test_thousands_of_chains_stay_within_the_bound() -> None:
    """Runs of chains and cascades of mixed rates, each compared with 60 digits."""
    rng, runs, broken = np.random.default_rng(7), 0, []
    while runs < many(10_000):
        n = int(rng.integers(2, 5))
        rates = 10.0 ** rng.uniform(-6, 6, n)
        if rng.random() < 0.3:
            rates[:] = rates[0] * (1.0 + rng.choice([0.0, 1e-9, 1e-3]) * np.arange(n))
        model = tanks(rates, gain=10.0 ** rng.uniform(-3, 3))
        net = LTINetwork.from_statespace(model, method=str(rng.choice(["auto", "schur"])))
        h = 10.0 ** rng.uniform(-4, 2) / rates[int(rng.integers(n))]
        u = rng.choice([-1.0, 1.0], (8, 1))
        y = net.simulate(h * np.arange(8), u).outputs
        error = np.abs(y - digits.held_response(model, h, u)).max()
        runs += 8
        if error > net.error_bound(1.0, step=h).total[0]:
            broken.append((rates, h, error))
    assert not broken
