"""Builds on a Dask cluster: its workers build in processes of their own, and this machine only measures.

Whoever reaches a scheduler can run anything on its cluster: it is trusted as much as this machine.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any
from uuid import uuid4

from distributed import Client, Future, KilledWorker, Security, rpc

from lwc.errors import LwcError, ResourceError
from lwc.files import one_line, shortened
from lwc.tune.circumstances import current_versions
from lwc.tune.dask_worker import BuildPlugin, build_on_worker, require_versions, unpack
from lwc.tune.trials import Built, Refusal, Trials
from lwc.tune.workers import BUILD_SECONDS

_CONNECT_SECONDS = 10.0
_FETCH_SECONDS = 60.0
# What a task may take besides its build: processes that begin import PyTorch and TVM, the runtime is compiled.
_MARGIN_SECONDS = 300.0
# A nanny replaces a worker that died.
_RESTART_SECONDS = 30.0
_POLL_SECONDS = 0.2
_ATTEMPTS = 2
_NEVER_BUILT = "was lost twice: the Dask workers that built it died, or did not answer"
# What becomes of a call whose worker dies while its answer is fetched.
_LOST = (TimeoutError, CancelledError, KilledWorker)


@contextmanager
def dask_builders(
    address: str, command: Sequence[str] | None = None, seconds: float = BUILD_SECONDS
) -> Iterator["DaskBuilders"]:
    """Builds by the workers of the scheduler at `address`, each in at most `seconds`; `command` is for BuildPlugin.

    Raises ResourceError where the scheduler does not answer within 10 s, or has no workers, or one has other versions
    than this process.
    """
    plugin = f"lwc-{uuid4()}"
    with _connected(address) as cluster:
        threads = cluster.threads()
        if not threads:
            raise ResourceError(f"{cluster.name}: has no workers; start some with `dask worker {address}`")
        checks = [_Call(worker, require_versions, (current_versions(),)) for worker in threads]
        answers = cluster.answers(checks, _MARGIN_SECONDS)
        if silent := [check.worker for place, check in enumerate(checks) if place not in answers]:
            raise ResourceError(f"{cluster.name}: its worker {silent[0]} does not answer; is it busy?")
        cluster.client.register_plugin(BuildPlugin(command, seconds), plugin)
        try:
            yield DaskBuilders(cluster, plugin, seconds, sum(threads.values()))
        finally:
            # Where the cluster is gone, so is the plugin.
            with suppress(Exception):
                cluster.client.unregister_worker_plugin(plugin)


@contextmanager
def _connected(address: str) -> Iterator["_Cluster"]:
    name = f"Dask scheduler {shortened(address)}"
    try:
        asyncio.run(asyncio.wait_for(_greet(address), _CONNECT_SECONDS))
        client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    # A malformed address is a ValueError, and much else.
    except Exception as error:
        reason = (
            f"not within {_CONNECT_SECONDS:.0f} s" if isinstance(error, TimeoutError) else one_line(error)
        )
        raise ResourceError(f"{name}: does not answer ({reason}); start it with `dask scheduler`") from error
    try:
        yield _Cluster(name, client)
    finally:
        with suppress(Exception):
            client.close(_CONNECT_SECONDS)


async def _greet(address: str) -> None:
    """Where a server takes connections but is none of Dask's, `Client` would wait for ever for a word from it."""
    arguments = Security().get_connection_args("client")
    async with rpc(address, connection_args=arguments) as scheduler:
        await scheduler.identity(n_workers=0)


@dataclass(frozen=True)
class _Call:
    """A function that a worker is to call, by the worker's address."""

    worker: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class _Cluster:
    """The workers of a scheduler that errors call `name`. Methods raise ResourceError where it is gone."""

    name: str
    client: Client

    def threads(self) -> dict[str, int]:
        """The number of threads of each worker, by its address."""
        try:
            found = self.client.nthreads(callback_timeout=_CONNECT_SECONDS)
        except Exception as error:
            raise ResourceError(f"{self.name}: is gone ({one_line(error)}); start it again") from error
        return dict(found)

    def answers(self, calls: Sequence[_Call], seconds: float) -> dict[int, Any]:
        """What `calls` give, by their places, without those whose worker died or did not answer within `seconds`.

        Raises ResourceError where a call fails.
        """
        deadline = time.monotonic() + seconds
        # Dask would take equal calls for one, if they were pure.
        futures = [
            self.client.submit(call.function, *call.arguments, workers=[call.worker], pure=False)
            for call in calls
        ]
        waiting = set(range(len(calls)))
        while waiting and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            there = self.threads()
            waiting = {n for n in waiting if calls[n].worker in there and not futures[n].done()}
        answers = {}
        for place, (call, future) in enumerate(zip(calls, futures, strict=True)):
            with suppress(*_LOST):
                if future.done():
                    answers[place] = self._result(call, future)
        return answers

    def _result(self, call: _Call, future: Future[Any]) -> Any:
        try:
            return future.result(_FETCH_SECONDS)
        except _LOST:
            raise
        except Exception as error:
            cause = f"cannot build ({one_line(error)}); install {current_versions()} there"
            text = str(error) if isinstance(error, LwcError) else cause
            raise ResourceError(f"{self.name}: its worker {call.worker} {text}") from error


@dataclass(frozen=True)
class DaskBuilders:
    """Builds trials on `cluster`, `count` at once; the plugin that does it has a name there."""

    cluster: _Cluster
    plugin: str
    seconds: float
    count: int

    def __len__(self) -> int:
        return self.count

    def build(self, requests: Sequence[tuple[Trials, Path]]) -> list[Built | Refusal]:
        """What comes of each of `requests`, each with an empty folder. What is lost once is tried on another worker.

        Raises ResourceError where nothing can be built on the cluster.
        """
        answers: dict[int, Any] = {}
        tried: dict[int, str] = {}
        for _ in range(_ATTEMPTS):
            left = [place for place in range(len(requests)) if place not in answers]
            if not left:
                break
            slots = self._slots()
            for number, place in enumerate(left):
                others = [worker for worker in slots if worker != tried.get(place)] or slots
                tried[place] = others[number % len(others)]
            calls = [self._call(tried[place], requests[place][0]) for place in left]
            seconds = (self.seconds + _MARGIN_SECONDS) * ceil(len(calls) / len(slots))
            found = self.cluster.answers(calls, seconds)
            answers |= {left[number]: answer for number, answer in found.items()}
        return [
            unpack(answers[place], folder) if place in answers else Refusal(_NEVER_BUILT)
            for place, (_, folder) in enumerate(requests)
        ]

    def _call(self, worker: str, trials: Trials) -> _Call:
        return _Call(worker, build_on_worker, (self.plugin, current_versions(), trials))

    def _slots(self) -> list[str]:
        """The workers' addresses, each as often as it has threads, the first threads of all before the second ones."""
        with suppress(Exception):
            self.cluster.client.wait_for_workers(1, _RESTART_SECONDS)
        threads = self.cluster.threads()
        if not threads:
            raise ResourceError(f"{self.cluster.name}: all of its workers are gone; start them again")
        return [
            worker for turn in range(max(threads.values())) for worker in threads if turn < threads[worker]
        ]
