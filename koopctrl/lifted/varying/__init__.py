"""Linear faces of models with measured parameters: frozen ones, and families that are affine in them."""

from koopctrl.lifted.varying.family import LiftedFamily

__all__ = ["LiftedFamily"]
