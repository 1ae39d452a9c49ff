"""`lwc verify`: does a package still give what PyTorch gave?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lwc.cli.options import json_option, package_argument
from lwc.cli.output import emit, emit_json, table
from lwc.cli.units import short_float

if TYPE_CHECKING:
    from lwc.package.manifest import Verification

_EPILOG = """\
\b
Example:
  lwc verify mobilenet_v1-arm64
"""


@click.command(epilog=_EPILOG)
@package_argument
@json_option
def command(package: Path, as_json: bool) -> None:
    """Run the sample stored in PACKAGE and compare with the output stored beside it.

    Every file is first compared with its recorded hash. The error of an output is the root mean square of
    its differences from PyTorch in float64; the limit is twice that of PyTorch in float32 (in float16 for a
    package in FP16), plus 1e-6. Where outputs are integers (`lwc compile --io int8`), they are counted in these.
    The deviation says how much the output varies: agreement proves nothing where it is near 0.
    """
    from lwc.package.verify import verify_package

    verification = verify_package(package)
    if as_json:
        emit_json({"package": str(package), **verification.model_dump(mode="json")})
    else:
        emit(_text(verification))


def _text(verification: "Verification") -> str:
    numbers = ("error", "limit", "deviation")
    rows = [
        (
            check.name,
            "-" if check.rms_error is None else short_float(check.rms_error),
            short_float(check.rms_limit),
            short_float(check.deviation),
            verification.how,
        )
        for check in verification.outputs
    ]
    return table(("output", *numbers, "run"), rows, right=numbers)
