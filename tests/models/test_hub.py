"""The hub is a server on this machine here: one that has the files, one that says nothing, or none at all."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from lwc.errors import BadInputError, ResourceError
from lwc.models import hub
from lwc.models.load import load_model
from lwc.models.request import LoadedModel, ModelRequest

SMALL = {"width": 0.75, "image_size": 64}


class FakeHub(BaseHTTPRequestHandler):
    """Serves /owner/name/resolve/main/FILE out of one folder, whatever the owner and name."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder = folder
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        path = self.folder / self.path.rpartition("/")[2]
        content = path.read_bytes() if path.is_file() else b""
        self.send_response(200 if path.is_file() else 404)
        if not path.is_file():
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder whose files the hub has for every model."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(FakeHub, folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(hub, "_endpoint", lambda: f"http://127.0.0.1:{server.server_port}")
    yield folder
    server.shutdown()
    server.server_close()


def load(name: str, warn: list[str], **overrides: object) -> LoadedModel:
    return load_model(ModelRequest(name, **overrides), warn.append)  # type: ignore[arg-type]


def test_a_model_is_downloaded_once_and_then_cached(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    model = load("owner/My.Net", warnings, weights="pretrained")
    assert (model.name, model.source, model.weights) == ("my_net", "owner/My.Net", "pretrained")
    assert tuple(model.inputs[0].shape) == (1, 3, 64, 64)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load("owner/My.Net", warnings).weights == "pretrained"
    assert warnings == []


def test_the_zoo_takes_its_published_checkpoint(served: Path) -> None:
    warnings: list[str] = []
    model = load("mobilenet_v1", warnings)
    # The size is the zoo's and not the folder's: it must not depend on which weights are found.
    assert tuple(model.inputs[0].shape) == (1, 3, 224, 224)
    assert (model.weights, model.source, warnings) == ("pretrained", "mobilenet_v1", [])
    assert load("google/mobilenet_v1_1.0_224", warnings).source == "google/mobilenet_v1_1.0_224"


def test_other_widths_have_their_own_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(hub_id: str) -> Path:
        asked.append(hub_id)
        raise ResourceError(f"{hub_id}: not today")

    monkeypatch.setattr(hub, "fetch", fetch)
    load("mobilenet_v1", [], width=0.75, image_size=64)
    load("mobilenet_v2", [], width=0.35, image_size=64)
    load("mobilenet_v2", [], width=1.4, image_size=64)
    assert asked == [
        "google/mobilenet_v1_0.75_192",
        "google/mobilenet_v2_0.35_96",
        "google/mobilenet_v2_1.4_224",
    ]


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("mobilenet_v1", {"width": 0.3}, "widths 0.75, 1.0, not 0.3"),
        ("mobilenet_v1", {"num_labels": 5, "width": 0.25}, "with 1001 labels, not 5"),
        ("levit_128s", {"image_size": 128}, "published for 224, not 128 pixels"),
    ],
)
def test_what_is_not_published_gets_random_weights_with_a_warning(
    name: str, overrides: dict[str, object], words: str
) -> None:
    warnings: list[str] = []
    assert load(name, warnings, **({"image_size": 64} | overrides)).weights == "random"
    assert len(warnings) == 1
    assert words in warnings[0]
    assert "RANDOM WEIGHTS" in warnings[0]
    with pytest.raises(BadInputError, match=words):
        load(name, [], weights="pretrained", **overrides)


def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: time.sleep(30))
    monkeypatch.setattr(hub, "_endpoint", lambda: "http://hub.example")


def failing_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_endpoint", lambda: "http://does-not-exist.invalid")


def black_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    # The socket stays open and never answers; a test's end closes it with the process.
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(hub, "_listener", listener, raising=False)
    monkeypatch.setattr(hub, "_endpoint", lambda: f"http://127.0.0.1:{listener.getsockname()[1]}")


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("trouble", [hanging_resolver, failing_resolver, black_hole, offline])
def test_a_missing_network_is_noticed_within_five_seconds(
    trouble: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble(monkeypatch)  # type: ignore[operator]
    start = time.monotonic()
    with pytest.raises(
        ResourceError, match=r"google/mobilenet_v1_0\.75_192: not in the local cache"
    ) as caught:
        load("mobilenet_v1", [], weights="pretrained", **SMALL)
    assert time.monotonic() - start < 5
    assert "\n" not in str(caught.value)


def test_without_a_network_the_zoo_gets_random_weights_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    warnings: list[str] = []
    assert load("mobilenet_v1", warnings, **SMALL).weights == "random"
    assert len(warnings) == 1
    assert "HF_HUB_OFFLINE is set" in warnings[0]
    with pytest.raises(ResourceError, match="owner/name"):
        load("owner/name", warnings)


def test_a_repository_without_safetensors_is_refused(served: Path) -> None:
    (served / "model.safetensors").rename(served / "pytorch_model.bin")
    with pytest.raises(BadInputError, match=r"owner/name: has no model\.safetensors on the hub"):
        load("owner/name", [])


def test_a_download_that_breaks_off_is_one_line(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_options: object) -> str:
        raise OSError(28, "No space left\non device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(ResourceError, match=r"owner/name: cannot be downloaded .*No space left on device"):
        load("owner/name", [])
