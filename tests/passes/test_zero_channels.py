"""zero-channels: the channels of least magnitude are replaced by their means."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lwc.errors import UsageError
from lwc.graph import constant
from lwc.ops import ConvView
from lwc.pipeline import PassRecord, Pipeline, run_pipeline
from lwc.targets.resolve import resolve_target
from lwc.trace import Program
from tests.passes.pruned_networks import mobile_block, pruned_program, residual, silence, weight_shapes
from tests.passes.test_prune_channels_guards import REFUSED
from tests.passes.test_random_graphs import Network
from tests.programs import Compute, in_float64, operators, program_of, reasons, rewrite, rms, run

BEFORE = "raise-operators,fold-batch-norm,fuse-activation"
GRAPHS = 4
CONV2D = torch.ops.lwc.conv2d.default


def zeroed(
    module: nn.Module, rng: torch.Generator, edit: Callable[[], None] = lambda: None, **options: float
) -> tuple[Program, Program, PassRecord]:
    """`module` with random parameters after `edit`, up to zero-channels and after it, and what that did."""
    before, _ = run_pipeline(Pipeline.parse(BEFORE), pruned_program(module, rng, edit))
    words = ",".join(f"{name}={value}" for name, value in {"multiple": 1, **options}.items())
    after, records = run_pipeline(Pipeline.parse(f"raise-operators,zero-channels{{{words}}}"), before)
    assert operators(after) == operators(before)
    return before, after, records[-1]


def unread(program: Program) -> list[list[int]]:
    """Of each convolution the input channels that it does not read."""
    found = []
    for node in program.module.graph.find_nodes(op="call_function", target=CONV2D):
        weight = constant(program.module, ConvView.of(node).weight)
        assert weight is not None
        found.append((weight.transpose(0, 1).flatten(1) == 0).all(1).nonzero().flatten().tolist())
    return found


def scale_rows(layer: Any, *factors: float) -> None:
    """Output channels whose weights all have the size of a factor."""
    for row, factor in enumerate(factors):
        layer.weight[row] = factor * layer.weight[row].sign()


def test_the_smallest_channels_become_their_means(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 4, 3)
    sizes = (3.0, 1.0, 5.0, 2.0, 4.0)

    def edit() -> None:
        scale_rows(first, *sizes)
        second.weight.sign_()

    before, after, record = zeroed(nn.Sequential(first, nn.ReLU(), second), rng, edit, fraction=0.4)
    assert record.count == 1
    assert unread(after) == [[], [1, 3]]
    (x,) = in_float64(before).inputs
    with torch.no_grad():
        y = first.double()(x).relu()
        y[:, [1, 3]] = y.mean((0, 2, 3), keepdim=True)[:, [1, 3]]
        want = second.double()(y)
    (exact,), (got,) = run(in_float64(after), (x,)), run(after, before.inputs)
    assert rms(exact - want) <= 1e-6 * rms(want)
    assert rms(got - want) <= 1e-6 * rms(want)


def test_a_reader_without_a_bias_gets_one(rng: torch.Generator) -> None:
    first, second = nn.Linear(7, 10), nn.Linear(10, 6, bias=False)
    before, after, record = zeroed(nn.Sequential(first, nn.Sigmoid(), second), rng, fraction=0.3)
    assert record.count == 1
    # On the example inputs, the mean of a linear layer's result stays.
    ((old,), (new,)) = (run(program, before.inputs) for program in (before, after))
    old, new = (values.flatten(0, -2).mean(0) for values in (old, new))
    torch.testing.assert_close(new, old)


def test_what_reads_a_channel_counts_as_much_as_what_writes_it(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def edit() -> None:
        scale_rows(first, 1.0, 1.1, 1.2, 1.3)
        second.weight.sign_()
        second.weight[:, 3] *= 0.1

    _, after, _ = zeroed(nn.Sequential(first, second), rng, edit, fraction=0.25)
    assert unread(after) == [[], [3]]


def test_layers_of_different_scale_count_alike(rng: torch.Generator) -> None:
    small, large, last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def edit() -> None:
        scale_rows(small, 0.001, 0.003, 0.003)
        scale_rows(large, 1000.0, 1000.0, 900.0)
        last.weight.sign_()

    _, after, _ = zeroed(residual(small, large, last), rng, edit, fraction=0.34)
    assert unread(after) == [[], [], [0]]


def test_channels_that_are_zero_go_first(rng: torch.Generator) -> None:
    first, second = nn.Conv2d(3, 10, 3), nn.Conv2d(10, 4, 3, padding=1)
    module = nn.Sequential(first, nn.ReLU(), second)
    _, after, _ = zeroed(module, rng, lambda: silence(first, 4, 7), fraction=0.2)
    assert unread(after) == [[], [4, 7]]


def test_a_layer_of_zeros_ranks_nothing(rng: torch.Generator) -> None:
    zero, other, last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def edit() -> None:
        silence(zero, *range(4))
        scale_rows(other, 2.0, 1.0, 2.0, 2.0)
        last.weight.sign_()

    _, after, _ = zeroed(residual(zero, other, last), rng, edit, fraction=0.25)
    assert unread(after)[-1] == [1]


def test_keeps_the_parameters_that_another_layer_shares(rng: torch.Generator) -> None:
    first, shared = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 4, 1)
    module = Compute(lambda a, s, x: (s(a(x)), s(torch.cat([x, x, x, x[:, :1]], 1))), first, shared)
    before, after, record = zeroed(module, rng, fraction=0.3)
    assert record.count == 1
    assert [len(channels) for channels in unread(after)] == [0, 3, 0]
    assert torch.equal(run(after, before.inputs)[1], run(before, before.inputs)[1])


@pytest.mark.parametrize(
    ("channels", "fraction", "multiple", "kept"),
    [
        (10, 0.3, 1, 7),
        (10, 0.7, 1, 3),
        (10, 0.99, 1, 1),
        (2, 0.5, 1, 1),
        (32, 0.3, 8, 24),
        (40, 0.3, 8, 32),
        (64, 0.1, 8, 64),
        (64, 0.13, 8, 56),
        (20, 0.5, 8, 16),
        (32, 0.999, 8, 8),
    ],
)
def test_how_many_channels_stay(
    channels: int, fraction: float, multiple: int, kept: int, rng: torch.Generator
) -> None:
    first, second = nn.Conv2d(3, channels, 1), nn.Conv2d(channels, 4, 3, padding=1)
    module = nn.Sequential(first, nn.ReLU6(), second)
    _, program, record = zeroed(module, rng, fraction=fraction, multiple=multiple)
    assert record.count == int(kept < channels)
    after, removal = rewrite("raise-operators,prune-channels", program, rng)
    assert removal.count == record.count
    assert removal.refusals == ()
    assert weight_shapes(after) == [(kept, 3, 1, 1), (4, kept, 3, 3)]


def test_a_mobile_block_loses_the_channels_of_all_three_layers(rng: torch.Generator) -> None:
    _, program, record = zeroed(nn.Sequential(*mobile_block()), rng, fraction=0.5)
    assert record.count == 1
    assert reasons(record) == ["output cannot read fewer channels"]
    after, _ = rewrite("raise-operators,prune-channels", program, rng)
    assert weight_shapes(after) == [(4, 3, 1, 1), (4, 1, 3, 3), (5, 4, 1, 1)]


def test_the_branches_of_a_residual_network_lose_the_same_channels(rng: torch.Generator) -> None:
    stem, expand, project = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 3, padding=1)
    head = nn.Linear(8, 4)

    def network(stem: Any, expand: Any, project: Any, head: Any, x: torch.Tensor) -> torch.Tensor:
        y = stem(x)
        return head((y + project(expand(y).sigmoid())).mean((2, 3)))  # type: ignore[no-any-return]

    _, program, record = zeroed(Compute(network, stem, expand, project, head), rng, fraction=0.25)
    assert record.count == 2
    after, removal = rewrite("raise-operators,prune-channels", program, rng)
    assert removal.refusals == ()
    assert weight_shapes(after) == [(6, 3, 3, 3), (9, 6, 1, 1), (6, 9, 3, 3), (4, 6)]


def test_refuses_where_rounding_leaves_every_channel(rng: torch.Generator) -> None:
    module = nn.Sequential(nn.Conv2d(3, 20, 1), nn.Conv2d(20, 4, 1))
    before, after, record = zeroed(module, rng, fraction=0.15, multiple=8)
    assert record.count == 0
    assert reasons(record)[0] == "rounded up to a multiple of 8, all 20 channels stay"
    assert torch.equal(run(after, before.inputs)[0], run(before, before.inputs)[0])


OBSTACLES = [name for name, (_, _, reason) in REFUSED.items() if "fewer channels" in reason]


@pytest.mark.parametrize("name", OBSTACLES)
def test_refuses_what_prune_channels_would_refuse(name: str, rng: torch.Generator) -> None:
    function, others, reason = REFUSED[name]
    _, after, record = zeroed(Compute(function, nn.Conv2d(3, 6, 3), *others), rng, fraction=0.5)
    assert reason in reasons(record)
    assert record.rewritten == ()
    assert unread(after) == [[] for _ in unread(after)]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("inf")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"pass 'zero-channels': fraction .*: out of range"):
        Pipeline.parse(f"raise-operators,zero-channels{{fraction={fraction}}}")


def test_a_multiple_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match=r"pass 'zero-channels': multiple -1: out of range"):
        Pipeline.parse("raise-operators,zero-channels{multiple=-1}")


@pytest.mark.parametrize(
    ("target", "multiple", "kept"),
    [(None, 0, 40), ("arm64", 0, 36), ("x86-64-v3", 0, 40), ("x86-64-v4", 0, 48), ("x86-64-v4", 7, 42)],
)
def test_whole_vectors_of_the_target_stay(
    target: str | None, multiple: int, kept: int, rng: torch.Generator
) -> None:
    program = program_of(nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 4, 1)), (1, 3, 4, 4), rng=rng)
    program = replace(program, target=None if target is None else resolve_target(target))
    spec = f"raise-operators,zero-channels{{fraction=0.45,multiple={multiple}}}"
    after, records = run_pipeline(Pipeline.parse(spec), program)
    assert records[-1].count == 1
    assert [len(channels) for channels in unread(after)] == [0, 64 - kept]


def test_random_graphs_lose_what_is_zeroed_and_nothing_else(seed: int) -> None:
    """In the program up to prune-channels; the same source of graphs as for all passes."""
    choose = random.Random(seed)
    passes = [item.name for item in Pipeline.parse("default").passes]
    before = ",".join(passes[: passes.index("prune-channels")])
    pruned = 0
    while pruned < GRAPHS:
        network = Network.of(choose.randrange(2**32))
        print(network.source)
        rng = torch.Generator().manual_seed(network.seed)
        program = program_of(network.build(), network.shape, rng=rng)
        program, _ = run_pipeline(Pipeline.parse(before), program)
        spec = f"raise-operators,zero-channels{{fraction={choose.uniform(0.2, 0.8)},multiple=1}}"
        program, records = run_pipeline(Pipeline.parse(spec), program)
        _, removal = rewrite("raise-operators,prune-channels", program, rng)
        assert set(records[-1].rewritten) <= set(removal.rewritten)
        pruned += records[-1].count
