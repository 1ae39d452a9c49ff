"""What a pass is."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, Generic, TypeVar

from torch import fx

from lwc.trace import Program

Match = TypeVar("Match")


@dataclass(frozen=True)
class Pass(Generic[Match]):
    """A rewrite of the graph: it matches, and then refuses with a reason or rewrites.

    A subclass is a frozen dataclass whose fields are its options, each with a default of type bool, int, float or
    str. Whoever runs it walks the graph, counts, removes dead code, checks the graph and computes shapes anew.

    name: of lower-case words, as in `fold-batch-norm`.
    requires: the passes that it needs before it.
    introduces: the operators of lwc that it may write into the graph, as in `lwc.conv2d.default`.
    repeat: whether it goes over the graph again until nothing matches.
    redefines: whether it changes what the model gives, on purpose: what comes after is held against its result.
        Not for passes from outside.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    introduces: ClassVar[tuple[str, ...]] = ()
    repeat: ClassVar[bool] = False
    redefines: ClassVar[bool] = False

    def match(self, program: Program, node: fx.Node) -> Match | None:
        """What is at `node` that this pass is about, or None. Changes nothing."""
        raise NotImplementedError(f"{type(self).__name__} does not define match")

    def refuse(self, program: Program, match: Match) -> str | None:
        """Why `match` must stay as it is, in one sentence without a full stop, or None. Changes nothing."""
        return None

    def rewrite(self, program: Program, match: Match) -> str | None:
        """Rewrite `match` in `program.module.graph`; may say what it decided, in one sentence without a full stop.

        `program.target` has the capabilities of the machine, None where it is not known.
        A new node's `meta["val"]` has to be set only where this pass's later matches read it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define rewrite")

    def candidates(self, program: Program) -> Iterator[tuple[fx.Node, Match]]:
        """Each node that matches, with its match, in the graph's order; the graph may change meanwhile."""
        for node in list(program.module.graph.nodes):
            # An earlier rewrite may have erased it.
            match = None if node._erased else self.match(program, node)
            if isinstance(match, bool):
                raise TypeError(f"match returned {match} at {node.name!r}, not what rewrite needs, or None")
            if match is not None:
                yield node, match

    def __str__(self) -> str:
        kind = type(self)
        # A class from a file has the file's path for its module, and only there its name.
        name = f"{kind.__module__}:{kind.__name__}" if os.path.isabs(kind.__module__) else self.name
        options = ",".join(
            f"{f.name.replace('_', '-')}={getattr(self, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        )
        return f"{name}{{{options}}}" if options else name
