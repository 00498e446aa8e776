"""What every controller is: something with `reset()` and `control(measurement, reference=None) -> u`."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from numpy.typing import ArrayLike

from koopctrl._validation import FloatArray


@runtime_checkable
class Controller(Protocol):
    """A feedback law with memory.

    `run_closed_loop` also uses, where they exist: `info` (with `status` and `solve_time`), `applied(u)`
    (called with the input the plant says it applied), `dt`, and the weights and bounds of the controllers
    here. `control` is called with `disturbance=` and `input_reference=` only where the loop has them; then
    `join(u, v)` makes what the plant is sent, and `split_inputs` takes it apart again.
    """

    def reset(self) -> None:
        """Forget past measurements, inputs and plans."""
        ...

    def control(self, measurement: ArrayLike, reference: ArrayLike | None = None) -> FloatArray:
        """Input `(n_u,)` to hold until the next sample.

        Parameters
        ----------
        measurement : (n_y,) array_like
            Newest measured outputs `y_k`.
        reference : (n_y,) or (n, n_y) array_like, optional
            Set-point for the outputs, or its preview from now on.
        """
        ...


def bounds_of(controller: Any) -> dict[str, Any]:
    """Bounds a controller knows of, by name; for metrics."""
    names = ("u_min", "u_max", "du_min", "du_max", "y_min", "y_max")
    return {n: getattr(controller, n) for n in names if getattr(controller, n, None) is not None}
