"""Weights of models: which keys of a config name pretrained ones."""

import pytest

from freekd.distill.weights import without_pretrained


@pytest.mark.parametrize(
    "init_cfg", [dict(type="Pretrained", checkpoint="a.pth"), dict(checkpoint="a.pth")]
)
def test_pretrained_weights_are_left_out(init_cfg):
    """With a type, as most backbones, or with none, as mmdet's PVT: neither is fetched."""
    kept = dict(type="Normal", layer="Conv2d", std=0.01)
    model = dict(
        pretrained="b.pth",
        backbone=dict(init_cfg=init_cfg),
        heads=[dict(init_cfg=kept), dict(init_cfg=[kept])],
    )
    assert without_pretrained(model) == dict(
        pretrained=None,
        backbone=dict(init_cfg=None),
        heads=[dict(init_cfg=kept), dict(init_cfg=[kept])],
    )
    assert model["backbone"]["init_cfg"] is init_cfg  # the config itself is as it was
