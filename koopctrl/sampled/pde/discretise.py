"""From an equation to a model of its coefficients: sampling, projection, boundary, spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from koopctrl._threads import few_threads
from koopctrl._validation import check_choice, check_integer, check_number
from koopctrl._warnings import warn
from koopctrl.errors import NumericalWarning, OptionError, SolverError
from koopctrl.sampled.pde.basis import Basis, make_basis
from koopctrl.sampled.pde.collocation import assemble_collocation
from koopctrl.sampled.pde.directions import varying_directions
from koopctrl.sampled.pde.domain import Quadrature
from koopctrl.sampled.pde.galerkin import assemble_galerkin
from koopctrl.sampled.pde.layer import sample_layer
from koopctrl.sampled.pde.problem import PDE, fit_work
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete

FORMULATIONS = ("auto", "galerkin", "collocation")
_GROWTH = 1e-5  # share of the largest eigenvalue that rounding may put to the right of the axis
_SMALLER = 0.85  # what a shrunk basis keeps of its functions
_LEAST = 4


@few_threads(fit_work)
def discretise(
    pde: PDE,
    n_features: int = 400,
    *,
    n_points: int | None = None,
    pair_distance: float = 0.1,
    directions: str | ArrayLike = "any",
    cut: float = 1e-10,
    max_states: int | None = None,
    formulation: str = "auto",
    boundary_tolerance: float = 1e-7,
    boundary_rate: float | None = None,
    random_state: int | np.random.Generator | None = None,
) -> SemiDiscrete:
    r"""Sample a basis in space and project the equation onto it.

    Parameters
    ----------
    pde : PDE
    n_features : int
        Neurons that are sampled; the SVD keeps what is independent.
    n_points : int, optional
        Quadrature points, about; by default three a neuron, at least 600.
    pair_distance, directions
        Of the sampled layer; see `sample_layer`. `directions="data"` are those in which start, forcing,
        boundary data and actuators vary (`varying_directions`).
    cut : float
        Singular values of the layer on the points below this share are dropped.
    max_states : int, optional
        Most basis functions.
    formulation : {"auto", "galerkin", "collocation"}
        `"galerkin"` projects with the domain's quadrature, `Diffusion` in weak form and boundary conditions
        held by the basis; `"collocation"` makes the residual least at the points, with the boundary as
        weighted rows that are pulled to their data at `boundary_rate`. `"auto"` is the first where the domain
        has a precise quadrature.
    boundary_tolerance : float
        Relative size of boundary rows that counts as zero.
    boundary_rate : float, optional
        1/s, of the collocation form; by default the median magnitude of the interior operator's eigenvalues.
    random_state : int, Generator or None

    Returns
    -------
    SemiDiscrete

    Warns
    -----
    NumericalWarning
        If the basis was shrunk because the projected operator had eigenvalues that a smaller basis does not
        have.

    Raises
    ------
    DataError
        Too few points, or boundary conditions that contradict each other.
    SolverError
        If no basis gives a stable operator.
    """
    check_choice(formulation, "formulation", FORMULATIONS)
    check_integer(n_features, "n_features", low=2)
    rng = np.random.default_rng(random_state)
    wanted = max(600, 3 * n_features) if n_points is None else check_integer(n_points, "n_points", low=4)
    quadrature = pde.domain.quadrature(wanted, rng)
    if isinstance(directions, str) and directions == "data":
        directions = varying_directions(pde, rng)
    layer = sample_layer(pde.domain, n_features, rng, pair_distance=pair_distance, directions=directions)
    if max_states is not None:
        check_integer(max_states, "max_states", low=1)
    basis = make_basis(layer, quadrature, cut, max_states)
    galerkin = quadrature.precise if formulation == "auto" else formulation == "galerkin"
    if not galerkin and pde.order == 2:
        raise OptionError('order is 2 with formulation="collocation"; expected "galerkin"')
    if boundary_rate is not None:
        check_number(boundary_rate, "boundary_rate", low=0.0, strict=True)
    check_number(boundary_tolerance, "boundary_tolerance", low=0.0, high=1.0, strict=True)

    # The boundary's points are drawn once: a shrunk basis meets the same conditions.
    places = {part: pde.domain.on(part, wanted, rng) for part in {c.part for c in pde.boundary}}

    def assemble(basis: Basis) -> SemiDiscrete:
        if galerkin:
            return assemble_galerkin(pde, basis, quadrature, places, boundary_tolerance)
        return assemble_collocation(pde, basis, quadrature, places, boundary_rate)

    return _with_stable_spectrum(assemble, basis, quadrature)


def _with_stable_spectrum(assemble, basis: Basis, quadrature: Quadrature) -> SemiDiscrete:
    """Shrink the basis until its operator has no growth that a smaller basis lacks."""
    model = assemble(basis)
    growth, size = growth_of(model)
    start = basis.size
    while growth > _GROWTH * size:
        kept = int(_SMALLER * basis.size)
        if kept < _LEAST:
            raise SolverError(
                f"the operator projected on {start} functions grows at {growth:.3g} 1/s, and so do "
                "all smaller "
                "ones differently; expected a stable discretisation. Take a larger pair_distance, "
                "more points, or "
                "check signs and boundary conditions"
            )
        fewer = basis.combined(np.eye(basis.size)[:, :kept])
        smaller = assemble(fewer)
        less, reach = growth_of(smaller)
        # Growth that stays when functions are taken away is the equation's own.
        if abs(growth - less) <= 0.02 * abs(growth):
            break
        basis, model, growth, size = fewer, smaller, less, reach
    if basis.size < start:
        note = f"basis shrunk from {start} to {basis.size} functions: the larger operator had spurious growth"
        warn(f"{note}. Take a larger pair_distance, or more points", NumericalWarning)
        object.__setattr__(model, "notes", (*model.notes, note))
    return model


def growth_of(model: SemiDiscrete) -> tuple[float, float]:
    """Largest growth rate of the linear part, and its largest eigenvalue, 1/s (zero input)."""
    operator = model.operator @ model.null
    eigenvalues = np.linalg.eigvals(operator)
    if model.pde.order == 2:
        damping = model.pde.damping
        root = np.sqrt((damping / 2.0) ** 2 + eigenvalues.astype(complex))
        # An undamped mode has a double zero where rounding leaves sqrt(eps): judged by its square.
        largest = float(np.sqrt(np.abs(eigenvalues).max(initial=0.0)))
        growth = float(np.max((root - damping / 2.0).real, initial=0.0))
        return (0.0, largest) if eigenvalues.real.max() <= _GROWTH**2 * largest**2 else (growth, largest)
    return float(eigenvalues.real.max(initial=0.0)), float(np.abs(eigenvalues).max(initial=0.0))


def eigenvalues_of(model: SemiDiscrete) -> NDArray[Any]:
    """Eigenvalues of the linear part at zero input, 1/s."""
    a = model.operator @ model.null
    n = len(a)
    if model.pde.order == 2:
        a = np.block([[np.zeros((n, n)), np.eye(n)], [a, -model.pde.damping * np.eye(n)]])
    return np.asarray(np.linalg.eigvals(a))
