r"""Several models on the same records, by free run: fit, error, and one figure.

.. math:: \mathrm{fit} = 100\,\Bigl(1 - \frac{|y - \hat y|}{|y - \bar y|}\Bigr)\ \%

over all records, for each output: 100 for a perfect run, 0 for one no better than the mean, negative below.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from koopctrl._validation import FloatArray, check_integer, check_kind
from koopctrl.data.trajectories import Trajectories
from koopctrl.data.trajectory import Trajectory
from koopctrl.errors import OptionError, RolloutWarning

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_N_INIT = 20


@dataclass(frozen=True, eq=False)
class Comparison:
    """Free runs of several models, the best first.

    Attributes
    ----------
    runs : dict of str to list of (n_samples, n_y) arrays
    fit : dict of str to (n_y,) array
        Percent.
    rmse : dict of str to (n_y,) array
        In the outputs' units.
    data : Trajectories
    n_init : int
        Samples that initialised, and do not count.
    """

    runs: dict[str, list[FloatArray]]
    fit: dict[str, FloatArray]
    rmse: dict[str, FloatArray]
    data: Trajectories
    n_init: int

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Table: one row a model."""
        names = self.data.output_names
        return [
            {"model": label}
            | {f"fit of {n}, %": float(f) for n, f in zip(names, self.fit[label], strict=True)}
            | {f"RMSE of {n}": float(e) for n, e in zip(names, self.rmse[label], strict=True)}
            for label in self.runs
        ]

    @property
    def table(self) -> pd.DataFrame:
        """`rows` as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows).set_index("model")

    def plot(self, episode: int = 0, **options: Any) -> Figure:
        """Measured outputs, all free runs and their errors for one of the records.

        For `options` see `koopctrl.plotting.plot_free_run`.
        """
        from koopctrl.plotting import plot_free_run

        check_integer(episode, "episode")
        runs = {f"{label} ({self.fit[label].mean():.1f} %)": r[episode] for label, r in self.runs.items()}
        return plot_free_run(self.data[episode], runs, n_init=self.n_init, **{"title": "", **options})

    def __str__(self) -> str:
        """The table."""
        header = list(self.rows[0])
        cells = [header, *([v if isinstance(v, str) else f"{v:.4g}" for v in r.values()] for r in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
        return "\n".join(line.rstrip() for line in lines)


def compare(
    models: Mapping[str, Any] | Sequence[Any],
    data: Trajectories | Iterable[Trajectory],
    *,
    n_init: int = _N_INIT,
) -> Comparison:
    """Free runs of several models on the same records and the same samples.

    Parameters
    ----------
    models : mapping of label to model, or sequence of models
        KoopmanRNN, KoopmanEnsemble or InnovationModel, fitted.
    data : Trajectories
        Records, best those that none of them was fitted to.
    n_init : int
        Measured samples that initialise every model, and do not count.

    Returns
    -------
    Comparison
        `print` it; `plot()` shows all runs in one figure.

    Raises
    ------
    OptionError
        If there are no models.
    DataError
        If no record has samples beyond the first `n_init`.
    """
    records = Trajectories.coerce(data, "data")
    n_init = check_integer(n_init, "n_init", low=1)
    if not isinstance(models, Mapping | Sequence):
        raise OptionError(
            f"models is a {type(models).__name__}; expected fitted models, by label or in a list"
        )
    labelled = models if isinstance(models, Mapping) else {f"model {i}": m for i, m in enumerate(models)}
    if not labelled:
        raise OptionError("models is empty; expected at least one fitted model")
    for label, model in labelled.items():
        check_kind(model, f"models[{label!r}]", ("predict",), "a fitted model")
    records = records.long_enough(n_init + 1, "initialise (n_init) and one step ahead take")
    measured = np.concatenate([e.outputs[n_init:] for e in records])
    centred = measured - measured.mean(axis=0)
    size = np.sqrt(np.mean(centred**2, axis=0))
    runs, fit, rmse = {}, {}, {}
    for label, model in labelled.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RolloutWarning)  # seen in the figures
            runs[label] = model.predict(records, n_init)
        error = np.concatenate([r[n_init:] for r in runs[label]]) - measured
        rmse[label] = np.sqrt(np.mean(error**2, axis=0))
        with np.errstate(divide="ignore", invalid="ignore"):
            fit[label] = np.where(size > 0, 100.0 * (1.0 - rmse[label] / size), np.nan)
    order = sorted(labelled, key=lambda label: float(np.mean(rmse[label] / np.where(size > 0, size, 1.0))))
    return Comparison({label: runs[label] for label in order}, fit, rmse, records, n_init)
