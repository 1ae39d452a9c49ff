"""lwc compiles lightweight vision models into small, self-contained shared libraries.

`lwc.load(package)` runs a package with numpy alone; `lwc.compile(model, target=...)` makes one.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lwc.api import compile
    from lwc.package.load import load

__all__ = ["compile", "load"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: loading a package must not bring PyTorch in.
    if name == "load":
        from lwc.package.load import load

        return load
    if name == "compile":
        from lwc.api import compile

        return compile
    raise AttributeError(f"module 'lwc' has no attribute {name!r}")
