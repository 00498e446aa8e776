"""Choose a model for records: kind of state, order, lags, neurons and penalty, by free run on held-out data.

Candidates are drawn at random around what the linear models show, scored on the same held-out samples with a
score that one divergent fold cannot ruin, and thinned out by successive halving: all see one fold, the
better ones the others, the best ones other seeds. Linear models are always among them. The winner, or the
ensemble of those whose mean run is best, is fitted to all data in the end.

Sources: Jamieson & Talwalkar, *Non-stochastic best arm identification and hyperparameter optimization*,
AISTATS 2016 (halving); Caruana, Niculescu-Mizil, Crew & Ksikes, *Ensemble selection from libraries of
models*, ICML 2004 (who shares an ensemble).
"""

from koopctrl.selection.choose import select
from koopctrl.selection.trials import Selection, Trial

__all__ = ["Selection", "Trial", "select"]
