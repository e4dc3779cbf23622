"""Optimizer constructors of mmdet, mmseg and users. Oracle: the same constructor on the student."""

import logging

import pytest
import tiny as models
import torch
from torch import nn

from freekd import compat

compat.apply()

from mmcv.runner.optimizer.builder import OPTIMIZER_BUILDERS

from freekd.config.errors import ConfigError
from freekd.engine.optimizers import build_optimizer, scale_rate

DECAY = dict(
    constructor="LearningRateDecayOptimizerConstructor", type="AdamW", lr=0.1, weight_decay=0.05,
    paramwise_cfg=dict(decay_rate=0.5, decay_type="layer_wise", num_layers=6),
)  # fmt: skip


def convnext_pair(**loss):
    cfg = models.distill([models.freekd_loss(**loss)])
    student = cfg["architecture"]["model"]
    student["backbone"] = dict(
        type="mmcls.ConvNeXt", arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 16, 32]),
        out_indices=[0, 1, 2, 3], gap_before_final_norm=False,
    )  # fmt: skip
    import mmcls.models  # noqa: F401

    return models.build(cfg)


def groups(optimizer):
    return [
        (group["lr"], group["weight_decay"], [id(p) for p in group["params"]])
        for group in optimizer.param_groups
    ]


@pytest.mark.parametrize(
    ("task", "place"), [("det", "mmdet.core.optimizers.builder"), ("seg", "mmseg.core.builder")]
)
def test_layer_decay_of_either_package_finds_the_students_backbone(task, place):
    import importlib

    algorithm = convnext_pair(align="conv1x1")
    student = algorithm.architecture.model
    expected = importlib.import_module(place).build_optimizer(student, DECAY)
    found = build_optimizer(algorithm, DECAY, task)
    assert groups(found)[:-1] == groups(expected)
    assert len({lr for lr, _, _ in groups(expected)}) > 4  # one per depth
    rest = [id(p) for p in algorithm.distiller.losses.parameters()]
    assert len(rest) == 6 and groups(found)[-1] == (0.1, 0.05, rest)  # the alignment
    assert groups(build_optimizer(student, DECAY, task)) == groups(expected)  # --student-only


def test_a_users_constructor_gets_the_student():
    seen = []

    @OPTIMIZER_BUILDERS.register_module(force=True)
    class OfAUser:
        def __init__(self, optimizer_cfg, paramwise_cfg=None):
            self.lr = optimizer_cfg["lr"]

        def __call__(self, model):
            seen.append(model)
            return torch.optim.SGD(model.backbone.parameters(), lr=self.lr)

    algorithm = models.build(models.distill([models.freekd_loss()]))
    found = build_optimizer(algorithm, dict(type="SGD", lr=1, constructor="OfAUser"), "det")
    assert seen == [algorithm.architecture.model]
    everything = [id(p) for p in algorithm.parameters() if p.requires_grad]
    assert sorted(everything) == sorted(i for _, _, ids in groups(found) for i in ids)


def test_the_default_constructor_sees_the_algorithm_but_no_teacher():
    algorithm = models.build(models.distill([models.freekd_loss(align="conv1x1")]))
    found = build_optimizer(algorithm, dict(type="SGD", lr=1), "det")
    assert [ids for _, _, ids in groups(found)] == [[id(p) for p in algorithm.parameters()]]
    teacher = {id(p) for p in algorithm.distiller.teacher.parameters()}
    assert not teacher & {id(p) for p in algorithm.parameters()}


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        (
            dict(type="SGD", lr=1, constructor="LearningRateDecay"),
            "nearest: .'LearningRateDecayOpt",
        ),
        (dict(DECAY, paramwise_cfg=dict(decay_rate=0.5)), "optimizer .TypeError"),
        (dict(type="Adamm", lr=1), "optimizer .*Adamm"),
    ],
)
def test_what_cannot_be_built_names_its_key(cfg, words):
    with pytest.raises(ConfigError, match=words):
        build_optimizer(models.build(models.detector()), cfg, "det")


def test_the_rate_grows_with_the_images_of_a_step():
    from mmcv import Config

    log = logging.getLogger("test_optimizers")
    for enable, expected in ((False, 0.02), (True, 0.02 * 4 / 16)):
        cfg = Config(
            dict(
                optimizer=dict(type="SGD", lr=0.02),
                auto_scale_lr=dict(enable=enable, base_batch_size=16),
            )
        )
        scale_rate(cfg, 4, log)
        assert cfg.optimizer.lr == pytest.approx(expected)
    cfg.auto_scale_lr.base_batch_size = None
    with pytest.raises(ConfigError, match="auto_scale_lr.base_batch_size: expected a positive"):
        scale_rate(cfg, 4, log)


def test_nothing_to_decay_in_stage_1():
    stage1 = models.build(
        dict(type="FrequencyPromptFinetune", architecture=models.prompt_teacher())
    )
    with pytest.raises(ConfigError, match="in stage 1 only prompts and gate learn"):
        build_optimizer(stage1, DECAY, "det")
    frozen = nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(ConfigError, match="every parameter of the model is frozen"):
        build_optimizer(frozen, dict(type="SGD", lr=1), "det")
