"""Annotations that a loss needs. Oracle: the model's own losses with all annotations given."""

import copy
from types import SimpleNamespace

import pytest
import tiny
import torch
from mmdet.core import BitmapMasks

from freekd.distill.annotations import Need, check_annotations, left_out, missing, needs
from freekd.held import with_held

BOXES = ("img", "img_metas", "gt_bboxes", "gt_labels")


def mask_batch():
    data = tiny.batch()
    size = data["img"].shape[-1]
    masks = torch.zeros(2, size, size, dtype=torch.uint8).numpy()
    masks[0, 6:44, 4:40] = masks[1, 16:56, 20:60] = 1
    data["gt_masks"] = [BitmapMasks(masks, size, size) for _ in data["gt_bboxes"]]
    return data


def cascade():
    torch.manual_seed(0)
    return tiny.build(tiny.cascade_mask_rcnn()).train()


def losses(model, data):
    torch.manual_seed(0)
    return model(return_loss=True, **copy.deepcopy(data))


def test_what_models_need():
    assert needs(tiny.build(tiny.detector())) == [
        Need("gt_bboxes", "RetinaNet", False), Need("gt_labels", "RetinaNet", False)
    ]  # fmt: skip
    assert [need.annotation for need in needs(tiny.build(tiny.segmentor()))] == ["gt_semantic_seg"]
    assert missing(cascade(), BOXES) == [Need("gt_masks", "roi_head.mask_head", True)]
    assert not missing(cascade(), (*BOXES, "gt_masks"))
    fast = SimpleNamespace(roi_head=SimpleNamespace(), forward_train=lambda img, proposals=None: 0)
    assert missing(fast, BOXES) == [Need("proposals", "roi_head", False)]
    panoptic = SimpleNamespace(panoptic_head=SimpleNamespace(num_stuff_classes=0))
    assert missing(panoptic, BOXES) == [Need("gt_masks", "panoptic_head", False)]
    panoptic.panoptic_head.num_stuff_classes = 3
    assert [need.annotation for need in missing(panoptic, BOXES)] == ["gt_masks", "gt_semantic_seg"]


def test_the_other_losses_stay_as_they_are():
    model, data = cascade(), mask_batch()
    whole = losses(model, data)
    without = dict(data)
    without.pop("gt_masks")
    with left_out(model, ["roi_head.mask_head"]):
        part = losses(model, without)
    assert set(whole) - set(part) == {f"s{i}.loss_mask" for i in range(3)}
    for name, value in part.items():
        both = (value, whole[name]) if torch.is_tensor(value) else zip(value, whole[name])
        both = [both] if torch.is_tensor(value) else both
        assert all(torch.equal(one, two) for one, two in both), name
    assert set(losses(model, data)) == set(whole)  # the head is there again


def test_a_semantic_branch_still_feeds_the_others():
    """HTC: its features go to the box heads, only its loss is left out."""

    class FusedSemanticHead(torch.nn.Module):
        def loss(self, seg_preds, labels):
            raise AssertionError("needs labels")

    roi_head = torch.nn.Module()
    roi_head.semantic_head = FusedSemanticHead()
    model = SimpleNamespace(roi_head=roi_head)
    with left_out(model, ["roi_head.semantic_head"]):
        assert float(roi_head.semantic_head.loss(torch.ones(2), None)) == 0
    with pytest.raises(AssertionError):
        roi_head.semantic_head.loss(torch.ones(2), None)


def test_the_error_names_annotation_head_and_both_ways_out():
    with pytest.raises(ValueError) as error:
        check_annotations(cascade(), BOXES, (), "teacher", "prompt.without_losses")
    for words in (
        "the teacher's own loss needs gt_masks (for roi_head.mask_head)",
        "LoadAnnotations(with_mask=True) in data.train.pipeline, and 'gt_masks' in the keys",
        "prompt.without_losses=['roi_head.mask_head']",
    ):
        assert words in str(error.value)
    check_annotations(cascade(), BOXES, ("roi_head.mask_head",))
    with pytest.raises(ValueError, match="the student's own loss needs gt_masks.*mask_head=None"):
        check_annotations(cascade(), BOXES, who="student")


def prompted(**kwargs):
    return dict(
        type="FrequencyPromptFinetune",
        architecture=tiny.prompt_teacher(
            model=tiny.cascade_mask_rcnn(), num_levels=5, channels=8, **kwargs
        ),
    )


def test_stage_1_of_a_mask_teacher_on_boxes(batch):
    with pytest.raises(ValueError, match="prompt.without_losses=."):
        tiny.build(prompted()).check_ready(None, list(batch))
    algorithm = tiny.build(prompted(without_losses=["roi_head.mask_head"])).train()
    algorithm.check_ready(None, list(batch))
    log = algorithm.train_step(batch, None)["log_vars"]
    assert not any("mask" in name for name in log if name != "mask_sum")
    assert log["teacher.s0.loss_cls"] > 0
    for wrong, words in (
        (["roi_head.bbox_head"], "cannot be left out.*roi_head.mask_head"),
        ("roi_head.mask_head", "expected a list"),
    ):
        with pytest.raises(ValueError, match=words):
            tiny.build(prompted(without_losses=wrong))


def test_a_teacher_past_its_warm_up():
    """TOOD assigns boxes in another way in its first epochs; a teacher is trained."""
    model = dict(
        tiny.detector(), type="mmdet.TOOD",
        bbox_head=dict(
            type="TOODHead", num_classes=3, in_channels=8, stacked_convs=1, feat_channels=8,
            anchor_generator=dict(
                type="AnchorGenerator", ratios=[1.0], octave_base_scale=8, scales_per_octave=1,
                strides=[8, 16, 32],
            ),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder"), num_dcn=0,
            norm_cfg=dict(type="GN", num_groups=2),
            initial_loss_cls=dict(
                type="FocalLoss", use_sigmoid=True, activated=True, gamma=2.0, alpha=0.25),
            loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, activated=True, beta=2.0),
            loss_bbox=dict(type="GIoULoss"),
        ),
        train_cfg=dict(
            initial_epoch=4, initial_assigner=dict(type="ATSSAssigner", topk=9),
            assigner=dict(type="TaskAlignedAssigner", topk=13), alpha=1, beta=6,
            allowed_border=-1, pos_weight=-1, debug=False,
        ),
    )  # fmt: skip
    cfg = dict(
        type="FrequencyPromptFinetune",
        architecture=dict(type="FrequencyPromptTeacher", model=model, channels=8, num_levels=3),
    )
    head = tiny.build(cfg).architecture.model.bbox_head
    assert head.epoch > head.initial_epoch


def test_whole_runs_of_a_teacher_leave_out_what_nobody_wants(batch):
    """A tap that only the whole forward reaches: its losses are computed, and thrown away."""
    component = dict(
        student_module="neck", teacher_module="neck",
        losses=[tiny.freekd_loss(num_levels=5, teacher_channels=8)],
    )  # fmt: skip
    cfg = tiny.distill([tiny.freekd_loss()])
    cfg["distiller"].update(teacher=tiny.cascade_mask_rcnn(), components=[component])
    cfg["architecture"]["model"] = tiny.faster_rcnn()
    algorithm = tiny.build(cfg).train()
    assert len(with_held(algorithm)) == 2
    algorithm.distiller.partial_teacher.possible = False
    algorithm.distiller.check_annotations(list(batch))
    log = algorithm.train_step(batch, None)["log_vars"]
    assert log["distiller.loss_freekd.0"] > 0
    algorithm.distiller.teacher.roi_head.mask_head = None
    algorithm.distiller.teacher.panoptic_head = SimpleNamespace(num_stuff_classes=1)
    with pytest.raises(ValueError, match="the teacher's own loss needs gt_masks.*panoptic_head"):
        algorithm.distiller.check_annotations(list(batch))
