"""Parts of a model that its zeros already separate: what follows does not depend on the order of the
states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import schur
from scipy.sparse.csgraph import connected_components

from koopctrl._validation import FloatArray


def decoupled_parts(A: FloatArray) -> list[np.ndarray]:
    """Index sets of states that no entry of `A` links, each sorted, in the order of their first states."""
    if len(A) == 0:
        return []
    count, label = connected_components(sparse.csr_array(A != 0.0), directed=False)
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])
    return sorted(parts, key=lambda part: int(part[0]))


def ordered_schur(A: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Real Schur form `A = Q S Q^T` that keeps the zeros of a reducible `A`.

    States that influence each other in a circle (strongly connected ones) are brought together, so that `A`
    is block upper triangular, and only the diagonal blocks are decomposed: eigenvalues of cascades are exact,
    whatever the order of their states.

    Raises
    ------
    scipy.linalg.LinAlgError
        The QR algorithm did not converge.
    """
    n = len(A)
    count, label = connected_components(sparse.csr_array(A != 0.0), directed=True, connection="strong")
    if count == 1:
        whole: Any = schur(A, output="real")
        return whole
    order, sizes = _upstream_last(A, label, count)
    S, Q = A[order][:, order], np.zeros((n, n))
    stops = np.cumsum(sizes)
    edges = np.concatenate([[0], stops])
    Z = np.eye(n)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if high - low > 1:
            part: Any = schur(S[low:high, low:high], output="real")
            T, Z[low:high, low:high] = part
            S[:low, low:high] = S[:low, low:high] @ Z[low:high, low:high]
            S[low:high, high:] = Z[low:high, low:high].T @ S[low:high, high:]
            S[low:high, low:high] = T
    Q[order] = Z
    return S, Q


def _upstream_last(A: FloatArray, label: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """States sorted so that `A[order][:, order]` is block upper triangular, ties by the size of the
    entries.
    """
    rows, columns = np.nonzero(A)
    a, b = label[rows], label[columns]
    links = sparse.coo_array((np.ones(len(a)), (a, b)), shape=(count, count))
    links = sparse.csr_array(links)
    links.setdiag(0.0)
    links.eliminate_zeros()
    # Kahn's algorithm: a row of the triangular form may depend on later ones only
    dependants = np.asarray((links != 0).sum(axis=0)).ravel().astype(int)
    ready = np.flatnonzero(dependants == 0).tolist()
    sequence: list[int] = []
    while ready:
        i = ready.pop(0)
        sequence.append(i)
        for j in links.indices[links.indptr[i] : links.indptr[i + 1]].tolist():
            dependants[j] -= 1
            if dependants[j] == 0:
                ready.append(j)
    place = np.empty(count, dtype=int)
    place[sequence] = np.arange(count)
    order = np.argsort(place[label], kind="stable")
    return order, np.bincount(place[label], minlength=count)
