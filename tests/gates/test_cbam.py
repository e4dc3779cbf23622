"""The CBAM gate, by its equations written out place by place."""

import math

import torch

from freekd.gates import CBAMGate


def sigma(x):
    return 1 / (1 + math.exp(-x))


def test_by_definition():
    torch.manual_seed(0)
    gate = CBAMGate([3], kernel_size=3).double()
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    feat = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    gate.requires_grad_(False)
    (weight,) = gate([feat])
    assert weight.shape == feat.shape
    mlp, conv = gate.mlps[0], gate.convs[0]
    for n in range(2):
        channel = [
            sigma(float(a + b))
            for a, b in zip(mlp(feat[n].mean(dim=(1, 2))), mlp(feat[n].flatten(1).max(1).values))
        ]
        refined = [[[channel[c] * float(feat[n, c, y, x]) for x in range(5)] for y in range(4)]
                   for c in range(3)]  # fmt: skip
        for y in range(4):
            for x in range(5):
                total = float(conv.bias)
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= y + dy < 4 and 0 <= x + dx < 5:
                            values = [refined[c][y + dy][x + dx] for c in range(3)]
                            kernel = conv.weight[0, :, dy + 1, dx + 1]
                            total += float(kernel[0]) * sum(values) / 3
                            total += float(kernel[1]) * max(values)
                for c in range(3):
                    want = 2 * math.sqrt(channel[c] * sigma(total))
                    assert math.isclose(float(weight[n, c, y, x]), want, rel_tol=1e-9)


def test_the_papers_sizes():
    gate = CBAMGate([256])
    assert gate.mlps[0][0].out_features == 16 and gate.convs[0].kernel_size == (7, 7)
