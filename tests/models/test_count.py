import pytest
import torch
from torch import nn

from lwc.models.count import count, zoo_summary
from lwc.models.zoo import ZOO

# name: millions of parameters and of multiply-accumulates, as published. LeViT has its second head, too.
PUBLISHED = {
    "mobilenet_v1": (4.23, 568.7),
    "mobilenet_v2": (3.50, 300.8),
    "levit_128s": (7.78, 304.7),
    "mobilevit_small": (5.58, 2000.8),
}


def test_the_zoo_has_the_published_sizes() -> None:
    rows = {row.name: row for row in zoo_summary()}
    assert list(rows) == list(ZOO)
    for name, (parameters, macs) in PUBLISHED.items():
        assert rows[name].parameters / 1e6 == pytest.approx(parameters, rel=3e-3)
        assert rows[name].macs / 1e6 == pytest.approx(macs, rel=3e-3)
    assert rows["deeplabv3_mobilenet_v2"].input_shape == (1, 3, 513, 513)
    assert rows["deeplabv3_mobilenet_v2"].task == "segmentation"


def test_only_products_count() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 8, 3, groups=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))
    counts = count(layer, (torch.randn(2, 3, 4, 4),))
    assert counts.parameters == 3 * 8 * 9 + 32 * 5 + 5
    assert counts.macs == 2 * (8 * 4 * 27 + 32 * 5)


def test_attention_counts() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x) + x @ x.mT @ x

    # Twice the two products of 10 x 4 x 10.
    assert count(Attention(), (torch.randn(1, 1, 10, 4),)).macs == 4 * 400
