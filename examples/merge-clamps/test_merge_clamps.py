"""merge-clamps, on a network with two clamps in a row."""

import torch
from merge_clamps import MergeClamps
from torch import nn

from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import trace


def test_two_clamps_become_one() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Hardtanh(-1.0, 0.5))
    x = torch.randn(1, 3, 8, 8)
    program = trace(net.eval(), (x,), ("x",))
    after, (record,) = run_pipeline(Pipeline((MergeClamps(),)), program)
    assert record.count == 1
    assert len(after.module.graph.nodes) == len(program.module.graph.nodes) - 1
    assert torch.equal(after.module(x), program.module(x))


def test_reversed_bounds_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    net.register_forward_hook(lambda _net, _x, y: y.clamp(1.0, -1.0))
    program = trace(net.eval(), (torch.randn(1, 3, 8, 8),), ("x",))
    _, (record,) = run_pipeline(Pipeline((MergeClamps(),)), program)
    assert [refusal.reason for refusal in record.refusals] == ["the second clamp's bounds are reversed"]
