"""Words for taps of classifiers. Oracles: mmcls's own outputs of those layers, published widths."""

from pathlib import Path

import pytest
import torch

from freekd import compat, tasks

compat.apply()

from freekd.config.errors import ConfigError
from freekd.config.load import load_config
from freekd.losses.tokens import as_map

ROOT = Path(__file__).resolve().parents[2]
CLS = tasks.get("cls")
VIT = dict(
    type="VisionTransformer",
    arch=dict(embed_dims=8, num_layers=4, num_heads=2, feedforward_channels=16),
    img_size=32,
    patch_size=8,
)
WIDTHS = {  # of the penultimate stage: the table of the paper, ShuffleNetV2's as mmcls has it
    "resnet18": 256, "resnet50": 1024, "resnet101": 1024, "mobilenetv2": 320, "shufflenetv2": 464,
    "regnetx_1.6gf": 408, "swin_tiny": 384, "deit_tiny": 192,
}  # fmt: skip


@pytest.mark.parametrize("name", WIDTHS)
def test_the_middle_has_the_published_width(name):
    cfg = load_config(str(ROOT / "configs" / "uskd" / f"{name}_imagenet.py"))
    (component,) = cfg.algorithm.distiller.components
    assert component.losses[0].student_channels == dict(logits=1000, middle=WIDTHS[name])


def record(model, paths):
    found, modules = {}, dict(model.named_modules())
    for path in paths:
        modules[path].register_forward_hook(lambda _, __, out, p=path: found.update({p: out}))
    return found


@pytest.mark.parametrize("kind", ["VisionTransformer", "DistilledVisionTransformer"])
@pytest.mark.parametrize("final_norm", [True, False])
def test_tokens_are_those_that_the_backbone_gives(kind, final_norm):
    """``out_indices`` of every block, maps and class tokens, against the taps."""
    from mmcls.models import build_classifier

    head = dict(type="VisionTransformerClsHead", num_classes=3, in_channels=8)
    backbone = dict(VIT, type=kind, final_norm=final_norm)
    model = dict(type="ImageClassifier", backbone=dict(backbone, out_indices=[0, 1, 3]), head=head)
    paths = ["backbone.layers.0", CLS.tap("middle", model), CLS.tap("last_tokens", model)]
    assert paths[1] == "backbone.layers.1"
    built = build_classifier(model).eval()
    found, leading = record(built, paths), CLS.leading_tokens(built)
    assert leading == (2 if "Distilled" in kind else 1)
    with torch.no_grad():
        outputs = built.extract_feat(torch.randn(2, 3, 32, 24))
    for path, (maps, class_token, *_) in zip(paths, outputs):
        tokens = found[path]
        assert tokens.shape == (2, leading + 4 * 3, 8)
        assert torch.equal(tokens[:, 0], class_token)
        assert torch.equal(tokens[:, leading:].transpose(1, 2).reshape(2, 8, 4, 3), maps)


def test_without_a_class_token():
    from mmcls.models import build_classifier

    backbone = dict(VIT, with_cls_token=False, output_cls_token=False)
    built = build_classifier(dict(type="ImageClassifier", backbone=backbone)).eval()
    assert CLS.leading_tokens(built) == 0


def test_the_middle_of_a_swin_transformer_is_before_it_shrinks():
    """Its stage goes on to half the size; the backbone's own output of stage 3 is this, normed."""
    from mmcls.models import build_classifier

    arch = dict(embed_dims=4, depths=[1, 1, 3, 1], num_heads=[1, 1, 2, 2])
    backbone = dict(type="SwinTransformer", arch=arch, img_size=64, window_size=2)
    model = dict(type="ImageClassifier", backbone=dict(backbone, out_indices=(2, 3)))
    path = CLS.tap("middle", model)
    assert path == "backbone.stages.2.blocks.2"
    built = build_classifier(model).eval()
    found = record(built, [path])
    with torch.no_grad():
        maps, _ = built.extract_feat(torch.randn(2, 3, 64, 64))
        normed = built.backbone.norm2(found[path])
    torch.testing.assert_close(normed.transpose(1, 2).reshape(maps.shape), maps)


SWIN = dict(
    type="SwinTransformer",
    arch=dict(embed_dims=4, depths=[1, 1, 3, 1], num_heads=[1, 1, 2, 2]),
    img_size=64,
    window_size=2,
)
MIXER = dict(
    type="MlpMixer",
    arch=dict(embed_dims=8, num_layers=4, tokens_mlp_dims=4, channels_mlp_dims=4),
    img_size=64,
)


@pytest.mark.parametrize(
    ("backbone", "outputs", "paths"),
    [
        (dict(VIT, img_size=64, out_indices=[2, 3]), (0, 1), ["layers.2", "ln1"]),
        (dict(VIT, img_size=64, out_indices=[2, 3], final_norm=False), (0, 1),
         ["layers.2", "layers.3"]),
        (MIXER, (None, 0), ["layers.2", "ln1"]),  # it gives no output but the last
        (dict(SWIN, out_indices=(2, 3)), (None, 1), ["stages.2.blocks.2", ""]),  # 2 is normed
        (dict(type="ResNet", depth=18, out_indices=(2, 3)), (0, 1), ["layer3", "layer4"]),
    ],
    ids=["vit", "vit-no-norm", "mixer", "swin", "resnet"],
)  # fmt: skip
def test_the_late_stages_are_those_of_a_backbone_with_four_outputs(backbone, outputs, paths):
    """Of 4 blocks the third, and the last after its norm, as mmcls gives it."""
    from mmcls.models import build_classifier

    model = dict(type="ImageClassifier", backbone=backbone)
    taps = [CLS.tap(word, model) for word in ("three_quarters", "final")]
    assert taps == [f"backbone.{path}".rstrip(".") for path in paths]
    built = build_classifier(model).eval()
    found = record(built, taps)
    with torch.no_grad():
        given = built.backbone(torch.randn(2, 3, 64, 64))
    for path, index in zip(taps, outputs):
        if index is not None:
            expected = as_map(given, "expected", index)
            assert torch.equal(as_map(found[path], "found"), expected)


def test_twelve_blocks():
    """Block 9 and block 12, by the specification; those of the four stages are 2, 4, 10, 12."""
    for kind, arch in (("VisionTransformer", "deit-tiny"), ("MlpMixer", "b")):
        model = dict(backbone=dict(type=kind, arch=arch))
        late = [CLS.tap(word, model) for word in ("three_quarters", "final")]
        assert late == ["backbone.layers.8", "backbone.ln1"]
        stages = [CLS.tap(f"stage{i}", model) for i in (1, 2, 3, 4)]
        assert stages == [f"backbone.layers.{i}" for i in (1, 3, 9, 11)]


@pytest.mark.parametrize(
    ("word", "kind", "words"),
    [
        ("middle", "MobileNetV3", "no default for the tap 'middle' of a MobileNetV3.*module=dict"),
        (
            "final",
            "MobileNetV3",
            r"no default for the four stages of a MobileNetV3.*dict\(s3=.*, s4=",
        ),
        ("last_tokens", "ResNet", "no default for the tokens of the last block of a ResNet"),
        ("middle", None, "the tap 'middle' of a model"),
    ],
)
def test_families_without_such_a_tap(word, kind, words):
    with pytest.raises(tasks.TaskError, match=words):
        CLS.tap(word, dict(backbone=dict(type=kind) if kind else {}))


def test_an_arch_that_mmcls_does_not_know():
    backbone = dict(type="VisionTransformer", arch="deit-huge")
    with pytest.raises(tasks.TaskError, match="backbone.arch: expected .*deit-tiny.* 'deit-huge'"):
        CLS.tap("middle", dict(backbone=backbone))


def test_a_family_without_default_needs_its_taps_named(tmp_path):
    """The error names the entry and the model's key; with the taps named the pair is read."""
    student = "mmcls::mobilenet_v3/mobilenet-v3-small_8xb32_in1k.py"
    path = tmp_path / "config.py"
    path.write_text(f"pair = dict(teacher=None, student={student!r}, losses=dict(uskd=dict()))\n")
    with pytest.raises(ConfigError, match=r"pair.losses.uskd, pair.student: module: there is no"):
        load_config(str(path))
    module = {"logits": "head.layers.1.fc", "middle": "backbone.layer11"}
    cfg = load_config(str(path), {"pair.losses.uskd.module": module})
    told = cfg.algorithm.distiller.components[0].losses[0].student_channels
    assert told == dict(logits=1000, middle=96)
