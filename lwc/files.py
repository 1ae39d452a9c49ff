"""Reading files from outside: only regular ones, never a pipe or a device that would block for ever."""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

from lwc.errors import BadInputError

# A config.json with a thousand labels has 70 KB, a manifest 40.
MAX_JSON_BYTES = 8 * 1024 * 1024

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def open_regular(path: Path, follow_link: bool = True) -> BinaryIO:
    """The regular file `path`, open for reading. Raises BadInputError for all else, a link only if not followed."""
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_link else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
    except FileNotFoundError:
        raise BadInputError(f"{path}: does not exist; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{str(path)[:200]!r}: cannot be opened ({reason}); check the path") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise BadInputError(f"{path}: is not a regular file; give a file")
    return os.fdopen(handle, "rb")


def read_regular(path: Path, limit: int | None = None, follow_link: bool = False) -> bytes:
    """The content of the regular file `path`. Raises BadInputError where it has more than `limit` bytes, too."""
    with open_regular(path, follow_link) as file:
        content = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(content) > limit:
        raise BadInputError(f"{path}: has more than {limit} bytes; is it the right file?")
    return content


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises BadInputError where it is missing, too large or malformed."""
    return parse_json_object(read_regular(path, MAX_JSON_BYTES, follow_link=True), str(path))


def parse_json_object(text: bytes, where: str) -> dict[str, Any]:
    """`text` as a JSON object without duplicate keys; `where` names it in errors (BadInputError)."""
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{where}: is not valid JSON ({one_line(error)}); make the file again") from None
    if not isinstance(value, dict):
        raise BadInputError(
            f"{where}: holds a JSON {type(value).__name__}, not an object; make the file again"
        )
    return value


def one_line(error: BaseException | str, limit: int = 200) -> str:
    """The message of `error` on one line, shortened; the type's name where there is no message.

    Without the addresses that Python shows of objects, which mean nothing to a reader.
    """
    try:
        text = str(error)
    except Exception:
        # An error of a user's own may fail even here.
        text = ""
    return " ".join(_ADDRESS.sub("", text).split())[:limit] or type(error).__name__


def shortened(text: str, limit: int = 80) -> str:
    """`text` in quotes, its end left out where it is long: errors repeat what they were given."""
    return repr(text if len(text) <= limit else f"{text[:limit]}...")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"duplicate key {key!r:.80}")
        result[key] = value
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
