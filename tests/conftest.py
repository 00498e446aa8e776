"""Settings for all tests: no display, and hypothesis without clocks.

`HYPOTHESIS_PROFILE=search pytest` draws new examples at every run; the default draws the same ones.
"""

import os

os.environ["MPLBACKEND"] = "Agg"
# One BLAS thread a worker: more of them fight for the cores that pytest-xdist already fills.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import sys  # noqa: E402

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

_common = {
    "deadline": None,
    "database": None,
    "print_blob": False,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("repeatable", derandomize=True, max_examples=40, **_common)
settings.register_profile("search", max_examples=400, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    """Figures are pyplot's, which keeps them until they are closed."""
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
