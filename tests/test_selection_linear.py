"""When `select` gives up a linear model, and when it believes that a plant knows no sign."""

import numpy as np
from test_selection import TRAIN

from koopctrl.identification.folds import make_folds
from koopctrl.identification.free_run_score import nrmse
from koopctrl.selection.mixture import first_choice, pick_members
from koopctrl.selection.trials import Trial

FOLDS = make_folds(TRAIN, 3)
SCALE = np.concatenate([e.outputs for e in TRAIN]).std()


def trial(settings, *shifts):
    """Scored with two seeds on all folds, off by so many spreads on each."""
    runs = {s: [[e.outputs + by * SCALE for e in f.test] for f, by in zip(FOLDS, shifts, strict=True)]
            for s in range(2)}  # fmt: skip
    errors = [nrmse(r, f) for s in runs for r, f in zip(runs[s], FOLDS, strict=True)]
    return Trial(settings, errors, [0.1] * 6, 3, runs=runs)


def test_a_nonlinear_candidate_must_be_clearly_better_than_the_best_linear_one():
    """At the level of 5 %, alone, as the first of an ensemble, and to share one with it."""
    linear = trial({"n_features": 0}, 0.30, 0.31, 0.29)
    lucky = trial({"n_features": 5}, 0.10, 0.36, 0.34)  # better on the mean, by one fold
    better = trial({"n_features": 6}, 0.27, 0.28, 0.27)
    likely = trial({"n_features": 7}, 0.25, 0.30, 0.27)  # 2.2 standard errors better; 2.9 are 5 %
    assert lucky.error < linear.error
    for count in (1, 4):
        pick = (lambda t: [first_choice(t)]) if count == 1 else (lambda t: pick_members(t, FOLDS, 4))
        assert pick([lucky, linear])[0] is linear
        assert pick([better, linear])[0] is better
        assert all(t is linear for t in pick([likely, linear]))
        assert pick([lucky])[0] is lucky
    gone = trial({"n_features": 0}, 0.30, 0.31, 0.29)
    gone.runs = {}  # its runs were dropped, since others came before it
    assert pick_members([lucky, gone], FOLDS, 4) == [gone] * 4


def test_a_plant_knows_no_sign_where_that_makes_the_same_settings_clearly_better():
    """By more than the standard error over the folds; a tie speaks for assuming less."""
    linear = trial({"n_features": 0}, 0.60, 0.61, 0.59)
    plain = trial({"n_features": 5, "symmetry": None}, 0.30, 0.20, 0.25)
    tied = trial({"n_features": 5, "symmetry": "odd"}, 0.20, 0.28, 0.26)  # better on the mean, by one fold
    better = trial({"n_features": 5, "symmetry": "odd"}, 0.25, 0.16, 0.20)
    other = trial({"n_features": 6, "symmetry": "odd"}, 0.20, 0.28, 0.26)  # without a twin
    assert tied.error < plain.error
    assert first_choice([tied, plain, linear]) is plain
    assert first_choice([better, plain, linear]) is better
    assert first_choice([other, linear]) is other
    assert pick_members([tied, plain, linear], FOLDS, 4)[0] is plain
    assert pick_members([better, plain, linear], FOLDS, 4)[0] is better
    cut = trial({"n_features": 5, "symmetry": "odd"}, 0.20, 0.28, 0.26)
    cut.errors = cut.errors[:2]  # the clock ended it before its last fold
    assert first_choice([cut, plain, linear]) is plain
