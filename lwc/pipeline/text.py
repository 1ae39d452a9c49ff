"""The text form of pipelines: words between commas, each a pass with options in braces.

A pass is a name, or `FILE.py:Class` where no part of the path has a comma or a brace.
"""

from lwc.errors import UsageError
from lwc.files import one_line, shortened

PATHS = "no path may have a comma or a brace"


def split_words(text: str) -> list[str]:
    """The words between commas that are not inside braces. Raises UsageError for malformed text."""
    words, depth = [""], 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth not in (0, 1):
            raise UsageError(
                f"passes {shortened(text)}: braces do not match; write pass{{option=value}}{_of_paths(text)}"
            )
        if character == "," and depth == 0:
            words.append("")
        else:
            words[-1] += character
    words = [word.strip() for word in words]
    if depth or not all(words):
        raise UsageError(f"passes {shortened(text)}: malformed; write a,b{{option=value}},c{_of_paths(text)}")
    return words


def split_options(word: str) -> tuple[str, dict[str, str]]:
    """The name and the options of `name{option=value,...}`. Raises UsageError for a malformed word."""
    name, brace, rest = word.partition("{")
    if not brace:
        return name, {}
    options: dict[str, str] = {}
    inside, _, after = rest.partition("}")
    for item in inside.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or after:
            raise UsageError(
                f"passes: {shortened(word)} is malformed; write {one_line(name, 80)}{{option=value}}{_of_paths(word)}"
            )
        if key in options:
            raise UsageError(f"pass {shortened(name)}: option {shortened(key)} is given twice; give it once")
        options[key] = value
    return name, options


def _of_paths(text: str) -> str:
    return f"; {PATHS}" if ".py" in text else ""
