import pytest
import torch

from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest
from lwc.models.synthetic import example_input
from lwc.models.zoo import ZOO

# A smaller image, a narrower network: what keeps the test fast.
SMALL = {name: {"image_size": 128} for name in ZOO if not name.startswith("levit_")} | {
    "mobilenet_v1": {"image_size": 128, "width": 0.5},
    "deeplabv3_mobilenet_v2": {"image_size": 129, "width": 0.5},
}


def load(name: str, seed: int, **overrides: object) -> LoadedModel:
    request = ModelRequest(name, weights="random", seed=seed, **overrides)  # type: ignore[arg-type]
    return load_model(request, warn=pytest.fail)


def assert_well_scaled(model: LoadedModel) -> None:
    """The logits differ between classes, between images, and are of order 1."""
    shape = tuple(model.inputs[0].shape)
    images = torch.cat([model.inputs[0], *(example_input(shape, seed) for seed in range(2))])
    with torch.no_grad():
        logits = model.module(images)
    deviations = logits.std(dim=1).reshape(3, -1).mean(dim=1)
    assert 0.2 < deviations.min() <= deviations.max() < 5
    assert (logits[0] - logits[1]).std() > 0.05


@pytest.mark.parametrize("name", ZOO)
def test_logits_are_of_order_one(name: str, seed: int) -> None:
    assert_well_scaled(load(name, seed, **SMALL.get(name, {})))


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_logits_are_of_order_one_at_full_size(name: str, seed: int) -> None:
    model = load(name, seed)
    size = ZOO[name].image_size
    assert tuple(model.inputs[0].shape) == (1, 3, size, size)
    assert_well_scaled(model)


def test_the_seed_alone_decides(seed: int) -> None:
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    first = load("mobilenet_v1", seed, width=0.25, image_size=64)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = load("mobilenet_v1", seed, width=0.25, image_size=64)
    other = load("mobilenet_v1", seed + 1, width=0.25, image_size=64)
    assert torch.equal(first.inputs[0], again.inputs[0])
    with torch.no_grad():
        logits = [model.module(first.inputs[0]) for model in (first, again, other)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])


def test_no_statistic_of_a_batch_norm_is_left_trivial(seed: int) -> None:
    model = load("levit_128s", seed)
    for name, tensor in model.module.state_dict().items():
        if name.endswith(("running_mean", "running_var", "batch_norm.weight", "attention_biases")):
            assert tensor.std() > 0, name
            assert tensor.isfinite().all(), name


@pytest.mark.parametrize("shape", [(2, 3, 64, 48), (1, 3, 224, 224), (4, 10), (1, 64, 7, 7)])
def test_example_inputs_are_normalised(shape: tuple[int, ...], seed: int) -> None:
    value = example_input(shape, seed)
    assert value.shape == shape
    assert value.dtype == torch.float32
    limit = 1e-3 if len(shape) == 4 and shape[1] == 3 else 1.0
    assert abs(value.mean()) < limit
    assert abs(value.std() - 1) < limit
