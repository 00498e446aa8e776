"""Sizes and names of a fitted model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from koopctrl._validation import check_fitted
from koopctrl.network.hidden_state import HiddenNetwork


class Sizes:
    """What a `KoopmanRNN` says of its state and signals."""

    if TYPE_CHECKING:
        # Of the estimator.
        network_: Any
        output_names_: tuple[str, ...]
        input_names_: tuple[str, ...]

    @property
    def n_x(self) -> int:
        """Length of the state (of the lag window, or of the hidden state)."""
        return self._network.window.n_x

    @property
    def n_y(self) -> int:
        """Number of outputs."""
        check_fitted(self, "network_")
        return len(self.output_names_)

    @property
    def n_u(self) -> int:
        """Number of inputs."""
        return self._network.window.n_u

    @property
    def parameter_names_(self) -> tuple[str, ...]:
        """Names of the inputs that are measured parameters."""
        coupling = None if self.hidden else self._network.coupling
        return () if coupling is None else tuple(self.input_names_[i] for i in coupling.parameters)

    @property
    def state_names_(self) -> tuple[str, ...]:
        """Names of the window's entries, `x0, x1, ..` for a hidden state."""
        if self.hidden:
            return tuple(f"x{i}" for i in range(self.n_x))
        return self._network.window.names(self.output_names_, self.input_names_)

    @property
    def hidden(self) -> bool:
        """Whether the fitted model's state is hidden."""
        return isinstance(self._network, HiddenNetwork)

    @property
    def _network(self) -> Any:
        check_fitted(self, "network_")
        return self.network_
