r"""Linear recurrences over time in about `2 sqrt(N)` steps of the interpreter instead of `N`.

Time is cut into blocks. Within all of them at once the recurrence runs from zero; then the state at the head
of each block is carried to the next; last, what these heads add within their blocks is added:

.. math:: x_{bL + j} = x^0_{bL + j} + x_{bL} A^j, \qquad x^0_{bL} = 0.

The sums are those of the plain recurrence in another order. Where a power of `A` grows within a block the two
parts could cancel, and the plain recurrence is used.
"""

from __future__ import annotations

import numpy as np

from koopctrl._validation import FloatArray

SHORT = 64  # steps below which nothing is gained
GROWTH = 1e3  # within a block; as many digits could cancel
_WIDE = 300  # numbers of one step above which their own cost is more than the interpreter's


def linear_states(a: FloatArray, driven: FloatArray, x0: FloatArray) -> FloatArray:
    """`x_{k+1} = x_k A + d_k` in rows.

    Parameters
    ----------
    a : (n, n) array
    driven : (n_steps, m, n) array
        `d`; `m` recurrences side by side.
    x0 : (m, n) array

    Returns
    -------
    (n_steps + 1, m, n) array
        Finite or infinite, as it comes.
    """
    steps, m, n = driven.shape
    length = int(np.sqrt(steps))
    with np.errstate(over="ignore", invalid="ignore"):
        if steps < SHORT or m * n > _WIDE:
            return _plain(a, driven, x0)
        powers = matrix_powers(a, length)
        if not np.abs(powers).max() <= GROWTH:
            return _plain(a, driven, x0)
        blocks = steps // length + 1  # the state after the last step is in one, too
        # `x[j + 1]` holds what drives the blocks at place `j` until the state takes its place.
        x = np.zeros((length + 1, blocks, m, n))
        whole = (blocks - 1) * length
        x[1:, :-1] = driven[:whole].reshape(blocks - 1, length, m, n).swapaxes(0, 1)
        x[1 : 1 + steps - whole, -1] = driven[whole:]
        x = x.reshape(length + 1, blocks * m, n)
        for j in range(length):
            x[j + 1] += x[j] @ a
        heads = np.empty((blocks, m, n))
        heads[0] = x0
        tails = x[length].reshape(blocks, m, n)
        for b in range(blocks - 1):
            heads[b + 1] = heads[b] @ powers[length] + tails[b]
        heads = heads.reshape(blocks * m, n)
        for j in range(length):
            x[j] += heads @ powers[j]
    return x[:length].reshape(length, blocks, m, n).swapaxes(0, 1).reshape(-1, m, n)[: steps + 1]


def matrix_powers(a: FloatArray, most: int) -> FloatArray:
    """`I, A, .., A^most`, `(most + 1, n, n)`, by doubling."""
    powers = np.empty((most + 1, *a.shape))
    powers[0] = np.eye(len(a))
    known = 1
    while known <= most:
        step = powers[known - 1] @ a  # A^known
        more = min(known, most + 1 - known)
        np.matmul(powers[:more], step, out=powers[known : known + more])
        known += more
    return powers


def _plain(a: FloatArray, driven: FloatArray, x0: FloatArray) -> FloatArray:
    x = np.empty((len(driven) + 1, *x0.shape))
    x[0] = x0
    for k in range(len(driven)):
        np.matmul(x[k], a, out=x[k + 1])
        x[k + 1] += driven[k]
    return x
