"""What pairs need in the distiller: RoI heads on the student's proposals, sequences, inheriting.

Oracles: the stock model's own forward, a teacher that equals the student, hand arithmetic.
"""

import pytest
import tiny
import torch

from freekd import FeatureMSELoss, FreeKDLoss
from freekd.checks import FeatureError
from freekd.distill.inherit import inherit_weights

REGRESSION = dict(type="mmdet.SmoothL1Loss", name="loss_regression", beta=1.0, loss_weight=2.0)


def algorithm(student, teacher, components, **kwargs):
    return tiny.build(
        dict(
            type="FreeKDDistill",
            architecture=dict(type="MMDetArchitecture", model=student),
            distiller=dict(type="FreeKDDistiller", teacher=teacher, components=components),
            **kwargs,
        )
    )


def component(student, teacher=None, losses=(REGRESSION,), **kwargs):
    return dict(student_module=student, teacher_module=teacher or student, losses=losses, **kwargs)


def step(model, data=None):
    model.train()
    torch.manual_seed(1)  # the sampler of the RoI head draws
    return model.train_step(data or tiny.batch(), None)


# --------------------------------------------------------------------------- regression
@pytest.mark.parametrize("cascade", [False, True], ids=["faster", "cascade"])
def test_the_teachers_roi_head_sees_the_students_proposals(cascade):
    torch.manual_seed(0)
    name = "roi_head.bbox_head.fc_reg"
    teacher = tiny.cascade_mask_rcnn(8) if cascade else tiny.faster_rcnn(8)
    its = "roi_head.bbox_head.0.fc_reg" if cascade else name
    student = tiny.faster_rcnn(reg_class_agnostic=cascade)
    model = algorithm(student, teacher, [component(name, its)])
    model.distiller.check_shapes(model.architecture.model)
    ours = model.architecture.model.roi_head
    seen = []
    ours.bbox_head.fc_reg.register_forward_hook(lambda m, args, out: seen.append(out))
    ours.bbox_roi_extractor.register_forward_hook(lambda m, args, out: seen.append(args[1]))
    log = step(model)["log_vars"]
    rois, deltas = seen
    assert len(rois) == 2 * 16  # images x samples
    bare = model.distiller.teacher
    with torch.no_grad():
        feats = bare.extract_feat(tiny.batch()["img"])
        args = (0, feats, rois) if cascade else (feats, rois)
        target = bare.roi_head._bbox_forward(*args)["bbox_pred"]
    expected = 2.0 * torch.nn.functional.smooth_l1_loss(deltas, target)
    assert log["distiller.loss_regression.0"] == pytest.approx(float(expected), rel=1e-5)
    assert expected > 1e-4


def test_a_sampler_that_runs_the_head_first():
    """OHEM: the box head runs for each image before; only the last run is the training's."""
    torch.manual_seed(0)
    name = "roi_head.bbox_head.fc_reg"
    student = tiny.faster_rcnn()
    student["train_cfg"]["rcnn"] = dict(
        sampler=dict(
            _delete_=True, type="OHEMSampler", num=16, pos_fraction=0.25, neg_pos_ub=-1,
            add_gt_as_proposals=True,
        )
    )  # fmt: skip
    model = algorithm(student, tiny.faster_rcnn(8), [component(name)])
    seen = []
    head = model.architecture.model.roi_head
    head.bbox_head.fc_reg.register_forward_hook(lambda m, args, out: seen.append(out))
    head.bbox_roi_extractor.register_forward_hook(lambda m, args, out: seen.append(args[1]))
    log = step(model)["log_vars"]
    assert len(seen) == 2 * 3
    rois, deltas = seen[-2:]
    bare = model.distiller.teacher
    with torch.no_grad():
        target = bare.roi_head._bbox_forward(bare.extract_feat(tiny.batch()["img"]), rois)
    expected = 2.0 * torch.nn.functional.smooth_l1_loss(deltas, target["bbox_pred"])
    assert log["distiller.loss_regression.0"] == pytest.approx(float(expected), rel=1e-5)
    assert "distiller.loss_regression.1" not in log


def test_a_mask_branch_that_shares_the_extractor():
    """The mask branch's boxes come last, but the box head's count: an equal teacher gives 0."""
    import numpy as np
    from mmdet.core import BitmapMasks

    torch.manual_seed(0)
    cfg = tiny.cascade_mask_rcnn()
    cfg["roi_head"]["mask_roi_extractor"] = None
    cfg["train_cfg"]["rcnn"] = {
        i: dict(rcnn, mask_size=14) for i, rcnn in cfg["train_cfg"]["rcnn"].items()
    }
    model = algorithm(cfg, cfg, [component("roi_head.bbox_head.1.fc_reg")])
    model.distiller.teacher.load_state_dict(model.architecture.model.state_dict())
    masks = BitmapMasks(np.ones((2, 64, 64), dtype=np.uint8), 64, 64)
    data = dict(tiny.batch(), gt_masks=[masks, masks])
    assert step(model, data)["log_vars"]["distiller.loss_regression.0"] == 0.0


@pytest.mark.parametrize(
    "teacher, paths, words",
    [
        ("mask", ["roi_head.mask_head.0.conv_logits"], "lies in no box head"),
        ("mask", ["roi_head.bbox_head.0.fc_reg", "bbox_head.0"], "another component taps"),
        ("mask", ["roi_head.bbox_roi_extractor.0"], "lies in no box head"),
        ("htc", ["roi_head.bbox_head.0.fc_reg"], "HybridTaskCascadeRoIHead also needs semantic"),
    ],
)
def test_roi_parts_that_cannot_be_compared_on_the_same_boxes(teacher, paths, words):
    cfg = tiny.cascade_mask_rcnn()
    if teacher == "htc":
        cfg = "mmdet::htc/htc_r50_fpn_1x_coco.py"
    with pytest.raises(ValueError, match=words):
        algorithm(
            tiny.cascade_mask_rcnn(),
            cfg,
            [
                component(path, losses=[dict(REGRESSION, name=f"loss_{i}")])
                for i, path in enumerate(paths)
            ],
        )


def test_a_teacher_that_resizes_its_images_by_chance():
    yolox = "mmdet::yolox/yolox_tiny_8x8_300e_coco.py"
    loss = tiny.freekd_loss(student_channels=96, teacher_channels=96)
    with pytest.raises(ValueError, match="YOLOX resizes each batch by chance.*random_size_range"):
        algorithm(yolox, yolox, [component("neck", losses=[loss])])


def test_a_teachers_class_layer_of_another_shape_is_refused(tmp_path):
    from freekd.distill.weights import load_teacher_weights

    other = tiny.detector()
    other["bbox_head"]["num_classes"] = 5
    torch.save(tiny.build(other).state_dict(), str(tmp_path / "five.pth"))
    with pytest.raises(
        RuntimeError, match=r"bbox_head.retina_cls.bias is \(5,\), the teacher's \(3,\)"
    ):
        load_teacher_weights(tiny.build(tiny.detector()), str(tmp_path / "five.pth"), "key", 0.5)


def test_a_teacher_equal_to_the_student_teaches_nothing():
    torch.manual_seed(0)
    name = "roi_head.bbox_head.fc_reg"
    model = algorithm(tiny.faster_rcnn(), tiny.faster_rcnn(), [component(name)])
    model.distiller.teacher.load_state_dict(model.architecture.model.state_dict())
    assert step(model)["log_vars"]["distiller.loss_regression.0"] == 0.0


def test_the_gradient_reaches_the_student_alone():
    model = algorithm(
        tiny.faster_rcnn(), tiny.faster_rcnn(8), [component("roi_head.bbox_head.fc_reg")]
    )
    step(model)["loss"].backward()
    assert model.architecture.model.roi_head.bbox_head.fc_reg.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.distiller.teacher.parameters())


def test_dense_heads_give_a_term_per_level():
    torch.manual_seed(0)
    model = algorithm(
        tiny.detector(), tiny.detector(base_channels=8), [component("bbox_head.retina_reg")]
    )
    log = step(model)["log_vars"]
    terms = [f"distiller.loss_regression.{i}" for i in range(tiny.NUM_LEVELS)]
    assert all(log[name] > 0 for name in terms)
    task = sum(value for key, value in log.items() if key.startswith("student.loss"))
    assert log["ratio.regression"] == pytest.approx(sum(log[name] for name in terms) / task)


# --------------------------------------------------------------------------- sequences
def test_the_encoders_of_deformable_detr_are_compared_as_maps():
    torch.manual_seed(0)
    encoder = "bbox_head.transformer.encoder"
    loss = tiny.freekd_loss(student_channels=256, teacher_channels=256, num_levels=4)
    model = algorithm(
        tiny.deformable_detr(), tiny.deformable_detr(8), [component(encoder, losses=[loss])]
    )
    shapes = model.distiller.check_shapes(model.architecture.model)["loss_freekd"]
    assert len(shapes) == 4
    log = step(model)["log_vars"]
    outputs = model.distiller.student_outputs[encoder], model.distiller.teacher_outputs[encoder]
    (ours, sizes), (theirs, _) = outputs[0][0], outputs[1][0]
    assert [list(size) for size in sizes] == [[8, 8], [4, 4], [2, 2], [1, 1]]
    one_level = FreeKDLoss(student_channels=256, teacher_channels=256, num_levels=1)
    start, expected = 0, torch.zeros(())
    for height, width in sizes:  # Eq. 3, one level at a time, by the loss on plain maps
        part = slice(start, start + height * width)
        start += height * width
        maps = [t[part].permute(1, 2, 0).reshape(2, 256, height, width) for t in (ours, theirs)]
        expected = expected + one_level(*maps)
    assert log["distiller.loss_freekd.0"] == pytest.approx(float(expected), rel=1e-5)


# --------------------------------------------------------------------------- spatial term
def test_spatial_mse_by_hand():
    loss = FeatureMSELoss(1, 1, 2, loss_weight=5.0)  # convolutions start as the identity
    student = [torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 1, 1)]
    teacher = [torch.tensor([[[[1.0, 2.0], [0.0, 1.0]]]]), torch.full((1, 1, 1, 1), 3.0)]
    # level 0: (1 + 4 + 0 + 1) / 4 = 1.5; level 1: (3 - 1)^2 = 4
    assert loss(student, teacher).item() == pytest.approx(5 * (1.5 + 4))
    assert loss(teacher, teacher).item() == 0.0
    with pytest.raises(FeatureError, match="student level 1.*expected \\(N, 1, H, W\\)"):
        loss([student[0], torch.ones(1, 2, 1, 1)], teacher)


# --------------------------------------------------------------------------- inheriting
def test_inherited_parts_compute_as_the_teachers():
    torch.manual_seed(0)
    cfg = dict(inherit=["neck", "bbox_head"])
    mse = dict(
        type="FeatureMSELoss", name="loss_mse", student_channels=8, teacher_channels=8,
        num_levels=tiny.NUM_LEVELS,
    )  # fmt: skip
    model = algorithm(
        tiny.detector(), tiny.detector(base_channels=8), [component("neck", losses=[mse])], **cfg
    )
    model.init_weights()
    student, teacher = model.architecture.model.eval(), model.distiller.teacher.eval()
    feats = [torch.randn(1, 8, 8 >> i, 8 >> i) for i in range(tiny.NUM_LEVELS)]
    torch.testing.assert_close(student.bbox_head(feats), teacher.bbox_head(feats))
    # the neck's lateral convolutions see another backbone: twice as wide, so they stay
    laterals = [f"neck.lateral_convs.{i}.conv.weight" for i in range(3)]
    assert [text.split()[0] for text in model.inherited.other_shape] == laterals
    assert model.inherited.missing == []
    assert set(model.inherited.taken) == {
        name
        for name in student.state_dict()
        if name.startswith(("neck.", "bbox_head.")) and name not in laterals
    }
    assert all(p.requires_grad for p in student.bbox_head.parameters())


def test_a_head_may_inherit_from_a_stage_of_a_cascade():
    student = tiny.build(tiny.faster_rcnn(reg_class_agnostic=True))
    teacher = tiny.build(tiny.cascade_mask_rcnn())
    with torch.no_grad():
        done = inherit_weights(student, teacher, {"roi_head.bbox_head": "roi_head.bbox_head.2"})
    assert not done.missing and not done.other_shape
    for name, value in student.roi_head.bbox_head.state_dict().items():
        assert torch.equal(value, teacher.roi_head.bbox_head[2].state_dict()[name])


@pytest.mark.parametrize(
    "parts, words", [(["nek"], "nearest: \\['neck'\\]"), (["backbone.conv1"], "nothing of it fits")]
)
def test_what_cannot_be_inherited(parts, words):
    student, teacher = tiny.build(tiny.detector()), tiny.build(tiny.detector(base_channels=8))
    with pytest.raises(ValueError, match=words), torch.no_grad():
        inherit_weights(student, teacher, parts, "pair.inherit")


# --------------------------------------------------------------------------- checked when built
def levels_from(start):
    cfg = tiny.detector()
    cfg["neck"].update(start_level=start, end_level=start + 2)
    return cfg


def test_strides_that_differ_are_refused_unless_meant():
    losses = [tiny.freekd_loss()]
    parts = component("neck", losses=losses)
    model = algorithm(levels_from(0), tiny.detector(base_channels=8), [parts])
    with pytest.raises(
        FeatureError, match=r"level 0 of 'neck' is \(32, 32\).*\(16, 16\).*resize=True"
    ):
        model.check_ready()
    meant = algorithm(levels_from(0), tiny.detector(base_channels=8), [dict(parts, resize=True)])
    meant.check_ready()
    with pytest.raises(FeatureError, match="resize=True"):
        step(model)  # also where nothing could be checked before
    assert step(meant)["log_vars"]["distiller.loss_freekd.0"] > 0


def test_checking_leaves_the_student_as_it_was():
    model = algorithm(
        tiny.detector(), tiny.detector(), [component("neck", losses=[tiny.freekd_loss()])]
    )
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    model.check_ready()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(model.distiller.student_outputs.values())
    model.eval()
    model.architecture.model.extract_feat(tiny.batch()["img"])
    assert not any(model.distiller.student_outputs.values())  # evaluation keeps nothing


def test_regression_of_all_classes_against_each():
    model = algorithm(
        tiny.faster_rcnn(), tiny.cascade_mask_rcnn(),
        [component("roi_head.bbox_head.fc_reg", "roi_head.bbox_head.0.fc_reg")],
    )  # fmt: skip
    with pytest.raises(FeatureError, match=r"\(1, 12\).*\(1, 4\).*reg_class_agnostic"):
        model.check_ready()


def test_class_maps_of_other_classes():
    teacher = tiny.detector()
    teacher["bbox_head"]["num_classes"] = 5
    with pytest.raises(ValueError, match="3 classes.*of 5"):
        algorithm(tiny.detector(), teacher, [component("bbox_head.retina_cls")])


# --------------------------------------------------------------------------- teachers of 2020
def test_older_names_of_deformable_convolutions_are_known(tmp_path):
    from freekd.distill.weights import load_teacher_weights

    cfg = tiny.detector(depth=50)
    cfg["neck"]["in_channels"] = [16, 32, 64, 128]
    cfg["backbone"].update(dcn=dict(type="DCN", deform_groups=1), stage_with_dcn=(False, True) * 2)
    torch.manual_seed(0)
    trained, teacher = tiny.build(cfg), tiny.build(cfg)
    torch.nn.init.normal_(trained.backbone.layer2[0].conv2.conv_offset.weight)
    old = {
        name.replace("conv2.conv_offset.", "conv2_offset."): value
        for name, value in trained.state_dict().items()
    }
    assert any("conv2_offset" in name for name in old)
    torch.save(dict(state_dict=old), str(tmp_path / "old.pth"))
    assert load_teacher_weights(teacher, str(tmp_path / "old.pth"), "key") == (1.0, None)
    for name, value in trained.state_dict().items():
        assert torch.equal(teacher.state_dict()[name], value), name
