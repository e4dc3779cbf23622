"""The doctor's report before a batch is sent through: data, weights, classes, what is ready."""

from functools import partial
from typing import Any, Dict, List, Sequence

import torch

from freekd import tasks
from freekd.config import stock_hooks
from freekd.distill.annotations import check_annotations
from freekd.doctor import checks
from freekd.doctor.report import Report
from freekd.engine import check_data
from freekd.prompts.file import fingerprint
from freekd.registry import written
from freekd.state_dict import MIN_SHARE


# --------------------------------------------------------------------------- data
def data(subject: Any, report: Report, batch: Dict[str, Any]) -> None:
    """What a batch holds, and whether its pixels are those that the teacher knows."""
    cfg, lines = subject.cfg, report.section("Data")
    images, task = batch["img"], tasks.get(subject.task)
    lines.append(
        f"{len(subject.dataset)} images; a batch: {tuple(images.shape)}, {task.told(batch)}, "
        f"{len(getattr(subject.dataset, 'CLASSES', None) or ())} classes"
    )
    report.record["data"] = dict(images=len(subject.dataset), batch=list(images.shape))
    empty = task.why_empty(batch)
    if empty is not None:
        report.problem(*empty)
    ours = checks.pixels_of(cfg.data.train)
    lines.append(f"Normalize: {'; '.join(map(str, ours))}")
    splits = [split for split in ("val", "test") if cfg.data.get(split) is not None]
    others = {f"data.{split}": checks.pixels_of(cfg.data[split]) for split in splits}
    strange = {name: them for name, them in others.items() if not checks.same_pixels(them, ours)}
    if strange:
        told = "; ".join(f"{name}: {them[0]}" for name, them in strange.items())
        report.problem(
            f"Evaluation has other pixels than data.train. Normalize in {told}.",
            "Give all pipelines the same mean, std and to_rgb.",
        )
    if subject.teacher is None:
        _student_pixels(subject, report, ours)
        return
    sources = {
        "the teacher's checkpoint": checks.pixels_of_checkpoint(subject.teacher_file.get("meta")),
        "the teacher's config": checks.pixels_of_model(subject.teacher_cfg, "teacher"),
    }
    for source, theirs in sources.items():
        if theirs is None:
            continue
        report.record["data"][source] = [pixels._asdict() for pixels in theirs]
        if checks.same_pixels(ours, theirs):
            lines.append(f"  the same as in {source}")
            continue
        report.problem(
            f"The teacher knows other pixels than it will see. Normalize in data.train: {ours[0]}; "
            f"in {source}: {'; '.join(map(str, theirs))}. To such a teacher each image is strange "
            "(the commonest cause of a teacher mAP near 0).",
            "Set img_norm_cfg in all pipelines to the teacher's, or take another teacher.",
        )
        break
    if all(theirs is None for theirs in sources.values()):
        report.notes.append(
            "Neither the teacher's config nor its checkpoint says which Normalize it was trained "
            "with: compare it yourself."
        )
    _student_pixels(subject, report, ours)


def _student_pixels(subject: Any, report: Report, ours: List[checks.Pixels]) -> None:
    if subject.kind != "stage 2":
        return
    theirs = checks.pixels_of_model(subject.cfg.algorithm.architecture.get("model"), "student")
    if theirs is not None and not checks.same_pixels(ours, theirs):
        report.notes.append(
            f"The student's own config has other pixels: Normalize {theirs[0]}. A pretrained "
            "backbone starts worse on strange ones; one from random weights does not care."
        )


# --------------------------------------------------------------------------- weights
def weights(subject: Any, report: Report) -> None:
    """Which weights of teacher, student and prompts come from a file, and which are random."""
    lines, record = report.section("Weights"), report.record.setdefault("weights", {})
    if subject.teacher is not None:
        share = _teacher_share(subject)
        record["teacher"] = share
        source = subject.teacher_checkpoint or "its config's own initial weights"
        lines.append(f"teacher {_size(subject.teacher)}: {share:.1%} from {source}")
        if subject.teacher_checkpoint is None and share < MIN_SHARE:
            report.problem(
                f"The teacher is not trained: {share:.0%} of its weights come from a file.",
                f"Set {subject.teacher_key} to its checkpoint.",
            )
    if subject.student is not None:
        _student_weights(subject, report, lines)
    for name, loss in getattr(getattr(subject.model, "distiller", None), "losses", {}).items():
        info = getattr(loss, "prompt_info", None)
        if getattr(loss, "prompts", None) is None:
            if info is not None:
                lines.append(f"prompts of {name}: none, plain frequency distillation (Eq. 3)")
            continue
        made_with = info.get("teacher_fingerprint")
        fits = "not recorded" if made_with is None else (
            "this one" if made_with == fingerprint(subject.teacher) else f"another ({made_with})"
        )  # fmt: skip
        spec = loss.prompts.spec
        gate = None if spec.gate is None else written(spec.gate)
        lines.append(
            f"prompts of {name}: all {sum(p.numel() for p in loss.prompts.parameters())} values "
            f"from the file; {spec.form}, {spec.granularity}, T = {spec.num_prompts}, "
            f"gate {gate}; made in {info.get('teacher_module', '?')} of a teacher: {fits}"
        )
        record[f"prompts of {name}"] = fits


def _teacher_share(subject: Any) -> float:
    for part in ("distiller", "architecture"):  # of stage 2, of stage 1
        known = getattr(getattr(subject.model, part, None), "teacher_share", None)
        if known is not None:
            return float(known)
    names = [n for _, _, part in checks.pretrained_parts(subject.teacher) for n in part]
    return checks.share(subject.teacher, names)


def _student_weights(subject: Any, report: Report, lines: List[str]) -> None:
    student, names, origins = subject.student, [], []
    inherited = getattr(subject.model, "inherited", None)
    taken = set(inherited.taken) if inherited else set()
    for path, source, found in checks.pretrained_parts(student):
        part = checks.share(student, found, path)
        names += found
        origins.append(f"{path or 'all'} {part:.0%} from {source}")
        if part < 0.5 and subject.load_from is None and not any(n.startswith(path) for n in taken):
            report.problem(
                f"The pretrained weights {source} fill {part:.0%} of the student's {path}.",
                "Name weights of this very architecture in its init_cfg (or pretrained).",
            )
    if inherited:
        names += inherited.taken
        parts = sorted({name.split(".")[0] for name in inherited.taken})
        origins += [f"{p} {checks.share(student, inherited.taken, p):.0%} inherited" for p in parts]
        left = inherited.other_shape + inherited.missing
        if left:
            origins.append(f"not inherited: {'; '.join(left[:3])}{', ...' if left[3:] else ''}")
    if subject.load_from is not None:
        names += subject.load_from.names
        origins.append(f"{subject.load_from.share:.0%} from load_from={subject.cfg.load_from}")
        if subject.load_from.empty:
            report.notes.append(f"{subject.load_from.note[0].upper()}{subject.load_from.note[1:]}.")
    share = checks.share(student, names)
    report.record["weights"]["student"] = share
    random = [p for p, _ in student.named_children() if 0 < _random(student, names, p)]
    lines.append(
        f"student {_size(student)}: {share:.1%} from files"
        + (" or the teacher" if subject.teacher is not None else ", there is no teacher")
        + (f" ({'; '.join(origins)})" if origins else "")
        + (f"; random at the start: {', '.join(random)}" if random else "")
    )


def _random(model: torch.nn.Module, names: Sequence[str], part: str) -> float:
    has_weights = any(n.startswith(f"{part}.") for n in model.state_dict())
    return 1.0 - checks.share(model, names, part) if has_weights else 0.0


def _size(model: torch.nn.Module) -> str:
    count = sum(p.numel() for p in model.parameters())
    return f"{type(model).__name__} ({count / 1e6:.2f} M parameters)"


# --------------------------------------------------------------------------- classes and shapes
def classes(subject: Any, report: Report, batch: Dict[str, Any]) -> bool:
    """Heads against the dataset's classes; whether the labels can be sent through the student."""
    names = getattr(subject.dataset, "CLASSES", None)
    learner, who = subject.student, "student"
    if subject.kind == "stage 1":
        learner, who = subject.teacher, "teacher"
    other = check_data.other_classes(learner, subject.dataset)
    if other:
        told = ", ".join(f"{path}.num_classes={count}" for path, count in other.items())
        report.problem(
            f"The {who} has {told}; the dataset has {len(names)} classes.",
            f"Set num_classes to {len(names)}, or give data.train (val, test) other classes.",
        )
    trained_on = (subject.teacher_file.get("meta") or {}).get("CLASSES")
    if trained_on is not None and names is not None and list(trained_on) != list(names):
        text = (
            f"The teacher was trained on the classes {_some(trained_on)}, the dataset has "
            f"{_some(names)}, in this order."
        )
        if not other and subject.kind == "stage 2":
            report.notes.append(text + " What is indexed by class is compared as class_map says.")
    task = tasks.get(subject.task)
    labels = task.labels(batch)
    heads = check_data.class_counts(learner)
    if not labels or not heads or max(labels) < min(heads.values()):
        return True
    if not other:
        report.problem(
            f"The data has the label {max(labels)}, but the {who} tells {min(heads.values())} "
            "classes apart.",
            task.label_hint,
        )
    return False


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(map(str, names[:5]))}{', ...' if len(names) > 5 else ''} ({len(names)})"


def ready(subject: Any, report: Report, batch: Dict[str, Any]) -> bool:
    """The checks that training makes before its first step; whether a step can be made."""
    model, given = subject.model, list(batch)
    image = tuple(batch["img"].shape[1:])
    distiller = getattr(model, "distiller", None)
    soft: List[Any] = []  # a step can be made all the same
    if subject.student is None:
        checks_made = [partial(model.check_ready, image, given)]
    else:
        checks_made = [partial(check_annotations, subject.student, given, who="student")]
    if hasattr(distiller, "check_class_names"):
        checks_made += [
            partial(distiller.check_annotations, given),
            lambda: report.notes.extend(distiller.check_class_names(subject.student)),
            partial(distiller.check_shapes, subject.student, image),
        ]
        soft.append(partial(distiller.check_ready))  # of the prompts' teacher
    if hasattr(model, "check_dataset"):
        soft.append(partial(model.check_dataset, subject.dataset, write=False))
    able = True
    for check in (*checks_made, *soft):
        try:
            check()
        except (ValueError, RuntimeError) as error:
            report.problem(str(error), "As the message says; training would stop there too.")
            able = able and check in soft
    return able


# --------------------------------------------------------------------------- hooks
def hooks(subject: Any, report: Report) -> None:
    """Which hooks the run has beside the schedule's, and where each comes from."""
    cfg = subject.cfg
    reference, key = stock_hooks.learner(cfg)
    stock = [hook["type"] for hook in stock_hooks.hooks_of(reference)]
    own = [hook["type"] for hook in cfg.get("custom_hooks") or ()]
    lines = report.section("Hooks") if own or stock else []
    for name in own:
        lines.append(
            f"{name}: {f'of the config that {key} names' if name in stock else 'custom_hooks'}"
        )
    for name in stock:
        if name not in own:
            lines.append(f"{name}: of the config that {key} names, left out by {stock_hooks.KEY}")
    report.record["hooks"] = own
