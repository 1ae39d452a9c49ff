"""A graph node's operands by name."""

from typing import Any

from torch import fx


def named_arguments(node: fx.Node) -> dict[str, Any]:
    """The node's arguments by their names in its operator's schema, defaults filled in."""
    values: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if position < len(node.args):
            values[argument.name] = node.args[position]
        else:
            values[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return values
