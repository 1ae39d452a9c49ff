"""`lwc.load`: a package from Python with numpy and ctypes alone."""

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import lwc
from lwc.errors import BadInputError, UnsupportedError
from lwc.package.manifest import read_manifest
from tests.compiled.support import Array, compile_module, random_image

pytestmark = pytest.mark.slow

RUNS = 100


def test_only_numpy_and_ctypes_are_imported(native: Path) -> None:
    program = f"""
import sys, ctypes, hashlib, json, tempfile, threading
import numpy
before = set(sys.modules)
import lwc
model = lwc.load({str(native)!r})
model(numpy.load({str(native / "sample_input.npy")!r}))
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(new - sys.stdlib_module_names))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    # numpy.load imports further parts of numpy.
    assert done.stdout in ("lwc\n", "lwc numpy\n")


def test_the_sample_gives_the_expected_output(native: Path, image: Array) -> None:
    model = lwc.load(native)
    assert [(tensor.name, tensor.layout, tensor.shape) for tensor in model.inputs] == [
        ("image", "NCHW", (1, 3, 128, 128))
    ]
    assert [(tensor.name, tensor.layout, tensor.shape) for tensor in model.outputs] == [
        ("logits", "N,classes", (1, 1001))
    ]
    (known,) = read_manifest(native).verification.outputs
    difference = model(image) - np.load(native / "expected_output.npy").astype(np.float64)
    assert np.sqrt(np.mean(difference**2)) <= known.rms_limit
    assert known.deviation > 0.05
    assert known.rms_error == pytest.approx(np.sqrt(np.mean(difference**2)), rel=0.05)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_bits_in_every_run(native: Path, rng: torch.Generator, threads: int) -> None:
    model, image = lwc.load(native, threads), random_image(rng)
    first = model(image)
    for _ in range(RUNS):
        other = random_image(rng)
        model(other)
        assert np.array_equal(model(image), first)


def test_the_same_bits_for_every_number_of_threads(native: Path, rng: torch.Generator) -> None:
    image = random_image(rng)
    first = lwc.load(native, 1)(image)
    for threads in (2, 3, 5, 16, 256):
        assert np.array_equal(lwc.load(native, threads)(image), first)


def test_two_models_side_by_side(native: Path, tmp_path: Path, rng: torch.Generator) -> None:
    layer = torch.nn.Linear(16, 4)
    x = torch.randn((2, 16), generator=rng)
    other = lwc.load(compile_module(tmp_path / "other", layer, (x,)).package)
    model, image = lwc.load(native), random_image(rng)
    alone = model(image), other(x.numpy())
    for _ in range(10):
        assert np.array_equal(model(image), alone[0])
        assert np.array_equal(other(x.numpy()), alone[1])
    assert np.allclose(alone[1], layer(x).detach().numpy(), atol=1e-5)
    other.close()
    assert np.array_equal(model(image), alone[0])


def test_the_same_package_twice(native: Path, image: Array) -> None:
    first, second = lwc.load(native), lwc.load(native)
    expected = first(image)
    first.close()
    assert np.array_equal(second(image), expected)


def test_threads_with_contexts_of_their_own(native: Path, rng: torch.Generator) -> None:
    model = lwc.load(native)
    images = [random_image(rng) for _ in range(4)]
    expected = [model(image) for image in images]
    wrong: list[int] = []

    def work(number: int) -> None:
        with model.context(threads=2) as context:
            for _ in range(25):
                (given,) = context.run(images[number])
                if not np.array_equal(given, expected[number]):
                    wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_threads_that_share_one_context_take_turns(native: Path, rng: torch.Generator) -> None:
    model = lwc.load(native)
    images = [random_image(rng) for _ in range(4)]
    expected = [model(image) for image in images]
    right: list[bool] = []

    def work(number: int) -> None:
        right.extend(np.array_equal(model(images[number]), expected[number]) for _ in range(10))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert right == [True] * 40


# C would take the last two for 0 and 1.
@pytest.mark.parametrize("threads", [-1, 257, 2**31, 2**32, 2**40 + 1])
def test_numbers_of_threads_out_of_range(native: Path, threads: int) -> None:
    with pytest.raises(BadInputError, match=f"{threads} threads: give a number from 0 to 256"):
        lwc.load(native, threads)


def test_a_model_that_is_dropped_takes_its_threads_along(native: Path, image: Array) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/task"))
    for _ in range(3):
        lwc.load(native, threads=5)(image)
    gc.collect()
    assert len(os.listdir("/proc/self/task")) == before


def test_after_close(native: Path, image: Array) -> None:
    model = lwc.load(native)
    context = model.context()
    model.close()
    model.close()
    with pytest.raises(BadInputError, match="the context is closed"):
        model(image)
    # Another context of the same model lives on.
    assert context.run(image)[0].shape == (1, 1001)
    context.close()
    with pytest.raises(BadInputError, match="the context is closed"):
        context.run(image)


def test_another_machines_package(arm64: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"libmobilenet_v1\.so is for another machine") as caught:
        lwc.load(arm64)
    assert "\n" not in str(caught.value)


def test_relative_places(native: Path, image: Array, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(native.parent)
    model = lwc.load(native.name)
    monkeypatch.chdir(tmp_path)
    assert model(image).shape == (1, 1001)
