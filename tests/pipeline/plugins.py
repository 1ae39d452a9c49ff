"""A plug-in that is good, and what tests of plug-ins ask."""

from collections.abc import Callable
from typing import Any

import pytest

from lwc.errors import LwcError
from lwc.pipeline import Pipeline

HEAD = """\
from dataclasses import dataclass
from typing import ClassVar
from lwc.graph import aten
from lwc.pipeline import Pass

"""
GOOD = f'''{HEAD}
@dataclass(frozen=True)
class MyPass(Pass):
    """ReLU becomes a clamp."""

    name: ClassVar[str] = "my-pass"
    option: int = 0
    fast: bool = False

    def __post_init__(self):
        if self.option > 9:
            raise ValueError("option is above 9")

    def match(self, program, node):
        return node if node.target is aten.relu.default else None

    def refuse(self, program, match):
        return "it is too old" if self.option == 7 else None

    def rewrite(self, program, match):
        match.target = aten.clamp_min.default
        match.args = (match.args[0], 0)
'''

# Writes a plug-in's text to a file, and gives its spec.
Write = Callable[..., str]
# Puts a package with a plug-in where Python finds it.
Install = Callable[..., None]

# Parts of GOOD that tests change.
NAME = 'name: ClassVar[str] = "my-pass"'
MATCH = "return node if node.target is aten.relu.default else None"
REFUSE = 'return "it is too old" if self.option == 7 else None'
REWRITE = "match.target = aten.clamp_min.default\n        match.args = (match.args[0], 0)"


def changed(old: str, new: str) -> str:
    """The good plug-in with `new` in place of `old`."""
    assert old in GOOD
    return GOOD.replace(old, new)


def names(pipeline: Pipeline) -> list[str]:
    """The passes in order."""
    return [item.name for item in pipeline.passes]


def line_of(error: type[LwcError], call: Callable[[], Any]) -> str:
    """The one line of the `error` that `call` raises."""
    with pytest.raises(error) as caught:
        call()
    line = str(caught.value)
    assert "\n" not in line
    assert " at 0x" not in line
    return line
