"""trace: one static, functional graph, or one line that says why there is none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lwc.errors import UnsupportedError
from lwc.trace import trace
from tests.programs import Compute, in_float64, operators, program_of, run

IMAGE = torch.zeros(2, 3, 4, 4)


def refusal(module: nn.Module) -> str:
    """The one line with which tracing `module` fails."""
    with pytest.raises(UnsupportedError) as caught:
        trace(module.eval(), (IMAGE,), ("x",))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


class Counter(nn.Module):
    """Counts its calls."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x plus the number of calls."""
        self.calls.add_(1)
        return x + self.calls


def test_operations_in_place_become_functional(rng: torch.Generator) -> None:
    program = program_of(lambda x: (x + 1).relu_().mul_(2), (2, 3), rng=rng)
    assert operators(program) == ["aten.add.Tensor", "aten.relu.default", "aten.mul.Tensor"]
    x = torch.randn(2, 3, generator=rng)
    assert torch.equal(run(program, (x,))[0], (x + 1).relu() * 2)


def test_names_and_inputs_are_kept(rng: torch.Generator) -> None:
    program = program_of(lambda a, b: a + b, (2, 3), (3,), rng=rng)
    assert program.input_names == ("x0", "x1")
    assert [tuple(x.shape) for x in program.inputs] == [(2, 3), (3,)]


def test_a_program_with_casts_runs_in_float64(rng: torch.Generator) -> None:
    program = program_of(lambda x: x.to(torch.float32) * 2, (2, 3), rng=rng)
    exact = in_float64(program)
    assert run(exact, exact.inputs)[0].dtype == torch.float64


def test_a_module_that_writes_into_its_buffers_is_refused() -> None:
    assert "Counter: it writes into 'calls'" in refusal(Counter())


def test_a_module_that_writes_into_its_input_is_refused() -> None:
    assert "Compute: it writes into" in refusal(Compute(lambda x: x.add_(1)))


def test_a_batch_norm_in_training_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"BatchNorm2d: it writes into .* put the module in eval mode"):
        trace(nn.BatchNorm2d(3).train(), (IMAGE,), ("x",))


def data_dependent_branch(x: torch.Tensor) -> torch.Tensor:
    """Goes one way or the other by a value."""
    return x + 1 if x.sum() > 0 else x - 1


def data_dependent_size(x: torch.Tensor) -> torch.Tensor:
    """As many rows as there are positive values."""
    return torch.zeros(int((x > 0).sum().item()), 3)


def loop_over_values(x: torch.Tensor) -> torch.Tensor:
    """As many steps as a value says."""
    for _ in range(int(x.max().item())):
        x = x + 1
    return x


@pytest.mark.parametrize("function", [data_dependent_branch, data_dependent_size, loop_over_values])
def test_control_flow_that_depends_on_data_is_refused(
    function: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    assert "remove data-dependent control flow and dynamic shapes" in refusal(Compute(function))


def test_a_result_whose_shape_depends_on_data_is_refused() -> None:
    assert "the shape of 'nonzero' depends on the data" in refusal(Compute(lambda x: x.nonzero()))


def test_a_result_that_is_no_tensor_is_refused() -> None:
    class Odd:
        """Nothing that PyTorch knows."""

    assert "Compute" in refusal(Compute(lambda x: Odd()))


def test_a_module_that_fails_is_refused_with_its_own_words() -> None:
    def fail(x: torch.Tensor) -> Any:
        raise ValueError("first line\nsecond line")

    assert "first line second line" in refusal(Compute(fail))
