import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lwc.errors import BadInputError, LwcError, UnsupportedError, UsageError
from lwc.models.count import count
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Net(nn.Module):
    """A convolution, a batch norm, a buffer, a tensor constant, a constant in the code, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 5)
        self.register_buffer("offset", torch.arange(5.0))
        self.factor = torch.tensor([0.3])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.norm(self.conv(image))).mean((2, 3))
        scale = self.factor.to(torch.float32) + torch.tensor(0.1)
        return self.linear(features) * scale + self.offset, features


class Payload:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return open, (str(self.marker), "w")


def export(path: Path, net: nn.Module, *inputs: torch.Tensor, **options: Any) -> Path:
    torch.export.save(torch.export.export(net.eval(), inputs, **options), path)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return export(tmp_path / "My Net.pt2", Net(), torch.randn(1, 3, 8, 8))


Files = dict[str, bytes]


def read_files(path: Path) -> Files:
    """The entries without their common root."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write_files(path: Path, files: Files, root: str = "net/", compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(root + name, content)


def edit(path: Path, entry: str, change: Callable[[Any], Any]) -> None:
    """Change the JSON in `entry`, in place."""
    files = read_files(path)
    value = json.loads(files[entry])
    change(value)
    files[entry] = json.dumps(value).encode()
    write_files(path, files)


def load(path: Path, **overrides: object) -> LoadedModel:
    return load_model(ModelRequest(str(path), **overrides), warn=pytest.fail)  # type: ignore[arg-type]


def refusal(path: Path, default: str) -> str:
    """The error of loading `path`, or `default` where there is none; any other exception goes through."""
    try:
        load(path)
    except LwcError as error:
        return str(error)
    return default


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


def pickled_tensor(entry: str) -> Callable[[Files, bytes], None]:
    def change(files: Files, payload: bytes) -> None:
        table = json.loads(files[entry])
        first = next(iter(table["config"].values()))
        first["use_pickle"] = True
        files[entry] = json.dumps(table).encode()
        files[entry.rpartition("/")[0] + "/" + first["path_name"]] = payload

    return change


def pickled_object(prefix: str) -> Callable[[Files, bytes], None]:
    def change(files: Files, payload: bytes) -> None:
        table = json.loads(files[CONSTANTS])
        table["config"]["evil"] = {
            "path_name": f"{prefix}0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }
        files[CONSTANTS] = json.dumps(table).encode()
        files[f"data/constants/{prefix}0"] = payload

    return change


def extra_file(name: str) -> Callable[[Files, bytes], None]:
    return lambda files, payload: files.update({name: payload})


@pytest.mark.parametrize(
    "change",
    [
        pickled_tensor(WEIGHTS),
        pickled_tensor(CONSTANTS),
        pickled_object("custom_obj_"),
        pickled_object("opaque_obj_"),
        extra_file("data/sample_inputs/model.pt"),
        extra_file("data/weights/model.pt"),
        extra_file("data/constants/model.pt"),
        extra_file("extra/evil.pkl"),
        extra_file("data/aotinductor/model/evil.so"),
    ],
)
def test_no_pickle_is_ever_loaded(
    saved: Path, tmp_path: Path, change: Callable[[Files, bytes], None]
) -> None:
    """In every place where torch.export.load would unpickle; the file is refused or the entry ignored."""
    files, buffer = read_files(saved), io.BytesIO()
    torch.save(Payload(tmp_path / "marker"), buffer)
    for payload in (buffer.getvalue(), pickle.dumps(Payload(tmp_path / "marker"))):
        change(files, payload)
        write_files(saved, files)
        assert "pickle" in refusal(saved, default="pickle")
        assert not (tmp_path / "marker").exists()


def first_node(key: str, value: object) -> Callable[[Any], None]:
    return lambda program: program["graph_module"]["graph"]["nodes"][0].update({key: value})


def tree_that_imports(program: Any) -> None:
    factory = {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}
    tree = {"type": "collections.defaultdict", "context": json.dumps(factory), "children_spec": []}
    program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps([1, tree])


def guard_that_prints(program: Any) -> None:
    program["guards_code"] = ["open('marker', 'w')"]


def expression(program: Any) -> None:
    size = {"as_expr": {"expr_str": "open('marker', 'w')", "hint": None}}
    program["graph_module"]["graph"]["tensor_values"]["image"]["sizes"][0] = size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (first_node("target", "torch.os.system"), "torch.os.system"),
        (first_node("target", "torch.hub.load"), "torch.hub.load"),
        (first_node("target", "torch.ops.aten.from_file.default"), "from_file"),
        (first_node("target", "torch.ops.aten.conv2d.op"), "conv2d.op"),
        (first_node("target", "torch.ops.aten.conv2d.__class__"), "__class__"),
        (first_node("target", "torch.ops.my.conv.default"), "torch.ops.my.conv"),
        (first_node("target", "_operator.methodcaller"), "methodcaller"),
        (first_node("target", "#custom.op"), "#custom.op"),
        (expression, "dynamic shapes"),
        (tree_that_imports, ""),
        (guard_that_prints, ""),
    ],
)
def test_nothing_in_the_program_runs(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    edit(saved, PROGRAM, change)
    if words:
        with pytest.raises(UnsupportedError, match=words):
            load(saved)
    else:
        load(saved).module(torch.zeros(1, 3, 8, 8))
    assert not (tmp_path / "marker").exists()


# Archives.


def raises_one_line(path: Path, words: str, kind: type[LwcError] = LwcError) -> None:
    with pytest.raises(kind, match=words) as caught:
        load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\x", "a//x"])
def test_unsafe_entry_names_are_refused(saved: Path, name: str) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(name, b"x")
    raises_one_line(saved, "unsafe|outside", BadInputError)


def test_a_symbolic_link_is_refused(saved: Path) -> None:
    info = zipfile.ZipInfo("My Net/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    raises_one_line(saved, "symbolic link", BadInputError)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr(archive.namelist()[0], b"x")
    raises_one_line(saved, "double", BadInputError)


def test_a_compressed_archive_is_refused_before_it_expands(saved: Path) -> None:
    files = read_files(saved) | {"data/weights/bomb": bytes(100_000_000)}
    write_files(saved, files, compression=zipfile.ZIP_DEFLATED)
    raises_one_line(saved, "expands to more than|compressed", BadInputError)


def test_an_encrypted_entry_is_refused(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        # The flags of the first entry of the central directory.
        content[archive.start_dir + 8] |= 1
    saved.write_bytes(content)
    raises_one_line(saved, "encrypted", BadInputError)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK", pickle.dumps({"a": 1}), b"\x08\x08\x12\x07pytorch", bytes(5000)]
)
def test_what_is_no_archive_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.pt2").write_bytes(content)
    raises_one_line(tmp_path / "bad.pt2", "no intact", BadInputError)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_other_archives_of_torch_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "state.pt2")
    raises_one_line(tmp_path / "state.pt2", "archive_format", BadInputError)
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "script.pt2")
    raises_one_line(tmp_path / "script.pt2", "compressed", BadInputError)
    with zipfile.ZipFile(tmp_path / "empty.pt2", "w"):
        pass
    raises_one_line(tmp_path / "empty.pt2", "0 entries", BadInputError)


def test_truncated_files_are_one_line(saved: Path) -> None:
    whole = saved.read_bytes()
    for part in range(64):
        saved.write_bytes(whole[: len(whole) * part // 64])
        raises_one_line(saved, "pt2", BadInputError)


def test_damaged_files_load_or_are_one_line(saved: Path, seed: int) -> None:
    """A flipped bit may hit a name in a stack trace; it must never end in another exception."""
    whole, generator = saved.read_bytes(), random.Random(seed)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        saved.write_bytes(damaged)
        assert "\n" not in refusal(saved, default="")


def test_damaged_json_loads_or_is_one_line(saved: Path, seed: int) -> None:
    """As above, with a good checksum: what an attacker would write."""
    files, generator = read_files(saved), random.Random(seed)
    for _ in range(100):
        entry = generator.choice([PROGRAM, WEIGHTS, CONSTANTS])
        text = bytearray(files[entry])
        at = generator.randrange(len(text))
        text[at : at + generator.randrange(3)] = generator.choice(
            [b"", b"9", b"-", b"null", b"{", b'"', b"e9"]
        )
        write_files(saved, files | {entry: bytes(text)})
        assert "\n" not in refusal(saved, default="")


# Tensors.


def weight(**changes: object) -> Callable[[Any], None]:
    return lambda table: table["config"]["conv.weight"]["tensor_meta"].update(changes)


def numbers(*values: int) -> list[dict[str, int]]:
    return [{"as_int": value} for value in values]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": numbers(-1, 3, 3, 3)}, "size or stride -1"),
        ({"sizes": numbers(4, 3, 3, 2**60)}, "size or stride"),
        ({"sizes": numbers(4, 3, 3, 300)}, "past the end"),
        ({"strides": numbers(27, 9, 3, 100)}, "past the end"),
        ({"strides": numbers(27, 9, 3, -1)}, "size or stride -1"),
        ({"strides": numbers(1)}, "4 sizes but 1 strides"),
        ({"storage_offset": {"as_int": 2**39}}, "past the end"),
        ({"storage_offset": {"as_int": 2**63}}, "size or stride"),
        ({"sizes": numbers(2**20, 2**20, 1, 1), "strides": numbers(0, 0, 0, 0)}, "too many"),
        ({"sizes": [{"as_int": True}] * 4}, "size or stride"),
        ({"sizes": "4"}, "malformed shape"),
        ({"dtype": 8}, "not float32"),
        ({"dtype": 99}, "not float32"),
        ({"dtype": []}, "not float32"),
    ],
)
def test_a_tensor_stays_inside_its_bytes(saved: Path, changes: dict[str, object], words: str) -> None:
    edit(saved, WEIGHTS, weight(**changes))
    raises_one_line(saved, words)


# Programs that are valid but cannot be compiled.


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
