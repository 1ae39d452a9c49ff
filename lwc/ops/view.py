"""A graph node's operands by name."""

from dataclasses import dataclass
from typing import Any, Self

from torch import fx


@dataclass(frozen=True)
class OperatorView:
    """The operands of a node that calls one of lwc's operators: a field each, in the order of its schema."""

    @classmethod
    def of(cls, node: fx.Node) -> Self:
        """The view of `node`; lists become tuples."""
        values = named_arguments(node)
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The positional arguments that make a node of this view."""
        return tuple(list(value) if isinstance(value, tuple) else value for value in self.__dict__.values())


def named_arguments(node: fx.Node) -> dict[str, Any]:
    """The node's arguments by their names in its operator's schema, defaults filled in."""
    values: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if position < len(node.args):
            values[argument.name] = node.args[position]
        else:
            values[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return values
