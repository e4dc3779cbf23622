"""The training entry behind ``tools/train.py``: one config, one run, on CPU or GPU.

mmrazor's own entry calls ``.cuda()``; this one runs plain mmdet/mmseg models and mmrazor algorithms
alike, on any device, in one process or many, and resumes exactly (see :mod:`freekd.engine.data`).
"""

import argparse
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch

import freekd
from freekd import compat


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    from mmcv import DictAction

    parser = argparse.ArgumentParser(description="Train a model, prompts, or a student.")
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="default: work_dirs/<config name>")
    parser.add_argument("--resume-from", help="checkpoint to continue from")
    parser.add_argument(
        "--auto-resume",
        action="store_true",
        help="continue from the newest complete checkpoint of the work dir, if there is one",
    )
    parser.add_argument(
        "--student-only",
        action="store_true",
        help="train the student of a distillation config alone: the baseline to beat, with the "
        "same data, schedule and, for one seed, first weights",
    )
    parser.add_argument("--seed", type=int, help="default: the config's, else random")
    parser.add_argument("--deterministic", action="store_true", help="deterministic cuDNN")
    parser.add_argument("--no-validate", action="store_true", help="no evaluation during training")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="key=value, over the config's"
    )
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/train.py``; returns the exit code."""
    compat.hide_gpus_if_asked(sys.argv[1:] if argv is None else argv)
    compat.apply()
    from freekd.engine import launch, setup

    args = parse_args(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    with launch.friendly_errors() as outcome, launch.process_group(args.launcher) as distributed:
        cfg = setup.load_config(args.config, args.cfg_options)
        if args.student_only:
            setup.keep_student_only(cfg)
        cfg.device = launch.choose_device(args.device or cfg.get("device"))
        cfg.work_dir = (
            args.work_dir
            or cfg.get("work_dir")
            or os.path.join("work_dirs", Path(args.config).stem)
        )
        for key in ("seed", "resume_from"):
            given = getattr(args, key)
            cfg[key] = given if given is not None else cfg.get(key)
        cfg.auto_resume = args.auto_resume or cfg.get("auto_resume", False)
        cfg.deterministic = args.deterministic or cfg.get("deterministic", False)
        train(cfg, validate=not args.no_validate, distributed=distributed)
    return outcome.code


def train(cfg: Any, validate: bool = True, distributed: bool = False) -> Any:
    """Run the training that ``cfg`` describes and return its runner.

    Args:
        cfg: An mmcv Config; ``work_dir`` and ``device`` are set. See ``tools/train.py --help``.
        validate: Evaluate during training as ``cfg.evaluation`` says, and at the end.
        distributed: The process group is there.

    Raises:
        ConfigError, CheckpointError: With the key, what was expected, what came, and a remedy.
        FloatingPointError: The loss is not finite.
    """
    compat.apply()
    from freekd.engine import launch, precision, setup

    by_epoch = setup.check_schedule(cfg)
    validate = validate and cfg.get("evaluation") is not None and "val" in (cfg.get("data") or {})
    task = setup.check_config(cfg, ("train", "val") if validate else ("train",))
    precision.read_precision(cfg, cfg.device)
    cfg.work_dir = os.path.abspath(cfg.work_dir)
    with launch.own_work_dir(cfg.work_dir):
        return _train(cfg, task, by_epoch, validate, distributed)


def _train(cfg: Any, task: str, by_epoch: bool, validate: bool, distributed: bool) -> Any:
    from mmcv.runner import build_runner, get_dist_info

    from freekd.engine import check_data, checkpoint, data, hooks, launch, resuming, setup
    from freekd.fileio import remove_stale_temp_files
    from freekd.prompt_file import fingerprint

    rank, world_size = get_dist_info()
    cfg.gpu_ids = list(range(world_size))
    os.makedirs(cfg.work_dir, exist_ok=True)
    timestamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    logger = launch.make_logger(
        os.path.join(cfg.work_dir, f"{timestamp}.log"), cfg.get("log_level", "INFO")
    )
    if rank == 0:
        remove_stale_temp_files(cfg.work_dir)
    loader_cfg = dict(
        samples_per_gpu=cfg.data.get("samples_per_gpu", 2),
        workers_per_gpu=cfg.data.get("workers_per_gpu", 2),
    )
    loader_cfg.update(cfg.data.get("train_dataloader", {}))
    earlier = resuming.find_earlier_run(cfg, by_epoch, logger)
    if cfg.get("seed") is None and earlier is not None:
        cfg.seed = earlier.meta.get("seed")
    cfg.seed = launch.share_seed(cfg.get("seed"))
    meta = _describe(cfg, logger, task)
    meta.update(
        by_epoch=by_epoch,
        samples_per_gpu=loader_cfg["samples_per_gpu"],
        settings=resuming.settings_text(cfg),
    )
    if earlier is not None:
        resuming.warn_of_differences(earlier, meta, logger)

    torch.backends.cudnn.benchmark = bool(cfg.get("cudnn_benchmark", False))
    launch.set_random_seed(cfg.seed, cfg.get("deterministic", False))
    model = setup.build_model(cfg, task)
    dataset = setup.build_dataset(cfg.data.train, task)
    check_data.check_images(dataset)
    check_data.check_classes(model, dataset)
    # Again: that a teacher was built must not change the student's first weights.
    launch.set_random_seed(cfg.seed)
    setup.init_weights(model, cfg)
    teacher = getattr(getattr(model, "distiller", None), "teacher", None)
    if teacher is not None:
        meta["teacher_fingerprint"] = fingerprint(teacher)
    if cfg.device == "cpu":
        model, replaced = compat.plain_batch_norm(model)
        if replaced:
            logger.warning("%d SyncBN layers run as BN: SyncBN needs a GPU", replaced)

    names = setup.name_classes(model, dataset)
    if cfg.checkpoint_config is not None:
        cfg.checkpoint_config.meta = dict(freekd_version=freekd.__version__, task=task, **names)
    loader = data.build_train_loader(
        dataset, seed=cfg.seed, by_epoch=by_epoch, rank=rank, world_size=world_size, **loader_cfg
    )
    if loader_cfg["workers_per_gpu"] == 0:
        compat.shorten_epoch_pause()

    model = launch.wrap_for_training(
        model, cfg.device, distributed, cfg.get("find_unused_parameters")
    )
    optimizer = setup.build_optimizer(
        hooks.unwrap(model), compat.usable_optimizer(cfg.optimizer, cfg.device)
    )
    runner = build_runner(
        cfg.runner,
        default_args=dict(
            model=model, optimizer=optimizer, work_dir=cfg.work_dir, logger=logger, meta=meta
        ),
    )
    runner.timestamp = timestamp
    _register_hooks(runner, cfg, by_epoch, distributed)
    if validate:
        _register_evaluation(runner, cfg, task, by_epoch, distributed)

    if earlier is not None:
        checkpoint.resume(runner, earlier.path, len(loader) if by_epoch else None)
    elif cfg.get("load_from"):
        with setup.building(f"load_from={cfg.load_from!r}"):
            runner.load_checkpoint(cfg.load_from, map_location="cpu")
    loader.batch_sampler.start_iter = runner.iter
    algorithm = hooks.unwrap(model)
    if hasattr(algorithm, "check_ready"):
        with setup.building("The model is not ready"):
            algorithm.check_ready()
    runner.run([loader], [("train", 1)])
    return runner


def _describe(cfg: Any, logger: Any, task: str) -> Dict[str, Any]:
    """Log where the run happens and with which config; returns the checkpoint's meta."""
    from mmcv.runner import get_dist_info
    from mmcv.utils import collect_env

    from freekd.fileio import atomic_write_text

    rank, world_size = get_dist_info()
    env = "\n".join(f"{key}: {value}" for key, value in collect_env().items())
    logger.info("environment:\n%s\nfreekd: %s", env, freekd.__version__)
    logger.info("config:\n%s", cfg.pretty_text)
    logger.info("task %s, device %s, processes %d, seed %d", task, cfg.device, world_size, cfg.seed)
    name = os.path.basename(cfg.filename) if cfg.filename else "config.py"
    if rank == 0:
        atomic_write_text(os.path.join(cfg.work_dir, name), cfg.pretty_text)
    return dict(
        env_info=env, config=cfg.pretty_text, seed=cfg.seed, exp_name=name, world_size=world_size
    )


def _register_hooks(runner: Any, cfg: Any, by_epoch: bool, distributed: bool) -> None:
    from freekd.engine import hooks, precision

    chosen = precision.read_precision(cfg, cfg.device)
    precision.prepare(runner.model, chosen, cfg.device, runner.logger)
    optimizer_config = precision.optimizer_hook(cfg.optimizer_config, chosen, distributed)
    runner.register_training_hooks(
        cfg.get("lr_config"),
        optimizer_config,
        cfg.checkpoint_config,
        cfg.log_config,
        cfg.get("momentum_config"),
        custom_hooks_config=cfg.get("custom_hooks"),
    )
    runner.register_hook(hooks.IterationSeedHook(cfg.seed), priority="VERY_HIGH")
    runner.register_hook(hooks.ProgressHook(), priority="HIGH")
    if hasattr(hooks.unwrap(runner.model), "save_prompts"):
        interval = (cfg.checkpoint_config or {}).get("interval", -1)
        runner.register_hook(hooks.SavePromptsHook(interval, by_epoch))


def _register_evaluation(
    runner: Any, cfg: Any, task: str, by_epoch: bool, distributed: bool
) -> None:
    from freekd.engine import hooks, setup

    core = importlib.import_module("mmdet.core" if task == "det" else "mmseg.core")
    kind = core.DistEvalHook if distributed else core.EvalHook
    options = dict(cfg.evaluation, by_epoch=by_epoch)
    with setup.building("evaluation"):
        hook = kind(setup.build_eval_loader(cfg, "val", task, distributed), **options)
    hooks.evaluate_at_the_end(hook)
    runner.register_hook(hook, priority="LOW")
