"""The check before hours of training, behind ``tools/doctor.py``: a few batches, no training.

It builds what ``tools/train.py`` would build, with the same seeds, and sends the run's first
batches through teacher and student. Nothing is updated and nothing is written (but what ``--json``
and ``--draw`` ask for).
"""

import contextlib
import io
import logging
import sys
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch

import freekd
from freekd import cli, compat
from freekd.config.errors import ConfigError
from freekd.doctor.report import Report


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/doctor.py``; returns the exit code."""
    compat.hide_gpus_if_asked(sys.argv[1:] if argv is None else argv)
    compat.apply()
    from mmcv.utils import get_logger

    from freekd.config import load
    from freekd.engine import friendly, launch
    from freekd.fileio import atomic_write_text

    args = cli.doctor(argv)
    launch.make_logger(level="WARNING")
    root = get_logger("root")
    level = root.level
    root.setLevel(logging.ERROR)  # the report says it better
    code, report = 1, Report("")
    try:
        with friendly.friendly_errors() as outcome:
            try:
                cfg = load.load_config(args.config, cli.cfg_options(args))
                cfg.work_dir = cfg.get("work_dir") or load.default_work_dir(args.config)
                cfg.device = launch.choose_device(args.device or cfg.get("device"))
                cfg.seed = args.seed if args.seed is not None else cfg.get("seed")
                cfg.seed = 0 if cfg.seed is None else cfg.seed
                report = examine(cfg, args.batches, args.target, args.draw)
                print(report.text())
                code = 1 if report.problems else 0
            except Exception as error:  # stops the build: the only problem there is
                report.problem(str(error), "As the message says, then run the doctor again.")
                raise
            finally:
                if args.json:
                    report.record["config"] = args.config
                    atomic_write_text(args.json, report.json())
    finally:
        root.setLevel(level)
    return outcome.code or code


class Subject(NamedTuple):
    """A config with everything that training would build from it."""

    cfg: Any
    task: str
    kind: str  # 'stage 1', 'stage 2' or 'plain model'
    model: Any  # the algorithm, or the plain model
    wrapped: Any
    student: Any  # None in stage 1
    teacher: Any  # None for a plain model
    teacher_cfg: Any  # its reference or dict, as the config gives it
    teacher_checkpoint: Optional[str]
    teacher_file: Dict[str, Any]  # what is in it, {} without one
    teacher_key: str  # how --cfg-options calls that checkpoint
    load_from: Any  # what cfg.load_from filled, see freekd.engine.load_from.Filled; or None
    dataset: Any
    loader: Any
    by_epoch: bool
    notes: List[str]  # what training would warn of


def examine(cfg: Any, batches: int = 1, target: float = 1.0, draw: Optional[str] = None) -> Report:
    """Look at the run that ``cfg`` describes.

    Args:
        cfg: An mmcv Config; ``device`` and ``seed`` are set.
        batches: How many to send through.
        target: The ratio to the task loss that suggested weights give.
        draw: The PNG file of a picture of where losses look, or None.

    Raises:
        ConfigError, CheckpointError, ...: What stops training from starting, as training says it.
    """
    compat.apply()
    from freekd.config.explain import building
    from freekd.doctor import static, steps
    from freekd.doctor.measure import on_device

    start = time.monotonic()
    subject = prepare(cfg)
    report = Report(
        f"Doctor: {cfg.filename or 'config'}: {subject.kind}, {subject.task}, {cfg.device}, "
        f"seed {cfg.seed}"
    )
    report.record.update(
        kind=subject.kind, task=subject.task, device=cfg.device, seed=cfg.seed,
        freekd_version=freekd.__version__, batches=batches, target=target,
    )  # fmt: skip
    report.notes += subject.notes
    loaded, loading = take(subject.loader, batches)
    inputs = [on_device(subject.wrapped, batch) for batch in loaded]
    static.data(subject, report, inputs[0])
    static.weights(subject, report)
    static.hooks(subject, report)
    with enough_memory(report, cfg):
        if static.classes(subject, report, inputs[0]):
            if static.ready(subject, report, inputs[0]):
                with building("The first training step does not run"):
                    steps.losses(subject, report, inputs, target, draw)
                    steps.costs(subject, report, loaded, loading, len(inputs[0]["img"]))
            if subject.teacher is not None:
                steps.teacher_loss(subject, report, inputs[0])
    report.record["seconds"] = round(time.monotonic() - start, 1)
    return report


@contextlib.contextmanager
def enough_memory(report: Report, cfg: Any) -> Iterator[None]:
    """A GPU whose memory is too small is something that the doctor can say."""
    try:
        yield
    except getattr(torch.cuda, "OutOfMemoryError", ()) as error:
        report.problem(
            f"The GPU's memory is too small for a batch of {cfg.data.get('samples_per_gpu', 2)}: "
            f"{str(error).splitlines()[0]}",
            "Set data.samples_per_gpu lower (and the learning rate with it), or fp16.",
        )


def take(loader: Any, count: int) -> Tuple[List[Any], float]:
    """The first batches, and the mean seconds that one took to load."""
    start, found = time.perf_counter(), []
    for batch in loader:
        found.append(batch)
        if len(found) == count:
            break
    if not found:
        raise ConfigError(
            "data.train: expected at least one batch, but the loader gives none. Are the "
            "annotations of the dataset's classes, and are there as many images as samples_per_gpu?"
        )
    return found, (time.perf_counter() - start) / len(found)


def prepare(cfg: Any) -> Subject:
    """What :func:`freekd.engine.train.train` builds, in its order and with its seeds."""
    from freekd.config import checks as config_checks
    from freekd.config import stock_hooks
    from freekd.engine import (
        build,
        check_data,
        data,
        datasets,
        hooks,
        launch,
        load_from,
        loader_options,
        metrics,
        optimizers,
        precision,
    )
    from freekd.fileio import load_checkpoint_file
    from freekd.zoo.download import local_checkpoint

    by_epoch = config_checks.check_schedule(cfg)
    validates = cfg.get("evaluation") is not None and "val" in (cfg.get("data") or {})
    task = config_checks.check_config(cfg, ("train", "val") if validates else ("train",))
    launch.set_random_seed(cfg.seed, cfg.get("deterministic", False))
    model = build.build_model(cfg, task)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints how it gets on
        dataset = datasets.build_dataset(cfg.data.train, task)
    check_data.check_images(dataset)
    stock_hooks.check_hooks(cfg, model, dataset, by_epoch)
    datasets.name_classes(model, dataset)
    launch.set_random_seed(cfg.seed)
    build.init_weights(model, cfg)
    if cfg.device == "cpu":
        compat.plain_batch_norm(model)
    options = loader_options.train_loader_options(cfg, task)
    options["workers_per_gpu"] = 0  # the batches are the same
    loader = data.build_train_loader(dataset, seed=cfg.seed, by_epoch=by_epoch, **options)
    epochs = cfg.runner.max_epochs if by_epoch else None
    iterations = epochs * len(loader) if by_epoch else cfg.runner.max_iters
    notes = hooks.prepare_schedules(model, iterations, epochs)
    if hooks.schedules_of(model) is not None:
        model.distiller.schedules.always = True  # the terms are measured at their whole weight
    if validates:
        val = datasets.build_eval_loader(cfg, "val", task, False).dataset
        metrics.check(val, metrics.evaluate_options(cfg), model, cfg.seed)
    wrapped = launch.wrap_for_training(model, cfg.device, False)
    optimizers.build_optimizer(model, compat.usable_optimizer(cfg.optimizer, cfg.device), task)
    precision.prepare(wrapped, precision.read_precision(cfg, cfg.device), cfg.device)
    loaded = load_from.load_from(model, cfg) if cfg.get("load_from") else None
    model.train()
    parts = _parts(cfg, model)
    teacher_file = {}
    if parts["teacher_checkpoint"] is not None:
        path = local_checkpoint(parts["teacher_checkpoint"], parts["teacher_key"])
        teacher_file = load_checkpoint_file(path)
    return Subject(
        cfg, task, model=model, wrapped=wrapped, load_from=loaded, dataset=dataset, loader=loader,
        by_epoch=by_epoch, teacher_file=teacher_file, notes=notes, **parts,
    )  # fmt: skip


def _parts(cfg: Any, model: torch.nn.Module) -> Dict[str, Any]:
    """Which of the three kinds it is, and where teacher and student are."""
    short = cfg.get("spelled_out")  # the config was written as pair or prompt
    if hasattr(model, "save_prompts"):
        part = cfg.algorithm.architecture
        key = f"{short}.teacher_checkpoint" if short else "algorithm.architecture.checkpoint"
        return dict(
            kind="stage 1", student=None, teacher=model.architecture.model, teacher_key=key,
            teacher_cfg=part.model, teacher_checkpoint=part.get("checkpoint"),
        )  # fmt: skip
    distiller = getattr(model, "distiller", None)
    if distiller is not None:
        part = cfg.algorithm.distiller
        key = f"{short or 'algorithm.distiller'}.teacher_checkpoint"
        return dict(
            kind="stage 2", student=model.architecture.model, teacher=distiller.teacher,
            teacher_key=key, teacher_cfg=part.teacher,
            teacher_checkpoint=part.get("teacher_checkpoint"),
        )  # fmt: skip
    inner = getattr(getattr(model, "architecture", None), "model", model)
    return dict(
        kind="plain model", student=inner, teacher=None, teacher_cfg=None, teacher_key="",
        teacher_checkpoint=None,
    )  # fmt: skip
