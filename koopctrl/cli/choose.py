"""`koopctrl fit --budget`: settings chosen within some seconds, and what speaks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from koopctrl.cli.output import said

_SHOWN = 8  # candidates in the table
_LAGS = 25  # of the residuals' correlations


def choose(records: Any, train: Any, test: Any, budget: float, seed: int, save: Path | None) -> Any:
    """Select a model on the training part, judge it on the other beside the best linear one, and write it
    fitted to all rows.
    """
    from koopctrl.identification.comparison import compare
    from koopctrl.koopman_rnn import KoopmanRNN
    from koopctrl.selection import select

    with said.busy(f"choosing for {budget:g} s") as update:
        model = select(train, budget, random_state=seed, progress=lambda text: update(None, text))
    found = model.selection_
    rows = [
        {
            "candidate": _words(t.settings),
            "held-out error": t.error,
            "folds x seeds": f"{min(len(t.errors), found.n_folds)} x {max(1, int(t.seeds))}",
        }
        for t in found.trials[:_SHOWN]
    ]
    said.table(f"best of {len(found.trials)} candidates, errors over the spread of the outputs", rows)
    said.say(f"chosen: {_words(found.best.settings)}")
    linear = next((t for t in found.trials if t.linear and t.full), found.best)
    plain = KoopmanRNN(**linear.settings, random_state=seed).fit(train)
    first = max(model._n_init(test, None), plain._n_init(test, None))
    judged = compare({"chosen": model, f"best linear: {_words(linear.settings)}": plain}, test, n_init=first)
    said.say(f"on the part held out, after {first} samples that initialise\n{judged}")
    left = model.residual_analysis(test, n_lags=_LAGS) if test.n_steps > 5 * _LAGS + first else None
    if left is not None:
        said.say(str(left))
    said.keep(
        candidates=found.rows, settings=found.best.settings, compared=judged.rows,
        residuals=None if left is None else {"independent": left.independent, "white": left.white},
    )  # fmt: skip
    if save is not None:
        with said.busy("fitting to all rows"):
            final = KoopmanRNN(**model.get_params()).fit(records)
            final.save(save)
        said.say(f"model written to {save}: the same settings, fitted to all {records.n_steps} steps")
        said.keep(model=str(save))
    return model


def _words(settings: dict[str, Any]) -> str:
    """Settings as a person would say them."""
    s = settings
    if s.get("n_states"):
        state = f"{s['n_states']} hidden states"
    else:
        state = f"{s.get('output_lags', 1)} output and {s.get('input_lags', 1)} input lags"
    neurons = f"{s.get('n_features')} neurons" if s.get("n_features") else "linear"
    return f"{state}, {neurons}" + (", feedthrough" if s.get("feedthrough") else "")
