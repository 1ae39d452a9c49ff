"""What installed packages offer to lwc: entry points."""

from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lwc.errors import STOPS, BadInputError
from lwc.files import one_line


def offers(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of `group` by name: several where packages that differ use the same name.

    Raises BadInputError where an installed package's entry points cannot be read.
    """
    try:
        points = entry_points(group=group)
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise refused("installed packages", f"an entry_points.txt is malformed ({reason})") from error
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in points:
        others = found.get(point.name, ())
        if point.value not in [other.value for other in others]:
            found[point.name] = (*others, point)
    return found


def load_offer(kind: str, points: tuple[EntryPoint, ...], own: Collection[str]) -> tuple[str, Any]:
    """How errors name the one of `points`, which is a `kind` ("pass"), and the object behind it.

    Raises BadInputError where lwc's `own` names have its name, or another package uses it, or it cannot be imported.
    """
    point, *others = points
    origin = f"{kind} {point.name!r} ({point.value})"
    if others or point.name in own:
        rival = "lwc" if point.name in own else others[0].value
        raise refused(origin, f"has the name of a {kind} of {rival}")
    try:
        return origin, point.load()
    except STOPS:
        raise
    except BaseException as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise refused(origin, f"cannot be imported ({reason})") from error


def refused(origin: str, what: str) -> BadInputError:
    """The error of a package's offer that cannot be used."""
    return BadInputError(f"{origin}: {what}; mend the package, or uninstall it")
