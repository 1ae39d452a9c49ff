"""What a layer does after its bias."""

from torch import fx

from lwc.ops.view import named_arguments


def what_stands_between(layer: fx.Node) -> str | None:
    """Why nothing can join the sum of `layer`, lwc's or ATen's; None where it can."""
    values = named_arguments(layer)
    if values.get("residual") is not None:
        return "a residual stands between"
    if (values.get("activation", "identity"), values.get("minimum"), values.get("maximum")) != (
        "identity",
        None,
        None,
    ):
        return "an activation stands between"
    return None
