"""A .pt2 file becomes a module that runs as the exported program does, or one clear line."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.ao.quantization.fx._decomposed
from torch import nn

import lwc.ops  # noqa: F401  registers the operators
from lwc.errors import UnsupportedError, UsageError
from lwc.models.count import count
from tests.models.pt2_files import (
    PROGRAM,
    Net,
    edit,
    export,
    load,
    raises_one_line,
    read_files,
    write_files,
)


def test_an_exported_program_runs_as_before(saved: Path) -> None:
    model = load(saved)
    expected = torch.export.load(saved).module()(*model.inputs)
    for output, reference in zip(model.module(*model.inputs), expected, strict=True):
        torch.testing.assert_close(output, reference)
    assert (model.name, model.source, model.weights) == ("my_net", "My Net.pt2", "file")
    assert (model.input_names, model.output_names) == (("image",), ("output_0", "output_1"))
    assert model.input_layouts == ("dims",)
    assert tuple(model.inputs[0].shape) == (1, 3, 8, 8)
    assert count(model.module, model.inputs).parameters == 3 * 4 * 9 + 4 + 8 + 25


def test_it_runs_in_float64_and_can_be_exported_again(saved: Path) -> None:
    model = load(saved)
    double = deepcopy(model.module).double()(model.inputs[0].double())
    again = torch.export.export(model.module, model.inputs).module()(*model.inputs)
    for output, reference, exported in zip(model.module(*model.inputs), double, again, strict=True):
        assert reference.dtype == torch.float64
        torch.testing.assert_close(output.double(), reference)
        torch.testing.assert_close(output, exported)
    assert not model.module.train().eval().training


def test_inputs_by_name_become_positional(tmp_path: Path) -> None:
    class Difference(nn.Module):
        def forward(self, x: torch.Tensor, *, y: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"difference": x - y}

    program = torch.export.export(Difference(), (torch.ones(2),), {"y": torch.ones(2)})
    torch.export.save(program, tmp_path / "net.pt2")
    model = load(tmp_path / "net.pt2")
    assert model.input_names == ("x", "y")
    assert torch.equal(model.module(*model.inputs), model.inputs[0] - model.inputs[1])


def test_the_seed_decides_the_inputs(saved: Path, seed: int) -> None:
    assert torch.equal(load(saved, seed=seed).inputs[0], load(saved, seed=seed).inputs[0])
    assert not torch.equal(load(saved, seed=seed).inputs[0], load(saved, seed=seed + 1).inputs[0])


@pytest.mark.parametrize(
    "override", [{"width": 0.5}, {"image_size": 64}, {"batch": 2}, {"weights": "random"}]
)
def test_a_file_fixes_everything(saved: Path, override: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"a \.pt2 file fixes the"):
        load(saved, **override)


# Code in the file.


class Constant(nn.Module):
    def forward(self) -> torch.Tensor:
        return torch.ones(1)


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = nn.Buffer(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.calls.add_(1)


class Overwrites(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(1)


class Partial(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return x * 2, None


class Rounds(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.argmax(-1)


@pytest.mark.parametrize(
    ("net", "inputs", "words"),
    [
        (Constant(), [], "takes no inputs"),
        (Counter(), [torch.ones(2)], "overwrites|updates"),
        (Overwrites(), [torch.ones(2)], "overwrites|updates"),
        (Partial(), [torch.ones(2)], "no tensor"),
        (Rounds(), [torch.ones(2, 2)], "not a float32 tensor"),
        (nn.ReLU(), [torch.ones(2, dtype=torch.int64)], "'input' is not float32"),
        (nn.ReLU(), [torch.ones(2, dtype=torch.float64)], "'input' is not float32"),
        (nn.ReLU(), [torch.tensor(1.0)], "'input' has shape"),
        (nn.Linear(2, 2).double(), [torch.ones(1, 2, dtype=torch.float64)], "not float32"),
    ],
)
def test_what_cannot_be_compiled_is_named(
    tmp_path: Path, net: nn.Module, inputs: list[torch.Tensor], words: str
) -> None:
    raises_one_line(export(tmp_path / "net.pt2", net, *inputs), words, UnsupportedError)


def test_dynamic_shapes_are_refused(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=2)
    path = export(tmp_path / "net.pt2", Net(), torch.randn(4, 3, 8, 8), dynamic_shapes=({0: batch},))
    raises_one_line(path, "dynamic shapes", UnsupportedError)


def test_training_mode_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(nn.Sequential(nn.Dropout(0.5)).train(), (torch.ones(2),))
    torch.export.save(program, tmp_path / "net.pt2")
    raises_one_line(tmp_path / "net.pt2", "training mode", UnsupportedError)


def test_a_later_schema_is_refused(saved: Path) -> None:
    edit(saved, PROGRAM, lambda program: program["schema_version"].update(major=9))
    raises_one_line(saved, "schema version 9", UnsupportedError)


def test_a_program_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    class Large(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.reshape(-1, 1, 1) * x.reshape(1, -1, 1) * x.reshape(1, 1, -1)).sum()

    path = export(tmp_path / "net.pt2", Large(), torch.ones(16))
    files = read_files(path)
    files[PROGRAM] = files[PROGRAM].replace(b'"as_int": 16}', b'"as_int": 4096}')
    write_files(path, files)
    raises_one_line(path, "more than", UnsupportedError)


# Quantized programs.


class Rounded(nn.Module):
    """A linear layer with a weight of integers, whose result is rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.arange(-6, 6).reshape(3, 4).to(torch.int8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pt2e, how = torch.ops.quantized_decomposed, (0.5, 3, 0, 255, torch.uint8)
        weight = pt2e.dequantize_per_tensor(self.weight, 0.25, 0, -127, 127, torch.int8)
        y = pt2e.quantize_per_tensor(nn.functional.linear(x, weight), *how)
        return torch.as_tensor(pt2e.dequantize_per_tensor(y, *how))


class Own(nn.Module):
    """lwc's operators, as the program has them that a failing pass leaves."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rounded = torch.ops.lwc.quantize(x, 2.0, 3, "uint8")
        return torch.as_tensor(torch.ops.lwc.dequantize(rounded, torch.full((), 0.5), 3))


@pytest.mark.parametrize("net", [Rounded(), Own()])
def test_a_quantized_program_runs_as_before(tmp_path: Path, net: nn.Module, rng: torch.Generator) -> None:
    x = torch.randn(2, 4, generator=rng)
    model = load(export(tmp_path / "net.pt2", net, x))
    assert torch.equal(model.module(x), net(x))
    assert count(model.module, model.inputs).macs in (0, 2 * 3 * 4)


@pytest.mark.parametrize(
    "operator",
    [
        "lwc.conv2d.default",
        "lwc.quantize",
        "quantized_decomposed.nothing.default",
        "quantized.linear.default",
        "library.Library.default",
        "quantized_decomposed.quantize_per_tensor.default.x",
    ],
)
def test_other_operators_are_refused(tmp_path: Path, operator: str) -> None:
    path = export(tmp_path / "net.pt2", Rounded(), torch.ones(2, 4))
    edit(
        path, PROGRAM, lambda p: p["graph_module"]["graph"]["nodes"][0].update(target=f"torch.ops.{operator}")
    )
    raises_one_line(path, "not a plain operator", UnsupportedError)
