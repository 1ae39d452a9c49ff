"""One module with what convolutional networks and small transformers are built of."""

import torch
from torch import nn
from torch.nn import functional


class Blocks(nn.Module):
    """What convolutional networks are built of; each block is an output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(6, 24, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(24, 5, 1), nn.Conv2d(5, 24, 1)
        self.expand, self.project = nn.Conv2d(24, 40, 1, bias=False), nn.Conv2d(40, 24, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (40, 24, 24))
        self.shared = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.transposed = nn.ConvTranspose2d(24, 5, 3, stride=2, padding=1, output_padding=1)
        self.prelu, self.drop = nn.PReLU(24), nn.Dropout(0.5)
        self.attention, self.recurrent = nn.MultiheadAttention(24, 3, batch_first=True), nn.LSTM(24, 6)
        self.head, self.norm = nn.Linear(24, 10), nn.LayerNorm(24)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        stem = self.stem(x)
        gate = self.excite(self.squeeze(stem.mean((2, 3), keepdim=True)).relu()).sigmoid()
        hidden = functional.relu6(self.norms[0](self.expand(stem)))
        residual = stem + self.norms[1](self.project(hidden))
        tokens = self.norm(residual.flatten(2).transpose(1, 2))
        return (
            stem * gate,
            residual,
            self.shared(self.shared(stem)),
            self.transposed(stem),
            self.prelu(self.norms[2](stem.relu())),
            self.drop(stem).relu_().add_(1).mul_(x[:, :1]),
            self.attention(tokens, tokens, tokens)[0],
            self.recurrent(tokens)[0],
            self.head(tokens),
            self.head(tokens.mean(1)),
        )
