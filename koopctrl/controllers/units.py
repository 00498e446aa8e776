"""Units of signals from the weights and the model: what makes numbers of different units comparable."""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray


def balance(A: FloatArray, B: FloatArray, weight: FloatArray) -> FloatArray:
    """Units `D` of states in which each feels as much as it is felt: `D^-1 A D`, `D^-1 B`, weight `D Q D`.

    Osborne's iteration on rows and columns; what units the states came in does not matter after it.

    Parameters
    ----------
    A, B : arrays
        Inputs in units that weigh alike.
    weight : (n,) array
        Diagonal of the weight on states.
    """
    D = np.ones(len(A))
    off = np.abs(A - np.diag(np.diag(A))) ** 2
    feels_u, felt_y = (np.abs(B) ** 2).sum(axis=1), weight
    for _ in range(200):
        into = (off @ D**2 + feels_u) / D**2
        out = (off.T @ (1.0 / D**2) + felt_y) * D**2
        both = (into > 0.0) & (out > 0.0)
        ratio = np.where(both, into / np.where(both, out, 1.0), 1.0)
        ratio = np.where((into > 0.0) & (out == 0.0), into, ratio)
        ratio = np.where((into == 0.0) & (out > 0.0), 1.0 / np.where(out > 0.0, out, 1.0), ratio)
        if (np.abs(np.log(ratio)) < 0.5).all():
            break
        D = D * ratio**0.125
    return D


def weight_factor(weight: FloatArray) -> FloatArray:
    """`L` of full row rank with `L'L = weight`, whatever the units of its entries."""
    diagonal = np.diag(weight)
    unit = np.sqrt(np.where(diagonal > 0.0, diagonal, 0.0))
    inverse = np.where(unit > 0.0, 1.0 / np.where(unit > 0.0, unit, 1.0), 0.0)
    values, vectors = np.linalg.eigh(weight * inverse * inverse[:, None])
    keep = values > 1e-14 * max(float(values.max(initial=0.0)), np.finfo(float).tiny)
    return np.sqrt(values[keep])[:, None] * vectors[:, keep].T * unit
