"""lower-int8-attention: attention on integers, where one scale makes scores of a head's sums."""

from typing import Any

import pytest
import torch

from lwc.ops import QuantizedAttentionView
from lwc.pipeline import Pipeline, run_pipeline
from lwc.trace import Program
from tests.programs import operators, program_of, random_inputs, rms, run

LWC: Any = torch.ops.lwc
# Two heads of three channels for each of queries, keys and values.
SHAPE, HEADS = (2, 7, 18), ([0, 3, 3], [6, 3, 3], [12, 3, 3])
OF_HEADS = torch.tensor([0.03, 0.05, 0.02, 0.04]).repeat_interleave(3)
OF_CHANNELS = torch.linspace(0.02, 0.05, 6)
QATTENTION = "lwc.qattention.default"


def lower(scales: torch.Tensor, rng: torch.Generator) -> tuple[Program, Program]:
    """Attention on numbers of these scales, one for each channel: before and after the pass."""

    def attend(x: torch.Tensor) -> torch.Tensor:
        tokens = LWC.dequantize_channels(LWC.quantize_channels(x, 1 / scales, "uint8"), scales)
        y = LWC.attention(tokens, tokens, tokens, None, 2, *HEADS, 0.5, "identity", None, None)
        return torch.as_tensor(y)

    before = program_of(attend, SHAPE, rng=rng)
    after, _ = run_pipeline(Pipeline.parse("fold-constants,lower-int8-attention"), before)
    return before, after


def test_each_head_has_its_scale(rng: torch.Generator) -> None:
    before, after = lower(torch.cat([OF_HEADS, OF_CHANNELS]), rng)
    (node,) = (node for node in after.module.graph.nodes if node.target is LWC.qattention.default)
    assert QuantizedAttentionView.of(node).zero_point is None
    inputs = random_inputs((SHAPE,), rng)
    (want,), (got,) = run(before, inputs), run(after, inputs)
    assert rms(want) > 0.1
    # The weights of the keys have 8 bits.
    assert rms(got - want) < 0.02 * rms(want)


@pytest.mark.parametrize("first", [0, 6], ids=["queries", "keys"])
def test_no_one_scale_makes_scores_of_channels_of_several(first: int, rng: torch.Generator) -> None:
    scales = torch.cat([OF_HEADS, OF_CHANNELS])
    scales[first + 1] *= 2
    before, after = lower(scales, rng)
    assert QATTENTION not in operators(after)
    inputs = random_inputs((SHAPE,), rng)
    assert torch.equal(run(before, inputs)[0], run(after, inputs)[0])
