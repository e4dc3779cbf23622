"""A teacher's tail. Oracle: mmcls's own forward, from whose middle the tail goes on."""

import copy

import pytest
import torch
from torch import nn

from freekd import compat

compat.apply()

from mmcls.models import build_backbone

from freekd.losses.tails import find_tail
from freekd.losses.tokens import as_map, as_tokens

SWIN = dict(
    type="SwinTransformer",
    arch=dict(embed_dims=8, depths=[1, 1, 1, 2], num_heads=[1, 1, 2, 2]),
    window_size=2,
    drop_path_rate=0.5,
)
SWIN_V2 = dict(
    type="SwinTransformerV2",
    arch=dict(
        embed_dims=8, depths=[1, 1, 1, 2], num_heads=[1, 1, 2, 2], extra_norm_every_n_blocks=0
    ),
    img_size=64,
    window_size=2,
)
VIT = dict(
    type="VisionTransformer",
    arch=dict(embed_dims=12, num_layers=8, num_heads=2, feedforward_channels=24),
    img_size=64,
    with_cls_token=False,
    output_cls_token=False,
)
CONVNEXT = dict(
    type="ConvNeXt", arch=dict(depths=[1, 1, 1, 2], channels=[8, 8, 12, 16]),
    gap_before_final_norm=False, layer_scale_init_value=0.5,
)  # fmt: skip


def teacher_of(options, seed=0):
    torch.manual_seed(seed)
    model = nn.Module()
    model.backbone = build_backbone(copy.deepcopy(options))
    for parameter in model.parameters():  # biases and norms, too
        nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(False)


def outputs_at(teacher, paths, images):
    seen, handles = {}, []
    for path in paths:
        module = teacher.get_submodule(path)
        handles.append(
            module.register_forward_hook(lambda _, __, out, path=path: seen.update({path: out}))
        )
    with torch.no_grad():
        teacher.backbone(images)
    for handle in handles:
        handle.remove()
    return [seen[path] for path in paths]


@pytest.mark.parametrize(
    ("options", "start", "end"),
    [
        (SWIN, "stages.2", "backbone"),
        (SWIN, "stages.2", "backbone.norm3"),
        (SWIN, "stages.2", "backbone.stages.3"),
        (SWIN_V2, "stages.2", "backbone"),
        (VIT, "layers.5", "backbone"),
        (VIT, "layers.5", "backbone.layers.7"),
        (dict(VIT, final_norm=False), "layers.5", "backbone"),
        (CONVNEXT, "stages.2", "backbone"),
        (CONVNEXT, "stages.2", "backbone.stages.3"),
        (dict(CONVNEXT, gap_before_final_norm=True), "stages.2", "backbone.stages.3"),
    ],
)
def test_the_tail_goes_on_from_the_middle(options, start, end):
    teacher = teacher_of(options)
    middle, last = outputs_at(teacher, [f"backbone.{start}", end], torch.randn(2, 3, 64, 64))
    feat = as_map(middle, "start")
    tail = find_tail(teacher, f"backbone.{start}", end, "key")
    tokens, grid = tail(as_tokens(feat), tuple(feat.shape[2:]))
    last = as_map(last, "end")
    assert tuple(last.shape[2:]) == grid
    torch.testing.assert_close(tokens, as_tokens(last))


def test_class_tokens_take_no_part():
    """A tail of a ViT with a class token sees the patches alone."""
    teacher = teacher_of(dict(VIT, with_cls_token=True, output_cls_token=True))
    other = teacher_of(VIT)
    other.load_state_dict(teacher.state_dict())
    tokens = torch.randn(2, 16, 12)
    found = [find_tail(t, None, "backbone", "key")(tokens, (4, 4))[0] for t in (teacher, other)]
    assert torch.equal(*found)


def test_modules_that_are_named():
    """The same modules by name, and a network that is not known."""
    teacher = teacher_of(SWIN)
    paths = ["backbone.stages.2.downsample", "backbone.stages.3", "backbone.norm3"]
    tokens = torch.randn(2, 16, 32)
    known = find_tail(teacher, None, "backbone", "key")(tokens, (4, 4))
    given = find_tail(teacher, None, "anything", "key", given=paths)(tokens, (4, 4))
    assert torch.equal(known[0], given[0]) and known[1] == given[1] == (2, 2)
    other = nn.Module()
    other.backbone = nn.Sequential(nn.Conv2d(3, 5, 2, stride=2))
    tail = find_tail(other, None, "backbone", "key", given=["backbone.0"], maps=True)
    tokens = torch.randn(2, 8, 3)
    out, grid = tail(tokens, (2, 4))
    expected = other.backbone(tokens.transpose(1, 2).reshape(2, 3, 2, 4))
    assert grid == (1, 2) and torch.allclose(out, expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ("options", "start", "end", "message"),
    [
        (dict(type="ResNet", depth=18), None, "backbone",
         r"key.tail: the tail of a Module with backbone=ResNet is not known.*key.stage3=None"),
        (dict(SWIN, out_after_downsample=True), None, "backbone", "SwinTransformer is not known"),
        (SWIN, None, "backbone.stages.1",
         r"key.module \(teacher\).*'backbone.stages.1'.*Tap one of backbone, backbone.norm3, "
         "backbone.stages.3"),
        (SWIN, "backbone.stages.1", "backbone", r"begins after backbone.stages.2. Tap that"),
        (dict(CONVNEXT, gap_before_final_norm=True), None, "backbone",
         "it is pooled.*Tap one of backbone.stages.3"),
    ],
)  # fmt: skip
def test_what_has_no_tail(options, start, end, message):
    with pytest.raises(ValueError, match=message):
        find_tail(teacher_of(options), start, end, "key")


def test_a_module_that_is_not_there():
    with pytest.raises(ValueError, match=r"key.tail: .* no module 'backbone.norm4'; nearest: "):
        find_tail(teacher_of(SWIN), None, "backbone", "key", given=["backbone.norm4"])


def test_recomputed_in_the_backward_pass():
    """mmcls's with_cp saves memory; gradients are the same, weights get none."""
    grads = []
    for with_cp in (False, True):
        teacher = teacher_of(dict(SWIN, with_cp=with_cp))
        tokens = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(1))
        tokens.requires_grad_()
        out, _ = find_tail(teacher, None, "backbone", "key")(tokens, (4, 4))
        out.square().sum().backward()
        grads.append(tokens.grad)
        assert all(parameter.grad is None for parameter in teacher.parameters())
    assert grads[0].abs().sum() > 0
    torch.testing.assert_close(grads[0], grads[1])
