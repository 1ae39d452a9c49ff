"""What a layer does after its bias."""

from typing import Any


def what_stands_between(view: Any) -> str | None:
    """Why nothing can join the sum of the layer of `view` (ConvView or LinearView); None where it can."""
    if view.residual is not None:
        return "a residual stands between"
    if (view.activation, view.minimum, view.maximum) != ("identity", None, None):
        return "an activation stands between"
    return None
