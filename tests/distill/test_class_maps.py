"""Layers indexed by class. Oracles: how mmdet reads a head's channels; a permuted teacher."""

import copy
from types import SimpleNamespace

import pytest
import tiny
import torch
from torch import nn

from freekd.distill.class_maps import ClassAxis, class_axis, matched, other_order, reorder
from freekd.distill.inherit import inherit_weights

NAMES = ("cat", "dog", "cow")
SWAPPED = ("cow", "cat", "dog")


class Head(nn.Module):
    def __init__(self, classes, channels, name, **attributes):
        super().__init__()
        self.num_classes = classes
        for key, value in attributes.items():
            setattr(self, key, value)
        self.add_module(name, nn.Conv2d(4, channels, 1))


class Model(nn.Module):
    def __init__(self, root, head):
        super().__init__()
        self.add_module(root, head)


@pytest.mark.parametrize(
    ("root", "layer", "classes", "channels", "attributes", "axis"),
    [
        ("decode_head", "conv_seg", 3, 3, {}, ClassAxis(3)),
        ("decode_head", "conv_seg", 2, 1, dict(out_channels=1), ClassAxis(1)),
        ("bbox_head", "retina_cls", 3, 27, dict(num_base_priors=9), ClassAxis(3, groups=9)),
        ("bbox_head", "retina_reg", 3, 36, dict(num_base_priors=9), None),
        ("bbox_head", "conv_cls", 3, 3, dict(num_base_priors=1), ClassAxis(3)),
        ("bbox_head", "convs_pred", 3, 24, dict(num_base_priors=3), ClassAxis(3, 3, others=5)),
        ("bbox_head", "cls_convs", 4, 16, dict(num_base_priors=[2, 4]), ClassAxis(4, 4)),
        ("bbox_head", "cls_convs", 3, 256, dict(num_base_priors=9), None),  # features
        ("bbox_head", "fc_cls", 3, 4, {}, ClassAxis(3, background=1)),
        ("bbox_head", "fc_cls", 3, 5, {}, ClassAxis(3, background=2)),  # Seesaw
        ("bbox_head", "tl_heat", 3, 3, {}, ClassAxis(3)),
        ("bbox_head", "fc_reg", 3, 12, {}, ClassAxis(3, each=4)),
        ("bbox_head", "fc_reg", 3, 4, dict(reg_class_agnostic=True), None),
        ("bbox_head", "fc_reg", 1, 4, dict(reg_class_agnostic=True), None),
    ],
)
def test_which_layers_are_indexed_by_class(root, layer, classes, channels, attributes, axis):
    model = Model(root, Head(classes, channels, layer, **attributes))
    assert class_axis(model, f"{root}.{layer}") == axis
    if axis is not None:
        assert axis.channels == channels


def test_a_neck_is_not():
    model = tiny.build(tiny.detector())
    assert class_axis(model, "neck") is None and class_axis(model, "backbone.layer4") is None


def test_an_rpn_has_objects_and_no_classes():
    model = tiny.build(tiny.faster_rcnn())
    assert class_axis(model, "rpn_head.rpn_cls") is None
    assert class_axis(model, "roi_head.bbox_head.fc_cls") == ClassAxis(3, background=1)


def test_a_head_as_a_whole_is_refused_where_names_differ():
    loss = dict(type="mmdet.L1Loss", name="loss_x", loss_weight=1.0)
    cfg = tiny.distill([loss], module="roi_head.bbox_head")
    cfg["architecture"]["model"] = tiny.faster_rcnn()
    cfg["distiller"]["teacher"] = tiny.faster_rcnn()
    for class_map, refused in ((None, True), ("by_name", True), ("by_index", False)):
        cfg["distiller"]["class_map"] = class_map
        algorithm = tiny.build(cfg)
        student, distiller = algorithm.architecture.model, algorithm.distiller
        student.CLASSES, distiller.teacher_classes = NAMES, SWAPPED
        if refused:
            with pytest.raises(ValueError, match="fc_cls' in it gives, which is indexed by class"):
                distiller.check_class_names(student)
        else:
            distiller.check_class_names(student)
        distiller.teacher_classes = NAMES
        distiller.check_class_names(student)


ORDER, IOU = ("hen", "cat", "dog"), dict(type="IoUAwareLoss", name="loss_iou")


@pytest.mark.parametrize(
    ("theirs", "class_map", "words"),
    [
        (
            SWAPPED,
            None,
            "Give the data set (data.train.classes, val, test) the teacher's order, or ",
        ),
        (SWAPPED, "by_name", "and a head as a whole cannot be put in another order. Give the data"),
        (ORDER, None, "set class_map='by_index' (the key pair.class_map, or"),
    ],
)
def test_a_loss_of_whole_heads_is_not_told_to_tap_a_layer(theirs, class_map, words):
    """It would refuse what is advised to others: a layer of the head, or the neck."""
    algorithm = tiny.build(tiny.distill([IOU], module="bbox_head", class_map=class_map))
    algorithm.architecture.model.CLASSES, algorithm.distiller.teacher_classes = NAMES, theirs
    with pytest.raises(ValueError) as error:
        algorithm.check_ready()
    said = str(error.value)
    assert words in said and said.endswith("or remove the entry")
    assert "Tap" not in said and "neck" not in said
    algorithm.distiller.class_map = "by_index"
    algorithm.check_ready()


def test_what_is_set_already_is_not_advised():
    loss = dict(type="mmdet.L1Loss", name="loss_x", loss_weight=1.0)
    algorithm = tiny.build(tiny.distill([loss], module="bbox_head", class_map="by_name"))
    student = algorithm.architecture.model
    student.CLASSES, algorithm.distiller.teacher_classes = NAMES, SWAPPED
    with pytest.raises(ValueError, match="Tap 'bbox_head.retina_cls' itself, or the neck$"):
        algorithm.distiller.check_class_names(student)


@pytest.mark.parametrize("module", ["bbox_head", "bbox_head.retina_cls", "neck"])
def test_names_that_the_teacher_does_not_have(module, logged):
    """A whole head is indexed by class as its class layer is; the doctor says so too."""
    from freekd.doctor import static
    from freekd.doctor.report import Report

    loss = dict(type="ChannelWiseDivergence", name="loss_x", tau=1.0, loss_weight=1.0)
    cfg = tiny.distill([IOU if module == "bbox_head" else loss], module=module)
    algorithm, report = tiny.build(cfg), Report("")
    student = algorithm.architecture.model
    student.CLASSES = NAMES
    said = logged("freekd.distill.distiller")
    algorithm.check_ready()
    told = f"{module!r} is indexed by class, but the teacher's checkpoint (None) does not name its"
    if module == "neck":
        assert not any("indexed by class" in line for line in said)
    else:
        assert any(told in line and "taken to be in the data's order" in line for line in said)
    subject = SimpleNamespace(model=algorithm, student=student, dataset=None)
    assert static.ready(subject, report, tiny.batch(size=64))
    assert [told in note for note in report.notes] == [True] * (module != "neck")
    algorithm.distiller.class_map = "by_index"
    assert algorithm.distiller.check_class_names(student) == []
    algorithm.distiller.class_map = "by_name"
    if module == "neck":
        return algorithm.check_ready()
    with pytest.raises(ValueError, match="does not name its classes.*'by_name' cannot be done"):
        algorithm.check_ready()


def test_channels_are_ordered_as_mmdet_reads_them():
    """AnchorHead: (N, A K, H, W) -> permute(0, 2, 3, 1).reshape(N, -1, K)."""
    maps, order = torch.randn(2, 9 * 3, 5, 4), [2, 0, 1]

    def read(x):
        return x.permute(0, 2, 3, 1).reshape(2, -1, 3)

    index = torch.tensor(ClassAxis(3, groups=9).reordered(order))
    assert torch.equal(read(reorder(maps, index)), read(maps)[..., order])
    boxes = torch.randn(7, 3 * 4)  # BBoxHead: row k holds 4 numbers
    index = torch.tensor(ClassAxis(3, each=4).reordered(order))
    assert torch.equal(reorder(boxes, index).view(7, 3, 4), boxes.view(7, 3, 4)[:, order])
    points = torch.randn(2, 3, 50)  # PointRend: (N, C, points)
    index = torch.tensor(ClassAxis(3).reordered(order))
    assert torch.equal(reorder(points, index), points[:, order])
    tokens = torch.randn(2, 6, 4)  # DETR: classes and background last
    index = torch.tensor(ClassAxis(3, background=1).reordered(order))
    assert torch.equal(reorder([tokens], index)[0], tokens[..., [2, 0, 1, 3]])


def test_names_are_matched_or_refused():
    assert not other_order(None, NAMES) and not other_order(NAMES, list(NAMES))
    assert matched(NAMES, SWAPPED, "by_name", "x") == [2, 0, 1]  # theirs, among ours
    assert matched(NAMES, SWAPPED, "by_index", "x") is None
    with pytest.raises(
        ValueError, match="cat, dog, cow .3., the teacher cow, cat, dog .3., in this"
    ):
        matched(NAMES, SWAPPED, None, "x")
    with pytest.raises(ValueError, match="only the student's: dog .1.; only the teacher's: hen"):
        matched(NAMES, ("cat", "hen", "cow"), None, "x")
    with pytest.raises(ValueError, match="by_name': expected the same names"):
        matched(NAMES, ("cat", "hen", "cow"), "by_name", "x")


# --------------------------------------------------------------------------- in a pair
def permuted(teacher, order, layers):
    """The same detector, naming its classes in another order."""
    state = copy.deepcopy(teacher.state_dict())
    for path in layers:
        index = torch.tensor(class_axis(teacher, path).reordered(order))
        for kind in ("weight", "bias"):
            state[f"{path}.{kind}"] = state[f"{path}.{kind}"][index]
    return state


@pytest.mark.parametrize("loss", ["FreeKDLoss", "ChannelWiseDivergence"])
def test_by_name_the_loss_is_that_of_a_teacher_in_the_students_order(batch, loss):
    losses = [tiny.freekd_loss(student_channels=3, teacher_channels=3, num_levels=1)]
    if loss != "FreeKDLoss":
        losses = [dict(type=loss, name="loss_freekd", tau=1.0, loss_weight=1.0)]
    cfg = tiny.distill(losses, module="bbox_head.retina_cls", class_map="by_name")
    torch.manual_seed(0)
    algorithm = tiny.build(cfg).train()
    distiller, student = algorithm.distiller, algorithm.architecture.model
    student.CLASSES = distiller.teacher_classes = NAMES
    algorithm.check_ready()
    expected = algorithm.train_step(batch, None)["log_vars"]
    assert expected["distiller.loss_freekd.0"] > 0
    # class k of the new teacher is class SWAPPED[k] of the old one
    order = [NAMES.index(name) for name in SWAPPED]
    distiller.teacher.load_state_dict(permuted(distiller.teacher, order, ["bbox_head.retina_cls"]))
    distiller.teacher_classes = SWAPPED
    wrong = algorithm.train_step(batch, None)["log_vars"]
    algorithm.check_ready()
    right = algorithm.train_step(batch, None)["log_vars"]
    for key in (key for key in expected if key.startswith("distiller.")):
        assert right[key] == pytest.approx(expected[key], rel=1e-5)
        assert wrong[key] != pytest.approx(expected[key], rel=1e-3)


def test_without_a_word_it_is_an_error(batch):
    losses = [tiny.freekd_loss(student_channels=3, teacher_channels=3, num_levels=1)]
    algorithm = tiny.build(tiny.distill(losses, module="bbox_head.retina_cls"))
    algorithm.architecture.model.CLASSES = NAMES
    algorithm.distiller.teacher_classes = SWAPPED
    with pytest.raises(ValueError, match="retina_cls' is indexed by class.*by_name"):
        algorithm.check_ready()
    algorithm.distiller.class_map = "by_index"
    algorithm.check_ready()
    necks = tiny.build(tiny.distill([tiny.freekd_loss()]))  # a neck does not care
    necks.architecture.model.CLASSES, necks.distiller.teacher_classes = NAMES, SWAPPED
    necks.check_ready()
    with pytest.raises(ValueError, match="distiller.class_map"):
        tiny.build(tiny.distill([tiny.freekd_loss()], class_map="by_nam"))
    named = tiny.build(tiny.distill(losses, module="bbox_head.retina_cls", class_map="by_name"))
    named.architecture.model.CLASSES = NAMES
    with pytest.raises(ValueError, match="does not name its classes"):
        named.check_ready()


def test_inherited_heads_are_put_in_the_students_order():
    torch.manual_seed(0)
    teacher, student = tiny.build(tiny.detector()), tiny.build(tiny.detector())
    student.CLASSES = NAMES
    with pytest.raises(ValueError, match="retina_cls' is indexed by class"):
        inherit_weights(student, teacher, ["bbox_head"], "inherit", SWAPPED)
    inherit_weights(student, teacher, ["bbox_head"], "inherit", SWAPPED, "by_name")
    feats = torch.randn(1, 8, 4, 4)
    ours, theirs = (m.bbox_head.retina_cls(feats) for m in (student, teacher))
    for k, name in enumerate(NAMES):  # one anchor per place: channel k is class k
        assert torch.equal(ours[:, k], theirs[:, SWAPPED.index(name)])
    assert torch.equal(student.bbox_head.retina_reg.weight, teacher.bbox_head.retina_reg.weight)
