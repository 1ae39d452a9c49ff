"""What a package's manifest says of pruning."""

from typing import Annotated

from pydantic import Field

from lwc.package.frozen import Count, Frozen


class LayerCounts(Frozen):
    """How large a model's convolutions and linear layers are, batch norms folded in.

    `channels`: of all groups of channels that can only go together; `parameters`: weights and biases.
    """

    channels: Count
    parameters: Count
    macs: Count


class Pruning(Frozen):
    """What pruning by magnitude removed: at most `fraction` of each group's channels, without training anew."""

    fraction: Annotated[float, Field(gt=0, lt=1)]
    before: LayerCounts
    after: LayerCounts

    @property
    def removed_parameters(self) -> int:
        """The weights and biases that are gone."""
        return self.before.parameters - self.after.parameters

    @property
    def removed_macs(self) -> int:
        """The multiplications that are gone."""
        return self.before.macs - self.after.macs
