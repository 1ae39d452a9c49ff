"""FP16: which of a program's tensors are float16, and how far PyTorch's float16 is from it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import lwc.ops  # noqa: F401  registers the operators
from lwc.errors import UnsupportedError, UsageError
from lwc.half import in_half, run_reference_in_half, with_precision
from lwc.pipeline import Pipeline, run_pipeline
from lwc.targets.resolve import resolve_target
from lwc.trace import Program, trace
from tests.programs import randomize


class Net(nn.Module):
    """A convolution with all that may follow one, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.classifier = nn.Linear(8, 5)

    def forward(self, image: torch.Tensor, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = functional.relu(self.convolution(image))
        return self.classifier(y.mean((2, 3))).softmax(-1), place + 1


@pytest.fixture
def program(rng: torch.Generator) -> Program:
    net = Net().eval()
    randomize(net, rng)
    inputs = (torch.randn((1, 3, 8, 8), generator=rng), torch.arange(3))
    rewritten, _ = run_pipeline(Pipeline.parse("default"), trace(net, inputs, ("image", "place")))
    return rewritten


def dtypes(program: Program, name: str) -> list[str]:
    """Of what the operator's calls give."""
    nodes = [
        node for node in program.module.graph.nodes if node.op == "call_function" and name in str(node.target)
    ]
    assert nodes, f"no {name}"
    return [str(node.meta["val"].dtype).removeprefix("torch.") for node in nodes]


def test_tensors_and_parameters_are_in_float16(program: Program) -> None:
    half = in_half(program)
    for name in ("lwc.conv2d", "lwc.linear", "softmax", "mean"):
        assert dtypes(half, name) == ["float16"]
    assert {parameter.dtype for parameter in half.module.state_dict().values()} == {torch.float16}


def test_inputs_and_outputs_stay_what_they_are(program: Program) -> None:
    half = in_half(program)
    probabilities, place = half.module(*program.inputs)
    assert (probabilities.dtype, place.dtype) == (torch.float32, torch.int64)
    assert place.tolist() == [1, 2, 3]
    (wanted, _) = program.module(*program.inputs)
    assert 0 < (probabilities - wanted).abs().max() < 1e-2
    # The program itself is as it was.
    assert {parameter.dtype for parameter in program.module.state_dict().values()} == {torch.float32}


def test_the_measure_is_pytorch_in_float16(rng: torch.Generator) -> None:
    layer = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)).eval()
    randomize(layer, rng)
    sample = torch.randn((4, 64), generator=rng).numpy()
    reference = run_reference_in_half(layer, [(sample,)])
    error = np.abs(reference.float32[0] - reference.float64[0]).max()
    assert 1e-4 < error < 0.05
    assert reference.float32[0].dtype == np.float32
    assert next(layer.parameters()).dtype == torch.float32


def test_what_pytorch_cannot_run_in_float16_is_refused() -> None:
    class Casts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.to(self.weight.dtype).double() @ self.weight if self.weight.dtype == torch.float16 else x

    with pytest.raises(UnsupportedError, match=r"Casts: PyTorch cannot run it in float16"):
        run_reference_in_half(Casts(), [(np.ones((1, 4), np.float32),)])


def test_a_processor_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"precision fp16: target 'arm64' has no GPU; .*cuda:sm_80"):
        with_precision(resolve_target("arm64"), "fp16")
    gpu = with_precision(resolve_target("cuda:sm_80"), "fp16").gpu
    assert gpu is not None
    assert gpu.numbers == "float16"
