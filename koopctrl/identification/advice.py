"""What to try where a model's free run is poor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from koopctrl.koopman_rnn import KoopmanRNN

# A free run with a lower R2 than this is called poor.
POOR = 0.9
# One step ahead this part of the outputs' spread is a small error.
_NEAR = 0.3


def advice(model: KoopmanRNN, score: float, one_step: float) -> str | None:
    """Advice on a free run with R2 `score`, and `one_step` ahead an error relative to the spread; None where
    none is needed.

    Lag windows carry the noise of measurements, so that their free run is poor on records whose next sample
    they predict well; a hidden state does not.
    """
    if score >= POOR:
        return None
    p, q = model.output_lags, model.input_lags
    if model.hidden:
        return f"{model.n_x} states do not suffice. Try a larger n_states, or look for a missing input."
    if p == q == 1:
        return (
            "if the outputs are not the full state, try more output_lags and input_lags, or a hidden state "
            "in their place, n_states=4."
        )
    if one_step < _NEAR:
        return (
            f"one step ahead is good, so with {p} output and {q} input lags errors pile up. Try other lags, "
            "a hidden state in their place (n_states=4), a larger ridge, or look for a missing input."
        )
    return (
        f"{p} output and {q} input lags do not explain the next sample either. Try more lags, a hidden state "
        "in their place (n_states=4), feedthrough=True, or look for a missing input."
    )
