"""What a distiller's ``components`` may say, checked when the config is read."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from mmcv import ConfigDict
from mmrazor.models.builder import LOSSES
from torch import nn

from freekd.checks import check_align_module, check_weight
from freekd.distill.run.levels import check_sides
from freekd.distill.run.partial import PartialRun, roi_stage, why_no_rois
from freekd.distill.schedule import TIMES, Schedule, check_not_own
from freekd.losses import card_of
from freekd.losses.step import Step

Paths = Union[str, Mapping[str, str]]
REQUIRED = {"student_module", "losses"}
KNOWN = REQUIRED | {"teacher_module", "align_module", "resize", "levels", "key"}


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
        where = key_of(component, i)
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
        if component.get("align_module") is not None:
            check_align_module(f"{where}.align_module", component["align_module"])
        _check_paths(component, where)
        if component.get("levels") is not None:
            check_sides(f"{where}.levels", component["levels"])
        checked.append(ConfigDict({"teacher_module": None, **component}))
    return checked


def _check_paths(component: Mapping[str, Any], where: str) -> None:
    """One path on each side, or the same names of taps on both; losses may have no teacher."""
    both = component.get("teacher_module") is not None
    keys = ("student_module", "teacher_module") if both else ("student_module",)
    sides = [component[key] for key in keys]
    for key, side in zip(keys, sides):
        paths = list(side.values()) if isinstance(side, Mapping) else [side]
        if not paths or not all(isinstance(path, str) for path in paths):
            raise ValueError(
                f"{where}.{key} must be the path of a module, or a dict from names of taps to "
                f"paths, got {side!r}"
            )
    names = [sorted(side) if isinstance(side, Mapping) else None for side in sides]
    if names[0] != names[-1]:
        raise ValueError(
            f"{where}: student_module names the taps {names[0]}, teacher_module {names[-1]}; they "
            "must be the same"
        )
    useless = [key for key in ("align_module", "resize", "levels") if component.get(key)]
    if names[0] is not None and useless:
        raise ValueError(
            f"{where}: {useless} are for one tap; a loss gets its named taps as they are, and "
            "aligns them by itself. Remove them"
        )


def key_of(component: Any, index: int) -> str:
    """A component's config key: where the user wrote it, which a short config notes in ``key``."""
    return str(component.get("key") or f"distiller.components[{index}]")


def read_loss(component: Any, index: int, number: int) -> Tuple[Optional[Schedule], Dict[str, Any]]:
    """When loss ``number`` of a component acts (None: always), and the arguments of its class.

    Raises:
        ValueError: see :mod:`freekd.distill.schedule`.
    """
    loss, key = component["losses"][number], key_of(component, index)
    if not component.get("key"):
        key += f".losses[{number}]"
    options = {name: value for name, value in loss.items() if name not in ("name", *TIMES)}
    kind = loss.get("type")
    taken = LOSSES.get(kind) if isinstance(kind, str) and set(TIMES) & set(loss) else None
    if taken is not None:
        check_not_own(taken, loss, key)
    return Schedule.read(loss, key), options


def side_key(tap: Any, who: str) -> str:
    """The config key of one side of a tap, ``student`` or ``teacher``."""
    return f"{tap.where}.module ({who})" if tap.get("key") else f"{tap.where}.{who}_module"


def taps_of(components: Sequence[Any]) -> List[ConfigDict]:
    """Every pair of tapped modules, one entry each.

    Returns:
        Like a component with one path on each side, ``teacher_module`` None where it has none;
        ``component`` is its number, ``tap`` its name ('' where the component has one tap only),
        ``where`` its config key.
    """
    found = []
    for i, component in enumerate(components):
        where = key_of(component, i)
        student, teacher = component["student_module"], component["teacher_module"]
        if not isinstance(student, Mapping):
            found.append(ConfigDict(component, component=i, tap="", where=where))
            continue
        for name, path in student.items():
            theirs = None if teacher is None else teacher[name]
            one = dict(component, student_module=path, teacher_module=theirs)
            found.append(ConfigDict(one, component=i, tap=name, where=f"{where}, tap {name!r}"))
    return found


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


def check_same_images(student: nn.Module, teacher: Optional[nn.Module]) -> None:
    """Student and teacher must see the same pixels; without a teacher all is well.

    Raises:
        ValueError: one of them (YOLOX) resizes its batches by chance.
    """
    for model, who in ((student, "student"), (teacher, "teacher")) if teacher else ():
        sizes = getattr(model, "_random_size_range", None)
        if sizes is not None and sizes[0] != sizes[-1]:
            raise ValueError(
                f"the {who} {type(model).__name__} resizes each batch by chance on its own, so "
                "teacher and student would see images of different sizes; set random_size_range to "
                "one size, (20, 20), in both models"
            )


def check_named(module: nn.Module, loss: Any, component: Any, index: int) -> None:
    """A loss takes one tap or named ones, as its class says (``named_taps``).

    Raises:
        ValueError: it gets the other, or a whole output (``takes_output``) is to be aligned.
    """
    named = isinstance(component["student_module"], Mapping)
    useless = [key for key in ("align_module", "resize", "levels") if component.get(key)]
    if useless and getattr(module, "takes_output", False):
        raise ValueError(
            f"{key_of(component, index)}: {useless} are for maps, but {type(module).__name__} "
            f"({loss.name}) gets what the module gave as it is. Remove them"
        )
    if named and not getattr(module, "named_taps", False):
        raise ValueError(
            f"{key_of(component, index)}: {type(module).__name__} ({loss.name}) compares what "
            f"one module gives, got the named taps {sorted(component['student_module'])}. Give one "
            "path, or a component for each"
        )
    if getattr(module, "named_taps", False) and not named:
        raise ValueError(
            f"{key_of(component, index)}: {type(module).__name__} ({loss.name}) takes named "
            "taps: student_module and teacher_module must be dicts, got "
            f"{component['student_module']!r}"
        )


def check_models(losses: Any, components: Sequence[Any], step: Step) -> None:
    """What the losses that have a ``check_models`` say of student and teacher, before training.

    Args:
        losses: of all components, by name.
        components: of a distiller.
        step: both models, without a batch.

    Raises:
        ValueError: a loss refuses its models.
    """
    for i, component in enumerate(components):
        paths = (component["student_module"], component["teacher_module"])
        for loss in component["losses"]:
            if hasattr(losses[loss["name"]], "check_models"):
                losses[loss["name"]].check_models(step._replace(paths=paths), key_of(component, i))


def task_scale_of(loss: nn.Module) -> float:
    """By what a loss wants the student's own losses multiplied; 1 where it does not say.

    Raises:
        ValueError: it is no finite number of at least 0, or the property that gives it fails.
    """
    try:
        scale = loss.task_scale
    except AttributeError as error:
        if hasattr(type(loss), "task_scale"):  # a property that asks for what is not there
            raise ValueError(f"{type(loss).__name__}.task_scale cannot be read") from error
        return 1.0
    check_weight(f"{type(loss).__name__}.task_scale", scale)
    return float(scale)  # type: ignore[arg-type]


def weight_of(loss: nn.Module) -> Optional[float]:
    """The number that scales a loss, as its card says; None where it has none."""
    card = card_of(loss)
    weight = getattr(loss, card.weight if card is not None else "loss_weight", None)
    return float(weight) if isinstance(weight, (int, float)) else None
