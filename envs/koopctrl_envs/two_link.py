"""Mechanics of two rigid links in a plane, shared by the arm and the acrobot."""

from __future__ import annotations

from typing import Any, NamedTuple


class Inertia(NamedTuple):
    """What of two links enters their motion: `a1 = I1 + I2 + m2 l1^2`, `a2 = m2 l1 s2`, `a3 = I2`, kg m^2.

    Moments of inertia `I` are about each link's own joint, `l` are lengths, `s` distances of the centres of
    mass from the joints.
    """

    a1: float
    a2: float
    a3: float


def accelerations(
    inertia: Inertia, bend: Any, speeds: tuple[Any, Any], torques: tuple[Any, Any], xp: Any
) -> tuple[Any, Any]:
    r"""Angular accelerations of both joints, :math:`M(q)^{-1} (\tau - c(q, \dot q))`.

    .. math::

        M = \begin{bmatrix} a_1 + 2 a_2 \cos q_2 & a_3 + a_2 \cos q_2 \\
        a_3 + a_2 \cos q_2 & a_3 \end{bmatrix},
        \qquad c = a_2 \sin q_2 \begin{bmatrix} -\dot q_2 (2 \dot q_1 + \dot q_2) \\ \dot q_1^2 \end{bmatrix}

    Parameters
    ----------
    inertia : Inertia
    bend : float, array or symbol
        Angle of the second joint, relative to the first link, rad.
    speeds : tuple of two
        Of the joints, rad/s.
    torques : tuple of two
        At the joints, with gravity's and friction's in them, N m.
    xp : module
        Where `sin` and `cos` come from.
    """
    w1, w2 = speeds
    swing, coupling = inertia.a2 * xp.sin(bend), inertia.a2 * xp.cos(bend)
    m11, m12, m22 = inertia.a1 + 2.0 * coupling, inertia.a3 + coupling, inertia.a3
    f1 = torques[0] + swing * w2 * (2.0 * w1 + w2)
    f2 = torques[1] - swing * w1 * w1
    determinant = m11 * m22 - m12 * m12
    return (m22 * f1 - m12 * f2) / determinant, (m11 * f2 - m12 * f1) / determinant


def kinetic_energy(inertia: Inertia, bend: Any, speeds: tuple[Any, Any], xp: Any) -> Any:
    r"""Kinetic energy, :math:`\frac12 \dot q^T M(q) \dot q`, J."""
    w1, w2 = speeds
    coupling = inertia.a2 * xp.cos(bend)
    m11, m12 = inertia.a1 + 2.0 * coupling, inertia.a3 + coupling
    return 0.5 * (m11 * w1 * w1 + inertia.a3 * w2 * w2) + m12 * w1 * w2
