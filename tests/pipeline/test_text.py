"""The text form of a pipeline: how it is read, and what is said of one that cannot be."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from torch import fx

from lwc.errors import BadInputError, UsageError
from lwc.passes.fold_constants import FoldConstants
from lwc.pipeline import DEFAULT, PASSES, Pass, Pipeline, make_pass
from lwc.pipeline.registry import with_options


@pytest.mark.parametrize(
    "text",
    [
        "fold-constants",
        "fold-constants{max-elements=9}",
        "remove-identities,fold-constants{max-elements=0},raise-operators,fold-padding",
        ",".join(DEFAULT),
    ],
)
def test_the_text_form_round_trips(text: str) -> None:
    assert str(Pipeline.parse(text)) == text
    assert Pipeline.parse(str(Pipeline.parse(text))) == Pipeline.parse(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("default", ",".join(DEFAULT)),
        (" raise-operators , fold-padding ", "raise-operators,fold-padding"),
        ("fold-constants{ max-elements = 7 }", "fold-constants{max-elements=7}"),
        (f"fold-constants{{max-elements={1 << 22}}}", "fold-constants"),
        ("default,-fuse-activation", ",".join(name for name in DEFAULT if name != "fuse-activation")),
        # All of a name go, and may come again.
        ("default,-fold-constants", ",".join(name for name in DEFAULT if name != "fold-constants")),
        ("fold-constants,-fold-constants,remove-identities", "remove-identities"),
        ("raise-operators,-raise-operators,raise-operators", "raise-operators"),
    ],
)
def test_the_text_form_is_read(text: str, canonical: str) -> None:
    assert str(Pipeline.parse(text)) == canonical


def test_every_pass_has_its_name_and_can_be_made() -> None:
    assert {name: make_pass(name).name for name in PASSES} == {name: name for name in PASSES}
    assert set(DEFAULT) <= set(PASSES)


def test_passes_are_values() -> None:
    assert make_pass("fold-constants", {"max-elements": "5"}) == FoldConstants(max_elements=5)
    assert hash(make_pass("fold-padding")) == hash(make_pass("fold-padding"))


MALFORMED = "malformed; write a,b{option=value},c"
BRACES = "braces do not match; write pass{option=value}"
PATHS = "no path may have a comma or a brace"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold-pading", "pass 'fold-pading': unknown; did you mean fold-padding?"),
        ("xyz", f"pass 'xyz': unknown; choose from {', '.join(PASSES)}"),
        ("-xyz", f"pass 'xyz': unknown; choose from {', '.join(PASSES)}"),
        (
            "fold-constants{max-elements=-1}",
            "pass 'fold-constants': max-elements -1: out of range; give 0 or more",
        ),
        ("fold-padding{n=1}", "pass 'fold-padding': no option 'n'; it has none"),
        ("fold-constants{n=1}", "pass 'fold-constants': no option 'n'; it has max-elements"),
        ("fold-constants{max-elements=many}", "pass 'fold-constants': option max-elements=many is not int"),
        ("fold-constants{max-elements=}", "pass 'fold-constants': option max-elements= is not int"),
        ("fold-constants{max-elements=1.5}", "pass 'fold-constants': option max-elements=1.5 is not int"),
        (
            "fold-constants{max-elements=1,max-elements=2}",
            "pass 'fold-constants': option 'max-elements' is given twice; give it once",
        ),
        (
            "fold-constants{max-elements}",
            "passes: 'fold-constants{max-elements}' is malformed; write fold-constants{option=value}",
        ),
        ("fold-constants{}", "passes: 'fold-constants{}' is malformed; write fold-constants{option=value}"),
        (
            "fold-constants{max-elements=1}x",
            "passes: 'fold-constants{max-elements=1}x' is malformed; write fold-constants{option=value}",
        ),
        ("", f"passes '': {MALFORMED}"),
        (",", f"passes ',': {MALFORMED}"),
        ("fold-constants,", f"passes 'fold-constants,': {MALFORMED}"),
        ("fold-constants{max-elements=1", f"passes 'fold-constants{{max-elements=1': {MALFORMED}"),
        ("fold-constants}", f"passes 'fold-constants}}': {BRACES}"),
        ("fold-constants{{max-elements=1}}", f"passes 'fold-constants{{{{max-elements=1}}}}': {BRACES}"),
        ("/a,b/my.py:My", f"pass '/a': names no class of a file; write FILE.py:Class, and {PATHS}"),
        (
            "/{a}/my.py:My",
            f"passes: '/{{a}}/my.py:My' is malformed; write /{{option=value}}; {PATHS}",
        ),
        ("/{a/my.py:My", f"passes '/{{a/my.py:My': {MALFORMED}; {PATHS}"),
        ("/a}/my.py:My", f"passes '/a}}/my.py:My': {BRACES}; {PATHS}"),
        (
            "-fold-padding,default",
            "pass 'fold-padding': not in the list before '-fold-padding'; remove it after it is added",
        ),
        (
            "fold-padding",
            "pass 'fold-padding': needs 'raise-operators' before it; add it, or leave both out",
        ),
        (
            "default,-raise-operators",
            "pass 'fold-batch-norm': needs 'raise-operators' before it; add it, or leave both out",
        ),
        (
            "fuse-activation,raise-operators",
            "pass 'fuse-activation': needs 'raise-operators' before it; add it, or leave both out",
        ),
    ],
)
def test_what_cannot_be_read_is_a_usage_error_of_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline.parse(text)
    assert str(caught.value) == message


def test_every_requirement_is_checked() -> None:
    needy = {name: make_pass(name).requires for name in PASSES if make_pass(name).requires}
    assert needy
    for name, requires in needy.items():
        with pytest.raises(UsageError, match=f"pass '{name}': needs '{requires[0]}' before it"):
            Pipeline((make_pass(name),))
        Pipeline((*map(make_pass, requires), make_pass(name)))


@dataclass(frozen=True)
class Flagged(Pass[fx.Node]):
    """A pass with one option of each kind."""

    name: ClassVar[str] = "flagged"
    enabled: bool = True
    share: float = 0.5
    word: str = "a"


def test_options_of_all_kinds_round_trip() -> None:
    made = with_options(Flagged, {"enabled": "false", "share": "0.25", "word": "b"})
    assert made == Flagged(enabled=False, share=0.25, word="b")
    assert str(made) == "flagged{enabled=False,share=0.25,word=b}"
    with pytest.raises(UsageError, match="pass 'flagged': option enabled=maybe is not bool"):
        with_options(Flagged, {"enabled": "maybe"})


LONG = "x" * 5000


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"-{LONG}",
        f"fold-constants{{{LONG}=1}}",
        f"fold-constants{{max-elements={LONG}}}",
        f"fold-constants{{{LONG}}}",
        f"{LONG}{{a=1,a=2}}",
        f"{LONG}{{a}}",
        f"{LONG}{{{{",
        f"{LONG},,",
        f"{LONG}:",
        f"{LONG}.py:A",
        f"select-depthwise-kernel{{kernel={LONG}}}",
    ],
)
def test_what_is_long_is_cut(text: str) -> None:
    with pytest.raises((UsageError, BadInputError)) as caught:
        Pipeline.parse(text)
    assert "xxx" in str(caught.value)
    assert len(str(caught.value)) < 200 + len(", ".join(PASSES))


@pytest.mark.parametrize(
    "spec", [f"fold-padding,{LONG}", f"fold-padding,after={LONG}", f"{LONG},after=fold-padding"]
)
def test_a_long_place_is_cut(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline.parse("default").with_pass(spec)
    assert len(str(caught.value)) < 200 + len(", ".join(PASSES))


@pytest.mark.parametrize("text", ["nan", "NaN", "-nan"])
def test_an_option_is_a_number_that_equals_itself(text: str) -> None:
    @dataclass(frozen=True)
    class Scaled(Pass[fx.Node]):
        name: ClassVar[str] = "scaled"
        factor: float = 1.0

    assert with_options(Scaled, {"factor": "-1e3"}) == Scaled(-1000.0)
    with pytest.raises(UsageError, match=f"option factor={text} is not float"):
        with_options(Scaled, {"factor": text})
