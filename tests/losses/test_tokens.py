"""Outputs of networks as maps. Oracle: tokens written by hand, mmcls's own backbones."""

import pytest
import torch

from freekd import compat

compat.apply()

from mmcls.models import build_backbone

from freekd.checks import FeatureError
from freekd.losses.tokens import as_map, as_tokens, shape_of

GRID = torch.arange(12.0).view(1, 6, 2)  # 2 x 3 places of 2 channels, row by row


def test_row_by_row():
    feat = as_map(GRID, "tap", grid=(2, 3))
    assert feat[0, :, 1, 0].tolist() == [6.0, 7.0]  # the fourth token
    assert torch.equal(as_tokens(feat), GRID)
    before = torch.cat([torch.full((1, 1, 2), 99.0), GRID], 1)  # a class token
    assert torch.equal(as_map(before, "tap", grid=(2, 3)), feat)


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (torch.zeros(2, 5, 4, 3), (5, 4, 3)),
        (torch.zeros(2, 9, 5), (5, 3, 3)),
        (torch.zeros(2, 2 + 9, 5), (5, 3, 3)),
        ((torch.zeros(2, 6, 5), (2, 3)), (5, 2, 3)),
        ((torch.zeros(2, 6, 5), torch.Size([3, 2])), (5, 3, 2)),
        ([torch.zeros(2, 5, 4, 4), torch.zeros(2, 5)], (5, 4, 4)),  # a class token beside
        (([torch.zeros(2, 5, 4, 4), torch.zeros(2, 5)],), (5, 4, 4)),
        ((torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 4, 4)), (5, 4, 4)),  # stages: the last
    ],
)
def test_forms(output, shape):
    assert shape_of(output, "tap") == shape


def test_a_stage_by_its_number():
    stages = torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 4, 4)
    assert shape_of(stages, "tap", index=0) == (3, 8, 8)
    with pytest.raises(FeatureError, match="tap: index=2, but the module gives 2 outputs"):
        as_map(stages, "tap", index=2)


@pytest.mark.parametrize(
    ("output", "grid", "message"),
    [
        (torch.zeros(2, 5), None, r"expected a map \(N, C, H, W\) or tokens .* got \(2, 5\)"),
        (torch.zeros(2, 9 + 3, 5), None, "12 tokens are no grid of 3 x 3"),
        (torch.zeros(2, 8, 5), (3, 3), "8 tokens are no grid of 3 x 3"),
        ((torch.zeros(2, 7, 5), (2, 3)), None, "7 tokens are no grid of 2 x 3, nor with up to 0"),
        ((), None, "got tuple"),
        (None, None, "got NoneType"),
    ],
)
def test_what_is_none(output, grid, message):
    with pytest.raises(FeatureError, match=message):
        as_map(output, "tap", grid=grid)


@pytest.mark.parametrize(
    ("options", "size", "path", "shape"),
    [
        (dict(type="ResNet", depth=18), 64, "layer3", (256, 4, 4)),
        (dict(type="VisionTransformer", arch="deit-tiny", img_size=64), 64, "layers.8",
         (192, 4, 4)),
        (dict(type="VisionTransformer", arch="deit-tiny", img_size=64), 64, "", (192, 4, 4)),
        (dict(type="DistilledVisionTransformer", arch="deit-tiny", img_size=64), 64, "layers.8",
         (192, 4, 4)),
        (dict(type="SwinTransformer", arch="tiny", window_size=2), 64, "stages.2", (384, 4, 4)),
        (dict(type="MlpMixer", arch=dict(embed_dims=8, num_layers=3, tokens_mlp_dims=4,
                                         channels_mlp_dims=4), img_size=64), 64, "layers.1",
         (8, 4, 4)),
    ],
)  # fmt: skip
def test_what_mmcls_gives(options, size, path, shape):
    backbone, seen = build_backbone(options), []
    backbone.eval()
    backbone.get_submodule(path).register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        backbone(torch.zeros(1, 3, size, size))
    assert shape_of(seen[0], "tap") == shape
