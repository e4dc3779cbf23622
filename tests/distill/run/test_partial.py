"""A teacher run in parts. Oracle: the stock model run whole, on the same images."""

import pytest
import tiny
import torch

from freekd.distill.run.partial import SINGLE, PartialRun, roi_stage
from freekd.distill.run.taps import hook_output

FCN = tiny.segmentor()
DATA = tiny.batch()


def record(model, path, run):
    """What the module gives, call by call."""
    outputs = []
    handle = hook_output(model.get_submodule(path), lambda out, sizes: outputs.append(out))
    with torch.no_grad():
        run()
    handle.remove()
    return outputs


@pytest.mark.parametrize(
    "cfg, path, calls",
    [
        (tiny.detector(), "neck", 1),
        (tiny.detector(), "bbox_head.retina_reg", tiny.NUM_LEVELS),
        (tiny.faster_rcnn(), "rpn_head.rpn_cls", 5),
        (tiny.deformable_detr(), "bbox_head.transformer.encoder", 1),
        (FCN, "decode_head.conv_seg", 1),
    ],
    ids=["neck", "dense head", "rpn", "encoder", "class maps"],
)
def test_as_in_a_whole_forward(cfg, path, calls):
    torch.manual_seed(0)
    model = tiny.build(cfg).eval()
    data = dict(DATA, img_metas=[dict(meta) for meta in DATA["img_metas"]])
    if cfg is FCN:
        data = dict(
            img=data["img"], img_metas=data["img_metas"],
            gt_semantic_seg=torch.zeros(2, 1, 64, 64, dtype=torch.long),
        )  # fmt: skip
    whole = record(model, path, lambda: model(return_loss=True, **data))
    run = PartialRun(model, [path])
    assert run.possible
    for meta in data["img_metas"]:
        meta.pop("batch_input_shape", None)
    parts = record(model, path, lambda: run.features(data["img"], data["img_metas"]))
    assert len(parts) == len(whole) == calls
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize(
    "cfg, stage", [(tiny.faster_rcnn(), SINGLE), (tiny.cascade_mask_rcnn(), 1)], ids=["one", "many"]
)
def test_a_roi_head_on_given_proposals(cfg, stage):
    torch.manual_seed(0)
    model = tiny.build(cfg).eval()
    name = "roi_head.bbox_head" + ("" if stage == SINGLE else f".{stage}") + ".fc_reg"
    rois = torch.tensor([[0.0, 2, 2, 30, 40], [1, 10, 12, 60, 50]])
    run = PartialRun(model, [name])
    assert run.possible and run.stages == [stage]
    feats = model.extract_feat(DATA["img"])
    found = record(model, name, lambda: run.roi_head(feats, rois, stage))
    args = (feats, rois) if stage == SINGLE else (stage, feats, rois)
    expected = model.roi_head._bbox_forward(*args)["bbox_pred"]
    torch.testing.assert_close(found, [expected])


# --------------------------------------------------------------------------- what is left out
def count(model, paths):
    """How often each module computed something, from now on."""
    ran = dict.fromkeys(paths, 0)

    def add(path, output):
        ran[path] += not torch.is_tensor(output) or output.numel() > 0

    for path in paths:
        hook_output(model.get_submodule(path), lambda out, _, path=path: add(path, out))
    return ran


def hooks(model):
    return [len(module._forward_hooks) for module in model.modules()]


ENCODER = "bbox_head.transformer.encoder"
REPPOINTS = "mmdet::reppoints/reppoints_moment_r50_fpn_gn-neck+head_2x_coco.py"
GFL = "mmdet::gfl/gfl_r50_fpn_1x_coco.py"
ATSS = "mmdet::atss/atss_r50_fpn_1x_coco.py"


def thin(config, **head):
    """A stock detector with dense heads and few channels."""
    norm = dict(type="GN", num_groups=2, requires_grad=True)
    return dict(
        config=config,
        backbone=dict(depth=18, base_channels=4, frozen_stages=-1, norm_eval=True, init_cfg=None),
        neck=dict(in_channels=[4, 8, 16, 32], out_channels=8, norm_cfg=norm),
        bbox_head=dict(in_channels=8, feat_channels=8, norm_cfg=norm, **head),
    )


@pytest.mark.parametrize(
    "cfg, taps, idle",
    [
        (tiny.deformable_detr(), [ENCODER], ["bbox_head.transformer.decoder"]),
        (
            tiny.deformable_detr(),
            [ENCODER + ".layers.0", "neck"],
            [ENCODER + ".layers.1", "bbox_head.transformer.decoder"],
        ),
        (tiny.detector(), ["backbone.layer3"], ["backbone.layer4", "neck", "bbox_head.retina_reg"]),
        (tiny.detector(), ["backbone"], ["neck"]),
        (
            tiny.detector(),
            ["bbox_head.retina_reg", "neck"],
            ["bbox_head.retina_cls", "bbox_head.cls_convs.0.conv"],
        ),
        (tiny.detector(), ["bbox_head.cls_convs.0"], ["bbox_head.retina_reg"]),
        (
            thin(REPPOINTS, point_feat_channels=8),
            ["bbox_head.reppoints_pts_refine_out", "bbox_head.reppoints_pts_init_out", "neck"],
            ["bbox_head.reppoints_cls_conv", "bbox_head.reppoints_cls_out"],
        ),
        (thin(GFL), ["bbox_head.gfl_reg"], ["bbox_head.gfl_cls", "bbox_head.cls_convs.3.conv"]),
        (thin(ATSS), ["bbox_head.atss_cls"], ["bbox_head.atss_reg", "bbox_head.atss_centerness"]),
        (tiny.cascade_mask_rcnn(), ["neck"], ["rpn_head.rpn_conv", "roi_head.bbox_head.0.fc_reg"]),
        (FCN, ["decode_head.convs.0"], ["decode_head.conv_seg"]),
    ],
    ids="encoder layer stage backbone boxes classes points gfl atss neck segmentor".split(),
)
def test_what_no_tap_needs_does_not_run(cfg, taps, idle):
    torch.manual_seed(0)
    model = tiny.build(cfg).eval()
    before, own = hooks(model), [vars(module).get("forward") for module in model.modules()]
    data = DATA if cfg is not FCN else dict(
        DATA, gt_bboxes=None, gt_labels=None, gt_semantic_seg=torch.zeros(2, 1, 64, 64).long()
    )  # fmt: skip
    data = {key: value for key, value in data.items() if value is not None}
    if cfg.get("config", "").startswith("mmdet::reppoints"):
        model.bbox_head.training = True  # as a teacher's heads are
    masks = "cascade" in cfg.get("config", "")  # whose whole forward wants masks
    whole = [
        record(model, path, lambda: model.extract_feat(DATA["img"]) if masks else model(**data))
        for path in taps
    ]
    run = PartialRun(model, taps)
    run.features(data["img"], data["img_metas"])  # the first is run whole, to count
    found = {path: [] for path in taps}
    for path in taps:
        hook_output(model.get_submodule(path), lambda out, _, path=path: found[path].append(out))
    ran = count(model, idle)
    with torch.no_grad():
        run.features(data["img"], data["img_metas"])
    assert ran == dict.fromkeys(idle, 0)
    torch.testing.assert_close([found[path] for path in taps], whole, rtol=0, atol=0)
    assert [vars(module).get("forward") for module in model.modules()] == own
    for path in taps:
        assert len(model.get_submodule(path)._forward_hooks) == 1  # ours, of this test
    assert sum(hooks(model)) == sum(before) + len(taps) + len(idle)


def test_a_module_is_run_as_often_as_in_a_whole_forward():
    """Of as many images: a head may run it for each image."""
    model = tiny.build(tiny.detector()).eval()
    per_image = torch.nn.Identity()
    model.extra = per_image
    extract = model.extract_feat
    model.extract_feat = lambda img: [per_image(one) for one in img] and extract(img)
    run = PartialRun(model, ["neck"])
    run.end.modules = [per_image]
    ran = count(model, ["extra", "neck"])
    for images, neck in ((1, 1), (3, 1), (1, 0), (3, 0), (2, 1)):
        before = dict(ran)
        run.features(torch.zeros(images, 3, 64, 64), [{}] * images)
        assert ran["extra"] - before["extra"] == images
        assert ran["neck"] - before["neck"] == neck  # is run when the count is not known yet


def test_an_error_leaves_the_model_as_it_was():
    model = tiny.build(tiny.detector()).eval()
    run = PartialRun(model, ["bbox_head.retina_reg"])
    before = hooks(model)
    with pytest.raises(RuntimeError):
        run.features(torch.zeros(2, 5, 64, 64), [{}, {}])
    assert hooks(model) == before and not run.end.calls
    assert "forward" not in vars(model.bbox_head.retina_cls)


def test_only_known_heads_have_layers_that_are_left_out():
    class Other(type(tiny.build(tiny.detector()).bbox_head)):
        """May compute boxes from classes."""

    model = tiny.build(tiny.detector())
    assert PartialRun(model, ["bbox_head.retina_reg"]).untapped
    assert not PartialRun(model, ["bbox_head"]).untapped
    assert not PartialRun(model, ["bbox_head.retina_reg", "bbox_head.retina_cls"]).untapped
    model.bbox_head.__class__ = Other
    assert not PartialRun(model, ["bbox_head.retina_reg"]).untapped


def test_what_cannot_be_run_in_parts():
    model = tiny.build(tiny.cascade_mask_rcnn())
    assert not PartialRun(model, ["roi_head.mask_head.0.conv_logits"]).possible
    assert not PartialRun(model, ["neck", "no_such_head.conv"]).possible
    assert roi_stage("neck") is None and roi_stage("roi_head.mask_head.0") is None


@pytest.mark.parametrize("path", ["bbox_head.reg_convs.0.gn", "backbone.layer2.0.bn1"])
def test_an_output_that_is_changed_later_is_what_it_is_in_a_whole_forward(path, batch):
    """A norm's output becomes its activation's in place: ending at the norm gives another map."""
    model = tiny.build(tiny.detector()).eval()
    run, module = PartialRun(model, [path]), dict(model.named_modules())[path]
    found = []
    module.register_forward_hook(lambda _, __, output: found.append(output))
    taken = []
    with torch.no_grad():
        for _ in range(3):
            run.features(batch["img"], batch["img_metas"])
            taken.append(list(found))
            found.clear()
    assert all(float(x.min()) >= 0 for x in taken[0])  # after the activation
    for later in taken[1:]:
        assert len(later) == len(taken[0])
        for a, b in zip(later, taken[0]):
            assert torch.equal(a, b)


@pytest.mark.parametrize("path", ["bbox_head.scales.0", "bbox_head.relu"])
def test_a_tap_beside_the_branches_of_a_head_keeps_them_all(path):
    model = tiny.build(thin(ATSS))
    assert PartialRun(model, [path, "bbox_head.atss_reg"]).untapped == (
        [] if path.endswith("relu") else PartialRun(model, ["bbox_head.atss_reg"]).untapped
    )
    assert PartialRun(model, ["bbox_head.atss_cls"]).untapped
