"""The verbs that list what there is."""

import json

import pytest

from lwc.errors import UnsupportedError
from lwc.models.zoo import ZOO
from lwc.pipeline import DEFAULT, PASSES
from lwc.targets.resolve import target_names
from tests.cli.conftest import Lwc


def test_targets(lwc: Lwc) -> None:
    done = lwc("targets")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["name", *target_names()]


def test_targets_as_json(lwc: Lwc) -> None:
    documents = {d["name"]: d for d in json.loads(lwc("targets", "--json").out)}
    assert documents["arm64"]["triple"] == "aarch64-linux-gnu"
    assert documents["arm64"]["int8_dot"] is False
    assert documents["x86-64-v4"]["vector_bits"] == 512


def test_a_machine_without_native_is_told_why(lwc: Lwc, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported() -> None:
        raise UnsupportedError("target 'native': no AVX2")

    monkeypatch.setattr("lwc.targets.resolve.native_target", unsupported)
    done = lwc("targets")
    assert done.code == 0
    assert "no AVX2" in done.out.splitlines()[1]


def test_passes(lwc: Lwc) -> None:
    done = lwc("passes")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[1 : len(PASSES) + 1]] == list(PASSES)
    assert "max-elements=" in done.out
    assert lines[-1] == f"default: {','.join(DEFAULT)}"


def test_passes_as_json(lwc: Lwc) -> None:
    document = json.loads(lwc("passes", "--json").out)
    assert document["default"] == list(DEFAULT)
    assert all(item["description"].endswith(".") for item in document["passes"])


def test_models(lwc: Lwc) -> None:
    done = lwc("models")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == list(ZOO)


def test_models_as_json(lwc: Lwc) -> None:
    documents = {d["name"]: d for d in json.loads(lwc("models", "--json").out)}
    first = documents["mobilenet_v1"]
    assert first["input_shape"] == [1, 3, 224, 224]
    # The paper says 4.2 million and 569 million; the checkpoint has one class more.
    assert 4.2e6 < first["parameters"] < 4.3e6
    assert 5.6e8 < first["macs"] < 5.75e8
