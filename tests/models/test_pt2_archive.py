"""A hostile .pt2 file runs nothing, reads nothing outside itself, and gives one line."""

import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lwc.errors import BadInputError, UnsupportedError
from tests.models.pt2_files import (
    CONSTANTS,
    PROGRAM,
    WEIGHTS,
    Files,
    Payload,
    edit,
    load,
    raises_one_line,
    read_files,
    refusal,
    write_files,
)


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
