"""The passes stage: which passes run, how they are checked, and what is left for the user where one is wrong."""

import itertools
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from lwc.dump import dump_to
from lwc.errors import UsageError
from lwc.pipeline import Hook, PassRecord, Pipeline, run_pipeline
from lwc.pipeline.signature import SignatureHook
from lwc.pipeline.verify import Disagreement, PassCheck, Verifier
from lwc.pruning import Pruned, PruningRecorder, with_pruning
from lwc.trace import Program


@dataclass(frozen=True)
class PassOptions:
    """Which passes run, and how.

    `spec`: a pipeline, or its text form; `extra`: passes to add, as `--pass` takes them; `limit`: the rewriting ends
    after so many rewrites; `verify`: run the graph before and after each pass; `dump_dir`: a folder for the graph
    after every pass; `prune`: remove this fraction of each group's channels, those of least magnitude. Raises
    UsageError for a negative limit or a fraction that is not between 0 and 1.
    """

    spec: str | Pipeline = "default"
    extra: tuple[str, ...] = ()
    limit: int | None = None
    verify: bool = True
    dump_dir: Path | None = None
    prune: float | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"pass limit {self.limit}: out of range; give 0 or more")
        if self.prune is not None and not 0 < self.prune < 1:
            raise UsageError(f"prune {self.prune}: out of range; give a number above 0 and below 1")
        if self.prune is not None and self.limit is not None:
            raise UsageError("--prune: a pass limit would leave channels half removed; give one of the two")

    def pipeline(self) -> Pipeline:
        """The passes in order. Raises UsageError or BadInputError where there are none such."""
        pipeline = Pipeline.parse(self.spec) if isinstance(self.spec, str) else self.spec
        for text in self.extra:
            pipeline = pipeline.with_pass(text)
        return pipeline if self.prune is None else with_pruning(pipeline, self.prune)

    def arguments(self) -> str:
        """The options as the command line takes them."""
        words = [] if str(self.spec) == "default" else ["--passes", str(self.spec)]
        words += [word for text in self.extra for word in ("--pass", text)]
        words += [] if self.limit is None else ["--pass-limit", str(self.limit)]
        words += [] if self.prune is None else ["--prune", str(self.prune)]
        return shlex.join(words)


@dataclass(frozen=True)
class Rewritten:
    """The program before and after the passes, what each did, and, by its position, how it was checked.

    `compared`: how many outputs could be compared, those that are finite. `pruned`: what was pruned by magnitude,
    whose reference is then what the program has to give.
    """

    traced: Program
    program: Program
    records: tuple[PassRecord, ...]
    checks: dict[int, PassCheck]
    compared: int
    pruned: Pruned | None = None

    @property
    def outputs(self) -> int:
        """How many outputs the program has."""
        (output,) = self.program.module.graph.find_nodes(op="output")
        return len(tree_leaves(output.args))


def rewrite(
    options: PassOptions, pipeline: Pipeline, traced: Program, reproducer: Path | None = None
) -> Rewritten:
    """Run `pipeline`, which is that of `options`.

    Raises VerificationError where a pass changes the result, after `reproducer` was written, and BadInputError for
    a plug-in that fails.
    """
    recorder = PruningRecorder()
    hooks: list[Hook] = [recorder]
    if options.dump_dir is not None:
        hooks.append(dump_to(options.dump_dir))

    def on_failure(found: Disagreement) -> str:
        return "" if reproducer is None else _reproduce(reproducer, traced, options, found)

    with one_thread():
        verifier = Verifier(traced, on_failure) if options.verify else None
        hooks.append(verifier or SignatureHook())
        program, records = run_pipeline(pipeline, traced, tuple(hooks), options.limit)
    checks, compared = ({}, 0) if verifier is None else (verifier.checks, verifier.compared)
    return Rewritten(traced, program, records, checks, compared, recorder.pruned)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch's operators on one thread: on a busy machine several wait for each other, ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _reproduce(path: Path, traced: Program, options: PassOptions, found: Disagreement) -> str:
    """Write the traced program as a .pt2 file and its inputs as .npy; the command that repeats the failure."""
    path = _free(path.with_name(f"{path.name}-{found.step.item.name}.pt2"))
    samples = [path.with_suffix(f".{number}.npy") for number in range(len(traced.inputs))]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for sample, tensor in zip(samples, traced.inputs, strict=True):
            np.save(sample, tensor.numpy())
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(traced.module, traced.inputs), path)
    except Exception as error:
        return f"no reproducer could be written to {path} ({type(error).__name__}); "
    if isinstance(options.spec, Pipeline) and not options.spec.has_text():
        return f"no command can name its passes: repeat it from Python, with the same passes and the model {path}; "
    words = [word for sample in samples for word in ("--input", str(sample))]
    words += [] if traced.target is None else ["--target", traced.target.name]
    arguments = " ".join(filter(None, (shlex.join(words), options.arguments())))
    return f"repeat it with `lwc bisect {shlex.quote(str(path))}{' ' * bool(arguments)}{arguments}`; "


def _free(path: Path) -> Path:
    """`path`, or the first of NAME-2, NAME-3 ... where no file is."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(free for free in itertools.chain([path], names) if not free.exists())
