"""Mixed precision on the CPU, by the same code as on GPUs: mmcv's machinery, told device and dtype.

What is low and what is float32 is asked of the tensors themselves; what the numbers should be, of
the same run in float32.
"""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny as models
import torch

from freekd import compat
from freekd.compat import precision as compat_precision
from freekd.config.errors import ConfigError

compat.apply()

from freekd.config import load
from freekd.engine import (
    build,
    precision,
)
from freekd.engine.train import train
from freekd.fileio import load_checkpoint_file
from freekd.gates.position import PositionGate
from freekd.prompts.dissimilarity import dissimilarity
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.reconstruction import masked_reconstruction
from freekd.prompts.spec import PromptSpec

BFLOAT16 = dict(dtype="bfloat16")
FLOAT16 = dict(loss_scale="dynamic")
DTYPES = {None: torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FP16 = {None: None, "bfloat16": BFLOAT16, "float16": FLOAT16}
# Rounding one number is a relative error of up to 2^-9 in bfloat16, 2^-12 in float16. A loss, a
# mean over many values that were rounded in each of some twenty layers, may be off by ten times as
# much (seen: 0.003 and 0.0006).
CLOSE = {torch.bfloat16: 2e-2, torch.float16: 2.5e-3}

PROMPT = """
teacher = dict(model, type="mmdet.RetinaNet")
model = None
algorithm = dict(
    type="FrequencyPromptFinetune",
    architecture=dict(type="FrequencyPromptTeacher", model=teacher, checkpoint="{teacher}",
                      module="neck", channels=8, num_levels=3),
)
optimizer = dict(type="Adam", lr=0.01, weight_decay=0.001)
log_config = dict(interval=1, hooks=[dict(type="TextLoggerHook")])
"""

DISTILL = """
student = dict(model, type="mmdet.RetinaNet")
model = None
algorithm = dict(
    type="FreeKDDistill",
    architecture=dict(type="MMDetArchitecture", model=student),
    distiller=dict(
        type="FreeKDDistiller", teacher=student, teacher_checkpoint="{teacher}",
        components=[dict(student_module="neck", teacher_module="neck", losses=[
            dict(type="FreeKDLoss", name="loss_freekd", student_channels=8, teacher_channels=8,
                 num_levels=3, num_prompts=2, prompts="{prompts}", loss_weight=0.1),
            dict(type="ChannelWiseDivergence", name="loss_cwd", tau=1.0, loss_weight=0.1)])],
    ),
)
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=1e-2, fused=True)
log_config = dict(interval=1, hooks=[dict(type="TextLoggerHook")])
"""


@pytest.fixture(scope="module")
def files(tiny):
    """A teacher with random weights, and prompts made with it."""
    teacher, prompts = tiny.root / "teacher.pth", tiny.root / "teacher_prompts.pth"
    cfg = load.load_config(tiny.config("teacher"))
    torch.manual_seed(0)
    model = build.build_model(cfg, "det")
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), str(teacher))
    names = {"{teacher}": str(teacher), "{prompts}": str(prompts)}

    def text(template):
        for name, value in names.items():
            template = template.replace(name, value)
        return template

    cfg = load.load_config(tiny.config("make_prompts", "iterations", extra=text(PROMPT)))
    algorithm = build.build_model(cfg, "det")
    algorithm.init_weights()
    algorithm.save_prompts(str(prompts))
    return SimpleNamespace(prompt=text(PROMPT), distill=text(DISTILL), prompts=str(prompts))


@pytest.fixture
def watch(monkeypatch):
    """Record, during a training, the dtypes of features and of loss terms."""
    seen = SimpleNamespace(feats={}, terms={}, training=False)
    stock = build.build_model

    def build_and_watch(cfg, task):
        model = stock(cfg, task)
        step, parse = model.train_step, model._parse_losses

        def train_step(*args, **kwargs):
            seen.training = True  # not what checks the model before
            try:
                return step(*args, **kwargs)
            finally:
                seen.training = False

        def parse_losses(losses):
            for name, value in losses.items():
                seen.terms.setdefault(name, set()).update(t.dtype for t in tensors(value))
            return parse(losses)

        def record(name):
            def hook(_, __, out):
                if seen.training:
                    seen.feats.setdefault(name, set()).update(t.dtype for t in tensors(out))

            return hook

        for name, module in model.named_modules():
            if name.endswith(("backbone", "neck", "_head")):
                module.register_forward_hook(record(name))
        model.train_step, model._parse_losses = train_step, parse_losses
        return model

    monkeypatch.setattr(build, "build_model", build_and_watch)
    return seen


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in tensors(item)]
    return []


def run(config, work_dir, fp16=None, **options):
    cfg = load.load_config(config, options)
    cfg.work_dir, cfg.device, cfg.seed, cfg.fp16 = str(work_dir), "cpu", 3, fp16
    runner = train(cfg, validate=False)
    (log,) = work_dir.glob("*.log.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return runner, [line for line in lines if line.get("mode") == "train"]


def assert_float32_and_finite(path):
    content = load_checkpoint_file(path)
    for name, value in content["state_dict"].items():
        assert not value.is_floating_point() or value.dtype == torch.float32, name
        assert bool(torch.isfinite(value).all()), name
    for state in content["optimizer"]["state"].values():
        for value in tensors(list(state.values())):
            assert value.dtype == torch.float32 and bool(torch.isfinite(value).all())
    return content


@pytest.mark.parametrize("stage", ["prompt", "distill"])
def test_both_stages_train_as_in_float32(tiny, files, tmp_path, watch, stage):
    config = tiny.config(f"precision_{stage}", "iterations", extra=getattr(files, stage))
    logs = {}
    for name, fp16 in FP16.items():
        watch.feats.clear(), watch.terms.clear()
        folder = tmp_path / str(name)
        folder.mkdir()
        runner, logs[name] = run(config, folder, fp16, **{"runner.max_iters": 12})
        parts = {key.split(".")[-1] for key in watch.feats}
        assert parts == {"backbone", "neck", "bbox_head"}
        assert len(watch.feats) == 3  # of a pair the student alone: hooks do not see the teacher
        for module, dtypes in watch.feats.items():
            assert dtypes == {DTYPES[name]}, module
        assert all(dtypes == {torch.float32} for dtypes in watch.terms.values()), watch.terms
        assert any("loss" in term for term in watch.terms)
        assert {p.dtype for p in runner.model.parameters()} == {torch.float32}
        meta = assert_float32_and_finite(folder / "iter_12.pth")["meta"]
        assert ("fp16" in meta) == (name == "float16")
    for name in ("bfloat16", "float16"):
        for when, close in ((0, CLOSE[DTYPES[name]]), (-1, 0.05)):
            want, got = logs[None][when], logs[name][when]
            # at the end, after gradients rounded otherwise, and a step that float16 skipped
            for key in [key for key in want if "loss" in key or key == "mask_sum"]:
                assert got[key] == pytest.approx(want[key], rel=close), (name, when, key)
    if stage == "distill":
        term = "distiller.loss_freekd.0"
        for log in logs.values():
            assert log[-1][term] < 0.9 * log[0][term]


def test_float16_resumes_exactly_loss_scale_included(tiny, files, tmp_path):
    config = tiny.config("precision_resume", "iterations", extra=files.distill)
    fp16 = dict(loss_scale=dict(init_scale=2.0**18, growth_interval=2))  # falls, then rises
    whole, _ = run(config, tmp_path, fp16)
    content = load_checkpoint_file(tmp_path / "iter_3.pth")
    scaler = content["meta"]["fp16"]["loss_scaler"]
    assert scaler["growth_interval"] == 2 and scaler["scale"] != 2.0**18
    end = assert_float32_and_finite(tmp_path / "iter_6.pth")

    (tmp_path / "rest").mkdir()
    resumed, _ = run(config, tmp_path / "rest", fp16, resume_from=str(tmp_path / "iter_3.pth"))
    again = load_checkpoint_file(tmp_path / "rest" / "iter_6.pth")
    assert again["meta"]["fp16"] == end["meta"]["fp16"]
    assert all(torch.equal(again["state_dict"][k], v) for k, v in end["state_dict"].items())


def test_float16_skips_steps_whose_gradients_overflow(tiny, tmp_path):
    """A loss scale that no gradient survives: float16 ends at 65504."""
    config = tiny.config("precision_overflow", "iterations")
    runner, log = run(config, tmp_path, dict(loss_scale=dict(init_scale=2.0**60)))
    start = load_checkpoint_file(tmp_path / "iter_3.pth")["state_dict"]
    end = assert_float32_and_finite(tmp_path / "iter_6.pth")
    for name, parameter in runner.model.module.named_parameters():
        assert torch.equal(start[name], parameter), name
    assert end["meta"]["fp16"]["loss_scaler"]["scale"] == 2.0**54  # halved six times
    assert [line["loss"] > 0 for line in log] == [True] * len(log)


# --------------------------------------------------------------------------- what the config says
@pytest.mark.parametrize(
    ("fp16", "hook", "expected"),
    [
        (None, {}, None),
        (False, None, None),
        ({}, {}, (torch.float16, "dynamic")),
        (dict(loss_scale=512), dict(type="OptimizerHook"), (torch.float16, 512.0)),
        (dict(dtype="float16"), dict(loss_scale=128.0), (torch.float16, 128.0)),
        (dict(loss_scale=dict(init_scale=4.0)), {}, (torch.float16, dict(init_scale=4.0))),
        (None, dict(type="Fp16OptimizerHook", loss_scale=64.0), (torch.float16, 64.0)),  # mmseg
        (dict(dtype="bfloat16"), dict(type="Fp16OptimizerHook"), (torch.bfloat16, None)),
    ],
)
def test_precision_of_a_config(fp16, hook, expected):
    assert precision.read_precision(dict(fp16=fp16, optimizer_config=hook), "cpu") == expected


@pytest.mark.parametrize(
    ("fp16", "hook", "words"),
    [
        (True, {}, "fp16: expected a dict such as .*got True"),
        (dict(dtype="bf16"), {}, "fp16.dtype: expected one of 'float16', 'bfloat16', got 'bf16'"),
        (dict(lossscale=1.0), {}, "fp16.lossscale is not known.*Did you mean loss_scale"),
        (dict(loss_scale="static"), {}, "loss_scale: expected 'dynamic', a positive.*'static'"),
        (dict(loss_scale=0), {}, "loss_scale: expected 'dynamic', a positive number.*got 0"),
        (dict(loss_scale=dict(scale=1)), {}, "a dict of .*init_scale.*got {'scale': 1}"),
        (dict(dtype="bfloat16", loss_scale=1.0), {}, "fp16.loss_scale=1.0 with .*Remove loss_sca"),
        (dict(dtype="bfloat16"), dict(loss_scale=1.0), "optimizer_config.loss_scale=1.0 with"),
        (dict(loss_scale=1.0), dict(loss_scale=2.0), "loss_scale=2.0 contradict .*Remove the lat"),
    ],
)
def test_wrong_precision(fp16, hook, words):
    with pytest.raises(ConfigError, match=words):
        precision.read_precision(dict(fp16=fp16, optimizer_config=hook), "cpu")


def test_device_that_cannot(monkeypatch):
    monkeypatch.setattr(precision, "_gpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(ConfigError, match="Ampere or newer.*Tesla T4.*dtype='float16'"):
        precision.read_precision(dict(fp16=BFLOAT16), "cuda")
    assert precision.read_precision(dict(fp16=BFLOAT16), "cpu")
    monkeypatch.delattr(torch.amp, "GradScaler")
    with pytest.raises(ConfigError, match="torch 2.3 or newer.*dtype='bfloat16'"):
        precision.read_precision(dict(fp16=FLOAT16), "cpu")
    assert precision.read_precision(dict(fp16=FLOAT16), "cuda")


@pytest.mark.parametrize(
    ("fp16", "options", "kind"),
    [
        (None, {}, "OptimizerHook"),
        (None, dict(type="GradientCumulativeOptimizerHook", cumulative_iters=2), None),
        (FLOAT16, dict(type="OptimizerHook", grad_clip=dict(max_norm=3)), "Fp16OptimizerHook"),
        (FLOAT16, dict(type="Fp16OptimizerHook", loss_scale="dynamic"), "Fp16OptimizerHook"),
        (
            FLOAT16,
            dict(type="GradientCumulativeOptimizerHook", cumulative_iters=2),
            "GradientCumulativeFp16OptimizerHook",
        ),
        (BFLOAT16, dict(type="Fp16OptimizerHook", distributed=False), "OptimizerHook"),
        (BFLOAT16, dict(type="GradientCumulativeOptimizerHook", cumulative_iters=2), None),
    ],
)
def test_optimizer_hook(fp16, options, kind):
    chosen = precision.read_precision(dict(fp16=fp16, optimizer_config=options), "cpu")
    precision.prepare(torch.nn.Identity(), chosen, "cpu")
    before = copy.deepcopy(options)
    hook = precision.optimizer_hook(options, chosen)
    assert type(hook).__name__ == kind or options["type"]
    assert options == before
    assert hook.grad_clip == options.get("grad_clip")
    assert getattr(hook, "cumulative_iters", None) == options.get("cumulative_iters")
    if fp16 is FLOAT16:
        assert hook.loss_scaler.is_enabled() and hook.loss_scaler.get_scale() == 65536.0


def test_wrong_optimizer_hook():
    chosen = precision.Precision(torch.float16, "dynamic")
    with pytest.raises(ConfigError, match="'MyHook' does not scale the loss.*bfloat16"):
        precision.optimizer_hook(dict(type="MyHook"), chosen)
    with pytest.raises(ConfigError, match="optimizer_config=None with fp16"):
        precision.optimizer_hook(None, chosen)
    with pytest.raises(ConfigError, match="optimizer_config .*detect_anomalous_params"):
        precision.optimizer_hook(dict(detect_anomalous_params=True), chosen)
    assert precision.optimizer_hook(None, precision.Precision(torch.bfloat16)) is None


# --------------------------------------------------------------------------- losses and prompts
LOW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def maps(dtype=torch.float32, seed=0, scale=1.0):
    gen = torch.Generator().manual_seed(seed)
    sizes = ((17, 24), (9, 12), (5, 6))
    return [(scale * torch.randn(2, 8, *size, generator=gen)).to(dtype) for size in sizes]


@LOW
@pytest.mark.parametrize("scale", [1.0, 1e4])  # LL3 of 1e4, or its square, is not in float16
def test_stage_2_computes_in_float32(files, dtype, scale):
    """What it is given is rounded; from there on, float32's value and gradient."""
    from freekd.losses.freekd import FreeKDLoss

    student = maps(dtype, 1, scale)
    for tensor in student:
        tensor.requires_grad_()
    teacher = maps(dtype, 2, scale)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in teacher)
    wide = [tensor.detach().float().requires_grad_() for tensor in student]
    options = dict(student_channels=8, teacher_channels=8, num_levels=3, align="conv1x1")
    for more in (dict(distance="l1"), dict(distance="l2", normalize="channel")):
        torch.manual_seed(0)
        loss = FreeKDLoss(**options, **more, prompts=files.prompts)
        expected = loss(wide, [tensor.float() for tensor in teacher])
        with torch.autocast("cpu", dtype=dtype):
            low = loss(student, teacher)
        assert low.dtype == torch.float32
        assert low.item() == expected.item() and torch.isfinite(low)
        want = torch.autograd.grad(expected, wide)
        for one, two in zip(torch.autograd.grad(low, student), want):
            assert one.dtype == dtype and torch.equal(one, two.to(dtype))


@LOW
def test_stage_1_computes_in_float32(dtype):
    torch.manual_seed(0)
    feats = maps(dtype)
    spec = PromptSpec.build(8, 3)
    prompts = FrequencyPrompts(spec, init_std=0.5)
    assert isinstance(prompts.gate, PositionGate)
    for mlp in prompts.gate.mlps:
        torch.nn.init.normal_(mlp[-1].weight)
    with torch.autocast("cpu", dtype=dtype):
        outs, masks = prompts(feats)
        low = prompts.dissimilarity(masks)
        dice = dissimilarity(masks[0][0], "dice")
    wide_outs, wide_masks = prompts([feat.float() for feat in feats])
    for out, wide in zip(outs, wide_outs):  # back in the teacher's precision, rounded once
        assert out.dtype == dtype and torch.equal(out, wide.to(dtype))
    for level, wide in zip(masks, wide_masks):
        for mask, wide_mask in zip(level, wide):
            assert mask.dtype == torch.float32 and torch.equal(mask, wide_mask)
    assert low.dtype == dice.dtype == torch.float32
    assert low.item() == prompts.dissimilarity(wide_masks).item()
    assert dice.item() == dissimilarity(wide_masks[0][0], "dice").item()
    gradient = torch.autograd.grad(low + sum(out.float().sum() for out in outs), prompts.prompts)
    assert all(g.dtype == torch.float32 and bool(torch.isfinite(g).all()) for g in gradient)
    with torch.autocast("cpu", dtype=dtype):
        out, _ = masked_reconstruction(feats[0], prompts.prompts[0])
    assert out.dtype == dtype


# --------------------------------------------------------------------------- mmcv's machinery, ops
@pytest.fixture
def low_precision():
    """Sets mmcv's machinery, and sets it back."""
    before = vars(compat_precision._low).copy()
    yield compat.use_low_precision
    vars(compat_precision._low).update(before)


@LOW
def test_autocast_of_a_part(low_precision, dtype):
    low_precision(dtype, "cpu")
    model = torch.nn.Conv2d(3, 2, 1)
    image = torch.rand(1, 3, 4, 4)
    with compat.autocast_of(model, "cpu"):
        assert model(image).dtype == torch.float32
    model.fp16_enabled = True
    with compat.autocast_of(model, "cpu"):
        assert model(image).dtype == dtype
    model.fp16_enabled = False
    with torch.autocast("cpu", dtype=dtype), compat.autocast_of(model, "cpu"):
        assert model(image).dtype == dtype  # does nothing, rather than turn autocast off


@LOW
def test_decorators_of_mmcv(low_precision, dtype):
    from mmcv.runner import auto_fp16, force_fp32

    class Layer(torch.nn.Linear):
        fp16_enabled = True

        @auto_fp16()
        def low(self, x, items):
            assert items["index"].dtype == torch.int64
            return self(x), items["x"], x

        @auto_fp16(out_fp32=True)
        def low_in_between(self, x):
            return self(x)

        @force_fp32(apply_to=("x",))
        def high(self, x, y):
            return self(x), y

        @force_fp32(out_fp16=True)
        def high_in_between(self, x):
            assert x.dtype == torch.float32
            return self(x)

    low_precision(dtype, "cpu")
    layer, x = Layer(3, 2), torch.rand(4, 3)
    items = dict(x=x, index=torch.arange(2))
    assert [tensor.dtype for tensor in layer.low(x, items)] == [dtype] * 3
    assert layer.low_in_between(x).dtype == torch.float32
    with torch.autocast("cpu", dtype=dtype):
        out, untouched = layer.high(x.to(dtype), x.to(dtype))
        assert (out.dtype, untouched.dtype) == (torch.float32, dtype)
        assert layer.high_in_between(x.to(dtype)).dtype == dtype


def compiled_ops():
    """Each op as a function of its features alone; the other arguments are exact in bfloat16."""
    from mmcv import ops

    gen = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=gen).bfloat16().float()

    weight, offset, mask = draw(4, 8, 3, 3), draw(2, 18, 9, 9), draw(2, 9, 9, 9)
    rois = torch.tensor([[0, 1.0, 1.0, 6.0, 7.0], [1, 2.0, 0.0, 8.0, 5.0]])
    return {
        "roi_align": lambda x: ops.roi_align(x, rois.to(x), (3, 3), 1.0, 0, "avg", True),
        "deform_conv2d": lambda x: ops.deform_conv2d(x, offset.to(x), weight.to(x), 1, 1),
        "modulated_deform_conv2d": lambda x: ops.modulated_deform_conv2d(
            x, offset.to(x), mask.to(x), weight.to(x), None, 1, 1, 1, 1, 1
        ),
    }


@pytest.mark.parametrize("name", ["roi_align", "deform_conv2d", "modulated_deform_conv2d"])
def test_compiled_ops_in_bfloat16(low_precision, name):
    """float32's value and gradient on the rounded input, rounded once."""
    low_precision(torch.bfloat16, "cpu")
    op = compiled_ops()[name]
    torch.manual_seed(1)
    low = torch.randn(2, 8, 9, 9).bfloat16().requires_grad_()
    wide = low.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = op(low)
    expected = op(wide)
    assert out.dtype == torch.bfloat16 and expected.dtype == torch.float32
    assert torch.equal(out, expected.bfloat16())
    grad = torch.randn(out.shape).bfloat16()
    (one,) = torch.autograd.grad(out, low, grad)
    (two,) = torch.autograd.grad(expected, wide, grad.float())
    assert one.dtype == torch.bfloat16 and torch.equal(one, two.bfloat16())


# --------------------------------------------------------------------------- other models
def backbone(**more):
    return dict(
        type="ResNet", depth=50, base_channels=4, num_stages=4, out_indices=(0, 1, 2, 3),
        frozen_stages=-1, norm_cfg=dict(type="BN"), norm_eval=True, style="pytorch", **more,
    )  # fmt: skip


def neck(**more):
    return dict(type="FPN", in_channels=[16, 32, 64, 128], out_channels=16, **more)


ASSIGN = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
NMS = dict(type="nms", iou_threshold=0.5)


def faster_rcnn():
    """Two stages: proposals, RoIAlign, a deformable convolution of the second kind."""
    sampler = dict(type="RandomSampler", num=16, pos_fraction=0.5, neg_pos_ub=-1)
    of_anchors = dict(sampler, add_gt_as_proposals=False)
    coder = dict(type="DeltaXYWHBBoxCoder")
    proposals = dict(nms_pre=50, max_per_img=20, nms=NMS, min_bbox_size=0)
    dcn = dict(type="DCNv2", deform_groups=1, fallback_on_stride=False)
    return dict(
        type="mmdet.FasterRCNN",
        backbone=backbone(dcn=dcn, stage_with_dcn=(False, False, True, True)),
        neck=neck(num_outs=4),
        rpn_head=dict(
            type="RPNHead", in_channels=16, feat_channels=16, bbox_coder=coder,
            anchor_generator=dict(type="AnchorGenerator", scales=[4], ratios=[1.0],
                                  strides=[4, 8, 16, 32]),
        ),
        roi_head=dict(
            type="StandardRoIHead",
            bbox_roi_extractor=dict(
                type="SingleRoIExtractor", out_channels=16, featmap_strides=[4, 8, 16, 32],
                roi_layer=dict(type="RoIAlign", output_size=3, sampling_ratio=0),
            ),
            bbox_head=dict(
                type="Shared2FCBBoxHead", in_channels=16, fc_out_channels=16, roi_feat_size=3,
                num_classes=3, bbox_coder=coder,
            ),
        ),
        train_cfg=dict(
            rpn=dict(assigner=ASSIGN, sampler=of_anchors, allowed_border=-1, pos_weight=-1),
            rpn_proposal=proposals,
            rcnn=dict(assigner=ASSIGN, sampler=sampler, pos_weight=-1),
        ),
        test_cfg=dict(rpn=proposals, rcnn=dict(score_thr=0.0, nms=NMS, max_per_img=10)),
    )  # fmt: skip


def reppoints():
    """A head that convolves at points of its own, and whose loss mmdet leaves in half precision."""
    return dict(
        type="mmdet.RepPointsDetector",
        backbone=backbone(),
        neck=neck(num_outs=3, start_level=1),
        bbox_head=dict(
            type="RepPointsHead", num_classes=3, in_channels=16, feat_channels=16,
            point_feat_channels=16, stacked_convs=1, num_points=9, point_strides=[8, 16, 32],
            loss_cls=dict(type="FocalLoss", use_sigmoid=True),
            loss_bbox_init=dict(type="SmoothL1Loss", beta=0.11, loss_weight=0.5),
            loss_bbox_refine=dict(type="SmoothL1Loss", beta=0.11),
        ),
        train_cfg=dict(
            init=dict(assigner=dict(type="PointAssigner", scale=4, pos_num=1), pos_weight=-1),
            refine=dict(assigner=ASSIGN, pos_weight=-1),
        ),
        test_cfg=dict(nms_pre=50, score_thr=0.0, nms=NMS, max_per_img=10),
    )  # fmt: skip


def deformable_detr():
    """Attention at sampled points."""
    attention = dict(type="MultiScaleDeformableAttention", embed_dims=16, num_heads=2, num_levels=3)
    full = dict(type="MultiheadAttention", embed_dims=16, num_heads=2)
    layer = dict(
        feedforward_channels=32, ffn_dropout=0.0, ffn_cfgs=dict(type="FFN", embed_dims=16)
    )  # fmt: skip
    order = ("self_attn", "norm", "ffn", "norm")
    encoder = dict(type="BaseTransformerLayer", attn_cfgs=attention, operation_order=order, **layer)
    decoder = dict(
        type="DetrTransformerDecoderLayer", attn_cfgs=[full, attention],
        operation_order=("self_attn", "norm", "cross_attn", "norm", "ffn", "norm"), **layer,
    )  # fmt: skip
    costs = dict(
        cls_cost=dict(type="FocalLossCost", weight=2.0),
        reg_cost=dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
        iou_cost=dict(type="IoUCost", iou_mode="giou", weight=2.0),
    )  # fmt: skip
    return dict(
        type="mmdet.DeformableDETR",
        backbone=dict(backbone(), out_indices=(1, 2, 3)),
        neck=dict(
            type="ChannelMapper", in_channels=[32, 64, 128], kernel_size=1, out_channels=16,
            norm_cfg=dict(type="GN", num_groups=4), num_outs=3,
        ),
        bbox_head=dict(
            type="DeformableDETRHead", num_query=10, num_classes=3, in_channels=64,
            with_box_refine=True,
            transformer=dict(
                type="DeformableDetrTransformer", num_feature_levels=3,
                encoder=dict(type="DetrTransformerEncoder", num_layers=1,
                             transformerlayers=encoder),
                decoder=dict(type="DeformableDetrTransformerDecoder", num_layers=2,
                             return_intermediate=True, transformerlayers=decoder),
            ),
            positional_encoding=dict(type="SinePositionalEncoding", num_feats=8, normalize=True),
            loss_cls=dict(type="FocalLoss", use_sigmoid=True, loss_weight=2.0),
            loss_bbox=dict(type="L1Loss", loss_weight=5.0),
            loss_iou=dict(type="GIoULoss", loss_weight=2.0),
        ),
        train_cfg=dict(assigner=dict(type="HungarianAssigner", **costs)),
        test_cfg=dict(max_per_img=10),
    )  # fmt: skip


def dino():
    """The same with DINO's queries."""
    cfg = deformable_detr()
    head = cfg["bbox_head"]
    del head["with_box_refine"], head["transformer"]["decoder"]["return_intermediate"]
    cfg["type"], head["type"], head["num_query"] = "mmdet.DINO", "DINOHead", 20
    head["transformer"]["type"] = "DINOTransformer"
    head["transformer"]["decoder"]["type"] = "DINOTransformerDecoder"
    return cfg


MODELS = dict(
    faster_rcnn=faster_rcnn, reppoints=reppoints, deformable_detr=deformable_detr, dino=dino,
    retinanet=models.detector, fcn=models.segmentor,
)  # fmt: skip


def batch(name):
    gen = torch.Generator().manual_seed(0)
    meta = dict(
        img_shape=(64, 64, 3), pad_shape=(64, 64, 3), ori_shape=(64, 64, 3), flip=False,
        batch_input_shape=(64, 64), scale_factor=[1.0] * 4,
    )  # fmt: skip
    data = dict(img=torch.randn(2, 3, 64, 64, generator=gen), img_metas=[dict(meta), dict(meta)])
    if name == "fcn":
        data["gt_semantic_seg"] = torch.randint(0, 5, (2, 1, 64, 64), generator=gen)
    else:
        boxes = [[8.0, 8.0, 40.0, 44.0], [20.0, 4.0, 52.0, 30.0]]
        data["gt_bboxes"] = [torch.tensor([box]) for box in boxes]
        data["gt_labels"] = [torch.tensor([1]), torch.tensor([2])]
    return data


@LOW
@pytest.mark.parametrize("name", list(MODELS))
def test_models_train_and_test(low_precision, name, dtype):
    """A step's losses and gradients near float32's, then boxes or classes of an image."""
    import numpy as np

    torch.manual_seed(0)
    model = models.build(MODELS[name]())
    model.init_weights()
    model.train()
    if name == "dino":  # scores that are almost equal have another order in low precision
        order = torch.arange(20).expand(2, -1)
        model.bbox_head.transformer.chosen = lambda scores: order[: len(scores)]
    inputs = set()
    for path, module in model.named_modules():
        if path.split(".")[-1].startswith("loss_"):  # of a head
            module.register_forward_pre_hook(
                lambda _, args: inputs.update(
                    (t.dtype, torch.is_autocast_enabled("cpu")) for t in tensors(args[0])
                )
            )
    results = []
    for low in (False, True):
        if low:
            precision.prepare(model, precision.Precision(dtype), "cpu")
        torch.manual_seed(1), np.random.seed(1)
        terms = model(return_loss=True, **batch(name))
        model.zero_grad()
        loss = sum(t.sum() for key, value in terms.items() if "loss" in key for t in tensors(value))
        loss.backward()
        assert all(t.dtype == torch.float32 for value in terms.values() for t in tensors(value))
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(g.dtype == torch.float32 and bool(torch.isfinite(g).all()) for g in grads)
        results.append((terms, torch.cat([g.flatten() for g in grads])))
    assert inputs == {(torch.float32, False)}
    (want, want_grad), (got, got_grad) = results
    for key in [key for key in want if "loss" in key]:
        for one, two in zip(tensors(got[key]), tensors(want[key])):
            assert one.item() == pytest.approx(two.item(), rel=CLOSE[dtype], abs=1e-3), key
    assert torch.cosine_similarity(want_grad, got_grad, dim=0) > 0.99
    model.eval()
    data = batch(name)
    with torch.no_grad():
        result = model(return_loss=False, img=[data["img"]], img_metas=[data["img_metas"]])
    assert len(result) == 2
    arrays = result if name == "fcn" else [boxes for image in result for boxes in image]
    assert all(np.isfinite(array).all() for array in arrays)
    assert name == "fcn" or sum(map(len, arrays)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("option", ["fp16.dtype=bfloat16", "fp16.loss_scale=1024.0"])
@pytest.mark.parametrize("number", [1, 2])
def test_two_processes(number, option, stage, tmp_path, monkeypatch):
    """Both stages over gloo: the same weights on both, first losses as in one float32 process."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))  # launch_probe, as the config says
    single = tmp_path / "single"
    single.mkdir()
    _, (first, *_) = run(stage(number, "low_one"), single, **{"data.samples_per_gpu": 4,
                                                             "log_config.interval": 1})  # fmt: skip
    folder = tmp_path / "two"
    config = stage(number, "low_two", f"custom_hooks = [dict(type='Probe', folder='{folder}')]\n")
    environment = dict(
        os.environ, PYTHONPATH=str(Path(__file__).parents[1]), OMP_NUM_THREADS="1",
        PYTHON=sys.executable,
    )  # fmt: skip
    done = subprocess.run(
        ["bash", "tools/dist_train.sh", config, "2", "--work-dir", str(folder), "--seed", "3",
         "--device", "cpu", "--no-validate", "--cfg-options", "data.samples_per_gpu=2", option],
        cwd=str(Path(__file__).parents[2]), env=environment, timeout=300, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    one, two = (load_checkpoint_file(folder / f"rank{rank}.pth") for rank in (0, 1))
    assert all(torch.equal(one["end"][name], value) for name, value in two["end"].items())
    assert any(not torch.equal(one["start"][name], value) for name, value in one["end"].items())
    assert all(value.dtype == torch.float32 for value in one["end"].values())
    assert all(bool(torch.isfinite(value).all()) for value in one["end"].values())
    for name in [name for name in one["losses"][0] if "loss" in name]:
        assert one["losses"][0][name] == pytest.approx(first[name], rel=2e-2, abs=1e-3), name
