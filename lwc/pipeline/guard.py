"""Whose fault a failing pass is: a user's plug-in gets one line, lwc's own pass is a bug."""

from typing import Any

from lwc.errors import BadInputError, LwcError
from lwc.files import one_line
from lwc.pipeline.rewrite import Pass


def is_plugin(item: Pass[Any]) -> bool:
    """Whether `item` is not one of lwc's own passes."""
    return not type(item).__module__.startswith("lwc.passes.")


def described(item: Pass[Any]) -> str:
    """The pass's name, and where a plug-in's class is from."""
    kind = type(item)
    return f"pass {item.name!r}" + (f" ({kind.__module__}:{kind.__name__})" if is_plugin(item) else "")


def blame(item: Pass[Any], what: str, cause: BaseException | None = None) -> Exception:
    """The error to raise where `item` did `what`: BadInputError for a plug-in, AssertionError for lwc's own."""
    if isinstance(cause, LwcError) and not is_plugin(item):
        return cause
    reason = "" if cause is None else f" ({type(cause).__name__}: {one_line(cause)})"
    message = f"{described(item)}: {what}{reason}"
    if is_plugin(item):
        return BadInputError(f"{message}; mend the pass, or leave it out")
    return AssertionError(message)
