"""What is no address of a tracker, or leads to none."""

import socket
from threading import Thread

import pytest

from lwc.errors import UsageError
from lwc.tune.device import DeviceError
from lwc.tune.rpc import rpc_devices
from tests.tune.farm import free_port


@pytest.mark.parametrize(
    "rest", ["", "host/key", "host:9", "host:9/", "host:0/key", "host:99999/key", "host:9/a key"]
)
def test_what_is_no_address(rest: str) -> None:
    with pytest.raises(UsageError, match=r": is no address of a tracker; give rpc://HOST:PORT/KEY$"):  # noqa: SIM117
        with rpc_devices(f"rpc://{rest}"):
            pass


def test_what_is_no_tracker() -> None:
    with (
        pytest.raises(DeviceError, match=r"^tracker 127.0.0.1:\d+: cannot be reached"),
        rpc_devices(f"rpc://127.0.0.1:{free_port()}/key"),
    ):
        pass
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")
                connection.recv(4)

        Thread(target=answer, daemon=True).start()
        port = other.getsockname()[1]
        with (
            pytest.raises(DeviceError, match="does not answer as a tracker"),
            rpc_devices(f"rpc://127.0.0.1:{port}/key"),
        ):
            pass
