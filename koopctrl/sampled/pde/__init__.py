"""Partial differential equations on sampled bases: from an equation to a small model for control."""

from koopctrl.sampled.pde.ball import Ball
from koopctrl.sampled.pde.box import Box, Interval
from koopctrl.sampled.pde.conditions import Condition, Dirichlet, Neumann
from koopctrl.sampled.pde.discretise import discretise
from koopctrl.sampled.pde.domain import BoundaryPoints, Domain, Quadrature
from koopctrl.sampled.pde.inverse import FieldRecord, Identified, identify
from koopctrl.sampled.pde.observer import FieldObserver
from koopctrl.sampled.pde.point_cloud import PointCloud
from koopctrl.sampled.pde.polygon import Polygon
from koopctrl.sampled.pde.problem import PDE
from koopctrl.sampled.pde.resample import solve_in_blocks
from koopctrl.sampled.pde.semi_discrete import SemiDiscrete
from koopctrl.sampled.pde.solution import Solution
from koopctrl.sampled.pde.solve import solve
from koopctrl.sampled.pde.static import solve_static
from koopctrl.sampled.pde.step_face import StepFace
from koopctrl.sampled.pde.terms import (
    Advection,
    Derivative,
    Diffusion,
    NonlinearDiffusion,
    Pointwise,
    Product,
)

__all__ = [
    "PDE",
    "Advection",
    "Ball",
    "BoundaryPoints",
    "Box",
    "Condition",
    "Derivative",
    "Diffusion",
    "Dirichlet",
    "Domain",
    "FieldObserver",
    "FieldRecord",
    "Identified",
    "Interval",
    "Neumann",
    "NonlinearDiffusion",
    "PointCloud",
    "Pointwise",
    "Polygon",
    "Product",
    "Quadrature",
    "SemiDiscrete",
    "Solution",
    "StepFace",
    "discretise",
    "identify",
    "solve",
    "solve_in_blocks",
    "solve_static",
]
