"""Names that C accepts, out of names that people give."""

import re

_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept
    const const_cast consteval constexpr constinit continue co_await co_return co_yield decltype default
    delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline
    int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected
    public register reinterpret_cast requires restrict return short signed sizeof static static_assert
    static_cast struct switch template this thread_local throw true try typedef typeid typename typeof
    typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq linux unix main
"""
# Of C23 and C++20, since a header serves both.
_RESERVED = frozenset(_KEYWORDS.split())
# Whose lib*.so processes have loaded already: a model's library must not take their place.
_LIBRARIES = ("c", "m", "dl", "rt", "pthread", "gcc_s")
_LIMIT = 64


def c_identifier(text: str, suffix: str) -> str:
    """`text` as a lower-case C identifier of at most 64 characters, with _`suffix` where it is reserved.

    What C does not allow becomes an underscore, so that different texts may give one name.
    """
    name = re.sub(r"[^a-z0-9_]+", "_", text.lower())
    name = re.sub(r"__+", "_", name)[:_LIMIT].strip("_")
    if not name or name[0].isdigit():
        name = f"{suffix}_{name}".strip("_")[:_LIMIT].rstrip("_")
    return f"{name}_{suffix}" if name in _RESERVED else name


def model_name(text: str) -> str:
    """A C identifier for a model called `text`, which names its functions and its library."""
    name = c_identifier(text, "model")
    return f"{name}_model" if name in _LIBRARIES else name


def unique_identifiers(texts: list[str], suffix: str) -> tuple[str, ...]:
    """An identifier for each of `texts`, all different; a number is appended where two would be one."""
    names: list[str] = []
    for text in texts:
        base = name = c_identifier(text, suffix)
        number = 2
        while name in names:
            name = f"{base[: _LIMIT - 8]}_{number}"
            number += 1
        names.append(name)
    return tuple(names)
