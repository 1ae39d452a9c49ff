"""Putting a package in its place: complete, or not at all, and never over what is not a package of ours."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lwc.errors import BadInputError, LwcError, ResourceError
from lwc.package.manifest import MANIFEST_NAME, read_manifest


def check_destination(output: Path) -> None:
    """Raises BadInputError where a package must not be written to `output`: it would destroy something else."""
    try:
        if output.is_symlink():
            raise BadInputError(f"{output}: is a symbolic link; choose another folder with -o")
        if not output.exists():
            return
        if not output.is_dir():
            raise BadInputError(f"{output}: exists and is not a folder; choose another one with -o")
        if output.samefile(os.curdir):
            raise BadInputError(f"{output}: is the current folder; choose another one with -o")
        present = set(os.listdir(output))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{str(output)[:200]!r}: {reason}; choose another folder with -o") from None
    if not present:
        return
    foreign = sorted(present - _own_files(output))
    if foreign:
        raise BadInputError(
            f"{output}: holds {foreign[0]!r}, which lwc did not write; choose another folder with -o"
        )


def _own_files(folder: Path) -> set[str]:
    """The files that the manifest in `folder` lists, and itself; none where it is not a package."""
    try:
        return {MANIFEST_NAME, *read_manifest(folder).files}
    except LwcError:
        return set()


@contextmanager
def package_folder(output: Path) -> Iterator[Path]:
    """A new folder beside `output` that takes its place when the block ends well, and vanishes when not.

    Raises BadInputError where it cannot be made, or where `output` must not be replaced.
    """
    check_destination(output)
    # The block may change the current folder.
    output = output.parent.resolve() / output.name
    made = [folder for folder in output.parents if not folder.exists()]
    try:
        partial = _make_partial(output)
        try:
            yield partial
            _replace(partial, output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _make_partial(output: Path) -> Path:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Too long a name shows only once its folder exists.
        check_destination(output)
        return Path(tempfile.mkdtemp(prefix=f".{output.name[:100]}.partial-", dir=output.parent))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(
            f"{output.parent}: cannot be written ({reason}); choose another folder with -o"
        ) from None


def _replace(partial: Path, output: Path) -> None:
    """Move `partial` to `output`; an older package there is moved away first and comes back if that fails."""
    check_destination(output)
    old = partial.with_name(f"{partial.name}.old")
    try:
        partial.chmod(0o755)
        if output.exists():
            output.rename(old)
        partial.rename(output)
    except BaseException as error:
        # Not where another process has put its package there meanwhile.
        if old.exists() and not output.exists():
            old.rename(output)
        if not isinstance(error, OSError):
            raise
        raise ResourceError(
            f"{output}: cannot be written ({error.strerror}); choose another folder"
        ) from error
    finally:
        shutil.rmtree(old, ignore_errors=True)
