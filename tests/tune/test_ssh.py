"""A board behind ssh: an sshd on loopback, with arm64 programs under qemu."""

import os
import random
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from lwc.errors import UsageError
from lwc.package.toolchain import find_toolchain
from lwc.targets.resolve import resolve_target
from lwc.tune.bench import Batch, Bench
from lwc.tune.device import DeviceError
from lwc.tune.devices import Devices
from lwc.tune.job import RUNNER
from lwc.tune.measure import Measured
from lwc.tune.reach import open_devices
from lwc.tune.search import next_choices
from lwc.tune.workers import Workers
from tests.tune.board import QEMU
from tests.tune.layers import float_tasks
from tests.tune.made import no_warning

pytestmark = pytest.mark.slow


def test_trials_run_on_the_board(board_url: str, tmp_path: Path, rng: torch.Generator, seed: int) -> None:
    target = resolve_target("arm64")
    task = float_tasks(8, 12, rng, target)[-1]
    choices = tuple(next_choices(task.kernel, target, [], 3, random.Random(seed)))
    with Workers(1) as workers, open_devices([board_url], QEMU) as opened:
        devices = Devices(opened, no_warning)
        bench = Bench(target, find_toolchain(target), 2, workers, devices, tmp_path, seed)
        (outcomes,) = bench.try_each([Batch(task.call, choices)], checked=True)
        runner = tmp_path / "runtime" / RUNNER
        assert devices.processor(runner, 2)
    assert isinstance(outcomes, list), outcomes
    assert len(outcomes) == len(choices) > 0
    assert all(isinstance(outcome, Measured) for outcome in outcomes), outcomes
    assert not any((tmp_path / "board" / "tmp").iterdir()), "the board is not left as it was"


def test_a_board_that_cannot_be_reached(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"ssh://127.0.0.1:{closed.getsockname()[1]}"
        with (
            open_devices([url]) as opened,
            pytest.raises(DeviceError, match=f"{url}: the trials could not be run \\(.*Connection refused"),
        ):
            Devices(opened, no_warning).processor(Path(os.devnull), 1)


@pytest.mark.parametrize(
    "url",
    [
        "ssh://",
        "ssh://a b@",
        "ssh://board:port",
        "ssh://u:secret@board",
        "ssh://board/x",
        "ssh://-oX@board",
        "ssh://-board",
        "ssh://@board",
        "ssh://board:0",
        "ssh://a b",
        "ftp://board",
        "",
    ],
)
def test_no_url_of_a_device(url: str) -> None:
    with ExitStack() as stack, pytest.raises(UsageError, match=r"--device '.*form"):
        stack.enter_context(open_devices([url]))


def test_no_command_to_run_with() -> None:
    with ExitStack() as stack, pytest.raises(UsageError, match=r"--run-with .*: is no command"):
        stack.enter_context(open_devices(["ssh://board"], "taskset 'x"))
