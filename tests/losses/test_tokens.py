"""Outputs of networks as maps. Oracle: tokens written by hand, mmcls's own backbones."""

import pytest
import torch

from freekd import compat

compat.apply()

from mmcls.models import build_backbone

from freekd.checks import FeatureError
from freekd.losses.tokens import as_map, as_tokens, check_index, shape_of

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
        (([torch.zeros(2, 5, 4, 4), None],), (5, 4, 4)),
        (([torch.zeros(2, 5, 4, 4), torch.zeros(2, 5), torch.zeros(2, 5)],), (5, 4, 4)),
        ((torch.zeros(2, 6, 9),), (6, 3, 3)),  # a mixer's backbone: channels first
        ((torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 4, 4)), (5, 4, 4)),  # stages: the last
        ((torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 16)), (5, 4, 4)),  # EfficientFormer
    ],
)
def test_forms(output, shape):
    assert shape_of(output, "tap") == shape


def test_a_stage_by_its_number():
    stages = torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, 4, 4)
    assert shape_of(stages, "tap", index=0) == (3, 8, 8)
    assert as_map([*stages], "tap", index=1) is stages[1]
    said = "tap: there is no output 2: .* gives 2, .* from -2 to 1, .*backbone.out_indices"
    with pytest.raises(FeatureError, match=said):
        as_map(stages, "tap", index=2)
    with pytest.raises(FeatureError, match="tap: there is no output 1: the tapped module gives 1"):
        as_map(stages[0], "tap", index=1)


@pytest.mark.parametrize("value", [1.0, True, "last", 64])
def test_what_is_no_index(value):
    with pytest.raises(ValueError, match=r"k must be an integer, such as -1"):
        check_index("k", value)


@pytest.mark.parametrize(
    ("output", "grid", "message"),
    [
        (torch.zeros(2, 5), None, r"expected a map \(N, C, H, W\) or tokens .* got \(2, 5\)"),
        ((torch.zeros(2, 5),), None, r"got \(2, 5\).*gap_before_final_norm=False"),
        (torch.zeros(2, 9 + 3, 5), None, "12 tokens are no square grid, nor with up to 2"),
        ((torch.zeros(2, 8, 10),), None, "10 tokens are no square grid, nor with up to 0"),
        (torch.zeros(2, 8, 5), (3, 3), "8 tokens are no grid of 3 x 3"),
        ((torch.zeros(2, 7, 5), (2, 3)), None, "7 tokens are no grid of 2 x 3, nor with up to 0"),
        ((), None, "gives 0, "),
        ((dict(),), None, "got dict. Tap a module that gives one"),
        (None, None, "got NoneType"),
    ],
)
def test_what_is_none(output, grid, message):
    with pytest.raises(FeatureError, match=message):
        as_map(output, "tap", grid=grid)


VIT = dict(type="VisionTransformer", arch="deit-tiny", img_size=64)
MIXER = dict(
    type="MlpMixer", img_size=64,
    arch=dict(embed_dims=9, num_layers=3, tokens_mlp_dims=4, channels_mlp_dims=4),
)  # fmt: skip


def taken(options, paths):
    """What the modules of a backbone give for an image of 64 pixels."""
    torch.manual_seed(0)
    backbone, seen = build_backbone(options), {}
    backbone.eval()
    for path in paths:
        backbone.get_submodule(path).register_forward_hook(
            lambda _, __, out, path=path: seen.update({path: out})
        )
    with torch.no_grad():
        backbone(torch.randn(1, 3, 64, 64))
    return [seen[path] for path in paths]


@pytest.mark.parametrize(
    ("options", "path", "shape"),
    [
        (dict(type="ResNet", depth=18), "layer3", (256, 4, 4)),
        (VIT, "layers.8", (192, 4, 4)),
        (VIT, "", (192, 4, 4)),
        (dict(VIT, type="DistilledVisionTransformer"), "layers.8", (192, 4, 4)),
        (dict(VIT, type="DistilledVisionTransformer"), "", (192, 4, 4)),
        (dict(type="SwinTransformer", arch="tiny", window_size=2), "stages.2", (384, 4, 4)),
        (MIXER, "layers.1", (9, 4, 4)),
        (MIXER, "", (9, 4, 4)),
    ],
)
def test_what_mmcls_gives(options, path, shape):
    assert shape_of(taken(options, [path])[0], "tap") == shape


@pytest.mark.parametrize(
    ("options", "layer"),
    [(dict(VIT, out_indices=[3, 11]), "layers.3"), (MIXER, "ln1")],
    ids=["vit", "mixer"],
)
def test_a_layer_s_tokens_are_what_the_backbone_gives_of_it(options, layer):
    """mmcls itself makes a map of them, or (N, C, L); a mixer's width of 9 is a square as well."""
    found = taken(options, ["", layer])
    assert torch.equal(as_map(found[0], "tap", index=0), as_map(found[1], "tap"))
