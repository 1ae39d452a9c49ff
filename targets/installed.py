"""Targets of installed packages: the group of entry points `lwc.targets`, `name = "module:TARGET"`."""

from collections.abc import Collection
from importlib.metadata import EntryPoint

from lwc.installed import load_offer, offers, refused
from lwc.targets.check import what_is_wrong
from lwc.targets.target import Target

GROUP = "lwc.targets"


def installed_targets() -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of installed packages by the target's name, several where they clash.

    Raises BadInputError where they cannot be read.
    """
    return offers(GROUP)


def load_installed(points: tuple[EntryPoint, ...], own: Collection[str]) -> Target:
    """The target behind `points`, the entry points of one name; `own` are lwc's names.

    Raises BadInputError where its name is taken, it cannot be imported, or it is no usable Target.
    """
    origin, target = load_offer("target", points, own)
    wrong = _what_is_wrong(points[0].name, target)
    if wrong is not None:
        raise refused(origin, wrong)
    assert isinstance(target, Target)
    return target


def _what_is_wrong(name: str, target: object) -> str | None:
    if not isinstance(target, Target):
        return f"is a {type(target).__name__}, not a lwc.targets.target.Target"
    if target.name != name:
        return f"calls itself {target.name!r:.80}"
    # A subclass may leave out what a Target checks when it is made.
    return what_is_wrong(target)
