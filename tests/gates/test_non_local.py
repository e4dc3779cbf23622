"""The non-local gate: by definition, against mmcv's block, and with subsampled keys."""

import torch
from torch.nn import functional as F

from freekd import compat
from freekd.gates import NonLocalGate
from freekd.gates import non_local as module


def stirred(channels, **options):
    torch.manual_seed(0)
    gate = NonLocalGate([channels], **options)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return gate


def test_by_definition():
    gate = stirred(16).double()
    feat = torch.randn(1, 16, 3, 4, dtype=torch.float64)
    (weight,) = gate([feat])
    block, places = gate.blocks[0], feat[0].flatten(1).T
    embed = [layer.weight[:, :, 0, 0] @ places.T + layer.bias[:, None]
             for layer in (block.theta, block.phi, block.g)]  # fmt: skip
    for i in range(12):
        scores = [(embed[0][:, i] * embed[1][:, j]).sum() / 8**0.5 for j in range(12)]
        total = sum(score.exp() for score in scores)
        y = sum(score.exp() / total * embed[2][:, j] for j, score in enumerate(scores))
        logit = block.last.weight[:, :, 0, 0] @ y + block.last.bias
        torch.testing.assert_close(weight[0, :, i // 4, i % 4], 2 * torch.sigmoid(logit))


def test_it_is_mmcvs_block_where_nothing_is_subsampled():
    compat.apply()
    from mmcv.cnn import NonLocal2d

    gate = stirred(16)
    mine, other = gate.blocks[0], NonLocal2d(16, reduction=2, use_scale=True)
    for name, layer in dict(theta="theta", phi="phi", g="g", last="conv_out").items():
        conv = getattr(other, layer).conv
        conv.weight.data.copy_(getattr(mine, name).weight)
        conv.bias.data.copy_(getattr(mine, name).bias)
    feat = torch.randn(2, 16, 5, 7)
    torch.testing.assert_close(gate([feat])[0], 2 * torch.sigmoid(other(feat) - feat))


def test_large_maps_attend_to_a_grid_of_means():
    """20 x 30 places look at 4 x 4 means: the weight is that of the block with these keys."""
    gate = stirred(8, grid=4)
    feat = torch.randn(1, 8, 20, 30)
    means = torch.stack(
        [
            torch.stack(
                [
                    feat[0, :, 5 * i : 5 * i + 5].mean(1)[:, a:b].mean(1)
                    for a, b in ((0, 8), (7, 15), (15, 23), (22, 30))
                ]
            )
            for i in range(4)
        ]
    ).flatten(0, 1)  # (16, C): where 30 / 4 is no integer, neighbouring cells share a column
    block = gate.blocks[0]
    queries = block.theta(feat)[0].flatten(1).T
    keys = F.linear(means, block.phi.weight[:, :, 0, 0], block.phi.bias)
    values = F.linear(means, block.g.weight[:, :, 0, 0], block.g.bias)
    y = torch.softmax(queries @ keys.T / 8**0.5, dim=1) @ values
    logits = F.linear(y, block.last.weight[:, :, 0, 0], block.last.bias).T.unflatten(1, (20, 30))
    torch.testing.assert_close(gate([feat])[0][0], 2 * torch.sigmoid(logits))


def test_a_few_rows_at_a_time_are_the_map(monkeypatch):
    """Without gradient, on a CPU."""
    gate, feat = stirred(16, grid=4).double(), torch.randn(2, 16, 11, 7, dtype=torch.float64)
    (want,) = gate([feat])
    for places in (1, 14, 20, 1000):
        monkeypatch.setattr(module, "_PLACES", places)
        with torch.no_grad():
            torch.testing.assert_close(gate([feat])[0], want.detach(), rtol=1e-12, atol=0)


def test_its_channels():
    assert NonLocalGate([256]).blocks[0].theta.out_channels == 128
