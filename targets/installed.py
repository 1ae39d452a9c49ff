"""Targets of installed packages: the group of entry points `lwc.targets`, `name = "module:TARGET"`."""

import re
from importlib.metadata import EntryPoint, entry_points

from lwc.errors import BadInputError
from lwc.files import one_line
from lwc.targets.target import Target

GROUP = "lwc.targets"
_TRIPLES = ("x86_64-linux-gnu", "aarch64-linux-gnu")


def installed_targets(own: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Those targets by name; `own` are lwc's names.

    Raises BadInputError where two have the same name, or one has a name of lwc's.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        rival = "lwc" if point.name in own else found.get(point.name, point).value
        if rival != point.value:
            raise _error(point, f"has the name of a target of {rival}")
        found[point.name] = point
    return found


def load_installed(point: EntryPoint) -> Target:
    """The target behind an entry point. Raises BadInputError where it cannot be imported or is no usable Target."""
    try:
        target = point.load()
    except (Exception, SystemExit) as error:
        raise _error(point, f"cannot be imported ({type(error).__name__}: {one_line(error)})") from error
    wrong = _what_is_wrong(point.name, target)
    if wrong is not None:
        raise _error(point, wrong)
    assert isinstance(target, Target)
    return target


def _error(point: EntryPoint, what: str) -> BadInputError:
    return BadInputError(f"target {point.name!r} ({point.value}): {what}; mend the package, or uninstall it")


def _what_is_wrong(name: str, target: object) -> str | None:
    if not isinstance(target, Target):
        return f"is a {type(target).__name__}, not a lwc.targets.target.Target"
    if target.name != name:
        return f"calls itself {target.name!r}"
    if target.triple not in _TRIPLES:
        return f"its triple is {target.triple!r}, not {' or '.join(_TRIPLES)}"
    return _wrong_number(target) or _wrong_text(target)


def _wrong_number(target: Target) -> str | None:
    if target.vector_bits not in (128, 256, 512):
        return f"its vector_bits are {target.vector_bits!r}, not 128, 256 or 512"
    for field in ("vector_registers", "l1_bytes", "l2_bytes", "cores"):
        value = getattr(target, field)
        if not isinstance(value, int) or value < 1:
            return f"its {field} is {value!r}, not a whole number above 0"
    return None


def _wrong_text(target: Target) -> str | None:
    for field in ("features", "cpu_features"):
        value = getattr(target, field)
        if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
            return f"its {field} are not a tuple of names"
    if not all(re.fullmatch(r"[+-][\w.-]+", feature) for feature in target.features):
        return "its features are not written with their sign, as in '+dotprod'"
    if not re.fullmatch(r"[\w.-]+", str(target.cpu)) or not re.fullmatch(r"\d+\.\d+", str(target.glibc)):
        return "its cpu or its glibc is malformed"
    return None
