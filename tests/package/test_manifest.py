"""The manifest is strict: whatever is missing, added, of another type or of another version is refused."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from lwc.errors import BadInputError, VerificationError
from lwc.files import MAX_JSON_BYTES
from lwc.package.load import load
from lwc.package.manifest import MANIFEST_NAME, dump_manifest, open_package, read_manifest
from tests.package.conftest import Edit


def refused(package: Path, says: str) -> None:
    """`lwc verify` and `lwc.load` both refuse the package, in one line that names the file or the folder."""
    for read in (open_package, load):
        with pytest.raises(BadInputError) as caught:
            read(package)
        line = str(caught.value)
        assert str(package)[:200] in line
        assert "\n" not in line
        assert len(line) < 600
    with pytest.raises(BadInputError, match=says):
        read_manifest(package)


def test_what_is_written_is_read_again(package: Path) -> None:
    manifest = read_manifest(package)
    assert manifest.library == "libtiny.so"
    assert dump_manifest(manifest) == (package / MANIFEST_NAME).read_text()
    assert open_package(package) == manifest


MALFORMED = {
    "empty": (b"", "not valid JSON"),
    "text": (b"hello", "not valid JSON"),
    "no object": (b"[1]", "holds a JSON list"),
    "number": (b"7", "holds a JSON int"),
    "not UTF-8": (b'{"a": "\xff\xfe"}', "not valid JSON"),
    "NUL": (b'{"schema_version": 1}\0', "not valid JSON"),
    "deep": (b"[" * 200_000, "not valid JSON"),
    "duplicate key": (b'{"schema_version": 1, "schema_version": 1}', "duplicate key 'schema_version'"),
    "NaN": (b'{"schema_version": NaN}', "NaN is not a number"),
    "infinity": (b'{"schema_version": -Infinity}', "-Infinity is not a number"),
    "huge": (b" " * (MAX_JSON_BYTES + 1), f"more than {MAX_JSON_BYTES} bytes"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_text(package: Path, kind: str) -> None:
    content, says = MALFORMED[kind]
    (package / MANIFEST_NAME).write_bytes(content)
    refused(package, says)


def test_duplicate_keys_deep_inside(package: Path) -> None:
    path = package / MANIFEST_NAME
    path.write_text(path.read_text().replace('"bytes":', '"bytes": 1, "bytes":', 1))
    refused(package, "duplicate key 'bytes'")


@pytest.mark.parametrize("version", [0, 1, 3, True, 2.5, "2", None, ...])
def test_another_version_is_named(package: Path, edit: Edit, version: object) -> None:
    edit("schema_version", to=version)
    with pytest.raises(BadInputError, match=r"schema_version is .* this lwc reads 2"):
        read_manifest(package)
    with pytest.raises(BadInputError, match=r"manifest\.json"):
        load(package)


WRONG_VALUES = [
    (("name",), "../tiny"),
    (("name",), "tiny\n"),
    (("name",), "a" * 200),
    (("weights",), "stolen"),
    (("inputs",), []),
    (("inputs", 0, "dtype"), "float64"),
    (("inputs", 0, "name"), "x; rm"),
    (("inputs", 0, "shape"), [1, 0]),
    (("inputs", 0, "shape"), [1, -4]),
    (("inputs", 0, "shape"), [1, 4.0]),
    (("inputs", 0, "shape"), [True, 4]),
    (("inputs", 0, "shape"), [1] * 9),
    (("outputs", 0, "shape"), "13"),
    (("macs",), -1),
    (("macs",), "12"),
    (("threads",), None),
    (("target", "cores"), 0),
    (("target", "l2_bytes"), -1),
    (("target", "vector_registers"), 1),
    (("target", "glibc"), "new"),
    (("target", "cpu_features"), ["sse9"]),
    (("labels",), [1, 2, 3]),
    (("target", "vector_bits"), "128"),
    (("verification", "how"), "by eye"),
    (("verification", "outputs"), []),
    (("verification", "outputs", 0, "rms_limit"), None),
    (("files", "libtiny.so", "bytes"), -1),
    (("files", "libtiny.so", "sha256"), "0" * 63),
    (("files", "libtiny.so", "sha256"), "A" * 64),
]


@pytest.mark.parametrize(("keys", "value"), WRONG_VALUES)
def test_a_wrong_value_is_named(
    package: Path, edit: Edit, keys: tuple[str | int, ...], value: object
) -> None:
    edit(*keys, to=value)
    with pytest.raises(BadInputError, match=rf"manifest\.json: {re.escape(str(keys[0]))}|cover the outputs"):
        read_manifest(package)


def test_every_entry_is_needed_and_none_may_be_added(package: Path, document: dict[str, Any]) -> None:
    path = package / MANIFEST_NAME
    for key in document.keys() - {"tuned_layers"}:
        path.write_text(json.dumps({name: value for name, value in document.items() if name != key}))
        with pytest.raises(BadInputError, match=rf"manifest\.json: {key}"):
            read_manifest(package)
    path.write_text(json.dumps(document | {"signature": "none"}))
    with pytest.raises(BadInputError, match=r"manifest\.json: signature"):
        read_manifest(package)


@pytest.mark.parametrize(
    "name",
    [
        "../libtiny.so",
        "/etc/passwd",
        "a/b",
        ".",
        "..",
        "",
        "a\0b",
        "a\nb",
        ".hidden",
        "-o",
        MANIFEST_NAME,
        "ä",
    ],
)
def test_only_plain_names_of_files(package: Path, document: dict[str, Any], name: str) -> None:
    document["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    (package / MANIFEST_NAME).write_text(json.dumps(document))
    with pytest.raises(BadInputError, match="is not the plain name of a file"):
        read_manifest(package)
    with pytest.raises((BadInputError, VerificationError)):
        load(package)


@pytest.mark.parametrize("name", ["libtiny.so", "lwc-run", "sample_input.npy", "expected_output.npy"])
def test_files_that_a_package_must_list(package: Path, edit: Edit, name: str) -> None:
    edit("files", name, to=...)
    with pytest.raises(BadInputError, match=f"{name} is not in the list of files"):
        read_manifest(package)


def test_no_folder(package: Path) -> None:
    refused(package / "nowhere", "does not exist")
    refused(package / "lwc-run", "is not a folder")
    (package / MANIFEST_NAME).unlink()
    refused(package, r"manifest\.json: does not exist")


def test_a_link_a_pipe_and_a_folder_in_place_of_the_manifest(package: Path, tmp_path: Path) -> None:
    path = package / MANIFEST_NAME
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(package, "cannot be opened")
    path.unlink()
    os.mkfifo(path)
    refused(package, "is not a regular file")
    path.unlink()
    path.mkdir()
    refused(package, "is not a regular file")


def test_a_package_of_before_tuning_is_still_read(package: Path, edit: Edit) -> None:
    edit("tuned_layers", to=...)
    assert read_manifest(package).tuned_layers == ()
