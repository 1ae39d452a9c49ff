"""Operators that lwc does not have are refused by name; rare ones agree or are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lwc.errors import UnsupportedError
from tests.compiled.support import MAP, agrees, compile_module
from tests.programs import Compute, random_inputs

pytestmark = pytest.mark.slow

Function = Callable[[torch.Tensor], torch.Tensor]
UNSUPPORTED: dict[str, tuple[Function, str]] = {
    "sort": (lambda x: x.sort(1)[0], r"aten.sort.default \(.*line"),
    "topk": (lambda x: x.topk(3, 1)[0], r"aten.topk.default \(.*line"),
    "flat-cumsum": (lambda x: x.reshape(-1).cumsum(0), r"aten.cumsum.default \(.*line"),
    "largest": (lambda x: x.amax(1), "aten.amax.default"),
    "empty": (lambda x: x[:, :0], "'output' has the shape"),
    "rank-9": (lambda x: x.reshape(1, 2, 3, 3, 3, 11, 1, 1, 1), "'output' has the shape"),
    "antialias": (
        lambda x: functional.interpolate(x, size=(4, 5), mode="bilinear", antialias=True),
        "upsample_bilinear2d_aa",
    ),
    "grid-sample": (
        lambda x: functional.grid_sample(x, x[:, :2, :5, :5].permute(0, 2, 3, 1).tanh(), align_corners=False),
        "grid_sampler_2d",
    ),
    "random": (lambda x: x + torch.randn(11), "rand"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_named(name: str, tmp_path: Path, rng: torch.Generator) -> None:
    function, says = UNSUPPORTED[name]
    with pytest.raises(UnsupportedError, match=says) as caught:
        compile_module(tmp_path / name, Compute(function), random_inputs((MAP,), rng))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


# Each agrees, or is refused as unsupported; never wrong, never an internal error.
EITHER: dict[str, Function] = {
    "nearest": lambda x: functional.interpolate(x, size=(17, 20), mode="nearest"),
    "nearest-twice": lambda x: functional.interpolate(x, scale_factor=2, mode="nearest"),
    "unfold": lambda x: functional.unfold(x, 3, padding=1),
    "pixel-shuffle": lambda x: functional.pixel_shuffle(torch.cat([x, x], 1), 2),
    "matrix-vector": lambda x: x[0, 0] @ x[0, 1, 0],
    "plain-layer-norm": lambda x: functional.layer_norm(x, (11,)),
    "plain-group-norm": lambda x: functional.group_norm(x, 3),
    "attention-of-three-axes": lambda x: functional.scaled_dot_product_attention(x[0], x[0] * 0.3, x[0]),
    "cumsum": lambda x: x.cumsum(1),
    "std": lambda x: x.std(1),
    "var-mean": lambda x: torch.var_mean(x, (2, 3))[0],
    "norm": lambda x: x.norm(dim=1),
    "argmax": lambda x: x.argmax(1).float(),
    "prod": lambda x: x.prod(-1),
    "conv1d": lambda x: functional.conv1d(x[0].transpose(0, 1), torch.full((5, 6, 3), 0.3), padding=1),
    "computed-weight": lambda x: functional.conv2d(x, x[:, :, :3, :3].expand(5, 6, 3, 3)),
    "triangle": lambda x: x.tril(),
    "float64": lambda x: (x.double() * 2).float(),
    "half": lambda x: (x.half() * 2).float(),
}


@pytest.mark.parametrize("name", EITHER)
def test_rare_operators_agree_or_are_refused(name: str, tmp_path: Path, rng: torch.Generator) -> None:
    try:
        agrees(tmp_path, name, Compute(EITHER[name]), MAP, rng=rng)
    except UnsupportedError as error:
        assert "\n" not in str(error)  # noqa: PT017
