"""Passes from outside: a class in a file of the user's, or in an installed package."""

import dataclasses
import functools
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from lwc.errors import STOPS, BadInputError
from lwc.files import one_line, shortened
from lwc.pipeline.rewrite import Pass

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def plugin_error(origin: str, what: str, cause: BaseException | None = None) -> BadInputError:
    """The error of a plug-in that cannot be used."""
    reason = "" if cause is None else f" ({type(cause).__name__}: {one_line(cause)})"
    return BadInputError(f"{origin}: {what}{reason}; mend the plug-in, or leave it out")


def load_file(path: Path, class_name: str) -> type[Pass[Any]]:
    """The pass `class_name` of the Python file `path`, which is run.

    Raises BadInputError where there is none, or it is not a pass.
    """
    path = Path(os.path.expanduser(path))
    shown = one_line(str(path))
    if path.suffix != ".py":
        raise BadInputError(f"{shown}: is not a Python file; write --pass FILE.py:Class")
    # Path.is_file raises for a name that is too long.
    if not os.path.isfile(path):
        raise BadInputError(f"{shown}: no such file; write --pass FILE.py:Class")
    try:
        content = _run_file(path.resolve(), path.read_bytes())
    except STOPS:
        raise
    except BaseException as error:
        raise plugin_error(shown, "cannot be imported", error) from error
    if class_name not in content:
        own = [key for key, kind in content.items() if _is_pass(kind) and kind is not Pass]
        hint = f"it has {', '.join(own)}" if own else "write --pass FILE.py:Class"
        raise BadInputError(f"{shown}: has no class {shortened(class_name)}; {hint}")
    return checked_pass(f"{shown}:{class_name}", content[class_name])


@functools.cache
def _run_file(path: Path, source: bytes) -> dict[str, Any]:
    """What the Python file `path`, which holds `source`, defines; the same classes each time."""
    # Messages and a pass's text form show a class's module, and no importable one has a path for its name.
    module = ModuleType(str(path))
    module.__file__ = str(path)
    # Dataclasses look their module up.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return vars(module)


def checked_pass(origin: str, kind: Any, name: str | None = None) -> type[Pass[Any]]:
    """`kind`, which came from `origin` and may have to have a name.

    Raises BadInputError where it is not a usable pass: not a frozen dataclass that derives from Pass, without a name
    or a method, or with an option that text cannot give.
    """
    wrong = what_is_wrong(kind)
    if wrong is None and name not in (None, kind.name):
        wrong = f"its class has the name {kind.name!r}"
    if wrong is not None:
        raise plugin_error(origin, wrong)
    checked: type[Pass[Any]] = kind
    return checked


def what_is_wrong(kind: Any) -> str | None:
    """Why `kind` is not a usable pass, in a few words; None where it is one."""
    if not _is_pass(kind):
        return "is not a class that derives from lwc.pipeline.Pass"
    if "__dataclass_fields__" not in vars(kind) or not kind.__dataclass_params__.frozen:
        return "is not a frozen dataclass; put @dataclass(frozen=True) before it"
    return _wrong_attributes(kind) or _wrong_methods(kind) or _wrong_options(kind)


def _is_pass(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Pass)


def _wrong_attributes(kind: type[Pass[Any]]) -> str | None:
    options = {field.name for field in dataclasses.fields(kind)}
    for attribute in ("name", "requires", "introduces", "repeat", "redefines"):
        if attribute in options:
            return f"its {attribute!r} is an option; write {attribute}: ClassVar[...]"
    own = getattr(kind, "name", None)
    if not isinstance(own, str):
        return 'has no name; write name: ClassVar[str] = "my-pass" in it'
    if own == "default":
        return "its name is 'default', which means lwc's own pipeline"
    if not _NAME.fullmatch(own):
        return f"its name is {own!r}, not lower-case words joined by hyphens"
    if not isinstance(kind.__doc__, str | None):
        return "its docstring is not text"
    for attribute in ("requires", "introduces"):
        value = getattr(kind, attribute)
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            return f"its {attribute!r} is not a tuple of names"
    if kind.redefines and not kind.__module__.startswith("lwc.passes."):
        return "its 'redefines' is set; only lwc's own passes may change what a model gives"
    return None


def _wrong_methods(kind: type[Pass[Any]]) -> str | None:
    if kind.rewrite is Pass.rewrite:
        return "does not define rewrite"
    if kind.match is Pass.match and kind.candidates is Pass.candidates:
        return "does not define match"
    for method in ("match", "refuse", "rewrite", "candidates"):
        if not callable(getattr(kind, method)):
            return f"its {method!r} is not a method"
    return None


def _wrong_options(kind: type[Pass[Any]]) -> str | None:
    for field in dataclasses.fields(kind):
        if type(field.default) not in (bool, int, float, str) or not field.init:
            return f"its option {field.name!r} has no default of type bool, int, float or str"
    return None
