"""Dense heads of mmdet tapped as a whole: which are alike, and what each row was assigned.

Labels come from the student head's own ``get_targets``, with its assigner, sampler and
``train_cfg``, as its own class loss asks it; it is asked once more, and a sampler draws anew. That
is the same for all heads that take ``AnchorHead``'s way (RetinaNet, RPN) or ``RepPointsHead``'s; a
head that changes it, such as ATSS, FSAF or FreeAnchor, means something else by a label and is
refused.
"""

import inspect
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

import torch
from torch import Tensor, nn

from freekd.checks import FeatureError
from freekd.losses.step import DenseLevel, DenseTargets, Step
from freekd.widen import widened

POSSIBLE = (
    "heads with anchors whose assignment is that of mmdet's AnchorHead (RetinaHead, RPNHead), and "
    "RepPointsHead"
)
_ANCHORS, _POINTS = "anchors", "points"


class DenseHead(NamedTuple):
    """A head that is tapped as a whole, and how it speaks of boxes: by anchors or points."""

    head: Any
    kind: str
    of_objects: bool  # an RPN: its one class is any object, whatever the labels


def check_heads(step: Step, key: str, host: Any) -> None:
    """Both heads are of a kind that is known here, and speak of the same boxes and classes.

    Args:
        step: without a batch.
        key: the config key of the entry.
        host: ``mmdet.models.dense_heads``.

    Raises:
        ValueError: they are not; says what each is, and what to do.
    """
    student, teacher = _both_heads(step, key, host)
    said = f"{key}: the student's {_called(student)} and the teacher's {_called(teacher)} differ"
    if student.kind != teacher.kind or student.of_objects != teacher.of_objects:
        raise ValueError(
            f"{said} in kind, so that their boxes cannot be compared row by row: expected two "
            f"heads of one kind. {_LEAVE}"
        )
    ours, theirs = student.head.num_classes, teacher.head.num_classes
    if ours != theirs:
        raise ValueError(
            f"{said} in their classes: num_classes={ours} and num_classes={theirs}. Take a teacher "
            f"of the student's classes. {_LEAVE}"
        )
    if not _same_priors(student, teacher):
        raise ValueError(
            f"{said} in their {student.kind}: {_priors(student)} in the student and "
            f"{_priors(teacher)} in the teacher. Give the student the teacher's "
            f"{'anchor_generator' if student.kind == _ANCHORS else 'point_strides'}. {_LEAVE}"
        )


_LEAVE = "Or remove the entry, or set it to None"


def targets(step: Step, student: Any, teacher: Any, host: Any) -> DenseTargets:
    """The maps of both heads, level by level, with the labels of the student's.

    Args:
        step: of this training step.
        student, teacher: what the heads gave.
        host: ``mmdet.models.dense_heads``.

    Raises:
        FeatureError: an image without any valid anchor, or a head that gave what it gives in
            evaluation.
    """
    heads = _both_heads(step, "step", host)
    device = student[0][0].device
    with torch.no_grad(), torch.autocast(device_type=device.type, enabled=False):
        of_kind = _of_anchors if heads[0].kind == _ANCHORS else _of_points
        return of_kind(heads[0], heads[1].head, student, teacher, step.data)


# --------------------------------------------------------------------------- which heads
def _both_heads(step: Step, key: str, host: Any) -> List[DenseHead]:
    sides = (("student", step.student, step.paths[0]), ("teacher", step.teacher, step.paths[1]))
    return [_known(model, path, key, who, host) for who, model, path in sides]


def _model_key(key: str, who: str) -> str:
    """Where the config of the entry at ``key`` has the model of one side."""
    if key.startswith("pair."):
        return f"pair.{who}"
    parts = dict(student="algorithm.architecture.model", teacher="algorithm.distiller.teacher")
    return parts[who]


def _known(model: Any, path: str, key: str, who: str, host: Any) -> DenseHead:
    module = model.get_submodule(path)
    kind = _kind(module, host)
    named, of_head = f"{key}: the {who}'s {path!r} ({type(module).__name__})", _model_key(key, who)
    if kind is None:
        raise ValueError(
            f"{named} is none of the dense heads that this loss can ask for their labels. Possible "
            f"are whole heads, 'bbox_head' or 'rpn_head': {POSSIBLE}. {_LEAVE}"
        )
    if not module.use_sigmoid_cls:
        raise ValueError(
            f"{named} has a softmax over its classes, expected a sigmoid for each. Set "
            f"{of_head}.{path}.loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True) or a "
            f"FocalLoss. {_LEAVE}"
        )
    if kind == _ANCHORS and type(module.bbox_coder).__name__ != "DeltaXYWHBBoxCoder":
        raise ValueError(
            f"{named} has a {type(module.bbox_coder).__name__}, expected {of_head}.{path}."
            f"bbox_coder=dict(type='DeltaXYWHBBoxCoder'). {_LEAVE}"
        )
    return DenseHead(module, kind, path.split(".")[0] == "rpn_head")


def _kind(module: nn.Module, host: Any) -> Optional[str]:
    """``anchors`` or ``points`` where the head's assignment is its base class's, else None."""
    kinds = (
        (_ANCHORS, host.AnchorHead, ("get_targets", "_get_targets_single", "get_anchors")),
        (
            _POINTS,
            host.RepPointsHead,
            ("get_targets", "_point_target_single", "get_points", "offset_to_pts"),
        ),
    )
    for kind, base, methods in kinds:
        if isinstance(module, base):
            same = all(_own(type(module), name) is _own(base, name) for name in methods)
            # RPNHead's loss is AnchorHead's under another name
            losses = [_own(one, "loss") for one in (base, host.RPNHead)]
            return kind if same and _own(type(module), "loss") in losses else None
    return None


def _own(kind: Any, name: str) -> Any:
    """A method as it was written, without what a mixed precision puts round it."""
    return inspect.unwrap(getattr(kind, name))


def _same_priors(student: DenseHead, teacher: DenseHead) -> bool:
    ours, theirs = (side.head.prior_generator for side in (student, teacher))
    if list(map(tuple, ours.strides)) != list(map(tuple, theirs.strides)):
        return False
    if student.kind == _POINTS:
        return True
    pairs = list(zip(ours.base_anchors, theirs.base_anchors))
    return all(
        one.shape == other.shape and torch.allclose(one.cpu(), other.cpu(), atol=1e-3)
        for one, other in pairs
    )


def _priors(side: DenseHead) -> str:
    """In words and numbers."""
    generator = side.head.prior_generator
    strides = ", ".join(f"{stride[0]:g}" for stride in generator.strides)
    if side.kind == _POINTS:
        return f"points at the strides {strides}"
    first = generator.base_anchors[0]
    sizes = ", ".join(f"{w:.0f}x{h:.0f}" for w, h in (first[:, 2:] - first[:, :2]).tolist())
    return (
        f"{generator.num_base_priors[0]} anchors at each place of the strides {strides} (in the "
        f"first level of {sizes} pixels)"
    )


def _called(side: DenseHead) -> str:
    return type(side.head).__name__


# --------------------------------------------------------------------------- their targets
def _of_anchors(
    student: DenseHead, other: Any, ours: Any, theirs: Any, data: Mapping[str, Any]
) -> DenseTargets:
    """As ``AnchorHead.loss`` asks for them."""
    head, metas = student.head, data["img_metas"]
    sizes = [tuple(level.shape[-2:]) for level in ours[0]]
    anchors, valid = head.get_anchors(sizes, metas, device=ours[0][0].device)
    found = head.get_targets(
        anchors,
        valid,
        data["gt_bboxes"],
        metas,
        gt_labels_list=None if student.of_objects else data["gt_labels"],
        label_channels=head.cls_out_channels,
        **_ignored(data),
    )
    labels, weights, _, _, positive, negative = _assigned(found)[:6]
    per_level = zip(
        ours[0],
        theirs[0],
        _deltas(ours[1], head.bbox_coder),
        _deltas(theirs[1], other.bbox_coder),
        labels,
        weights,
        (level.expand(len(metas), -1, -1) for level in anchors[0]),  # of all images alike
    )
    return DenseTargets(
        [DenseLevel(*level) for level in per_level], _samples(head, positive, negative)
    )


def _of_points(
    student: DenseHead, other: Any, ours: Any, theirs: Any, data: Mapping[str, Any]
) -> DenseTargets:
    """As ``RepPointsHead.loss`` asks for those of its second stage, whose labels are its classes'.

    There the boxes of the first stage's points are what is assigned.
    """
    for who, output in (("student", ours), ("teacher", theirs)):
        if len(output) != 3:  # boxes instead of points, by another transform
            raise FeatureError(
                f"the {who}'s RepPoints head gave {len(output)} parts, expected classes and the "
                "points of both stages, which it gives in training mode"
            )
    head, metas = student.head, data["img_metas"]
    sizes = [tuple(level.shape[-2:]) for level in ours[0]]
    centres, valid = head.get_points(sizes, metas, ours[0][0].device)
    candidates: List[List[Tensor]] = [[] for _ in metas]
    for level, points in enumerate(ours[1]):
        shifts = head.points2bbox(widened(points)) * head.point_strides[level]
        for image, shift in enumerate(shifts):
            places = centres[image][level][:, :2].repeat(1, 2)
            candidates[image].append(places + shift.permute(1, 2, 0).reshape(-1, 4))
    found = head.get_targets(
        candidates,
        valid,
        data["gt_bboxes"],
        metas,
        gt_labels_list=data["gt_labels"],
        stage="refine",
        label_channels=head.cls_out_channels,
        **_ignored(data),
    )
    labels, weights, _, _, _, positive, negative = _assigned(found)
    per_level = zip(
        ours[0],
        theirs[0],
        head.offset_to_pts(centres, [widened(level) for level in ours[2]]),
        other.offset_to_pts(centres, [widened(level) for level in theirs[2]]),
        labels,
        weights,
    )
    return DenseTargets(
        [DenseLevel(*level) for level in per_level], _samples(head, positive, negative)
    )


def _assigned(found: Any) -> Any:
    if found is None:
        raise FeatureError(
            "an image has no anchor that its head's train_cfg takes for valid, so there are no "
            "labels; set train_cfg.allowed_border=-1, or leave such small images out"
        )
    return found


def _ignored(data: Mapping[str, Any]) -> Dict[str, Any]:
    return dict(gt_bboxes_ignore_list=data.get("gt_bboxes_ignore"))


def _samples(head: Any, positive: int, negative: int) -> float:
    """What the head divides its own class loss by: a head that samples has few negatives."""
    return float(positive + negative if head.sampling else positive)


def _deltas(levels: Sequence[Tensor], coder: Any) -> List[Tensor]:
    """Deltas with means 0 and deviations 1, whatever the head's coder has."""
    if not any(coder.means) and all(std == 1 for std in coder.stds):
        return list(levels)
    found = []
    for level in levels:
        wide = widened(level)
        anchors = level.shape[1] // 4
        stds, means = (
            wide.new_tensor(x).repeat(anchors)[:, None, None] for x in (coder.stds, coder.means)
        )
        found.append(wide * stds + means)
    return found
