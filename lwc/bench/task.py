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
    precision: str = "fp32"

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
        return self._stored("inputs")

    def store_arrays(self, arrays: list[Array]) -> None:
        """Keep the inputs for `arrays`."""
        np.savez(self.folder / "inputs.npz", *arrays)

    def calibration(self) -> list[list[Array]]:
        """The samples that INT8 ranges are measured on, the same for every engine."""
        arrays = self._stored("calibration")
        return [list(sample) for sample in zip(*arrays, strict=True)]

    def store_calibration(self, samples: list[list[Array]]) -> None:
        """Keep the samples for `calibration`."""
        np.savez(self.folder / "calibration.npz", *map(np.stack, zip(*samples, strict=True)))

    def _stored(self, name: str) -> list[Array]:
        with np.load(self.folder / f"{name}.npz") as stored:
            return [stored[key] for key in stored.files]
