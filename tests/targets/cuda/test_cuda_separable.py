"""A depthwise convolution and the pointwise one after it, in one kernel on a GPU, give what PyTorch gives."""

import pytest

from lwc.targets.kernels.epilogue import Epilogue
from tests.targets.cuda.emulation import check_layers, require_right
from tests.targets.cuda.layers import Separable, random_layers

pytestmark = pytest.mark.slow

CASES = {
    "first_of_v1": Separable((1, 112, 112, 32), 64, residual=False),
    "first_of_v2": Separable((1, 56, 56, 32), 16, residual=False, epilogue=Epilogue()),
    "tf_padded": Separable((1, 56, 56, 24), 40, stride=2, padding=(0, 1, 0, 1), residual=False),
    "skip_of_v2": Separable((1, 28, 28, 192), 32, epilogue=Epilogue()),
    "deep": Separable((1, 7, 7, 320), 96),
    "batch": Separable((5, 14, 13, 48), 24),
    "channels_beyond_a_chunk": Separable((1, 9, 11, 37), 20),
    "channels_beyond_a_chunk_in_vectors": Separable((1, 9, 11, 36), 65),
    "five_channels": Separable((2, 13, 7, 5), 3),
    "one_channel": Separable((1, 6, 5, 1), 3),
    "one_output": Separable((1, 15, 15, 16), 1),
    "one_pixel": Separable((3, 1, 1, 20), 6),
    "dilated": Separable((1, 15, 13, 24), 12, padding=(3, 3, 2, 2), dilation=(3, 2)),
    "row": Separable((1, 1, 19, 16), 16, kernel=(1, 5), padding=(0, 0, 0, 2), stride=3),
    "five": Separable((1, 13, 13, 40), 8, kernel=(5, 5), padding=(2, 2, 2, 2), stride=2),
    "seven": Separable((2, 17, 19, 16), 16, kernel=(7, 7), padding=(3, 3, 3, 3)),
    "border_wider_than_the_image": Separable((1, 3, 2, 16), 16, kernel=(5, 5), padding=(4, 4, 4, 3)),
    # What a channel beyond the last would give is not zero.
    "activations": Separable((1, 8, 9, 34), 12, first=Epilogue("sigmoid"), epilogue=Epilogue("gelu")),
}


@pytest.fixture(scope="module")
def differences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exception | None]:
    return check_layers(random_layers(CASES), tmp_path_factory.mktemp("separable"))


@pytest.mark.parametrize("name", CASES)
def test_both_convolutions(differences: dict[str, Exception | None], name: str) -> None:
    require_right(differences, name)
