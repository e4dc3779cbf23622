"""Mixup, CutMix and label smoothing in a distillation: done once, before teacher and student."""

import copy
import json
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from freekd import compat

compat.apply()

from mmrazor.models.builder import LOSSES

from freekd.config import load
from freekd.datasets import make_digit_images
from freekd.doctor import main as doctor
from freekd.engine import build
from freekd.engine.train import main as train

CLASSES = 3
MIXUP = dict(type="BatchMixup", alpha=0.8, num_classes=CLASSES, prob=1.0)
CUTMIX = dict(type="BatchCutMix", alpha=1.0, num_classes=CLASSES, prob=1.0)
BOTH = [dict(MIXUP, prob=0.5), dict(CUTMIX, prob=0.5)]
SMOOTH = dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original")


def classifier(width, augments=None, loss=None):
    return dict(
        type="mmcls.ImageClassifier",
        backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=width, base_channels=width),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            type="LinearClsHead", num_classes=CLASSES, in_channels=8 * width, topk=(1,),
            loss=loss or dict(type="CrossEntropyLoss", loss_weight=1.0),
        ),
        train_cfg=dict(augments=augments) if augments else None,
    )  # fmt: skip


def pair(student, teacher=None, **losses):
    """The algorithm of a pair, seeded, in training mode."""
    losses = losses or dict(kd=dict(tau=2.0, alpha=0.25))
    said = dict(student=student, teacher=teacher or classifier(4), losses=losses)
    import mmcv

    from freekd.config import short

    cfg = mmcv.Config(dict(task="cls", pair=said))
    short.expand(cfg)
    torch.manual_seed(0)
    algorithm = build.build_model(cfg, "cls")
    algorithm.init_weights()
    nn.init.normal_(algorithm.architecture.model.head.fc.weight)
    nn.init.normal_(algorithm.distiller.teacher.head.fc.weight)
    return algorithm.train()


def batch():
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 2, 1, 1])
    img = torch.randn(4, 3, 16, 16, generator=generator)
    return dict(img=img, gt_label=labels, img_metas=[{}] * 4)


def seed(value=7):
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def watch(*models):
    """What the backbones get."""
    seen = []
    for model in models:
        model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    return seen


@LOSSES.register_module()
class KeepsLabels(nn.Module):
    """A loss that shows what reaches the losses."""

    def forward(self, student, teacher, step):
        self.seen = step.labels, step.data["img"]
        return 0.0 * student.sum()


# --------------------------------------------------------------------------- mixing
def test_a_mixed_step_by_hand():
    """x' = w x + (1 - w) x[order], y' alike; then cross entropy and soft labels of x' and y'."""
    algorithm, data = pair(classifier(2, MIXUP)), batch()
    student, teacher = copy.deepcopy(algorithm.architecture.model), algorithm.distiller.teacher
    seed()
    outputs = algorithm.train_step(data, None)

    seed()
    random.randint(0, 2**32 - 1)  # which one of the augmentations
    weight, order = np.random.beta(0.8, 0.8), torch.randperm(4)
    assert 0.05 < weight < 0.95 and order.tolist() != [0, 1, 2, 3]  # so that something is mixed
    mixed = weight * data["img"] + (1 - weight) * data["img"][order]
    hard = F.one_hot(data["gt_label"], CLASSES).float()
    soft = weight * hard + (1 - weight) * hard[order]
    s = student.head.fc(student.extract_feat(mixed)[-1])
    with torch.no_grad():
        t = teacher.head.fc(teacher.extract_feat(mixed)[-1])
    own = -(soft * F.log_softmax(s, 1)).sum(1).mean()
    kd = -(F.softmax(t / 2, 1) * F.log_softmax(s / 2, 1)).sum(1).mean()
    torch.testing.assert_close(outputs["loss"], 0.75 * own + 0.25 * 4 * kd)
    assert data["gt_label"].tolist() == [0, 2, 1, 1]


@pytest.mark.parametrize("augments", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_teacher_student_and_losses_see_the_same_mixture(augments):
    """Bit for bit; what the teacher's own config mixes is left out."""
    keep = dict(type="KeepsLabels", module="head.fc")
    algorithm = pair(classifier(2, augments), classifier(4, MIXUP), keep=keep)
    student, teacher = algorithm.architecture.model, algorithm.distiller.teacher
    assert student.augments is None and teacher.augments is None
    seen, data = watch(teacher, student), batch()
    seed()
    algorithm.train_step(data, None)
    assert len(seen) == 2 and torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], data["img"])
    assert torch.equal(data["img"], batch()["img"])  # the loader's batch is as it was
    labels, img = algorithm.distiller.losses["loss_keep"].seen
    assert img is seen[0] and labels.shape == (4, CLASSES)
    torch.testing.assert_close(labels.sum(1).float(), torch.ones(4))


def test_a_teacher_s_own_mixing_is_no_mixing():
    algorithm = pair(classifier(2), classifier(4, MIXUP))
    seen, data = watch(algorithm.distiller.teacher, algorithm.architecture.model), batch()
    algorithm.train_step(data, None)
    assert all(img is data["img"] for img in seen)


def test_the_baseline_gets_the_same_mixtures():
    """Of one seed: the student alone mixes by itself what the pair mixes for it."""
    model = tiny_alone(classifier(2, BOTH))
    algorithm = pair(classifier(2, BOTH))
    seen = watch(model, algorithm.architecture.model)
    for value in range(4):
        for one in (model, algorithm):
            seed(value)
            one.train_step(batch(), None)
        assert torch.equal(seen[-2], seen[-1])


def tiny_alone(cfg):
    from mmcls.models import build_classifier

    return build_classifier(dict(cfg, type="ImageClassifier")).train()


# --------------------------------------------------------------------------- label smoothing
@pytest.mark.parametrize("augments", [None, MIXUP], ids=["labels", "mixed"])
def test_smoothed_labels_by_hand(augments):
    """y' = 0.9 y + 0.1 / 3, of hard and of mixed labels; kd multiplies what comes of it by 3/4."""
    algorithm, data = pair(classifier(2, augments, SMOOTH)), batch()
    student = copy.deepcopy(algorithm.architecture.model)
    seed()
    log = algorithm.train_step(data, None)["log_vars"]
    seed()
    hard = F.one_hot(data["gt_label"], CLASSES).float()
    mixed, soft = data["img"], hard
    if augments:
        random.randint(0, 2**32 - 1)
        weight, order = np.random.beta(0.8, 0.8), torch.randperm(4)
        mixed = weight * mixed + (1 - weight) * mixed[order]
        soft = weight * hard + (1 - weight) * hard[order]
    smooth = 0.9 * soft + 0.1 / 3
    logits = student.head.fc(student.extract_feat(mixed)[-1])
    own = float(-(smooth * F.log_softmax(logits, 1)).sum(1).mean().detach())
    assert log["student.loss"] == pytest.approx(0.75 * own, rel=1e-5)


# --------------------------------------------------------------------------- runs
@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """The bundled pair on a few pictures, with a student that mixes."""
    data = tmp_path_factory.mktemp("data") / "digits"
    make_digit_images(data, num_train=24, num_val=4)
    return [
        "--seed", "3", "--device", "cpu", "--cfg-options", "pair.teacher_checkpoint=None",
        "pair.student.train_cfg.augments.type=BatchMixup",
        "pair.student.train_cfg.augments.alpha=0.8", "pair.student.train_cfg.augments.prob=1.0",
        "pair.student.train_cfg.augments.num_classes=10", "data.samples_per_gpu=8",
        "runner.max_epochs=2", f"data.train.data_prefix={data}/train",
        f"data.val.data_prefix={data}/val",
    ]  # fmt: skip


CONFIG = "configs/kd/resnet34_resnet18_digits_cls.py"


def test_a_resumed_run_that_mixes_is_the_same_bit_for_bit(options, tmp_path):
    torch.set_num_threads(1)
    more = ["checkpoint_config.max_keep_ckpts=3"]
    args = [CONFIG, "--no-validate", *options, *more, "--work-dir"]
    assert train([*args, str(tmp_path / "whole")]) == 0
    (tmp_path / "parts").mkdir()
    first = (tmp_path / "whole" / "epoch_1.pth").read_bytes()
    (tmp_path / "parts" / "epoch_1.pth").write_bytes(first)
    assert train([*args, str(tmp_path / "parts"), "--auto-resume"]) == 0
    states = [
        torch.load(str(tmp_path / name / "epoch_2.pth"), weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_bfloat16_begins_as_float32_does(options, tmp_path):
    """Of one seed: the first losses of mixed batches differ by rounding alone."""
    found = []
    for name, more in (("float32", []), ("bfloat16", ["fp16.dtype=bfloat16"])):
        more = [*more, "log_config.interval=1", "runner.max_epochs=1"]
        work = tmp_path / name
        assert train([CONFIG, "--no-validate", *options, *more, "--work-dir", str(work)]) == 0
        lines = next(work.glob("*.log.json")).read_text().splitlines()
        records = [json.loads(line) for line in lines]
        found.append([record for record in records if record.get("mode") == "train"])
    assert len(found[0]) == len(found[1]) == 3  # 24 pictures
    for name in ("loss", "student.loss", "distiller.loss_kd.0"):
        first = [records[0][name] for records in found]
        assert first[1] == pytest.approx(first[0], rel=2e-2)
    losses = [[record["loss"] for record in of] for of in found]
    assert losses[0] != losses[1]  # it was another precision


def test_the_doctor_mixes_too(options, tmp_path, capsys):
    """The teacher was trained with mixed labels alone, so its own loss cannot take hard ones."""
    file = tmp_path / "report.json"
    teacher = [f"pair.teacher.{x.split('student.')[1]}" for x in options if "student" in x]
    teacher.append("pair.teacher.head.loss.use_sigmoid=True")
    doctor([CONFIG, *options, *teacher, "--json", str(file)])
    text, report = capsys.readouterr().out, json.loads(file.read_text())
    assert "loss_kd" in text and report["terms"]["loss_kd"]["loss"] > 0
    assert not [problem for problem in report["problems"] if "does not run" in str(problem)]
    assert "own loss could not be computed on this data" in text


def test_an_option_spells_the_mixing_of_a_stock_student():
    """How a pair says it."""
    cfg = load.load_config(CONFIG, {"pair.student.train_cfg": dict(augments=[CUTMIX])})
    assert cfg.algorithm.architecture.model.train_cfg.augments[0].type == "BatchCutMix"
