"""Tuning a model: the search for its kernels, and what they gain in the model as a whole."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from lwc.compile_request import CompileRequest
from lwc.errors import UnsupportedError, UsageError
from lwc.layer_times import LayerTimer, Run, Times, time_in_turns
from lwc.package.execute import runs_natively
from lwc.prepare import Prepared, load, prepare
from lwc.reporter import Clock, Reporter
from lwc.targets.resolve import resolve_target
from lwc.targets.target import Target
from lwc.trace import Program
from lwc.tune.bench import Bench
from lwc.tune.build import prepare_runtime
from lwc.tune.chosen import Chosen
from lwc.tune.circumstances import circumstances_of
from lwc.tune.device import Device, LocalDevice
from lwc.tune.devices import Devices
from lwc.tune.effort import Effort
from lwc.tune.job import RUNNER
from lwc.tune.model_runs import model_runs
from lwc.tune.progress import Search
from lwc.tune.store import Store, open_store
from lwc.tune.tasks import tasks_of
from lwc.tune.tuner import Tuner
from lwc.tune.workers import Builders, Workers, worker_count

# In the model a kernel may seem slower by this part of its time before it is given up again: less is noise.
_NOISE = 1.02


@dataclass(frozen=True)
class Places:
    """Where trials run, and the Dask scheduler whose workers build them: without one, this machine does."""

    devices: tuple[Device, ...] = (LocalDevice(),)
    builders: str | None = None


HERE = Places()


@dataclass(frozen=True)
class Tuned:
    """The search for each kernel; the model's times as planned and tuned, None where no kernel is faster."""

    target: Target
    searches: Sequence[Search]
    planned: Times | None = None
    tuned: Times | None = None


def tune_model(
    request: CompileRequest,
    effort: Effort,
    store_path: Path,
    reporter: Reporter,
    watch: Callable[[Sequence[Search]], None],
    places: Places = HERE,
) -> Tuned:
    """Tune the kernels of the model that `request` names, and keep all that is measured in the store.

    `watch` is told of the searches while they go on. Raises what `compile_package` and `dask_builders` raise,
    UnsupportedError where programs for the target do not run on the devices, UsageError where what builds is not
    installed, DeviceError where no device is left.
    """
    clock = Clock(reporter)
    require_devices(resolve_target(request.target), places)
    # Before anything that takes long.
    with _builders(places.builders) as builders:
        loaded = load(request, clock)
        with open_store(store_path, reporter.warn) as store:
            return tune_prepared(
                prepare(loaded, clock), effort, store, clock, watch, builders, places.devices
            )


def _builders(address: str | None = None) -> AbstractContextManager[Builders]:
    if address is None:
        return Workers(worker_count())
    if find_spec("distributed") is None:
        raise UsageError("--builders: distributed is not installed; `pip install 'lwc[farm]'`")
    from lwc.tune.dask_builders import dask_builders

    return dask_builders(address)


def tune_prepared(
    prepared: Prepared,
    effort: Effort,
    store: Store,
    clock: Clock,
    watch: Callable[[Sequence[Search]], None],
    builders: Builders | None = None,
    devices: Sequence[Device] = HERE.devices,
) -> Tuned:
    """The same for a model after its passes; without `builders` this machine builds."""
    loaded, request = prepared.loaded, prepared.loaded.request
    target, toolchain, program = loaded.target, loaded.toolchain, prepared.program
    with tempfile.TemporaryDirectory(prefix="lwc-tune-") as name:
        folder = Path(name)
        pool = Devices(devices, clock.reporter.warn)
        threads = circumstances_of(target, request.threads).threads
        with clock.stage("reach"):
            runner = prepare_runtime(toolchain, folder / "runtime") / RUNNER
            circumstances = circumstances_of(target, threads, pool.processor(runner, threads))
        with clock.stage("tune"), nullcontext(builders) if builders else _builders() as workers:
            bench = Bench(target, toolchain, threads, workers, pool, folder, request.model.seed)
            tuner = Tuner(bench, store, circumstances, watch)
            searches = tuner.tune(tasks_of(program, target), effort)
        for search in searches:
            if search.fault:
                clock.reporter.warn(f"{search.task.layers[0]}: its kernel cannot be tried ({search.fault})")
        timer = LayerTimer(loaded.model, target, threads, prepared.rewritten, toolchain, folder)
        with clock.stage("compare"):
            return _compared(
                Tuned(target, searches), prepared.float_io, timer, tuner, model_runs(pool, runner)
            )


def _compared(tuned: Tuned, program: Program, timer: LayerTimer, tuner: Tuner, run: Run) -> Tuned:
    """With the times of the model; what is slower in it is given up, and the rest compared anew."""
    planned = None
    for attempt in count():
        best = {search.task.workload: search.best for search in tuned.searches if search.best}
        if not best:
            return tuned
        planned = planned or timer.compiled("planned", program)
        chosen = Chosen(program, tuned.target, best)
        programs = [planned, timer.compiled(f"tuned{attempt}", program, chosen)]
        before, after = time_in_turns(programs, run)
        if after.run > _NOISE * before.run:
            # Seen once it may be chance.
            before, after = time_in_turns(programs, run)
        slower = _slower([search for search in tuned.searches if search.best], before, after)
        if not slower:
            return replace(tuned, planned=before, tuned=after)
        for search, was, now in slower:
            tuner.give_up(search, was, now)
    raise AssertionError("each attempt gives a choice up")


def _slower(searches: Sequence[Search], before: Times, after: Times) -> list[tuple[Search, float, float]]:
    """The searches whose choices make the model slower, with times of before and after, in microseconds.

    Where the model is slower, but none of its layers, that is all of them.
    """
    found = [
        (search, *times)
        for search in searches
        if (times := _times_in_model(search, before, after)) and times[1] > _NOISE * times[0]
    ]
    if found or after.run <= _NOISE * before.run:
        return found
    return [(search, before.run, after.run) for search in searches]


def require_devices(target: Target, places: Places = HERE) -> None:
    """Raises UnsupportedError where programs for `target` would have to run on this machine, which cannot."""
    if target.gpu is not None:
        raise UnsupportedError(
            f"target {target.name!r}: kernels for GPUs have no choices to try yet; compile as it is"
        )
    if places.devices == HERE.devices and not runs_natively(target):
        raise UnsupportedError(
            f"target {target.name!r}: its kernels cannot be timed on this machine; tune on one that runs them, or"
            " there with `lwc tune --device`"
        )


def _times_in_model(search: Search, before: Times, after: Times) -> tuple[float, float] | None:
    """Microseconds of one of its layers on average, as planned and tuned; None where they have no names."""
    layers = [layer for layer in search.task.layers if layer in before.layers and layer in after.layers]
    if not layers:
        return None
    was, now = (sum(times.layers[layer] for layer in layers) / len(layers) for times in (before, after))
    return was, now
