"""The numbers a network consists of, and what can be read off them; nothing here computes a response."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from koopctrl._validation import FloatArray
from koopctrl.ltinet.grouped import Grouped, group_blocks
from koopctrl.ltinet.neurons import Layer
from koopctrl.ltinet.quasi_triangular import Merge, quasi_eigenvalues


@dataclass(frozen=True)
class Defects:
    """What separates the network's matrices from the model's, in 2-norms and balanced coordinates.

    Attributes
    ----------
    A : float
        `|A T - T blkdiag|`, in 1/s (per sample for a discrete network).
    B : float
        `|B - T B_net|`.
    C : array (n_y,)
        Rows of `C_net - C T`.
    left_out : array (n_y,)
        Bound on the peak gain, for inputs of 2-norm one, of modes that are not in the network.
    local : LocalDefects or None
        The same in the network's own coordinates, entry by entry, for models that were refined.
    """

    A: float
    B: float
    C: FloatArray
    left_out: FloatArray
    local: LocalDefects | None = None


@dataclass(frozen=True)
class LocalDefects:
    """Model in the network's coordinates minus the network: `(blkdiag + F, B + G, C - H)`.

    Attributes
    ----------
    F : array (m, m)
    G, H : array (m, n_u), (n_y, m)
    signed : bool
        Whether the entries are known with their signs; otherwise they are the largest sizes possible.
    """

    F: FloatArray
    G: FloatArray
    H: FloatArray
    signed: bool = True


@dataclass(frozen=True, eq=False, repr=False)
class NetworkStructure:
    """Fields of an `LTINetwork`, which documents them."""

    blocks: tuple[FloatArray, ...]
    T: FloatArray
    T_inv: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray
    cond: float
    residual: float
    method: str
    merges: tuple[Merge, ...]
    defects: Defects
    sample_time: float
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    scales: FloatArray
    discrete: bool = False
    input_delays: FloatArray | None = None
    output_delays: FloatArray | None = None
    reduction: Any = None

    @property
    def n_states(self) -> int:
        """Number of network states."""
        return self.B.shape[0]

    @property
    def dt(self) -> float:
        """Sample time in seconds of a discrete network; 0 for a continuous one, as in python-control."""
        return self.sample_time if self.discrete else 0.0

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First state of each layer."""
        return tuple(np.cumsum([0, *(len(block) for block in self.blocks)])[:-1].tolist())

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The horizontal layers."""
        return tuple(
            Layer(start, block, self.dt) for start, block in zip(self.starts, self.blocks, strict=True)
        )

    @property
    def n_neurons(self) -> int:
        """Number of neurons of either order."""
        return sum(len(block) - int(np.count_nonzero(np.diagonal(block, -1))) for block in self.blocks)

    @cached_property
    def grouped(self) -> Grouped:
        """Blocks by kind, as the simulation uses them."""
        return group_blocks(self.blocks)

    @property
    def eigenvalues(self) -> np.ndarray:
        """Poles, layer by layer, in 1/s (of a discrete network: in the z-plane)."""
        parts = [quasi_eigenvalues(block) for block in self.blocks]
        return np.concatenate(parts) if parts else np.zeros(0, complex)

    @property
    def poles(self) -> np.ndarray:
        """Another word for `eigenvalues`."""
        return self.eigenvalues

    @property
    def stable(self) -> bool:
        """Whether every pole is left of the imaginary axis (inside of the unit circle)."""
        values = self.eigenvalues
        return bool((np.abs(values) < 1.0).all() if self.discrete else (values.real < 0.0).all())

    @property
    def neuron_names(self) -> tuple[str, ...]:
        """Names of the network's states: `w<layer>_<state>`."""
        return tuple(f"w{i}_{j}" for i, block in enumerate(self.blocks) for j in range(len(block)))

    @property
    def delayed(self) -> bool:
        """Whether an input or output has a dead time."""
        return any(d is not None and bool(np.any(d)) for d in (self.input_delays, self.output_delays))

    def block_matrix(self) -> Any:
        """Network's dynamics as a scipy.sparse CSR array, `blkdiag(A_1 .. A_L)`."""
        if not self.blocks:
            return sparse.csr_array((0, 0))
        if all(len(block) == 1 for block in self.blocks):
            return sparse.csr_array(sparse.diags_array(np.array([block[0, 0] for block in self.blocks])))
        return sparse.csr_array(sparse.block_diag(self.blocks, format="csr"))
