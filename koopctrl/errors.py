"""The kinds of error and warning the package raises.

Every error is a `KoopctrlError` and, so that generic handlers keep working, a
`ValueError` (the caller can mend it) or a `RuntimeError` (the computation failed).
"""


class KoopctrlError(Exception):
    """Base of all errors raised by koopctrl."""


class ShapeError(KoopctrlError, ValueError):
    """An array has the wrong number of dimensions, rows or columns."""


class TimeBaseError(KoopctrlError, ValueError):
    """Sample times are missing, not positive, or differ where two things meet."""


class DataError(KoopctrlError, ValueError):
    """Data are unusable: NaN, inf, too short, constant, unsorted time, or a damaged file."""


class OptionError(KoopctrlError, ValueError):
    """A setting is outside the values it may take."""


class NotFittedError(KoopctrlError, RuntimeError):
    """A model is used before `fit`."""


class SolverError(KoopctrlError, RuntimeError):
    """A numerical solver failed and no usable result exists."""


class KoopctrlWarning(UserWarning):
    """Base of all warnings issued by koopctrl."""


class NumericalWarning(KoopctrlWarning):
    """Rank loss, ill-conditioning, an unstable lifted model, or an infeasible QP."""


class DesignWarning(KoopctrlWarning):
    """A controller does not do on the network it was made from what its own model promises."""


class RolloutWarning(KoopctrlWarning):
    """A roll-out left the range of the data the model was identified from."""
