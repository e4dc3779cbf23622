"""The teacher's part of a step. Oracle: the bare teacher, in whole, in the same precision."""

import pytest
import tiny
import torch

from freekd.compat import precision as compat_precision
from freekd.distill.run.teacher_run import TeacherRun
from freekd.engine import precision

LOW = pytest.mark.parametrize("name", ["bfloat16", "float16"])
REGRESSION = dict(type="mmdet.SmoothL1Loss", name="loss_regression")
MSE = dict(
    type="FeatureMSELoss", name="loss_mse", student_channels=tiny.CHANNELS,
    teacher_channels=tiny.CHANNELS, num_levels=5,
)  # fmt: skip
ENCODER = dict(MSE, student_channels=256, teacher_channels=256, num_levels=4)


@pytest.fixture
def machinery():
    """Leaves mmcv's mixed precision as it was."""
    before = vars(compat_precision._low).copy()
    yield
    vars(compat_precision._low).update(before)


def build(teacher, student, taps, **options):
    components = [dict(student_module=p, teacher_module=p, losses=[loss]) for p, loss in taps]
    torch.manual_seed(0)
    model = tiny.build(
        dict(
            type="FreeKDDistill",
            architecture=dict(type="MMDetArchitecture", model=student),
            distiller=dict(
                type="FreeKDDistiller", teacher=teacher, components=components, **options
            ),
        )
    )
    return model.train()


MODELS = {
    "retinanet": (
        tiny.detector(base_channels=8),
        tiny.detector(),
        [("neck", dict(MSE, num_levels=tiny.NUM_LEVELS)), ("bbox_head.retina_reg", REGRESSION)],
    ),
    "faster_rcnn": (
        tiny.faster_rcnn(8),
        tiny.faster_rcnn(),
        [("neck", MSE), ("roi_head.bbox_head.fc_reg", REGRESSION)],
    ),
    "deformable_detr": (
        tiny.deformable_detr(8),
        tiny.deformable_detr(),
        [("bbox_head.transformer.encoder", ENCODER)],
    ),
}


def step(model):
    torch.manual_seed(1)  # of the samplers
    out = model.train_step(tiny.batch(), None)
    return out["loss"], {k: v for k, v in out["log_vars"].items() if k.startswith("distiller")}


def first(output):
    return output if torch.is_tensor(output) else output[0]


@LOW
@pytest.mark.parametrize("kind", list(MODELS))
def test_autocast_of_the_teacher_alone(kind, name):
    model = build(*MODELS[kind], teacher_autocast=name)
    loss, terms = step(model)
    loss.backward()
    for outputs in model.distiller.teacher_outputs.values():
        # a norm, the last of an encoder, is float32 under autocast on a GPU and where it says so
        assert all(first(out).dtype in (getattr(torch, name), torch.float32) for out, _ in outputs)
    some = [out for outputs in model.distiller.teacher_outputs.values() for out, _ in outputs]
    if kind != "deformable_detr":
        assert all(first(out).dtype == getattr(torch, name) for out in some)
    for outputs in model.distiller.student_outputs.values():
        assert all(first(out).dtype == torch.float32 for out, _ in outputs)
    plain, expected = step(build(*MODELS[kind]))
    # what the student gets from its own task is the same to the bit
    assert terms.keys() == expected.keys()
    for key, value in terms.items():
        assert value == pytest.approx(expected[key], rel=0.1, abs=1e-3) and value != expected[key]
    rest = float(loss) - sum(terms.values())
    assert rest == pytest.approx(float(plain) - sum(expected.values()), rel=1e-5)


@LOW
@pytest.mark.parametrize("kind", list(MODELS))
def test_the_dry_run_computes_the_teacher_as_a_step_does(kind, name):
    """RoI heads too, whose maps and boxes must be of one precision."""
    model = build(*MODELS[kind], teacher_autocast=name)
    seen = []
    component = model.distiller.components[0].teacher_module
    tapped = dict(model.distiller.teacher.named_modules())[component]
    tapped.register_forward_hook(lambda _, __, output: seen.append(first(output).dtype))
    plain = build(*MODELS[kind])
    expected = plain.distiller.check_shapes(plain.architecture.model)
    assert model.distiller.check_shapes(model.architecture.model) == expected
    if kind != "deformable_detr":  # an encoder ends in a norm
        assert set(seen) == {getattr(torch, name)}


@LOW
def test_its_features_are_those_of_torchs_autocast(name):
    model = build(*MODELS["retinanet"], teacher_autocast=name)
    step(model)
    (found, _), = model.distiller.teacher_outputs["neck"]  # fmt: skip
    with torch.no_grad(), torch.autocast("cpu", dtype=getattr(torch, name)):
        expected = model.distiller.teacher.extract_feat(tiny.batch()["img"])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("run, own", [("bfloat16", "float16"), ("bfloat16", "bfloat16")])
def test_within_a_run_of_low_precision(machinery, run, own):
    model = build(*MODELS["retinanet"], teacher_autocast=own)
    precision.prepare(model, precision.Precision(getattr(torch, run)), "cpu")
    loss, _ = step(model)
    loss.backward()
    distiller = model.distiller
    (teacher, _), = distiller.teacher_outputs["neck"]  # fmt: skip
    (student, _), = distiller.student_outputs["neck"]  # fmt: skip
    assert {level.dtype for level in teacher} == {getattr(torch, own)}
    assert {level.dtype for level in student} == {getattr(torch, run)}
    assert torch.isfinite(loss)


def test_by_default_it_computes_as_the_run_does(machinery):
    model = build(*MODELS["retinanet"])
    precision.prepare(model, precision.Precision(torch.bfloat16), "cpu")
    step(model)
    (teacher, _), = model.distiller.teacher_outputs["neck"]  # fmt: skip
    assert {level.dtype for level in teacher} == {torch.bfloat16}


@pytest.mark.parametrize("value", ["half", "float32", 16, True])
def test_another_autocast_is_refused(value):
    with pytest.raises(ValueError, match="distiller.teacher_autocast.*bfloat16"):
        build(*MODELS["retinanet"], teacher_autocast=value)


def test_a_teacher_that_runs_whole_has_no_autocast_of_its_own():
    model = tiny.build(tiny.cascade_mask_rcnn())
    component = type("C", (), dict(teacher_module="roi_head.mask_head.0.conv_logits"))
    assert not TeacherRun(model, [component]).partial.possible
    with pytest.raises(ValueError, match="distiller.teacher_autocast='bfloat16'.*whole forward"):
        TeacherRun(model, [component], "bfloat16").check_precision()


def test_a_gpu_without_bfloat16(monkeypatch):
    monkeypatch.setattr(precision, "_gpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GTX 1080")
    model = build(*MODELS["retinanet"], teacher_autocast="bfloat16")
    with pytest.raises(precision.ConfigError, match="distiller.teacher_autocast='bfloat16'.*1080"):
        precision.prepare(model, None, "cuda")


def test_a_misspelt_tap_is_named_as_such_with_autocast_too():
    teacher, student, _ = MODELS["retinanet"]
    with pytest.raises(ValueError, match=r"no such module; nearest: \['neck'"):
        build(teacher, student, [("nekc", dict(MSE, num_levels=3))], teacher_autocast="bfloat16")
