"""Tuning by hand: a page with sliders, served to this machine alone, and a closed loop that follows them."""

from koopctrl.tune.disturbed import Disturbed
from koopctrl.tune.server import serve
from koopctrl.tune.settings import Settings

__all__ = ["Disturbed", "Settings", "serve"]
