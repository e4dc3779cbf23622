"""A pair of vision transformers taught by their tokens. Oracle: mmcls's own outputs, by hand."""

import copy

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.config.errors import ConfigError
from freekd.config.load import load_config
from freekd.engine import build

CLASSES = 3


def vit(width, patch=8, kind="VisionTransformer", **more):
    head = "DeiTClsHead" if "Distilled" in kind else "VisionTransformerClsHead"
    arch = dict(embed_dims=width, num_layers=3, num_heads=2, feedforward_channels=2 * width)
    return dict(
        type="mmcls.ImageClassifier",
        backbone=dict(type=kind, arch=arch, img_size=32, patch_size=patch, **more),
        neck=None,
        head=dict(type=head, num_classes=CLASSES, in_channels=width,
                  loss=dict(type="CrossEntropyLoss", loss_weight=1.0)),
    )  # fmt: skip


def algorithm(tmp_path, student, teacher, **losses):
    losses = losses or dict(vitkd=dict(alpha=0.5, beta=0.25))
    path = tmp_path / "config.py"
    path.write_text(f"pair = {dict(student=student, teacher=teacher, losses=losses)!r}\n")
    torch.manual_seed(0)
    built = build.build_model(load_config(str(path)), "cls")
    built.init_weights()
    return built


def batch():
    torch.manual_seed(1)
    return dict(img=torch.randn(2, 3, 32, 32), gt_label=torch.tensor([0, 2]), img_metas=[{}] * 2)


def own_outputs(model, img):
    """The maps (N, D, H, W) of blocks 1, 2 and 3, as the backbone gives them by out_indices."""
    backbone = copy.deepcopy(model.backbone)
    backbone.eval()  # mmcls's gives nothing back
    backbone.out_indices = [0, 1, 2]
    return [out[0].flatten(2).transpose(1, 2) for out in backbone(img)]


@pytest.mark.parametrize("kind", ["VisionTransformer", "DistilledVisionTransformer"])
def test_a_step_against_the_backbones_own_outputs(tmp_path, kind):
    """Class and distillation tokens left out; student and teacher each by their own number."""
    model = algorithm(tmp_path, vit(4), vit(8, kind=kind)).train()
    data, loss = batch(), model.distiller.losses["loss_vitkd"]
    noise = torch.rand(2, 16)
    loss.draw = lambda images, count, device: noise
    student, teacher = model.architecture.model, model.distiller.teacher
    with torch.no_grad():
        sides = [own_outputs(each, data["img"]) for each in (student, teacher)]
        sides = [dict(zip(("first", "second", "last"), each)) for each in sides]
        assert sides[0]["last"].shape == (2, 16, 4) and sides[1]["last"].shape == (2, 16, 8)
        expected = loss.of_tokens(*sides)
    outputs = model.train_step(data, None)
    assert outputs["log_vars"]["distiller.loss_vitkd.0"] == pytest.approx(float(expected), rel=1e-5)
    outputs["loss"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_the_student_is_the_one_of_its_own_config(tmp_path):
    """Its head's input and what is exported are as without the pair."""
    from mmcls.models import build_classifier

    model = algorithm(tmp_path, vit(4), vit(8)).eval()
    student, img = model.architecture.model, batch()["img"]
    stock = build_classifier(dict(vit(4), type="ImageClassifier"))
    stock.load_state_dict(student.state_dict(), strict=True)
    with torch.no_grad():
        ours = model(img, return_loss=False, img_metas=None)
        theirs = stock.eval()(img, return_loss=False, img_metas=None)
        assert (torch.tensor(ours) == torch.tensor(theirs)).all()
        assert len(student.extract_feat(img)) == len(stock.extract_feat(img)) > 0


def check(model, size):
    model.distiller.check_shapes(model.architecture.model, (3, *size))


def test_other_grids_are_refused_before_training(tmp_path):
    model = algorithm(tmp_path, vit(4, patch=8), vit(8, patch=16))
    with pytest.raises(
        ValueError,
        match=r"pair.losses.vitkd, tap 'first' \('backbone.layers.0', 'backbone.layers.0'\).* got "
        r"16 in the student and 4 in the teacher; take models of one patch size",
    ):
        check(model, (32, 32))


def test_grids_that_are_no_squares_are_refused_before_training(tmp_path):
    model = algorithm(tmp_path, vit(4), vit(8))
    check(model, (32, 32))
    check(model, (64, 64))
    with pytest.raises(ValueError, match=r"tap 'first' .* square grid, got 12 in the student and"):
        check(model, (32, 24))


def test_maps_where_tokens_are_wanted(tmp_path):
    taps = dict(first="backbone.layers.0", second="backbone.layers.1")
    last = dict(student="backbone.patch_embed.projection", teacher="backbone.ln1")
    module = {who: dict(taps, last=path) for who, path in last.items()}
    model = algorithm(tmp_path, vit(4), vit(8), vitkd=dict(module=module))
    with pytest.raises(ValueError, match=r"'last' \('backbone.patch_embed.projection' of the stud"):
        check(model, (32, 32))


def test_networks_without_such_tokens(tmp_path):
    resnet = dict(
        type="mmcls.ImageClassifier",
        backbone=dict(type="ResNet", depth=18),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=CLASSES, in_channels=512),
    )
    with pytest.raises(ConfigError, match=r"pair.losses.vitkd, pair.student: module: .* a ResNet"):
        algorithm(tmp_path, resnet, vit(8))


def test_beside_another_method_and_one_without_a_teacher(tmp_path):
    """Three entries of other taps; each term as it is alone."""
    losses = dict(vitkd=dict(alpha=0.5), kd=dict(tau=2.0), uskd=dict(mu=0.1))
    logs = []
    for entries in (losses, *({name: options} for name, options in losses.items())):
        model = algorithm(tmp_path, vit(4), vit(8), **entries).train()
        if "vitkd" in entries:  # other entries may draw before
            torch.manual_seed(2)
            noise = torch.rand(2, 16)
            with torch.no_grad():
                for parameter in model.distiller.losses["loss_vitkd"].parameters():
                    torch.nn.init.constant_(parameter, 0.1)
            model.distiller.losses["loss_vitkd"].draw = lambda *_: noise  # noqa: B023
        if "uskd" in entries:
            torch.nn.init.constant_(model.distiller.losses["loss_uskd"].weak_head.weight, 0.1)
            torch.nn.init.zeros_(model.distiller.losses["loss_uskd"].weak_head.bias)
        torch.manual_seed(3)
        for module in (model.architecture.model, model.distiller.teacher):
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
        logs.append(model.train_step(batch(), None)["log_vars"])
    for name, alone in zip(losses, logs[1:]):
        term = f"distiller.loss_{name}.0"
        assert logs[0][term] == pytest.approx(alone[term], rel=1e-6) != 0
