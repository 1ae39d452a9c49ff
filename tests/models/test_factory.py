import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lwc.errors import BadInputError, LwcError, UnsupportedError, UsageError
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest

NETS = """
import torch
from torch import nn

class TwoOutputs(nn.Module):
    def forward(self, x, y):
        return x + y, x * y

class Returns(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value
    def forward(self, x):
        return self.value

def good(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5)), torch.ones(1, 3, 8, 8)
def two(): return TwoOutputs(), (torch.ones(2, 3), torch.ones(2, 3))
def exits(): raise SystemExit(0)
def fails(): raise ValueError("no\\nweights")
def needs_argument(x): return x
def nothing(): return None
def no_module(): return 1, torch.ones(1)
def no_inputs(): return nn.ReLU(), ()
def list_of_numbers(): return nn.ReLU(), [1]
def integers(): return nn.ReLU(), torch.ones(3, dtype=torch.int64)
def scalar(): return nn.ReLU(), torch.tensor(1.0)
def half(): return nn.Linear(2, 2).half(), torch.ones(1, 2)
def misfit(): return nn.Linear(2, 2), torch.ones(1, 3)
def dictionary(): return Returns({"a": 1}), torch.ones(1)
def none_in_tuple(): return Returns((torch.ones(1), None)), torch.ones(1)
def double(): return Returns(torch.ones(1).double()), torch.ones(1)
number = 5
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module in the current directory, which is not on the path."""
    (tmp_path / "my_nets.py").write_text(NETS)
    (tmp_path / "broken_nets.py").write_text("import my_nets\nraise RuntimeError('bad\\nday')")
    (tmp_path / "needy_nets.py").write_text("import a_package_that_is_not_there")
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("my_nets", "broken_nets", "needy_nets"):
        sys.modules.pop(name, None)


def load(name: str, **overrides: object) -> LoadedModel:
    return load_model(ModelRequest(name, **overrides), warn=pytest.fail)  # type: ignore[arg-type]


def test_a_factory_of_the_current_directory_gives_a_model() -> None:
    path = list(sys.path)
    model = load("my_nets:good")
    assert sys.path == path
    assert (model.name, model.source, model.weights) == ("good", "my_nets:good", "file")
    assert not model.module.training
    assert (model.input_names, model.output_names) == (("input",), ("output",))
    assert (model.preprocessing, model.labels, model.input_layouts) == (None, None, ("dims",))


def test_random_weights_are_those_of_the_seed() -> None:
    name = "my_nets:good"
    weights = [load_model(ModelRequest(name, seed=seed), print).module.state_dict() for seed in (1, 1, 2)]
    first, same, other = (next(iter(state.values())) for state in weights)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_several_inputs_and_outputs_are_numbered() -> None:
    model = load("my_nets:two")
    assert (model.input_names, model.output_names) == (("input_0", "input_1"), ("output_0", "output_1"))
    assert torch.equal(model.module(*model.inputs)[0], torch.full((2, 3), 2.0))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("missing_nets:good", BadInputError, "no module 'missing_nets'"),
        ("needy_nets:good", BadInputError, "no module 'a_package_that_is_not_there'"),
        ("broken_nets:good", BadInputError, "RuntimeError: bad day"),
        ("my_nets:missing", BadInputError, "has no 'missing'"),
        ("my_nets:number", BadInputError, "cannot call its 'number'"),
        ("my_nets:fails", BadInputError, "ValueError: no weights"),
        ("my_nets:exits", BadInputError, "SystemExit: 0"),
        ("my_nets:needs_argument", BadInputError, "TypeError"),
        ("my_nets:nothing", BadInputError, "NoneType"),
        ("my_nets:no_module", BadInputError, "no pair with a module"),
        ("my_nets:no_inputs", BadInputError, "no example inputs"),
        ("my_nets:list_of_numbers", BadInputError, "not a tuple of tensors"),
        ("my_nets:misfit", BadInputError, "fails on its example inputs"),
        ("my_nets:integers", UnsupportedError, "torch.int64"),
        ("my_nets:scalar", UnsupportedError, "shape"),
        ("my_nets:half", UnsupportedError, "weight is torch.float16"),
        ("my_nets:dictionary", UnsupportedError, "returns a dict"),
        ("my_nets:none_in_tuple", UnsupportedError, "returns a NoneType"),
        ("my_nets:double", UnsupportedError, "torch.float64"),
    ],
)
def test_every_failure_is_one_line(name: str, kind: type[LwcError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        load(name)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        {"width": 0.5},
        {"image_size": 64},
        {"output_stride": 8},
        {"num_labels": 3},
        {"batch": 2},
        {"weights": "random"},
    ],
)
def test_a_factory_fixes_everything(override: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="my_nets:good: a factory fixes the"):
        load("my_nets:good", **override)
