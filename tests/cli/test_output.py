"""Text in columns, and numbers as people read them."""

import pytest

from lwc.cli import units
from lwc.cli.output import table


def test_columns_are_aligned_and_nothing_is_cut() -> None:
    assert table(("name", "size"), [("a", "10"), ("b" * 90, "7")], right=("size",)) == (
        f"name{' ' * 86}  size\na{' ' * 89}    10\n{'b' * 90}     7"
    )


def test_a_hostile_cell_stays_in_its_line() -> None:
    assert table(("label",), [("cat\n\x1b[2Jdog",)]) == "label\ncat \\x1b[2Jdog"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (4_231_976, "4.23 M"),
        (568_740_352, "569 M"),
        (999_999, "1.00 M"),
    ],
)
def test_counts_have_three_digits(value: int, text: str) -> None:
    assert units.short_count(value) == text


def test_sizes_shapes_and_errors() -> None:
    assert units.short_bytes(16_927_808) == "16.9 MB"
    assert units.short_bytes(12) == "12 B"
    assert units.short_shape((1, 3, 224, 224)) == "1x3x224x224"
    assert units.short_shape(()) == "scalar"
    assert units.short_float(1.23456e-6) == "1.23e-06"
