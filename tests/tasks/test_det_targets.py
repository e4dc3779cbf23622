"""Whole dense heads: their labels are the head's own, and heads that differ are refused.

Oracles: what the student's head hands to its own loss in the same step; mmdet's coder, IoU and
varifocal loss on these, row by row and dense.
"""

import copy

import pytest
import tiny
import torch

from freekd import compat, tasks
from freekd.checks import FeatureError
from freekd.config.load import load_config
from freekd.losses.step import Step

compat.apply()

LOSS = dict(type="IoUAwareLoss", name="loss_iou", loss_weight=1.5)
STAGE = dict(allowed_border=-1, pos_weight=-1, debug=False)


def retinanet(base_channels=4, anchors=None, coder=None, **head):
    cfg = tiny.detector(base_channels=base_channels)
    generator = dict(scales_per_octave=2, ratios=[0.5, 1.0], **(anchors or {}))
    cfg["bbox_head"]["anchor_generator"].update(generator)
    cfg["bbox_head"]["bbox_coder"].update(coder or {})
    cfg["bbox_head"].update(head)
    return cfg


def reppoints(base_channels=4, **head):
    cfg = tiny.detector(base_channels=base_channels)
    cfg.update(
        type="mmdet.RepPointsDetector",
        bbox_head={
            **dict(
                type="RepPointsHead", num_classes=3, in_channels=8, feat_channels=8,
                stacked_convs=1, point_feat_channels=8, point_strides=[8, 16, 32],
                norm_cfg=dict(type="GN", num_groups=2),
            ),
            **head,
        },
        train_cfg=dict(
            init=dict(assigner=dict(type="PointAssigner", scale=4, pos_num=1), **STAGE),
            refine=dict(assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.3, neg_iou_thr=0.2,
                                      min_pos_iou=0), **STAGE),
        ),
    )  # fmt: skip
    return cfg


def faster_rcnn(base_channels=4, **rpn):
    """Its RPN samples all anchors, so that sampling twice gives the same."""
    cfg = tiny.faster_rcnn(base_channels)
    cfg["rpn_head"] = {**cfg["rpn_head"], **rpn}
    cfg["train_cfg"] = {**cfg["train_cfg"], "rpn": dict(sampler=dict(num=10**6))}
    return cfg


def algorithm(student, teacher, path, loss=LOSS, **component):
    torch.manual_seed(0)
    sides = path if isinstance(path, tuple) else (path, path)
    one = dict(student_module=sides[0], teacher_module=sides[1], losses=[loss], **component)
    model = dict(type="MMDetArchitecture", model=student)
    distiller = dict(type="FreeKDDistiller", teacher=teacher, components=[one])
    return tiny.build(dict(type="FreeKDDistill", architecture=model, distiller=distiller)).train()


def batch():
    """Two images of other sizes in one batch: one with a box, one to ignore, one without."""
    data = tiny.batch(images=3, size=64)
    for meta, shape in zip(data["img_metas"], [(64, 64, 3), (40, 64, 3), (64, 33, 3)]):
        meta.update(img_shape=shape, pad_shape=shape)
    data["gt_bboxes"][2], data["gt_labels"][2] = torch.zeros(0, 4), torch.zeros(0).long()
    none = torch.zeros(0, 4)
    data["gt_bboxes_ignore"] = [torch.tensor([[0.0, 40.0, 30.0, 64.0]]), none, none]
    return data


def watched(head, loss_name="loss_single"):
    """What a head's own loss hands to each level."""
    seen, own = [], getattr(head, loss_name)

    def spy(*args, **kwargs):
        seen.append((args, kwargs))
        return own(*args, **kwargs)

    setattr(head, loss_name, spy)
    return seen


def dense(student, teacher, labels, weights, boxes, classes, avg_factor):
    """The loss by mmdet's own functions, on all rows."""
    from mmdet.core import bbox_overlaps
    from mmdet.models.losses.varifocal_loss import varifocal_loss

    rows = [maps.permute(0, 2, 3, 1).reshape(-1, classes) for maps in (student, teacher)]
    iou = bbox_overlaps(*boxes, is_aligned=True)
    positive = ((labels >= 0) & (labels < classes)).reshape(-1)
    target = (positive * iou)[:, None] * rows[1].sigmoid()
    return varifocal_loss(rows[0], target, weights.reshape(-1, 1), avg_factor=avg_factor)


def own_targets(model, path, data):
    """One step; (the term of the log, what the head's loss had, the outputs of both heads)."""
    head = model.architecture.model.get_submodule(path)
    seen, outputs = watched(head), []
    for side in (model.architecture.model, model.distiller.teacher):
        side.get_submodule(path).register_forward_hook(lambda m, args, out: outputs.append(out))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        log = model.train_step(data, None)["log_vars"]
    teacher, student = outputs  # in this order
    return log["distiller.loss_iou.0"], seen, student, teacher


@pytest.mark.parametrize("which", ["retinanet", "faster_rcnn", "coder"])
def test_anchors(which):
    """The term is that of the labels, weights and samples which the head's own loss has."""
    from mmdet.core import DeltaXYWHBBoxCoder

    path, classes, stds = "bbox_head", 3, (1.0, 1.0, 1.0, 1.0)
    models = [retinanet(), retinanet(8)]
    if which == "faster_rcnn":
        path, classes, models = "rpn_head", 1, [faster_rcnn(), faster_rcnn(8)]
    if which == "coder":
        stds = (0.1, 0.1, 0.2, 0.2)
        models = [retinanet(size, coder=dict(target_stds=stds)) for size in (4, 8)]
    term, seen, student, teacher = own_targets(algorithm(*models, path), path, batch())
    expected, positives = 0.0, 0
    coder = DeltaXYWHBBoxCoder(target_stds=stds)
    for level, (args, kwargs) in enumerate(seen):
        _, _, anchors, labels, weights = args[:5]
        boxes = [
            coder.decode(anchors.reshape(-1, 4), out[1][level].permute(0, 2, 3, 1).reshape(-1, 4))
            for out in (student, teacher)
        ]
        positives += int((labels < classes).sum())
        maps = student[0][level], teacher[0][level]
        factor = kwargs["num_total_samples"]
        expected += 1.5 * float(dense(*maps, labels, weights, boxes, classes, factor).detach())
        assert (weights == 0).any() or level, "nothing outside of an image"
    assert positives > 2
    assert term == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("grid", [False, True])
def test_points(grid):
    models = [reppoints(size, use_grid_points=grid) for size in (4, 8)]
    model = algorithm(*models, "bbox_head")
    head = model.architecture.model.bbox_head
    with torch.no_grad():  # the head's own transform has learned, the loss's has not
        head.moment_transfer.copy_(torch.tensor([0.3, -0.2]))
        for side in (head, model.distiller.teacher.bbox_head):
            for name in ("init", "refine"):  # points that are not all one
                getattr(side, f"reppoints_pts_{name}_out").bias.normal_()
    term, seen, student, teacher = own_targets(model, "bbox_head", batch())
    expected, positives = 0.0, 0
    blank = copy.deepcopy(head)
    blank.moment_transfer.data.zero_()
    sizes = [maps.shape[-2:] for maps in student[0]]
    centres, _ = head.get_points(sizes, batch()["img_metas"], torch.device("cpu"))
    points = [blank.offset_to_pts(centres, out[2]) for out in (student, teacher)]
    for level, (args, kwargs) in enumerate(seen):
        labels, weights = args[3:5]
        boxes = [blank.points2bbox(side[level].reshape(-1, 18), y_first=False) for side in points]
        positives += int(((labels < 3) & (weights > 0)).sum())
        maps = student[0][level], teacher[0][level]
        factor = kwargs["num_total_samples_refine"]
        expected += 1.5 * float(dense(*maps, labels, weights, boxes, 3, factor).detach())
    assert positives > 0
    assert term == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("make", "path", "learns"),
    [
        (retinanet, "bbox_head", ("cls_convs", "retina_cls")),
        (faster_rcnn, "rpn_head", ("rpn_conv", "rpn_cls")),
        (reppoints, "bbox_head", ("cls_convs", "reppoints_cls", "reg_convs", "reppoints_pts_init")),
    ],
    ids=["retinanet", "faster_rcnn", "reppoints"],
)
def test_a_step(make, path, learns):
    """A blank image fits, the term learns through classes, and the teacher gets no gradient.

    A RepPoints head reads its classes at its first stage's points, which so learn as well.
    """
    model = algorithm(make(), make(8), path)
    student = model.architecture.model
    assert model.distiller.check_shapes(student)["loss_iou"]
    data = batch()
    model.distiller.exec_teacher_forward(data)
    student(**data)
    (term,) = model.distiller.compute_distill_loss(data).values()
    term.backward()
    assert term > 0
    touched = {
        name.split(".")[1]
        for name, parameter in student.named_parameters()
        if name.startswith(path) and parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert touched and all(name.startswith(learns) for name in touched), touched
    assert all(parameter.grad is None for parameter in model.distiller.teacher.parameters())
    assert not any(name.startswith("distiller") for name, _ in model.named_parameters())


@pytest.fixture
def low_precision():
    """Sets mmcv's machinery, and sets it back."""
    from freekd.compat import precision

    before = vars(precision._low).copy()
    yield
    vars(precision._low).update(before)


@pytest.mark.parametrize(
    ("make", "path"),
    [(retinanet, "bbox_head"), (faster_rcnn, "rpn_head"), (reppoints, "bbox_head")],
    ids=["retinanet", "faster_rcnn", "reppoints"],
)
def test_low_precision(low_precision, make, path):
    """The term of a step in bfloat16 is near that in float32."""
    from freekd.engine import precision

    terms = []
    for low in (False, True):
        model = algorithm(make(), make(8), path)
        if low:
            precision.prepare(model, precision.Precision(torch.bfloat16), "cpu")
        torch.manual_seed(1)
        output = model.train_step(batch(), None)
        output["loss"].backward()
        terms.append(output["log_vars"]["distiller.loss_iou.0"])
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert terms[0] > 0 and terms[1] == pytest.approx(terms[0], rel=0.05)


def test_the_teacher_runs_to_its_head_only():
    model = algorithm(retinanet(), retinanet(8), "bbox_head")
    model.distiller.teacher.bbox_head.loss = None  # whoever calls it fails
    model.train_step(batch(), None)


def test_an_image_smaller_than_any_anchor_is_told():
    """A head with ``allowed_border`` has no valid anchor there, and gives no labels at all."""
    model = algorithm(retinanet(), retinanet(8), "bbox_head")
    head, data = model.architecture.model.bbox_head, batch()
    step = Step(data, model.architecture.model, model.distiller.teacher, tasks.get("det"))
    head.train_cfg.allowed_border = 0
    for meta in data["img_metas"]:
        meta.update(img_shape=(4, 4, 3))
    out = head([torch.zeros(3, 8, size, size) for size in (8, 4, 2)])
    step = step._replace(paths=("bbox_head", "bbox_head"))
    with pytest.raises(FeatureError, match="allowed_border=-1"):
        step.task.dense_targets(step, out, out)


# --------------------------------------------------------------------------- the tap
@pytest.mark.parametrize(
    ("config", "path"),
    [
        ("faster_rcnn/faster_rcnn_r50_fpn_2x_coco.py", "rpn_head"),
        ("rpn/rpn_r50_fpn_1x_coco.py", "rpn_head"),
        ("retinanet/retinanet_r50_fpn_2x_coco.py", "bbox_head"),
        ("reppoints/reppoints_moment_r50_fpn_1x_coco.py", "bbox_head"),
    ],
)
def test_the_cards_tap_is_told_by_the_model(config, path):
    from freekd.zoo.stock import read_model

    model = read_model(f"mmdet::{config}", "model")
    assert tasks.get("det").tap("dense_head", model) == path
    assert tasks.get("det").tap("neck", model) == "neck"


def test_an_entry_without_any_key(tmp_path):
    path = tmp_path / "short.py"
    path.write_text(
        f"pair = dict(teacher={tiny.faster_rcnn(8)!r}, student={tiny.faster_rcnn()!r}, "
        "losses=dict(iou_aware=dict()))\n"
    )
    (component,) = load_config(str(path)).algorithm.distiller.components
    assert component.student_module == component.teacher_module == "rpn_head"
    assert component.losses[0].loss_weight == 1.5


# --------------------------------------------------------------------------- refusals
def refused(student, teacher, path="bbox_head", **component):
    with pytest.raises(ValueError) as error:
        algorithm(student, teacher, path, key="pair.losses.mine", **component)
    assert "pair.losses.mine" in str(error.value)
    return str(error.value)


def test_other_anchors_are_refused_with_both_numbers():
    said = refused(retinanet(), retinanet(8, anchors=dict(octave_base_scale=4)))
    assert "4 anchors at each place of the strides 8, 16, 32" in said and "anchor_generator" in said
    assert "34x17" in said and "45x23" in said
    other = copy.deepcopy(retinanet(8))
    other["bbox_head"]["anchor_generator"].update(ratios=[0.5, 1.0, 2.0])
    said = refused(retinanet(), other)
    assert "4 anchors at each place" in said and "6 anchors at each place" in said
    said = refused(reppoints(), reppoints(8, point_strides=[4, 8, 16]))
    assert "strides 8, 16, 32" in said and "strides 4, 8, 16" in said and "point_strides" in said


def test_other_classes_are_refused_with_both_numbers():
    said = refused(retinanet(), retinanet(8, num_classes=5))
    assert "num_classes=3 and num_classes=5" in said


def test_heads_of_two_kinds_are_refused():
    said = refused(retinanet(), reppoints(8))
    assert "RetinaHead" in said and "RepPointsHead" in said and "kind" in said
    said = refused(retinanet(), faster_rcnn(8), ("bbox_head", "rpn_head"))
    assert "RetinaHead" in said and "RPNHead" in said and "kind" in said


@pytest.mark.parametrize("kind", ["FCOSHead", "ATSSHead", "FSAFHead", "FreeAnchorRetinaHead"])
def test_heads_of_other_kinds_are_refused_with_what_is_possible(kind):
    cfg = retinanet()
    if kind == "FCOSHead":
        cfg["bbox_head"] = dict(type=kind, num_classes=3, in_channels=8, norm_cfg=None)
    elif kind == "FreeAnchorRetinaHead":
        for name in ("loss_cls", "norm_cfg"):
            cfg["bbox_head"].pop(name)
        cfg["bbox_head"].update(type=kind)
    else:
        cfg["bbox_head"].update(type=kind)
    if kind == "FSAFHead":
        cfg["bbox_head"].update(
            reg_decoded_bbox=True, bbox_coder=dict(type="TBLRBBoxCoder", normalizer=4.0)
        )
    said = refused(cfg, cfg)
    assert kind in said and "RetinaHead" in said and "RepPointsHead" in said


@pytest.mark.parametrize("path", ["neck", "backbone", "bbox_head.retina_cls"])
def test_parts_of_heads_are_refused(path):
    assert "'bbox_head' or 'rpn_head'" in refused(retinanet(), retinanet(8), path)


def test_a_softmax_is_refused():
    softmax = dict(loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False))
    said = refused(retinanet(**softmax), retinanet(8, **softmax))
    assert "softmax" in said and "use_sigmoid=True" in said
    assert "pair.student.bbox_head.loss_cls=dict(" in said
    said = refused(retinanet(), retinanet(8, **softmax))
    assert "pair.teacher.bbox_head.loss_cls=dict(" in said
    with pytest.raises(ValueError, match=r"algorithm.architecture.model.bbox_head.loss_cls="):
        algorithm(retinanet(**softmax), retinanet(8), "bbox_head")
    with pytest.raises(ValueError, match=r"algorithm.distiller.teacher.bbox_head.loss_cls="):
        algorithm(retinanet(), retinanet(8, **softmax), "bbox_head")


def test_another_coder_is_refused():
    other = retinanet()
    other["bbox_head"]["bbox_coder"] = dict(type="TBLRBBoxCoder", normalizer=4.0)
    said = refused(retinanet(), other)
    assert "TBLRBBoxCoder" in said and "pair.teacher.bbox_head.bbox_coder=" in said


@pytest.mark.parametrize(
    "option",
    [
        dict(resize=True),
        dict(align_module=dict(type="conv2d", student_channels=8, teacher_channels=8)),
    ],
    ids=["resize", "align_module"],
)
def test_nothing_is_aligned(option):
    assert "Remove" in refused(retinanet(), retinanet(8), **option)


def test_another_tasks_models_are_refused():
    with pytest.raises(ValueError, match="key: expected detectors.*segmentation"):
        tasks.get("seg").check_dense_heads(Step({}, torch.nn.Identity()), "key")
