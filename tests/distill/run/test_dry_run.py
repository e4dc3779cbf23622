"""Checks before training on the shape of a real image; what a step leaves behind."""

import gc
import weakref

import pytest
import tiny
import torch


def grey(channels=1):
    cfg = tiny.distill([tiny.freekd_loss()])
    cfg["architecture"]["model"]["backbone"]["in_channels"] = channels
    cfg["distiller"]["teacher"]["backbone"]["in_channels"] = channels
    return cfg


@pytest.mark.parametrize("channels", [1, 4, 7])
def test_images_of_any_number_of_channels(channels):
    algorithm = tiny.build(grey(channels))
    student = algorithm.architecture.model
    found = algorithm.distiller.check_shapes(student, (channels, 64, 96))
    assert found["loss_freekd"][0] == "(1, 8, 8, 12) (1, 8, 8, 12)"
    with pytest.raises(ValueError, match=r"student does not run on a blank .*1, 3, 64, 96"):
        algorithm.check_ready((3, 64, 96))


def test_a_teacher_of_other_images_is_named():
    cfg = grey()
    cfg["distiller"]["teacher"]["backbone"]["in_channels"] = 3
    with pytest.raises(ValueError, match="the teacher does not run on.*in_channels"):
        tiny.build(cfg).check_ready((1, 64, 64))


def test_a_fixed_size_is_kept(batch):
    """A backbone that takes 96 pixels and no others, as SSD's or BEiT's."""
    algorithm = tiny.build(tiny.distill([tiny.freekd_loss()]))
    for model in (algorithm.architecture.model, algorithm.distiller.teacher):

        def fixed(module, args):
            if args[0].shape[-2:] != (96, 96):
                raise AssertionError("expected 96 pixels")

        model.backbone.register_forward_pre_hook(fixed)
    algorithm.check_ready((3, 96, 96))
    with pytest.raises(ValueError, match="fixed size.*data.train.pipeline"):
        algorithm.check_ready((3, 64, 96))


def test_the_last_steps_maps_are_let_go_before_the_teacher_runs(batch):
    algorithm = tiny.build(tiny.distill([tiny.freekd_loss()])).train()
    seen = []

    def note(_, __, output):
        seen.append(weakref.ref(output[0]))

    algorithm.architecture.model.neck.register_forward_hook(note)
    alive = []

    def look(*_):
        gc.collect()
        alive.append([ref() is not None for ref in seen])

    algorithm.distiller.teacher.backbone.register_forward_pre_hook(look)
    for _ in range(3):
        algorithm.train_step(batch, None)["loss"].backward()
    assert alive == [[], [False], [False, False]]


@pytest.mark.parametrize("kind", ["ChannelWiseDivergence", "mmdet.MSELoss"])
def test_resize_reaches_the_losses_of_others(batch, kind):
    """The student's pyramid begins a level later: resized, as torch's interpolate does it."""
    name = dict(type=kind, name="loss_x", loss_weight=1.0)
    cfg = tiny.distill([name], module="neck.fpn_convs.0.conv")
    cfg["architecture"]["model"]["neck"].update(start_level=2, num_outs=2)
    cfg["architecture"]["model"]["bbox_head"]["anchor_generator"]["strides"] = [16, 32]
    with pytest.raises(ValueError, match="gives .1, 8, 8, 8., the teacher's"):
        tiny.build(cfg).check_ready()
    cfg["distiller"]["components"][0]["resize"] = True
    torch.manual_seed(0)
    algorithm = tiny.build(cfg).train()
    algorithm.check_ready()
    found = algorithm.train_step(batch, None)["log_vars"]["distiller.loss_x.0"]
    distiller = algorithm.distiller
    ((student, _),) = distiller.student_outputs["neck.fpn_convs.0.conv"]
    ((teacher, _),) = distiller.teacher_outputs["neck.fpn_convs.0.conv"]
    assert student.shape[-2:] != teacher.shape[-2:]
    resized = torch.nn.functional.interpolate(student, size=teacher.shape[-2:], mode="bilinear")
    assert found == pytest.approx(float(distiller.losses["loss_x"](resized, teacher)), rel=1e-5)


def test_a_tapped_sync_bn_runs_on_a_cpu(batch):
    from freekd import compat

    cfg = tiny.distill([tiny.freekd_loss(student_channels=4, teacher_channels=8, num_levels=1)])
    cfg["distiller"]["components"][0].update(
        student_module="backbone.bn1", teacher_module="backbone.bn1"
    )
    for model in (cfg["architecture"]["model"], cfg["distiller"]["teacher"]):
        model["backbone"]["norm_cfg"] = dict(type="SyncBN", requires_grad=True)
    algorithm = tiny.build(cfg).train()
    assert compat.plain_batch_norm(algorithm) == 2 * 20  # of a ResNet-18 each, the teacher's too
    algorithm.check_ready()
    assert algorithm.train_step(batch, None)["log_vars"]["distiller.loss_freekd.0"] > 0
