"""The squeeze-and-excitation gate, against mmdet's own layer."""

import pytest
import torch

from freekd import compat
from freekd.gates import SqueezeExcitationGate


def test_it_is_twice_mmdets_weight():
    compat.apply()
    from mmdet.models.utils import SELayer

    torch.manual_seed(0)
    gate = SqueezeExcitationGate([32], reduction=4)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    layer = SELayer(32, ratio=4, act_cfg=(dict(type="ReLU"), dict(type="Sigmoid")))
    first, last = gate.mlps[0][0], gate.mlps[0][2]
    for conv, linear in ((layer.conv1.conv, first), (layer.conv2.conv, last)):
        conv.weight.data.copy_(linear.weight[:, :, None, None])
        conv.bias.data.copy_(linear.bias)
    feat = torch.randn(2, 32, 5, 7)
    torch.testing.assert_close(feat * gate([feat])[0], 2 * layer(feat))


def test_by_hand():
    """One channel of mean 1, W_1 = 1, W_2 = log 3 on one unit: 2 sigma(log 3) = 3 / 2."""
    gate = SqueezeExcitationGate([1])
    for parameter in gate.parameters():
        torch.nn.init.zeros_(parameter)
    gate.mlps[0][0].weight.data[0, 0] = 1
    gate.mlps[0][2].weight.data[0, 0] = torch.tensor(3.0).log()
    (weight,) = gate([torch.tensor([[[[0.5, 1.5]]]])])
    assert weight.shape == (1, 1, 1, 1) and float(weight) == pytest.approx(1.5)


def test_the_hidden_layer():
    gate = SqueezeExcitationGate([256, 16])
    assert [mlp[0].out_features for mlp in gate.mlps] == [16, 8]
