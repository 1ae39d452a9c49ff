"""--precision, --calibrate and --observer: what is asked wrongly, and data that cannot be measured."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from tests.cli.conftest import Lwc, Outcome

MODEL = "mobilenet_v1"
SIZE = 32


def compile_int8(lwc: Lwc, output: Path, calibrate: Path) -> Outcome:
    """A model that takes images of 32 x 32 pixels; stderr keeps no more than the line of the error."""
    words = [MODEL, "--width", "0.25", "--image-size", str(SIZE), "--target", "arm64", "-o", output]
    return lwc("compile", *words, "--precision", "int8", "--calibrate", calibrate)


INT8 = "--precision int8 --calibrate synthetic"
OPTIONS = {
    "--precision int8": (2, "--calibrate a folder of about 100 images"),
    "--calibrate synthetic": (2, "add --precision int8"),
    "--precision fp32 --calibrate synthetic": (2, "add --precision int8"),
    "--precision int4 --calibrate synthetic": (2, "'--precision'.*'int4'.*fp32.*int8"),
    "--observer mse": (2, "add --precision int8"),
    "--precision int8 --calibrate synthetic --observer best": (2, "'--observer'.*'best'.*moving-average"),
    "--precision=": (2, "'--precision'"),
    "--io int8": (2, "--io int8: .*add --precision int8"),
    "--precision int8 --calibrate synthetic --io uint8": (2, "'--io'.*'uint8'.*float32.*int8"),
    "--precision INT --calibrate synthetic": (2, "'--precision'.*'INT'"),
    "--accuracy-budget 0.01": (2, "--accuracy-budget: is for INT8; add --precision int8"),
    "--accuracy-budget 0.01 --evaluate images": (2, "--accuracy-budget: is for INT8"),
    f"{INT8} --accuracy-budget 0.01": (2, "--accuracy-budget: needs labelled images.*--evaluate a folder"),
    f"{INT8} --accuracy-budget -0.01 --evaluate images": (
        2,
        "accuracy budget -0.01: out of range; give a share",
    ),
    f"{INT8} --accuracy-budget 1 --evaluate images": (2, "accuracy budget 1.0: out of range"),
    f"{INT8} --accuracy-budget nan --evaluate images": (2, "accuracy budget nan: out of range"),
    f"{INT8} --accuracy-budget 1% --evaluate images": (2, "'--accuracy-budget'.*'1%'"),
}


@pytest.mark.parametrize("options", OPTIONS)
def test_options_that_do_not_fit_together(lwc: Lwc, options: str, tmp_path: Path) -> None:
    code, says = OPTIONS[options]
    done = lwc("compile", MODEL, "-o", tmp_path / "package", *options.split())
    assert done.code == code, done.err
    assert re.search(says, done.line()), done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked_before_the_model_is_looked_for(lwc: Lwc) -> None:
    assert "needs data to measure ranges on" in lwc("compile", "nonsense", "--precision", "int8").line()


class Rounded(nn.Module):
    """ReLU of a linear layer, quantized as PyTorch writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.arange(-32, 32).reshape(8, 8).to(torch.int8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pt2e, how = torch.ops.quantized_decomposed, (0.02, 128, 0, 255, torch.uint8)
        weight = pt2e.dequantize_per_tensor(self.weight, 0.01, 0, -127, 127, torch.int8)
        x = pt2e.dequantize_per_tensor(pt2e.quantize_per_tensor(x, *how), *how)
        y = nn.functional.linear(x, weight).relu()
        return torch.as_tensor(pt2e.dequantize_per_tensor(pt2e.quantize_per_tensor(y, *how), *how))


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    """A model that was quantized before."""
    torch.export.save(torch.export.export(Rounded(), (torch.ones(4, 8),)), tmp_path / "net.pt2")
    return tmp_path / "net.pt2"


OPTIONS_OF_QUANTIZED = {
    "--precision fp32": "precision fp32: the model is quantized already; leave --precision out",
    "--precision int8 --calibrate data.npy": "--calibrate: the model is quantized already, and keeps its ranges",
    "--prune 0.1": "--prune: the model is quantized already; prune it before",
}


@pytest.mark.parametrize("options", OPTIONS_OF_QUANTIZED)
def test_a_quantized_model_keeps_what_it_has(lwc: Lwc, options: str, quantized: Path) -> None:
    folder = quantized.parent
    np.save(folder / "data.npy", np.eye(8, dtype=np.float32)[None, :4])
    before = sorted(folder.iterdir())
    words = options.replace("data.npy", str(folder / "data.npy")).split()
    done = lwc("compile", quantized, "-o", folder / "package", *words)
    last = done.err.splitlines()[-1]
    assert done.code == 2, done.err
    assert last.startswith(f"lwc: {OPTIONS_OF_QUANTIZED[options]}")
    assert sorted(folder.iterdir()) == before


def test_a_float_file_needs_data(lwc: Lwc, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(3, 4), (torch.ones(2, 3),)), tmp_path / "net.pt2")
    done = lwc("compile", tmp_path / "net.pt2", "-o", tmp_path / "package", "--precision", "int8")
    assert done.code == 2
    assert "needs data to measure ranges on" in done.err.splitlines()[-1]
    assert not (tmp_path / "package").exists()


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--precision", "int8"]])
def test_a_quantized_model_is_compiled_to_int8(lwc: Lwc, options: list[str], quantized: Path) -> None:
    done = lwc("compile", quantized, "-o", quantized.parent / "package", *options)
    assert done.code == 0, done.err
    assert "1 layers on integers; ranges of the model; signal to noise" in done.out
    assert "output: error 0, limit 1e-06" in done.out


def _noise(rng: torch.Generator, *shape: int) -> NDArray[np.float32]:
    return torch.randn(shape, generator=rng).numpy()


def _save(path: Path, array: NDArray[np.generic]) -> Path:
    np.save(path, array)
    return path


def _empty_folder(tmp: Path, rng: torch.Generator) -> Path:
    (tmp / "images").mkdir()
    return tmp / "images"


def _broken_image(tmp: Path, rng: torch.Generator) -> Path:
    folder = _empty_folder(tmp, rng)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def _black_images(tmp: Path, rng: torch.Generator) -> Path:
    folder = _empty_folder(tmp, rng)
    for number in range(8):
        Image.new("RGB", (40, 40)).save(folder / f"{number}.png")
    return folder


def _text(tmp: Path, rng: torch.Generator) -> Path:
    (tmp / "data.npy").write_text("hello")
    return tmp / "data.npy"


def _turned(tmp: Path, rng: torch.Generator) -> Path:
    return _save(tmp / "data.npy", _noise(rng, 8, SIZE, SIZE, 3))


def _float64(tmp: Path, rng: torch.Generator) -> Path:
    return _save(tmp / "data.npy", _noise(rng, 8, 3, SIZE, SIZE).astype(np.float64))


def _none(tmp: Path, rng: torch.Generator) -> Path:
    return _save(tmp / "data.npy", np.zeros((0, 3, SIZE, SIZE), np.float32))


def _with(value: float) -> Callable[[Path, torch.Generator], Path]:
    def write(tmp: Path, rng: torch.Generator) -> Path:
        array = _noise(rng, 8, 3, SIZE, SIZE)
        array[3, 1, 4, 5] = value
        return _save(tmp / "data.npy", array)

    return write


DATA: dict[str, tuple[Callable[[Path, torch.Generator], Path], str]] = {
    "missing folder": (
        lambda tmp, rng: tmp / "nowhere",
        "nowhere'?: does not exist; give a folder of images",
    ),
    "missing file": (lambda tmp, rng: tmp / "nothing.npy", "nothing.npy: does not exist"),
    "empty folder": (_empty_folder, "images: holds no image"),
    "broken image": (_broken_image, "broken.png"),
    "black images": (_black_images, "every image is of one value throughout"),
    "text": (_text, "data.npy: is no valid .npy file"),
    "other shape": (_turned, "8x32x32x3.*Nx3x32x32"),
    "float64": (_float64, "float64.*Nx3x32x32 float32"),
    "no sample": (_none, "holds no sample.*Nx3x32x32"),
    "NaN": (_with(np.nan), "sample 3: input '.*' holds NaN or infinity"),
    "infinity": (_with(np.inf), "sample 3: input '.*' holds NaN or infinity"),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_that_cannot_be_measured(lwc: Lwc, kind: str, tmp_path: Path, rng: torch.Generator) -> None:
    write, says = DATA[kind]
    source = write(tmp_path, rng)
    before = sorted(tmp_path.iterdir())
    done = compile_int8(lwc, tmp_path / "package", source)
    assert done.code == 3, done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("lwc: ")
    assert re.search(says, last), done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    # Neither a package nor a part of one.
    assert sorted(tmp_path.iterdir()) == before
