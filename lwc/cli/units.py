"""Numbers as people read them, to three digits."""

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def short_count(value: int) -> str:
    """`569 M` for 568740352."""
    return _short(value, "")


def short_bytes(value: int) -> str:
    """`16.9 MB` for 16927808: decimal units, as disks and `ls --si` count."""
    return _short(value, "B")


def short_seconds(value: float) -> str:
    """`12.3 s`."""
    return f"{value:.1f} s"


def short_microseconds(value: float) -> str:
    """`57.9 us`."""
    return f"{value:.1f} us"


def short_float(value: float) -> str:
    """`1.23e-06`: three digits, an exponent where it is shorter."""
    return f"{value:.3g}"


def short_shape(shape: tuple[int, ...]) -> str:
    """`1x3x224x224`; `scalar` where there are no dimensions."""
    return "x".join(map(str, shape)) or "scalar"


def _short(value: float, unit: str) -> str:
    for factor, prefix in _PREFIXES:
        if value >= 0.9995 * factor:
            scaled = value / factor
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {prefix}{unit}"
    return f"{value} {unit}".rstrip()
