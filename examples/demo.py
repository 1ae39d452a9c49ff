"""MobileNetV1 for arm64 and for this machine: compiled, verified and, where it runs natively, measured."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from lwc.package.manifest import Manifest, read_manifest

MODEL = "mobilenet_v1"
TARGETS = ("arm64", "native")


def compile_for(target: str) -> Path:
    """The package that `lwc compile` makes in the current folder."""
    print(f"$ lwc compile {MODEL} --target {target}", flush=True)
    subprocess.run([sys.executable, "-m", "lwc", "compile", MODEL, "--target", target], check=True)
    print(flush=True)
    return Path(f"{MODEL}-{target}")


def latency(package: Path) -> str:
    """The median of 100 runs of the package's own program."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "input"
        raw.write_bytes(np.load(package / "sample_input.npy").tobytes())
        command = [str(package.resolve() / "lwc-run"), "--input", str(raw), "--repeat", "100"]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
    return f"{json.loads(result.stdout)['median_ms']:.2f} ms"


def error(manifest: Manifest) -> str:
    """The sample's error beside what is allowed, and how it was run."""
    verification = manifest.verification
    check = verification.outputs[0]
    if check.rms_error is None:
        return "not run: install qemu-user (`apt install qemu-user`)"
    return f"{check.rms_error:.1e} of {check.rms_limit:.1e} allowed ({verification.how})"


def main() -> None:
    """Compile for both targets and print the table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("target", "package", "verification error", "latency"):
        table.add_column(heading, no_wrap=True)
    for target in TARGETS:
        package = compile_for(target)
        manifest = read_manifest(package)
        size = sum(file.stat().st_size for file in package.iterdir()) / 1e6
        time = latency(package) if target == "native" else "-"
        table.add_row(target, f"{size:.1f} MB", error(manifest), time)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
