"""Static problems, inverse problems, and what bad input is told."""

import numpy as np
import pytest

from koopctrl.errors import (
    DataError,
    KoopctrlError,
    NumericalWarning,
    OptionError,
    ShapeError,
    SolverError,
    TimeBaseError,
)
from koopctrl.sampled.pde import (
    PDE,
    Ball,
    Box,
    Condition,
    Derivative,
    Diffusion,
    Dirichlet,
    FieldRecord,
    Interval,
    Neumann,
    NonlinearDiffusion,
    PointCloud,
    Pointwise,
    Product,
    identify,
    solve_in_blocks,
    solve_static,
)
from koopctrl.sampled.pde.discretise import eigenvalues_of

X = np.linspace(0.0, 1.0, 201)


def error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_poisson_in_one_dimension():
    pde = PDE(
        Interval(0, 1),
        [Diffusion(1.0)],
        [Dirichlet("left", 1.0), Neumann("right", -np.pi)],
        forcing=lambda x, t: np.pi**2 * np.sin(np.pi * x[:, 0]),
    )
    assert error(solve_static(pde, 200, random_state=0)(X), 1 + np.sin(np.pi * X)) < 1e-8


@pytest.mark.parametrize("domain", [Box([0, 0], [1, 1]), Ball([0.5, 0.5], 0.6)])
def test_poisson_in_the_plane(domain):
    u = lambda x: np.sin(np.pi * x[:, 0]) * np.exp(x[:, 1])  # noqa: E731
    pde = PDE(
        domain,
        [Diffusion(1.0)],
        [Dirichlet("all", lambda x, t: u(x))],
        forcing=lambda x, t: (np.pi**2 - 1) * u(x),
    )
    solution = solve_static(pde, 350, n_points=1200, pair_distance=0.25, random_state=0)
    points = np.random.default_rng(0).uniform(0.1, 0.9, (200, 2))
    assert error(solution(points), u(points)) < 1e-5


def test_a_nonlinear_static_equation():
    """(1 + u^2) u'' + 2 u u'^2 = f and Bratu's u'' + exp(u) = 0 with its closed form."""
    theta = 1.5171645990507543704  # theta = sqrt(2 lambda) cosh(theta / 4) at lambda = 1, lower branch
    exact = -2 * np.log(np.cosh((X - 0.5) * theta / 2) / np.cosh(theta / 4))
    pde = PDE(Interval(0, 1), [Diffusion(1.0), Pointwise(lambda u: np.exp(u))], [Dirichlet()])
    assert error(solve_static(pde, 150, random_state=0)(X), exact) < 1e-7

    s, c = lambda x: np.sin(2 * x[:, 0]), lambda x: np.cos(2 * x[:, 0])
    pde = PDE(
        Interval(0, 1),
        [NonlinearDiffusion(lambda u: 1 + u**2)],
        [Dirichlet("left"), Dirichlet("right", np.sin(2.0))],
        forcing=lambda x, t: -((1 + s(x) ** 2) * (-4 * s(x)) + 2 * s(x) * 4 * c(x) ** 2),
    )
    assert error(solve_static(pde, 150, random_state=0)(X), np.sin(2 * X)) < 1e-7


def test_poisson_on_scattered_points():
    rng = np.random.default_rng(0)
    inside, angle = rng.uniform(-1, 1, (3000, 2)), 2 * np.pi * np.arange(200) / 200
    inside = inside[np.linalg.norm(inside, axis=1) < 1]
    rim = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    domain = PointCloud(inside, parts={"rim": (rim, rim, None)})
    pde = PDE(domain, [Diffusion(1.0)], [Dirichlet("rim")], forcing=lambda x, t: 4.0 + 0 * x[:, 0])
    found = solve_static(pde, 200, pair_distance=0.3, random_state=0)(inside)
    assert error(found, 1 - np.sum(inside**2, axis=1)) < 1e-5


# -- inverse problems

SHAPES = [
    lambda x: np.exp(-((15 * (x[:, 0] - 0.25)) ** 2)),
    lambda x: np.exp(-((15 * (x[:, 0] - 0.75)) ** 2)),
]
STATIONS = np.arange(100) / 100


def flow(nu):
    return PDE(
        Interval(0, 1, periodic=True),
        [Diffusion(1.0, parameter="nu"), Product(-1.0, "u", "u_x")],
        actuators=SHAPES,
        initial=lambda x: np.exp(np.sin(2 * np.pi * x[:, 0])) / 2,
        parameters={"nu": nu},
    )


@pytest.fixture(scope="module")
def record():
    t = np.linspace(0, 4, 401)
    v = np.repeat(np.random.default_rng(1).uniform(-0.1, 0.1, (10, 2)), 40, axis=0)
    gains = np.array([1.3, 0.8])
    truth = flow(0.01).discretise(300, pair_distance=0.05, random_state=5)
    return FieldRecord(t, truth.solve(t, v * gains, rtol=1e-7)(STATIONS), v)


@pytest.fixture(scope="module")
def guess():
    return flow(0.3).discretise(300, pair_distance=0.05, random_state=0)


def test_viscosity_and_gains_from_a_clean_field(record, guess):
    found = identify(guess, STATIONS, record, gains=True)
    assert found.values["nu"] == pytest.approx(0.01, rel=1e-4)
    assert found.values["gain v0"] == pytest.approx(1.3, rel=3e-3)
    assert found.values["gain v1"] == pytest.approx(0.8, rel=3e-3)
    assert found.model.parameters["nu"] == found.values["nu"]
    again = found.model.solve(record.t, record.inputs, rtol=1e-6)
    assert error(again(STATIONS), record.values) < 1e-3
    assert "nu" in str(found)


@pytest.mark.slow
def test_uncertainty_covers_what_noise_does(record, guess):
    """Over 30 draws of 1 % noise: estimates near the truth, and their spread is what is reported, within a
    factor.
    """
    size = 0.01 * record.values.std()
    found = []
    for seed in range(30):
        noisy = record.values + size * np.random.default_rng(seed).standard_normal(record.values.shape)
        found.append(identify(guess, STATIONS, FieldRecord(record.t, noisy, record.inputs), gains=True))
    for name, truth in (("nu", 0.01), ("gain v0", 1.3), ("gain v1", 0.8)):
        values = np.array([f.values[name] for f in found])
        reported = np.median([f.std[name] for f in found])
        assert np.median(values) == pytest.approx(truth, rel=2e-3)
        assert np.sqrt(np.mean((values / truth - 1.0) ** 2)) < (1e-3 if name == "nu" else 4e-3)
        assert 0.3 < np.std(values) / reported < 3.0


def test_one_percent_of_noise_leaves_the_viscosity(record, guess):
    noisy = record.values + 0.01 * record.values.std() * np.random.default_rng(3).standard_normal(
        record.values.shape
    )
    found = identify(guess, STATIONS, FieldRecord(record.t, noisy, record.inputs), gains=True)
    assert found.values["nu"] == pytest.approx(0.01, rel=1e-3)
    assert found.noise == pytest.approx(0.01 * record.values.std(), rel=0.1)


def test_sources_and_several_records():
    """u_t = k u_xx + a s(x) from two starts: k and a, two records together."""
    source = lambda x: np.sin(np.pi * x[:, 0])  # noqa: E731

    def plant(k, a, start):
        return PDE(
            Interval(0, 1), [Diffusion(1.0, parameter="k")], [Dirichlet()],
            initial=start, parameters={"k": k},
            forcing=(lambda x, t: a * source(x)) if a else None,
        ).discretise(150, pair_distance=0.15, random_state=0)  # fmt: skip

    t, points = np.linspace(0, 1, 101), np.linspace(0.02, 0.98, 40)
    records = [
        FieldRecord(t, plant(0.1, 0.7, start).solve(t)(points))
        for start in (lambda x: x[:, 0] * (1 - x[:, 0]), lambda x: np.sin(2 * np.pi * x[:, 0]))
    ]
    found = identify(plant(1.0, 0.0, 0.0), points, records, sources=[source])
    assert found.values["k"] == pytest.approx(0.1, rel=1e-4)
    assert found.values["source 0"] == pytest.approx(0.7, rel=1e-4)


def test_what_cannot_be_identified_is_said(record, guess):
    still = FieldRecord(record.t, record.values, 0 * np.asarray(record.inputs))
    with pytest.raises(DataError, match="determine 1 of 3"):
        identify(guess, STATIONS, still, gains=True)
    with pytest.raises(OptionError, match="'mu'"):
        identify(guess, STATIONS, record, unknown=["mu"])
    with pytest.raises(DataError, match="nothing is unknown"):
        identify(guess, STATIONS, record, unknown=[])
    with pytest.raises(ShapeError, match="values"):
        identify(guess, STATIONS[:50], record)
    broken = np.array(record.values)
    broken[3, 4] = np.nan
    with pytest.raises(DataError, match=r"values has 1 NaN or infinite values, the first at \(3, 4\)"):
        identify(guess, STATIONS, FieldRecord(record.t, broken, record.inputs))


# -- bad input

LINE = Interval(0, 1)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: PDE(3, [Diffusion(1.0)]), OptionError, "domain"),
        (lambda: PDE(LINE, []), OptionError, "terms is empty"),
        (lambda: PDE(LINE, ["u_xx"]), OptionError, "terms has a str"),
        (lambda: PDE(LINE, [Derivative("u_yy")]), OptionError, "u_yy"),
        (lambda: PDE(LINE, [Diffusion(1.0)], ["left"]), OptionError, "boundary has a str"),
        (lambda: PDE(LINE, [Diffusion(1.0)], [Dirichlet("top")]), OptionError, "'top'"),
        (lambda: PDE(Interval(0, 1, True), [Diffusion(1.0)], [Dirichlet()]), OptionError, "periodic"),
        (lambda: PDE(LINE, [Diffusion(1.0)], order=3), OptionError, "order"),
        (lambda: PDE(LINE, [Diffusion(1.0)], damping=1.0), OptionError, "damping"),
        (lambda: PDE(LINE, [Diffusion(1.0, parameter="nu")]), OptionError, r"\['nu'\]"),
        (lambda: PDE(LINE, [Diffusion(1.0)], parameters={"nu": 1.0}), OptionError, "parameters"),
        (lambda: PDE(LINE, [Diffusion(1.0)], actuators=[1.0]), OptionError, r"actuators\[0\]"),
        (lambda: PDE(LINE, [Diffusion(1.0)], sensors=[0.5, 1.5]), OptionError, r"sensors\[1\]"),
        (lambda: PDE(LINE, [Diffusion(1.0)], sensors=[[0.5, 0.5]]), ShapeError, "sensors"),
        (lambda: PDE(LINE, [Diffusion(1.0)], input_names=["a"]), ShapeError, "input_names"),
        (
            lambda: PDE(LINE, [Derivative("u_xx")], [Neumann("left", 1.0)]).discretise(20),
            OptionError,
            "Neumann",
        ),
        (
            lambda: PDE(LINE, [NonlinearDiffusion(lambda u: u)], [Neumann("left", 1.0)]).discretise(20),
            OptionError,
            "flux",
        ),
        (
            lambda: PDE(LINE, [Diffusion(1.0)]).discretise(
                300, n_points=40, pair_distance=0.01, random_state=0
            ),
            DataError,
            "points",
        ),
        (lambda: PDE(LINE, [Diffusion(1.0)]).discretise(30, formulation="weak"), OptionError, "formulation"),
        (
            lambda: PDE(LINE, [Diffusion(1.0)], order=2).discretise(30, formulation="collocation"),
            OptionError,
            "order",
        ),
        (
            lambda: PDE(LINE, [Diffusion(1.0)], initial=lambda x: x).discretise(30).initial_state(),
            ShapeError,
            "function",
        ),
        (
            lambda: (
                PDE(LINE, [Diffusion(1.0)], initial=lambda x: np.nan * x[:, 0]).discretise(30).initial_state()
            ),
            DataError,
            "NaN",
        ),
        (lambda: PDE(LINE, [Diffusion([1.0, 2.0])]).discretise(30), ShapeError, "conductivity"),
        (lambda: PDE(LINE, [Diffusion(1.0)]).discretise(30).solve([0.0]), TimeBaseError, "t has shape"),
        (lambda: PDE(LINE, [Diffusion(1.0)]).discretise(30).solve([1.0, 0.0]), TimeBaseError, "rising"),
        (
            lambda: PDE(LINE, [Product(1.0, "u", "u")]).discretise(30).solve([0, 1], method="exponential"),
            OptionError,
            "nonlinear",
        ),
        (
            lambda: PDE(LINE, [Diffusion(1.0)], [Dirichlet("left", 1.0), Dirichlet("left", 2.0)]).discretise(
                30
            ),
            DataError,
            "contradict",
        ),
        (
            lambda: PDE(LINE, [Diffusion(1.0)], [Condition("all", "u_x", "hot")]).discretise(30),
            KoopctrlError,
            "value",
        ),
        (
            lambda: solve_in_blocks(PDE(Interval(0, 1, True), [Diffusion(1.0)]), [0, 1]),
            OptionError,
            "open Interval",
        ),
        (lambda: solve_in_blocks(PDE(LINE, [Diffusion(1.0)]), [0, 1], blocks=[2.0]), OptionError, "blocks"),
        (
            lambda: PDE(Ball(np.zeros(4)), [Diffusion(1.0)]).discretise(30, directions="data"),
            DataError,
            "constant",
        ),
    ],
)
def test_bad_equations_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


def test_blow_up_is_an_error_and_not_a_field_of_nan():
    """u_t = u^2 from 1 leaves every bound at t = 1."""
    model = PDE(Interval(0, 1, True), [Product(1.0, "u", "u")], initial=1.0).discretise(30, random_state=0)
    for method in ("etdrk4", "radau", "dop853"):
        with pytest.raises(SolverError):
            model.solve([0.0, 2.0], method=method)
        assert model.solve([0.0, 0.5], method=method)(X[:3])[-1] == pytest.approx(2.0, rel=1e-6)


def test_an_unstable_projection_is_shrunk_and_said_so():
    """Few random points in ten dimensions do not hold the steeper functions of the layer down."""
    pde = PDE(Ball(np.zeros(10)), [Diffusion(1.0)], [Dirichlet()], initial=1.0)
    with pytest.warns(NumericalWarning, match="basis shrunk from"):
        model = pde.discretise(
            100, n_points=1500, pair_distance=2.0, directions="axes", cut=1e-9, random_state=0
        )
    assert any("shrunk" in note for note in model.notes)
    eigenvalues = eigenvalues_of(model)
    assert eigenvalues.real.max() <= 1e-5 * np.abs(eigenvalues).max()


def test_growth_that_belongs_to_the_equation_is_left_alone():
    """u_t = 3 u grows, and so does the model, at that rate and with its whole basis."""
    model = PDE(Interval(0, 1, True), [Derivative("u", 3.0), Diffusion(0.01)], initial=1.0).discretise(
        50, random_state=0
    )
    assert model.notes == ()
    assert model.solve([0.0, 1.0])(X[:3])[-1] == pytest.approx(np.exp(3.0), rel=1e-6)
