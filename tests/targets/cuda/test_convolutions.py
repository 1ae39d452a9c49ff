"""Convolutions on a GPU give what PyTorch gives, at the borders of odd images, with any stride, dilation and groups."""

import pytest

from lwc.targets.kernels.epilogue import Epilogue
from tests.targets.cuda.emulation import check_layers, require_right
from tests.targets.cuda.layers import Convolution, random_layers

pytestmark = pytest.mark.slow

DENSE = {
    "stem": Convolution((1, 64, 64, 3), 32, stride=2, padding=(0, 1, 0, 1), layout="NCHW", residual=False),
    "gray_stem": Convolution((2, 15, 13, 1), 5, stride=2, layout="NCHW"),
    "padded_stem": Convolution((1, 17, 17, 3), 16, kernel=(5, 5), padding=(2, 2, 2, 2), layout="NCHW"),
    "three": Convolution((1, 28, 28, 32), 48),
    "odd_channels": Convolution((1, 15, 15, 5), 17, epilogue=Epilogue("silu")),
    "strided": Convolution((2, 13, 13, 24), 65, stride=2),
    "strided_pointwise": Convolution((3, 13, 15, 24), 24, kernel=(1, 1), stride=2, padding=(0, 0, 0, 0)),
    "dilated": Convolution((1, 15, 13, 8), 12, padding=(2, 2, 2, 2), dilation=2),
    "row": Convolution((1, 7, 9, 4), 6, kernel=(1, 5), padding=(0, 0, 2, 2)),
    "one_pixel": Convolution((1, 1, 1, 24), 5),
    "one_channel": Convolution((1, 7, 7, 1), 1),
    "grouped": Convolution((2, 7, 7, 24), 12, groups=4),
    "grouped_in_vectors": Convolution((1, 13, 13, 32), 64, groups=2),
    "multiplied": Convolution((1, 9, 7, 5), 15, groups=5),
}
DEPTHWISE = {
    "large": Convolution((1, 112, 112, 32), 32, groups=32, residual=False),
    "larger": Convolution((1, 112, 112, 64), 64, groups=64, residual=False),
    "tf_padded": Convolution((1, 56, 56, 17), 17, groups=17, stride=2, padding=(0, 1, 0, 1)),
    "late": Convolution((2, 7, 7, 65), 65, groups=65, epilogue=Epilogue("hardswish")),
    "late_in_vectors": Convolution((1, 13, 13, 24), 24, groups=24, stride=2),
    "five": Convolution((1, 15, 13, 5), 5, groups=5, kernel=(5, 5), padding=(2, 2, 2, 2), stride=2),
    "seven": Convolution((3, 13, 15, 24), 24, groups=24, kernel=(7, 7), padding=(3, 3, 3, 3)),
    "dilated": Convolution((1, 15, 15, 24), 24, groups=24, padding=(2, 2, 2, 2), dilation=2),
    "one_pixel": Convolution((1, 1, 1, 3), 3, groups=3),
    "one_channel": Convolution((1, 7, 15, 1), 1, groups=1, kernel=(3, 1), padding=(1, 1, 0, 0)),
    "batch": Convolution((5, 28, 27, 48), 48, groups=48),
}


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    return check_layers(random_layers(DENSE), tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    return check_layers(random_layers(DEPTHWISE), tmp_path_factory.mktemp("depthwise"))


@pytest.mark.parametrize("name", DENSE)
def test_dense(dense: dict[str, Exception | None], name: str) -> None:
    require_right(dense, name)


@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise(alone: dict[str, Exception | None], name: str) -> None:
    require_right(alone, name)
