"""A Dask worker's part in builds on a cluster: its own processes build, and what they built goes back as bytes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from threading import Lock, Timer

from distributed import Worker, WorkerPlugin, get_worker

from lwc.errors import ResourceError
from lwc.package.manifest import PROGRAM_NAME
from lwc.package.toolchain import Toolchain, find_toolchain
from lwc.targets.target import Target
from lwc.tune.build import prepare_runtime
from lwc.tune.circumstances import current_versions
from lwc.tune.job import is_needed, needed_files
from lwc.tune.trials import Built, Refusal, Trials
from lwc.tune.workers import WORKER, Workers, memory_limit

# A tuner that was killed never says that it needs no processes any more.
_IDLE_SECONDS = 300.0
_MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Packed:
    """What was built elsewhere: `files` has what its runs need, by name, and the folder of `built` means nothing."""

    built: Built
    files: dict[str, bytes]


def unpack(answer: Packed | Refusal, folder: Path) -> Built | Refusal:
    """What another machine built, its program now in `folder`: those files, and no others, of limited size."""
    if isinstance(answer, Refusal):
        return answer
    if PROGRAM_NAME not in answer.files or not all(map(is_needed, answer.files)):
        return Refusal("came back without its program, or with more than that")
    if sum(map(len, answer.files.values())) > _MOST_BYTES:
        return Refusal(f"its program has more than {_MOST_BYTES >> 20} MB")
    for name, content in answer.files.items():
        (folder / name).write_bytes(content)
    (folder / PROGRAM_NAME).chmod(0o755)
    return replace(answer.built, folder=folder)


def require_versions(versions: str) -> None:
    """Raises ResourceError where this process has others than `versions`."""
    if current_versions() != versions:
        raise ResourceError(f"has {current_versions()}, not {versions}; install the same on both sides")


def build_on_worker(plugin: str, versions: str, trials: Trials) -> Packed | Refusal:
    """The task of a Dask worker: what its plugin of this name makes of `trials`.

    Raises ResourceError where it has other versions, or cannot build anything.
    """
    require_versions(versions)
    found = get_worker().plugins[plugin]
    assert isinstance(found, BuildPlugin)
    return found.build(trials)


class BuildPlugin(WorkerPlugin):
    """The processes of a Dask worker, started with `command` (None: as a tuner starts its own), and their folder.

    A build takes at most `seconds`.
    """

    def __init__(self, command: Sequence[str] | None, seconds: float) -> None:
        self._command, self._seconds = command, seconds

    def setup(self, worker: Worker) -> None:
        """Called in the thread that answers the scheduler, where nothing may take long."""
        self._folder = TemporaryDirectory(
            prefix="lwc-build-", dir=worker.local_directory, ignore_cleanup_errors=True
        )
        self._memory = memory_limit(worker.state.nthreads, worker.memory_manager.memory_limit)
        self._tools: dict[Target, tuple[Toolchain, Path]] = {}
        self._idle: list[Workers] = []
        self._timer = Timer(0, self._end_idle)
        self._over = False
        self._making, self._changing = Lock(), Lock()

    def teardown(self, worker: Worker) -> None:
        """Ends all processes; those that still build end with their build."""
        with self._changing:
            self._over = True
        self._end_idle()
        self._folder.cleanup()

    def build(self, trials: Trials) -> Packed | Refusal:
        """Build `trials` in a process of its own, with the tools of this machine; any thread may call it.

        Raises ResourceError where there are none, or a process cannot begin.
        """
        toolchain, runtime = self._tools_for(trials.target)
        here = replace(trials, toolchain=toolchain, runtime=runtime)
        with TemporaryDirectory(dir=self._folder.name, ignore_cleanup_errors=True) as folder:
            with self._lent() as workers:
                (answer,) = workers.build([(here, Path(folder))])
            if isinstance(answer, Refusal):
                return answer
            return Packed(answer, {path.name: path.read_bytes() for path in needed_files(Path(folder))})

    def _tools_for(self, target: Target) -> tuple[Toolchain, Path]:
        with self._making:
            if target not in self._tools:
                toolchain = find_toolchain(target)
                runtime = prepare_runtime(toolchain, Path(mkdtemp(dir=self._folder.name)) / "runtime")
                self._tools[target] = toolchain, runtime
            return self._tools[target]

    @contextmanager
    def _lent(self) -> Iterator[Workers]:
        """A process that no other thread has meanwhile."""
        with self._changing:
            self._timer.cancel()
            workers = self._idle.pop() if self._idle else self._new()
        try:
            yield workers
        finally:
            self._take_back(workers)

    def _new(self) -> Workers:
        return Workers(1, self._command or WORKER, self._seconds, self._memory)

    def _take_back(self, workers: Workers) -> None:
        with self._changing:
            self._idle.append(workers)
            self._timer.cancel()
            self._timer = Timer(0 if self._over else _IDLE_SECONDS, self._end_idle)
            self._timer.daemon = True
            self._timer.start()

    def _end_idle(self) -> None:
        with self._changing:
            self._timer.cancel()
            while self._idle:
                self._idle.pop().close()
