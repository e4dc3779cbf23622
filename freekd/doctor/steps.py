"""The doctor's report on the first batches: losses, ratios, the teacher's own loss, cost."""

import math
from typing import Any, Dict, List, Optional, Sequence

import torch

from freekd import compat, tasks
from freekd.doctor import checks, localisation, measure
from freekd.doctor.report import Report
from freekd.engine import check_data, hooks
from freekd.losses import card_of
from freekd.words import amount, duration, number, table

# An unloaded teacher has .97 to 1.05 of the loss of random weights, one trained for an epoch half
# of it (docs/loss_weights.md).
_UNTRAINED = 0.75
_RATIOS = (
    "These are the ratios of the run's first iterations. They fall while an untrained student "
    "learns.",
    "A term is linear in its weight, so each suggestion holds whatever the other terms are.",
)


# --------------------------------------------------------------------------- losses
def losses(
    subject: Any,
    report: Report,
    batches: Sequence[Dict[str, Any]],
    target: float,
    draw: Optional[str] = None,
) -> None:
    """One forward pass per batch: shapes of the taps, losses, ratios, suggested weights.

    ``draw``: the file of a picture of where losses look, or None.
    """
    run = {
        "stage 1": measure.prompt_step,
        "stage 2": measure.distill_step,
        "plain model": measure.plain_step,
    }[subject.kind]
    steps = []
    for i, batch in enumerate(batches):
        measure.seed_iteration(subject.cfg.seed, i)
        steps.append(run(subject.model, batch))
    step = measure.average(steps)
    _shapes(report, step, batches[0])
    lines = report.section(f"Losses (mean of {len(steps)} batch{'es' if steps[1:] else ''})")
    own = list(step.losses.items())[: len(step.losses) - len(step.ratios)]
    shown = ", ".join(f"{name} {number(value)}" for name, value in own[:8])
    lines.append(f"task loss {number(step.task)}: {shown}{', ...' if own[8:] else ''}")
    report.record["losses"] = dict(step.losses, task=step.task)
    bad = [name for name, value in step.losses.items() if not math.isfinite(value)]
    if bad:
        report.problem(
            f"Not finite: {', '.join(bad)}.",
            "Lower the term's weight, or look for empty or broken annotations.",
        )
    if subject.kind == "stage 1":
        _unprompted(subject, report, lines, batches[0])
    if step.ratios:
        _ratios(subject, report, step, target)
    localisation.look(subject, report, [one.places for one in steps], batches, draw)


def _shapes(report: Report, step: measure.Step, batch: Dict[str, Any]) -> None:
    if not step.shapes:
        return
    size = batch["img"].shape[-2]
    taught = any(theirs is not None for _, theirs, _ in step.shapes)
    lines = report.section(f"Tapped modules ({'student, teacher' if taught else 'student'})")
    for ours, theirs, pairs in step.shapes:
        lines.append(f"{ours}, {theirs}" if theirs not in (None, ours) else ours)
        for shapes in pairs:
            strides = [f"stride {_stride(size, s[-2]):g}" if len(s) == 4 else "" for s in shapes]
            lines.append("  " + ", ".join(f"{s} {t}".strip() for s, t in zip(shapes, strides)))
    report.record["taps"] = [
        dict(student=s, teacher=t, shapes=[list(map(list, pair)) for pair in pairs])
        for s, t, pairs in step.shapes
    ]


def _stride(image: int, height: int) -> float:
    """The power of two that makes maps of ``height``; odd sizes are rounded up on the way.

    >>> _stride(96, 12), _stride(96, 2), _stride(90, 40)
    (8, 64, 2.25)
    """
    powers = [2**k for k in range(12) if -(-image // 2**k) == height]
    return powers[0] if powers else image / height


def _unprompted(subject: Any, report: Report, lines: List[str], batch: Dict[str, Any]) -> None:
    teacher = subject.model.architecture
    measure.seed_iteration(subject.cfg.seed, 0)
    with torch.no_grad(), teacher.unprompted():
        bare = teacher.model(return_loss=True, **batch)
    loss = float(teacher.model._parse_losses(bare)[1]["loss"])
    report.record["losses"]["unprompted"] = loss
    lines.append(
        f"without prompts the teacher's loss on the first batch is {number(loss)}; masks begin "
        f"at 1/2, so the prompts begin with {teacher.prompts.spec.num_prompts / 2:g} times its maps"
    )


def _ratios(subject: Any, report: Report, step: measure.Step, target: float) -> None:
    where = "prompts" if subject.kind == "stage 1" else "student's maps"
    lines = report.section("Terms beside the task loss")
    rows, record = [], {}
    for ratio in step.ratios:
        key = _weight_key(subject, ratio.name)
        suggested = ratio.suggested(target)
        rows.append(
            (
                ratio.name, number(ratio.loss), number(ratio.ratio), number(ratio.gradient),
                number(ratio.weight), number(suggested) if suggested else "-", key,
            )
        )  # fmt: skip
        record[ratio.name] = dict(ratio._asdict(), suggested=suggested, key=key)
        if suggested is None and ratio.weight:
            lines.append(
                f"{ratio.name} is almost 0 at the start (an inherited head answers as the "
                "teacher's does), so no weight is suggested for it."
            )
        if ratio.loss == 0 or ratio.gradient == 0:
            report.problem(
                f"{ratio.name} is {number(ratio.loss)} and sends a gradient of "
                f"{number(ratio.gradient)} to the {where}: it teaches nothing.",
                f"Set {key} above 0, and tap modules whose outputs differ and are trained.",
            )
    head = ("term", "loss", "loss ratio", f"gradient ratio at the {where}", "weight",
            f"weight for ratio {target:g}", "key")  # fmt: skip
    lines[:0] = table(head, rows)
    if subject.kind == "stage 2":
        lines += _RATIOS
        schedules = hooks.schedules_of(subject.model)
        for name in schedules or ():
            lines.append(f"{name} {schedules.told(name)}; it is measured at its whole weight.")
            record[name]["acts"] = schedules.told(name)
        for name, loss in subject.model.distiller.losses.items():
            card = card_of(loss)
            hint = card.hint(loss) if card is not None and card.hint is not None else ""
            if hint:
                lines.append(f"{name}: {hint} (docs/loss_weights.md).")
    report.record["terms"] = record


def _weight_key(subject: Any, name: str) -> str:
    """How ``--cfg-options`` calls the weight of a term."""
    cfg = subject.cfg
    short = cfg.get("spelled_out")  # the config was written as pair or prompt
    if subject.kind == "stage 1":
        return f"{short or 'algorithm'}.{measure.PROMPT_WEIGHTS[name]}"
    card = card_of(subject.model.distiller.losses[name])
    weight = card.weight if card is not None else "loss_weight"
    if short == "pair" and name.startswith("loss_"):
        return f"pair.losses.{name[len('loss_') :]}.{weight}"
    for i, component in enumerate(cfg.algorithm.distiller.components):
        for j, loss in enumerate(component.losses):
            if loss.name == name:
                return f"algorithm.distiller.components.{i}.losses.{j}.{weight}"
    return "-"


# --------------------------------------------------------------------------- the teacher's loss
def teacher_loss(subject: Any, report: Report, batch: Dict[str, Any]) -> None:
    """A teacher that was loaded makes a smaller loss than one with random weights."""
    from mmrazor.models.builder import MODELS

    from freekd.distill.weights import without_pretrained
    from freekd.engine import precision
    from freekd.zoo.stock import read_model

    cfg, teacher = subject.cfg, subject.teacher
    names = getattr(subject.dataset, "CLASSES", None)
    if check_data.other_classes(teacher, subject.dataset):
        report.notes.append(
            "The teacher's loss was not compared: its heads have "
            f"{check_data.class_counts(teacher)}, "
            f"the dataset {len(names or ())} classes."
        )
        return

    def build() -> Any:
        model = MODELS.build(without_pretrained(read_model(subject.teacher_cfg, "teacher")))
        mixing = tasks.of_built(model).batch_augmentation(model)
        if mixing is not None:  # the loaded teacher sees the batch as it is
            mixing.remove()
        torch.manual_seed(cfg.seed)
        model.init_weights()
        if cfg.device == "cpu":
            compat.plain_batch_norm(model)
        precision.prepare(model, precision.read_precision(cfg, cfg.device), cfg.device)
        return model.to(batch["img"].device)

    subject.model.eval()  # no tap records
    try:
        if subject.kind == "stage 1":
            with subject.model.architecture.unprompted():
                loss = checks.own_loss(teacher, batch, cfg.seed)
        else:
            loss = checks.own_loss(teacher, batch, cfg.seed)
        random = checks.random_losses(teacher, build, batch, cfg.seed)
    except (
        TypeError, KeyError, ValueError, RuntimeError, AttributeError, AssertionError,
    ) as error:  # fmt: skip
        text = str(error).strip().splitlines()[-1:] or [""]
        report.notes.append(
            "The teacher's own loss could not be computed on this data, so whether it is loaded "
            f"was not tried ({type(error).__name__}: {text[0]}). Its mAP: python tools/test.py."
        )
        return
    finally:
        subject.model.train()
    report.record["teacher_loss"] = dict(own=loss, random=random[0], random_heads=random[1])
    lines = report.section("The teacher's own loss on the first batch")
    without = checks.heads_without_annotations(teacher, batch)
    if without:
        lines.append(f"(without the loss of {', '.join(without)}: the data lacks its annotations)")
    lines.append(
        f"{number(loss)}; with random weights {number(random[0])}, with its backbone and random "
        f"rest {number(random[1])}"
    )
    reference = min(random)
    if not loss <= _UNTRAINED * reference:
        report.problem(
            f"The teacher's loss is {number(loss)}, {loss / reference:.0%} of that of random "
            f"weights: it is not trained, or not for these images and labels.",
            f"Check {subject.teacher_key or 'the checkpoint'}, Normalize, and the order of the "
            "classes; its mAP should be as published: python tools/test.py",
        )


# --------------------------------------------------------------------------- time and memory
def costs(subject: Any, report: Report, batches: Sequence[Any], loading: float, size: int) -> None:
    """Seconds and bytes of a step, and of the whole run."""
    cfg = subject.cfg
    cost = measure.cost(subject.wrapped, batches, cfg.device, cfg.seed)
    lines = report.section(f"Cost, batch of {size}")
    workers = cfg.data.get("workers_per_gpu", 2)
    lines.append(
        f"{cost.seconds:.3g} s per iteration (forward and backward, without the optimizer's step), "
        f"{loading:.3g} s to load a batch in one process (workers_per_gpu={workers})"
    )
    if cost.peak is not None:
        lines.append(f"peak memory {amount(cost.peak)} ({cost.peak_of})")
    per_iteration = max(cost.seconds, loading / workers) if workers else cost.seconds + loading
    if subject.by_epoch:
        count = cfg.runner.max_epochs * len(subject.loader)
        told = f"{cfg.runner.max_epochs} epochs of {len(subject.loader)} iterations"
    else:
        count = cfg.runner.max_iters
        told = f"{count} iterations"
    total = count * per_iteration
    lines.append(f"{told}: about {duration(total)} in one process, without evaluation")
    report.record["cost"] = dict(
        seconds=cost.seconds, loading=loading, peak=cost.peak, batch=size, total=total
    )
