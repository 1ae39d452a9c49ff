"""What `lwc tune` and `lwc tune bundle` ask for: the kernels that `lwc compile` with the same options would have."""

from typing import TYPE_CHECKING, Any

from lwc.models.request import ModelRequest

if TYPE_CHECKING:
    from lwc.compile_request import CompileRequest


def tuning_request(
    model: ModelRequest,
    target: str,
    passes: dict[str, Any],
    threads: int,
    int8: tuple[str | None, str | None, str | None],
) -> "CompileRequest":
    """The request of these options; `int8` is what `int8_options` gives, in its order."""
    from lwc.compile_request import CompileRequest
    from lwc.rewriting import PassOptions

    # `lwc compile` holds the passes against the model.
    options = PassOptions(**passes, verify=False)
    precision, calibrate, observer = int8
    return CompileRequest(
        model,
        target,
        passes=options,
        threads=threads,
        precision=precision,
        calibrate=calibrate,
        observer=observer,
    )
