"""What every engine is given, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lwc.models.request import LoadedModel, ModelRequest

Array = NDArray[np.float32]
Run = Callable[[], list[Array]]


@dataclass(frozen=True)
class Task:
    """A model to run with `threads` threads; `folder` holds what was made of it.

    The request makes the same weights in every process, since it holds their seed; a user's factory has to, too.
    """

    request: ModelRequest
    folder: Path
    threads: int

    @property
    def onnx(self) -> Path:
        """The model as ONNX; absent where no engine needs it, or where it could not be exported."""
        return self.folder / "model.onnx"

    @property
    def package(self) -> Path:
        """The model as lwc compiles it."""
        return self.folder / "package"

    def load(self) -> LoadedModel:
        """The model as PyTorch has it, and its inputs."""
        from lwc.models.load import load_model

        return load_model(self.request, lambda message: None)

    def arrays(self) -> list[Array]:
        """The inputs."""
        with np.load(self.folder / "inputs.npz") as stored:
            return [stored[name] for name in stored.files]

    def store_arrays(self, arrays: list[Array]) -> None:
        """Keep the inputs for `arrays`."""
        np.savez(self.folder / "inputs.npz", *arrays)
