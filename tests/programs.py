"""Small programs to run passes on, and the comparison that every rewrite has to stand."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

import lwc.ops  # noqa: F401  registers lwc's operators
from lwc.pipeline import PassRecord, Pipeline, run_pipeline
from lwc.trace import Program, trace

Shape = tuple[int, ...]


class Compute(nn.Module):
    """`function(*modules, *inputs)` as a module that owns `modules`."""

    def __init__(self, function: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(modules)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """The function's value."""
        return self.function(*self.parts, *inputs)


def program_of(
    module: nn.Module | Callable[..., Any],
    *shapes: Shape,
    rng: torch.Generator,
    parts: tuple[nn.Module, ...] = (),
) -> Program:
    """A module, or a function of `parts` and inputs, with random parameters, traced in eval mode."""
    module = module if isinstance(module, nn.Module) else Compute(module, *parts)
    randomize(module, rng)
    names = tuple(f"x{number}" for number in range(len(shapes)))
    return trace(module.eval(), random_inputs(shapes, rng), names)


def randomize(module: nn.Module, rng: torch.Generator) -> None:
    """Random parameters under which activations stay of order 1; variances are positive."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=rng) + 0.5)
            elif tensor.dim() > 1:
                tensor.copy_(torch.randn(tensor.shape, generator=rng) / tensor[0].numel() ** 0.5)
            else:
                tensor.copy_(torch.randn(tensor.shape, generator=rng))


def random_inputs(shapes: tuple[Shape, ...], rng: torch.Generator) -> tuple[torch.Tensor, ...]:
    """A standard normal tensor of each shape."""
    return tuple(torch.randn(shape, generator=rng) for shape in shapes)


def rewrite(passes: str, program: Program, rng: torch.Generator) -> tuple[Program, PassRecord]:
    """The program after `passes`, checked to mean what it meant, and what the last pass did."""
    after, records = run_pipeline(Pipeline.parse(passes), program)
    assert_same_meaning(passes, program, after, rng)
    return after, records[-1]


def assert_same_meaning(
    passes: str, before: Program, after: Program, rng: torch.Generator, alive: bool = True
) -> None:
    """On fresh random inputs: the same in float64, and in float32 as near to that as PyTorch's own result.

    In float64 the passes run on float64 parameters, so that their algebra is seen without rounding.
    `alive`: no output may be zero everywhere.
    """
    exact_before = in_float64(before)
    exact_after, _ = run_pipeline(Pipeline.parse(passes), exact_before)
    for _ in range(2):
        inputs = random_inputs(tuple(tuple(x.shape) for x in before.inputs), rng)
        exact_inputs = tuple(x.double() for x in inputs)
        reference, exact = run(exact_before, exact_inputs), run(exact_after, exact_inputs)
        eager, rewritten = run(before, inputs), run(after, inputs)
        assert len(reference) == len(exact) == len(eager) == len(rewritten)
        for want, precise, float32, got in zip(reference, exact, eager, rewritten, strict=True):
            assert got.shape == float32.shape
            assert got.dtype == float32.dtype
            scale = rms(want)
            assert scale > 0 or not alive
            scale = scale or 1.0
            assert rms(precise - want) <= 1e-12 * scale
            assert rms(got - want) <= 2 * rms(float32 - want) + 1e-6 * scale


def in_float64(program: Program) -> Program:
    """The same program with float64 parameters and inputs."""
    inputs = tuple(x.double() for x in program.inputs)
    return replace(program, module=deepcopy(program.module).double(), inputs=inputs)


def run(program: Program, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The program's outputs."""
    with torch.no_grad():
        return list(tree_leaves(program.module(*inputs)))


def rms(values: torch.Tensor) -> float:
    """The root of the mean square."""
    return float(values.double().square().mean().sqrt())


def operators(program: Program) -> list[str]:
    """The operators that the program calls, in order: `aten.relu.default`."""
    return [str(node.target) for node in program.module.graph.nodes if node.op == "call_function"]


def reasons(record: PassRecord) -> list[str]:
    """Why the pass refused, candidate by candidate."""
    return [refusal.reason for refusal in record.refusals]
