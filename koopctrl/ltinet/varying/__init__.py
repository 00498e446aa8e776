"""Networks whose weights depend on a measured parameter."""

from koopctrl.ltinet.varying.network import ParameterNetwork
from koopctrl.ltinet.varying.scheduled import ScheduledLQR

__all__ = ["ParameterNetwork", "ScheduledLQR"]
