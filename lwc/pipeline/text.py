"""The text form of pipelines: words between commas, each a pass with options in braces.

A pass is a name, or `FILE.py:Class` where no part of the path has a comma or a brace.
"""

from lwc.errors import UsageError

PATHS = "no path may have a comma or a brace"


def split_words(text: str) -> list[str]:
    """The words between commas that are not inside braces. Raises UsageError for malformed text."""
    words, depth = [""], 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth not in (0, 1):
            raise UsageError(
                f"passes {text!r}: braces do not match; write pass{{option=value}}{_of_paths(text)}"
            )
        if character == "," and depth == 0:
            words.append("")
        else:
            words[-1] += character
    words = [word.strip() for word in words]
    if depth or not all(words):
        raise UsageError(f"passes {text!r}: malformed; write a,b{{option=value}},c{_of_paths(text)}")
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
            hint = _of_paths(word)
            raise UsageError(f"passes: {word!r} is malformed; write {name}{{option=value}}{hint}")
        if key in options:
            raise UsageError(f"pass {name!r}: option {key!r} is given twice; give it once")
        options[key] = value
    return name, options


def _of_paths(text: str) -> str:
    return f"; {PATHS}" if ".py" in text else ""
