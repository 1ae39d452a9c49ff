"""The pipeline: its text form, its errors, its counts, and what its hook is given."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from torch import fx, nn

from lwc.errors import BadInputError, UsageError
from lwc.graph import readable
from lwc.passes.fold_constants import FoldConstants
from lwc.pipeline import DEFAULT, PASSES, Pass, Pipeline, Step, make_pass, run_pipeline
from lwc.pipeline.registry import with_options
from lwc.trace import Program
from tests.programs import operators, program_of, run

IMAGE = (2, 3, 8, 6)


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    """A convolution, batch norm and activation behind padding and dropout, and a linear head."""
    layers = nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )
    return program_of(layers, IMAGE, rng=rng)


# The text form.


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
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "spec", [f"fold-padding,{LONG}", f"fold-padding,after={LONG}", f"{LONG},after=fold-padding"]
)
def test_a_long_place_is_cut(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline.parse("default").with_pass(spec)
    assert len(str(caught.value)) < 600


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


# Running.


def test_the_counts_are_true(program: Program) -> None:
    after, records = run_pipeline(Pipeline.parse("default"), program)
    assert [record.name for record in records] == list(DEFAULT)
    assert {record.name: record.count for record in records if record.count} == {
        "remove-identities": 1,
        "raise-operators": 2,
        "fold-padding": 1,
        "fold-batch-norm": 1,
        "fuse-activation": 1,
        "convert-layout": 1,
        "sink-transposes": 3,
    }
    assert all(record.seconds > 0 for record in records)
    assert operators(after) == [
        "lwc.conv2d.default",
        "aten.mean.dim",
        "aten.reshape.default",
        "lwc.linear.default",
    ]


def test_the_input_program_stays_as_it_is(program: Program) -> None:
    graph, x = readable(program.module.graph), program.inputs[0]
    state = {name: value.clone() for name, value in program.module.state_dict().items()}
    (want,) = run(program, (x,))
    run_pipeline(Pipeline.parse("default"), program)
    assert readable(program.module.graph) == graph
    assert program.module.state_dict().keys() == state.keys()
    assert all(torch.equal(program.module.state_dict()[name], value) for name, value in state.items())
    assert torch.equal(run(program, (x,))[0], want)


def test_only_the_parameters_in_use_are_left(program: Program) -> None:
    after, _ = run_pipeline(Pipeline.parse("default"), program)
    used = {str(node.target) for node in after.module.graph.nodes if node.op == "get_attr"}
    assert set(after.module.state_dict()) == used
    # Weight and bias of two layers.
    assert len(used) == 4


def test_a_parameter_whose_neighbour_stays_goes_too(rng: torch.Generator) -> None:
    """The convolution's own weight is not used once the batch norm is folded, but its bias is."""
    parts = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    program = program_of(lambda own, norm, x: norm(own(x)) + own.bias.sum(), IMAGE, rng=rng, parts=parts)
    after, _ = run_pipeline(Pipeline.parse("raise-operators,fold-batch-norm"), program)
    used = {str(node.target) for node in after.module.graph.nodes if node.op == "get_attr"}
    assert set(after.module.state_dict()) == used


class ShapeCheck(fx.Interpreter):
    """Runs a program and compares each value with what its node says of it."""

    checked = 0

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, checked."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and n.op != "output":
            assert (value.shape, value.dtype) == (n.meta["val"].shape, n.meta["val"].dtype), n.name
            self.checked += 1
        return value


def test_shapes_are_up_to_date_after_every_pass(program: Program) -> None:
    def hook(step: Step) -> None:
        check = ShapeCheck(step.after.module)
        check.run(*step.after.inputs)
        assert check.checked > len(operators(step.after))

    run_pipeline(Pipeline.parse("default"), program, (hook,))


def test_the_hook_sees_each_pass_once_with_the_graph_before_and_after(program: Program) -> None:
    seen: list[tuple[int, str]] = []
    texts: list[tuple[str, str]] = []

    def hook(step: Step) -> None:
        seen.append((step.position, step.item.name))
        texts.append((readable(step.before.module.graph), readable(step.after.module.graph)))

    _, records = run_pipeline(Pipeline.parse("default"), program, (hook,))
    assert seen == list(enumerate(DEFAULT, start=1))
    for (before, after), record in zip(texts, records, strict=True):
        assert (before != after) == (record.count > 0), record.name
    for (_, after), (before, _) in pairwise(texts):
        assert after == before


def test_the_hook_can_run_both_programs(program: Program) -> None:
    def hook(step: Step) -> None:
        inputs = step.after.inputs
        torch.testing.assert_close(run(step.after, inputs), run(step.before, inputs))
        ran.append(step.item.name)

    ran: list[str] = []
    run_pipeline(Pipeline.parse("default"), program, (hook,))
    assert ran == list(DEFAULT)


def test_all_hooks_run_in_order(program: Program) -> None:
    order: list[str] = []
    hooks = (
        lambda step: order.append("first"),
        lambda step: order.append("second"),
    )
    run_pipeline(Pipeline.parse("fold-constants"), program, hooks)
    assert order == ["first", "second"]


def test_what_a_hook_raises_ends_the_run(program: Program) -> None:
    def hook(step: Step) -> None:
        raise ArithmeticError(step.item.name)

    with pytest.raises(ArithmeticError, match="remove-identities"):
        run_pipeline(Pipeline.parse("default"), program, (hook,))


def test_a_second_run_changes_nothing(program: Program) -> None:
    once, _ = run_pipeline(Pipeline.parse("default"), program)
    twice, records = run_pipeline(Pipeline.parse("default"), once)
    assert [record.count for record in records] == [0] * len(DEFAULT)
    assert readable(twice.module.graph) == readable(once.module.graph)


def test_the_pipeline_without_passes_removes_dead_code_only(program: Program) -> None:
    after, records = run_pipeline(Pipeline(()), program)
    assert records == ()
    assert operators(after) == operators(program)


def test_a_program_may_have_several_results(rng: torch.Generator) -> None:
    program = program_of(lambda own, x: (own(x), own(x).relu()), IMAGE, rng=rng, parts=(nn.Conv2d(3, 4, 1),))
    after, _ = run_pipeline(Pipeline.parse("default"), program)
    assert len(run(after, after.inputs)) == 2
    # The two convolutions are one, which does not clamp for the other's reader.
    assert operators(after).count("lwc.conv2d.default") == 1
