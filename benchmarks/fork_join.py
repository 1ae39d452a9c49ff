"""What the runtime's parallel loops cost beside their work, in nanoseconds.

python benchmarks/fork_join.py --threads 2
"""

import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

import click

from lwc.package.toolchain import find_toolchain
from lwc.targets.native import native_target

SOURCES = ("clock.c", "error.c", "memory.c", "pool.c")


@click.command()
@click.option("--threads", default=2, show_default=True, type=click.IntRange(2, 256))
def main(threads: int) -> None:
    """Compile the thread pool with a loop that only waits, and time it."""
    program = Path(__file__).with_suffix(".c").resolve()
    with as_file(files("lwc.runtime")) as runtime, tempfile.TemporaryDirectory() as folder:
        sources = [str(program), *(str(runtime / source) for source in SOURCES)]
        options = ["-std=c11", "-O2", f"-I{runtime}", "-o", "fork_join", *sources, "-lpthread"]
        find_toolchain(native_target()).run(options, Path(folder))
        done = subprocess.run(
            [str(Path(folder) / "fork_join"), str(threads)],
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
    click.echo(f"{threads} threads: {done.stdout.strip()} ns a loop beside its work")


if __name__ == "__main__":
    main()
