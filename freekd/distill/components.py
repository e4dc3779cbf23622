"""What a distiller's ``components`` may say, checked when the config is read."""

from typing import Any, List, Mapping, Optional

import torch
from mmcv import ConfigDict
from torch import Tensor, nn

from freekd.checks import FeatureError
from freekd.compat import to_float32
from freekd.distill.run.partial import PartialRun, roi_stage, why_no_rois
from freekd.distill.run.taps import as_levels
from freekd.losses.align import align_size

REQUIRED = {"student_module", "teacher_module", "losses"}
KNOWN = REQUIRED | {"align_module", "resize"}


def check_components(components: Any) -> List[ConfigDict]:
    """The components of a distiller, checked.

    Raises:
        ValueError: unknown or missing keys, two losses with one name, or a name that MMRazor would
            leave out of the sum; each names the config key.
    """
    if not isinstance(components, (list, tuple)) or not components:
        raise ValueError(f"distiller.components must be a list of dicts, got {components!r}")
    checked, names = [], set()
    for i, component in enumerate(components):
        where = f"distiller.components[{i}]"
        if not isinstance(component, Mapping):
            raise ValueError(f"{where} must be a dict, got {component!r}")
        unknown = sorted(set(component) - KNOWN)
        missing = sorted(REQUIRED - set(component))
        if unknown or missing:
            raise ValueError(
                f"{where}: unknown keys {unknown}, missing keys {missing}; known: {sorted(KNOWN)}"
            )
        if not isinstance(component["losses"], (list, tuple)) or not component["losses"]:
            raise ValueError(f"{where}.losses must be a list of loss dicts")
        for loss in component["losses"]:
            name = loss.get("name") if isinstance(loss, Mapping) else None
            if not isinstance(name, str) or "loss" not in name or "." in name:
                raise ValueError(
                    f"{where}.losses: name={name!r}; a name must contain 'loss' (only such terms "
                    "are summed) and no '.', such as 'loss_freekd'"
                )
            if name in names:
                raise ValueError(
                    f"{where}.losses: two losses are named {name!r}; each needs its own name"
                )
            names.add(name)
        checked.append(ConfigDict(component))
    return checked


def check_roi_head(teacher: nn.Module, run: PartialRun, component: Any, where: str) -> None:
    """Parts of RoI heads can be compared on the same boxes only, which are the student's.

    Args:
        teacher: the bare teacher.
        run: all its tapped parts.

    Raises:
        ValueError: the teacher's RoI head cannot be run on given boxes, or the tap is elsewhere.
    """
    paths = component.student_module, component.teacher_module
    if not any(path.split(".")[0] == "roi_head" for path in paths):
        return
    reason = why_no_rois(teacher)
    for path in paths:
        if roi_stage(path) is None:
            reason = f"{path!r} lies in no box head"
    if reason is None and not run.possible:
        reason = "another component taps a part of the teacher that cannot be run alone"
    if reason is not None:
        raise ValueError(
            f"{where}: the teacher's RoI head must be run on the student's proposals, but "
            f"{reason}. Tap roi_head.bbox_head.* (a cascade: roi_head.bbox_head.0.*) on both "
            "sides, or the neck"
        )


def check_same_images(student: nn.Module, teacher: nn.Module) -> None:
    """Student and teacher must see the same pixels.

    Raises:
        ValueError: one of them (YOLOX) resizes its batches by chance.
    """
    for model, who in ((student, "student"), (teacher, "teacher")):
        sizes = getattr(model, "_random_size_range", None)
        if sizes is not None and sizes[0] != sizes[-1]:
            raise ValueError(
                f"the {who} {type(model).__name__} resizes each batch by chance on its own, so "
                "teacher and student would see images of different sizes; set random_size_range to "
                "one size, (20, 20), in both models"
            )


def check_calls(students: List[Any], teachers: List[Any], component: Any, where: str) -> None:
    """A tapped module runs equally often on both sides, at least once.

    Raises:
        RuntimeError: it does not.
    """
    if not students or len(students) != len(teachers):
        raise RuntimeError(
            f"{where}: {component.student_module!r} ran {len(students)} times in the student, "
            f"{component.teacher_module!r} {len(teachers)} times in the teacher; they must run "
            "equally often, at least once"
        )


def check_shapes(
    loss: nn.Module, s_out: Any, t_out: Any, component: Any, where: str, images: int = 1
) -> List[str]:
    """Whether one call's outputs fit one loss; returns a line per level, for the report.

    Args:
        loss: built from ``component.losses``.
        s_out, t_out: (output, spatial sizes or None) of student and teacher, for the same image.
        images: how many went through the models.

    Raises:
        ValueError: numbers of levels, channels, or sizes (unless ``resize=True``) differ.
    """
    if not hasattr(loss, "check_feats"):
        return _check_plain(s_out, t_out, component, where)
    student = as_levels(*s_out, key=f"{where}.student_module={component.student_module!r}")
    teacher = as_levels(*t_out, key=f"{where}.teacher_module={component.teacher_module!r}")
    student, teacher = loss.check_feats(student, teacher)
    for who, levels in (("student", student), ("teacher", teacher)):
        _check_images(levels, component[f"{who}_module"], images, where)
    _check_sizes(student, teacher, component, where)
    return [f"{tuple(s.shape)} {tuple(t.shape)}" for s, t in zip(student, teacher)]


def _check_images(levels: List[Tensor], path: str, images: int, where: str) -> None:
    """A decoder's (layers, queries, N, C) has four axes too, but is no map of each image."""
    if path.split(".")[0] == "roi_head":  # a map for each proposal
        return
    for level in levels:
        if level.shape[0] != images:
            raise FeatureError(
                f"{where}: {path!r} gives {tuple(level.shape)} for {images} image(s), expected "
                f"maps ({images}, C, H, W). Queries, boxes and parts of images are no maps: tap a "
                "backbone, a neck or an encoder"
            )


def _check_sizes(student: List[Tensor], teacher: List[Tensor], component: Any, where: str) -> None:
    for level, (s, t) in enumerate(zip(student, teacher)):
        if s.shape[-2:] != t.shape[-2:] and not component.get("resize", False):
            raise FeatureError(
                f"{where}: level {level} of {component.student_module!r} is "
                f"{tuple(s.shape[-2:])} where the teacher's is {tuple(t.shape[-2:])}: their "
                "strides differ. If the pyramids start at different levels, tap or configure them "
                "alike; if it is meant, resize=True resizes the student's maps"
            )


def _check_counts(student: List[Tensor], teacher: List[Tensor], where: str) -> None:
    if len(student) != len(teacher):
        raise FeatureError(
            f"{where}: the student module gives {len(student)} levels, the teacher module "
            f"{len(teacher)}"
        )


def _check_plain(s_out: Any, t_out: Any, component: Any, where: str) -> List[str]:
    """MMRazor's and mmdet's own losses compare tensors of one shape (or after ``align_module``)."""
    student, teacher = s_out[0], t_out[0]
    if not (torch.is_tensor(student) and torch.is_tensor(teacher)):
        student, teacher = as_levels(*s_out, key=where), as_levels(*t_out, key=where)
    else:
        student, teacher = [student], [teacher]
    _check_counts(student, teacher, where)
    pairs = [(tuple(s.shape), tuple(t.shape)) for s, t in zip(student, teacher)]
    for s_shape, t_shape in pairs:
        came = s_shape
        if len(s_shape) == len(t_shape) == 4 and component.get("resize", False):
            came = came[:2] + t_shape[2:]
        if len(s_shape) == len(t_shape) and "align_module" in component:
            came = came[:1] + t_shape[1:2] + came[2:]
        if came != t_shape:
            raise FeatureError(
                f"{where}: {component.student_module!r} gives {s_shape}, the teacher's "
                f"{component.teacher_module!r} {t_shape}; "
                + (
                    "box regression of all classes against one for each, or other classes: set "
                    "reg_class_agnostic (and num_classes) alike in both bbox heads"
                    if "fc_reg" in component.student_module
                    else "add an align_module, or tap modules of one shape"
                )
            )
    return [f"{s} {t}" for s, t in pairs]


def apply_loss(
    loss: nn.Module,
    s_out: Any,
    t_out: Any,
    align: Any,
    component: Any,
    where: str,
    images: Optional[int] = None,
) -> Tensor:
    """One loss, in float32, on one call's outputs, each (output, spatial sizes or None).

    Raises:
        ValueError: numbers of levels differ, or sizes without ``resize=True``; a loss of maps gets
            something that is none for each of the ``images``.
    """
    if images is not None and getattr(loss, "takes_levels", False):
        for who, out in (("student", s_out), ("teacher", t_out)):
            given = out[0] if isinstance(out[0], (list, tuple)) else [out[0]]
            maps = [one for one in given if torch.is_tensor(one) and one.dim() == 4]
            _check_images(maps, component[f"{who}_module"], images, where)
    if align is not None or not getattr(loss, "widens", False):
        s_out, t_out = to_float32(s_out), to_float32(t_out)
    if torch.is_tensor(s_out[0]) and torch.is_tensor(t_out[0]) and s_out[1] is None:
        if getattr(loss, "takes_levels", False):
            _check_sizes([s_out[0]], [t_out[0]], component, where)
            result: Tensor = loss(_aligned(s_out[0], align), t_out[0])
        else:
            result = loss(_resized(_aligned(s_out[0], align), t_out[0], component), t_out[0])
        return result
    student = as_levels(*s_out, key=f"{where}.student_module")
    teacher = as_levels(*t_out, key=f"{where}.teacher_module")
    student = [_aligned(level, align) for level in student]
    if getattr(loss, "takes_levels", False):
        _check_sizes(student, teacher, component, where)
        result = loss(student, teacher)
        return result
    _check_counts(student, teacher, where)
    return torch.stack([loss(_resized(s, t, component), t) for s, t in zip(student, teacher)]).sum()


def _aligned(feat: Tensor, align: Any) -> Tensor:
    """``align_module`` on a map of any precision."""
    return feat if align is None else align(feat.to(next(align.parameters()).dtype))


def _resized(student: Tensor, teacher: Tensor, component: Any) -> Tensor:
    """With ``resize=True``, for losses that do not resize by themselves."""
    if not component.get("resize", False) or student.dim() != 4:
        return student
    return align_size(student, teacher.shape[-2:])
