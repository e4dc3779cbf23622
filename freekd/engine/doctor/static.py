"""The doctor's report before a batch is sent through: data, weights, classes, what is ready."""

from typing import Any, Dict, List, Sequence

import torch

from freekd.engine.doctor import checks
from freekd.engine.doctor.report import Report
from freekd.prompt_file import fingerprint


# --------------------------------------------------------------------------- data
def data(subject: Any, report: Report, batch: Dict[str, Any]) -> None:
    """What a batch holds, and whether its pixels are those that the teacher knows."""
    cfg, lines = subject.cfg, report.section("Data")
    images = batch["img"]
    boxes = [len(b) for b in batch.get("gt_bboxes", [])]
    found = f"{sum(boxes)} boxes" if "gt_bboxes" in batch else "maps of labels"
    lines.append(
        f"{len(subject.dataset)} images; a batch: {tuple(images.shape)}, {found}, "
        f"{len(getattr(subject.dataset, 'CLASSES', None) or ())} classes"
    )
    report.record["data"] = dict(images=len(subject.dataset), batch=list(images.shape))
    if "gt_bboxes" in batch and not sum(boxes):
        report.problem(
            "No image of the batch has a box.",
            "Compare the dataset's classes with the names of its annotations' categories.",
        )
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
        if subject.teacher_checkpoint is None and share < 0.95:
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
        lines.append(
            f"prompts of {name}: all {sum(p.numel() for p in loss.prompts.parameters())} values "
            f"from the file; {spec.granularity}, T = {spec.num_prompts}, gate {spec.gate}; made in "
            f"{info.get('teacher_module', '?')} of a teacher: {fits}"
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
        _load_from(subject, report, names, origins)
    share = checks.share(student, names)
    report.record["weights"]["student"] = share
    random = [p for p, _ in student.named_children() if 0 < _random(student, names, p)]
    lines.append(
        f"student {_size(student)}: {share:.1%} from files or the teacher"
        + (f" ({'; '.join(origins)})" if origins else "")
        + (f"; random at the start: {', '.join(random)}" if random else "")
    )


def _random(model: torch.nn.Module, names: Sequence[str], part: str) -> float:
    has_weights = any(n.startswith(f"{part}.") for n in model.state_dict())
    return 1.0 - checks.share(model, names, part) if has_weights else 0.0


def _load_from(subject: Any, report: Report, names: List[str], origins: List[str]) -> None:
    """``load_from`` of a distillation wants the algorithm's names; others are passed over."""
    cfg, student = subject.cfg, subject.student
    prefix = "" if subject.model is student else "architecture.model."
    found = max(
        (checks.filled(student, subject.load_from, p + prefix) for p in ("", "module.")), key=len
    )
    names += found
    share = checks.share(student, found)
    origins.append(f"{share:.0%} from load_from={cfg.load_from}")
    if share < 0.5:
        first = next(iter(subject.load_from), "nothing")
        report.problem(
            f"load_from={cfg.load_from!r} fills {share:.0%} of the student: it expects names such "
            f"as {prefix}{next(iter(student.state_dict()))}, the file has {first}, ...",
            "Load a plain student's file by init_cfg=dict(type='Pretrained', checkpoint=FILE) in "
            "the student's model dict; load_from takes checkpoints of the config's own run.",
        )


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
    other = checks.other_classes(learner, names)
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
        if subject.kind == "stage 1" and not other:
            report.problem(text, "Give the dataset the teacher's classes, in its order.")
        elif not other:
            report.notes.append(text + " Class maps could not be distilled so; features can.")
    labels = [int(label.max()) for label in batch.get("gt_labels", ()) if label.numel()]
    if "gt_semantic_seg" in batch:
        maps = batch["gt_semantic_seg"]
        labels += [int(maps[maps != 255].max())] if bool((maps != 255).any()) else []
    heads = checks.class_counts(learner)
    if not labels or not heads or max(labels) < min(heads.values()):
        return True
    if not other:
        report.problem(
            f"The data has the label {max(labels)}, but the {who} tells {min(heads.values())} "
            "classes apart.",
            "Check the annotations; classes count from 0 (mmseg: reduce_zero_label, 255 ignores).",
        )
    return False


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(map(str, names[:5]))}{', ...' if len(names) > 5 else ''} ({len(names)})"


def ready(subject: Any, report: Report) -> bool:
    """The checks that training makes before its first step; whether a step can be made."""
    distiller = getattr(subject.model, "distiller", None)
    if not hasattr(distiller, "check_ready"):
        return True
    try:
        distiller.check_ready()
    except (ValueError, RuntimeError) as error:
        report.problem(str(error), "As the message says; training would stop there too.")
    try:
        distiller.check_shapes(subject.student)
    except (ValueError, RuntimeError) as error:
        report.problem(str(error), "As the message says; training would stop there too.")
        return False
    return True
