"""Times as option values."""

import re

import click

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh]?)")
_LONGEST = 7 * 24 * 3600


def duration(text: str) -> float:
    """The seconds that `90s`, `10m`, `1h` or a plain number means. Raises click.BadParameter for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r:.40} is not a time such as 90s, 10m or 1h.")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST:
        raise click.BadParameter(f"{text!r:.40} is not above 0 and at most a week.")
    return seconds
