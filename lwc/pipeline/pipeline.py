"""Passes in an order: from text, by insertion, and back to text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lwc.errors import BadInputError, LwcError, UsageError
from lwc.files import one_line, shortened
from lwc.pipeline.plugin import load_file, plugin_error, what_is_wrong
from lwc.pipeline.registry import DEFAULT, PASSES, installed_passes, make_pass, with_options
from lwc.pipeline.rewrite import Pass
from lwc.pipeline.text import PATHS, split_options, split_words


@dataclass(frozen=True)
class Pipeline:
    """Passes in the order in which they run; its text form is what `--passes` takes.

    Raises UsageError where a pass stands before one that it requires, BadInputError where two different passes have
    the same name.
    """

    passes: tuple[Pass[Any], ...]

    def __post_init__(self) -> None:
        seen: dict[str, Pass[Any]] = {}
        for item in self.passes:
            _require_pass(item)
            for needed in item.requires:
                if needed not in seen:
                    raise UsageError(
                        f"pass {item.name!r}: needs {needed!r} before it; add it, or leave both out"
                    )
            if _origin(seen.setdefault(item.name, item)) != _origin(item):
                raise _clash(item, _origin(seen[item.name]))

    @classmethod
    def parse(cls, text: str, extra: Sequence[str] = ()) -> "Pipeline":
        """From `default`, `default,-fuse-activation` or a list such as `fold-constants{max-elements=9},my.py:MyPass`.

        Each of `extra` is a pass to add, as in `with_pass`.
        """
        items: list[Pass[Any]] = []
        for word in split_words(text):
            if word == "default":
                items += [make_pass(name) for name in DEFAULT]
            elif word.startswith("-"):
                name = word[1:]
                left = [item for item in items if item.name != name]
                if len(left) == len(items):
                    name = make_pass(name).name
                    raise UsageError(
                        f"pass {name!r}: not in the list before '-{name}'; remove it after it is added"
                    )
                items = left
            else:
                items.append(_made(word))
        pipeline = cls(tuple(items))
        for spec in extra:
            pipeline = pipeline.with_pass(spec)
        return pipeline

    def with_pass(self, spec: str) -> "Pipeline":
        """With one more pass: `NAME` or `FILE.py:Class`, then `{options}`, `,after=NAME` or `,before=NAME`.

        Without a place it goes to the end.
        """
        word, *places = split_words(spec)
        side, _, name = places[0].partition("=") if places else ("", "", "")
        if len(places) > 1 or (places and side not in ("after", "before")):
            raise UsageError(
                f"--pass {shortened(spec)}: malformed; write FILE.py:Class,after=NAME or FILE.py:Class,before=NAME;"
                f" {PATHS}"
            )
        if side:
            # Before the file is run.
            self._positions(name)
        item = _made(word)
        if not places:
            return Pipeline((*self.passes, item))
        return self.insert_after(name, item) if side == "after" else self.insert_before(name, item)

    def insert_before(self, name: str, item: Pass[Any]) -> "Pipeline":
        """With `item` before the first pass called `name`. Raises UsageError where there is none."""
        position = self._positions(name)[0]
        return Pipeline((*self.passes[:position], item, *self.passes[position:]))

    def insert_after(self, name: str, item: Pass[Any]) -> "Pipeline":
        """With `item` after the first pass called `name`. Raises UsageError where there is none."""
        position = self._positions(name)[0] + 1
        return Pipeline((*self.passes[:position], item, *self.passes[position:]))

    def _positions(self, name: str) -> list[int]:
        found = [position for position, item in enumerate(self.passes) if item.name == name]
        if not found:
            names = ", ".join(dict.fromkeys(item.name for item in self.passes)) or "none"
            raise UsageError(f"pass {shortened(name)}: not in the pipeline; choose from {names}")
        return found

    def has_text(self) -> bool:
        """Whether its text form gives it again.

        Not where a class is known to Python alone, or an option or a path has a comma or a brace.
        """
        try:
            return Pipeline.parse(str(self)) == self
        except LwcError:
            return False

    def __str__(self) -> str:
        return ",".join(map(str, self.passes))


def _made(word: str) -> Pass[Any]:
    """The pass that `NAME{options}` or `FILE.py:Class{options}` means."""
    name, options = split_options(word)
    file, colon, class_name = name.rpartition(":")
    if not colon and not name.endswith(".py") and "/" not in name:
        return make_pass(name, options)
    if not file or not class_name.isidentifier():
        raise UsageError(
            f"pass {shortened(name)}: names no class of a file; write FILE.py:Class, and {PATHS}"
        )
    item = with_options(load_file(Path(file), class_name), options)
    if item.name in PASSES:
        raise _clash(item, "lwc's own")
    rivals = installed_passes().get(item.name)
    if rivals is not None:
        raise _clash(item, rivals[0].value)
    return item


def _require_pass(item: Any) -> None:
    if isinstance(item, type):
        raise UsageError(f"pipeline: {item.__name__} is a class; write {item.__name__}()")
    if not isinstance(item, Pass):
        raise UsageError(
            f"pipeline: {one_line(repr(item))} is not a pass; give instances of lwc.pipeline.Pass"
        )
    wrong = what_is_wrong(type(item))
    if wrong is not None:
        raise plugin_error(_origin(item), wrong)


def _origin(item: Pass[Any]) -> str:
    """Where the class is from; the same where a file was run twice."""
    return f"{type(item).__module__}:{type(item).__name__}"


def _clash(item: Pass[Any], rival: str) -> BadInputError:
    return BadInputError(
        f"pass {item.name!r} ({_origin(item)}): has the name of another pass ({rival}); rename it"
    )
