"""The training entry behind ``tools/train.py``: one config, one run, on CPU or GPU.

mmrazor's own entry calls ``.cuda()``; this one runs plain models of every task and its algorithms
alike, on any device, in one process or many, and resumes exactly (see :mod:`freekd.engine.data`).
"""

import inspect
import logging
import os
import sys
import time
from typing import Any, Dict, List, Optional

import torch

import freekd
from freekd import cli, compat


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/train.py``; returns the exit code."""
    compat.hide_gpus_if_asked(sys.argv[1:] if argv is None else argv)
    compat.apply()
    from freekd.config import load
    from freekd.engine import friendly, launch

    args = cli.train(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    with friendly.friendly_errors() as outcome, launch.process_group(args.launcher) as distributed:
        cfg = load.load_config(args.config, cli.cfg_options(args))
        cfg.work_dir = cfg.get("work_dir") or load.default_work_dir(args.config)
        if args.student_only:
            load.keep_student_only(cfg)
        cfg.device = launch.choose_device(args.device or cfg.get("device"))
        cfg.work_dir = args.work_dir or cfg.work_dir
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
    from freekd.config import checks
    from freekd.engine import launch, precision

    by_epoch = checks.check_schedule(cfg)
    validate = validate and cfg.get("evaluation") is not None and "val" in (cfg.get("data") or {})
    task = checks.check_config(cfg, ("train", "val") if validate else ("train",))
    precision.read_precision(cfg, cfg.device)
    cfg.work_dir = os.path.abspath(cfg.work_dir)
    with launch.own_work_dir(cfg.work_dir):
        return _train(cfg, task, by_epoch, validate, distributed)


def _train(cfg: Any, task: str, by_epoch: bool, validate: bool, distributed: bool) -> Any:
    from mmcv.runner import build_runner, get_dist_info

    from freekd.config import explain, stock_hooks
    from freekd.engine import (
        build,
        check_data,
        checkpoint,
        data,
        datasets,
        first_step,
        hooks,
        launch,
        load_from,
        loader_options,
        optimizers,
        resuming,
    )
    from freekd.fileio import remove_stale_temp_files

    rank, world_size = get_dist_info()
    cfg.gpu_ids = list(range(world_size))
    os.makedirs(cfg.work_dir, exist_ok=True)
    timestamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    logger = launch.make_logger(
        os.path.join(cfg.work_dir, f"{timestamp}.log"), cfg.get("log_level", "INFO")
    )
    if rank == 0:
        remove_stale_temp_files(cfg.work_dir)
    loader_cfg = loader_options.train_loader_options(cfg, task)
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
    model = build.build_model(cfg, task)
    dataset = datasets.build_dataset(cfg.data.train, task)
    check_data.check_images(dataset)
    check_data.check_classes(model, dataset)
    stock_hooks.check_hooks(cfg, model, dataset, by_epoch, logger)
    names = datasets.name_classes(model, dataset)  # before the weights: inheriting goes by them
    # Again: that a teacher was built must not change the student's first weights.
    launch.set_random_seed(cfg.seed)
    build.init_weights(model, cfg)
    meta.update(checkpoint.frozen_parts(model))
    if cfg.device == "cpu":
        replaced = compat.plain_batch_norm(model)
        if replaced:
            logger.warning("%d SyncBN layers run as BN: SyncBN needs a GPU", replaced)

    if cfg.checkpoint_config is not None:
        cfg.checkpoint_config.meta = dict(freekd_version=freekd.__version__, task=task, **names)
    loader = data.build_train_loader(
        dataset, seed=cfg.seed, by_epoch=by_epoch, rank=rank, world_size=world_size, **loader_cfg
    )
    if by_epoch:
        meta["iters_per_epoch"] = len(loader)  # tells a reader of the log which step a line is of
    if loader_cfg["workers_per_gpu"] == 0:
        compat.shorten_epoch_pause()

    model = launch.wrap_for_training(
        model, cfg.device, distributed, cfg.get("find_unused_parameters")
    )
    bare = hooks.unwrap(model)
    optimizers.scale_rate(cfg, loader_cfg["samples_per_gpu"] * world_size, logger)
    optimizer = optimizers.build_optimizer(
        bare, compat.usable_optimizer(cfg.optimizer, cfg.device), task
    )
    with explain.building("runner"):
        runner = build_runner(
            cfg.runner,
            default_args=dict(
                model=model, optimizer=optimizer, work_dir=cfg.work_dir, logger=logger, meta=meta
            ),
        )
    runner.timestamp = timestamp
    state_hook = _register_hooks(runner, cfg, by_epoch, distributed)
    if validate:
        _register_evaluation(runner, cfg, task, by_epoch, distributed)

    if earlier is not None:
        iters_per_epoch = len(loader) if by_epoch else None
        state_hook.state = checkpoint.resume(runner, earlier.path, iters_per_epoch)
        state_hook.source = earlier.path
    elif cfg.get("load_from"):
        filled = load_from.load_from(bare, cfg)
        logger.log(logging.WARNING if filled.empty else logging.INFO, filled.note)
    loader.batch_sampler.start_iter = runner.iter
    check_data.check_ready(bare, dataset, cfg.seed)
    with first_step.first_step(runner):
        runner.run([loader], [("train", 1)])
    return runner


def _describe(cfg: Any, logger: Any, task: str) -> Dict[str, Any]:
    """Log where the run happens and with which config; returns the checkpoint's meta."""
    from mmcv.runner import get_dist_info
    from mmcv.utils import collect_env

    from freekd.config.load import text_of
    from freekd.fileio import atomic_write_text

    rank, world_size = get_dist_info()
    env = "\n".join(f"{key}: {value}" for key, value in collect_env().items())
    logger.info("environment:\n%s\nfreekd: %s", env, freekd.__version__)
    text = text_of(cfg)
    logger.info("config:\n%s", text)
    logger.info("task %s, device %s, processes %d, seed %d", task, cfg.device, world_size, cfg.seed)
    name = os.path.basename(cfg.filename) if cfg.filename else "config.py"
    if rank == 0:
        atomic_write_text(os.path.join(cfg.work_dir, name), text)
    return dict(env_info=env, config=text, seed=cfg.seed, exp_name=name, world_size=world_size)


def _register_hooks(runner: Any, cfg: Any, by_epoch: bool, distributed: bool) -> Any:
    """All but the evaluation's; gives the hook that restores what other hooks keep in the model."""
    from mmcv.runner import HOOKS

    from freekd.config.errors import ConfigError
    from freekd.config.explain import building
    from freekd.engine import hook_state, hooks, log_hooks, precision

    chosen = precision.read_precision(cfg, cfg.device)
    precision.prepare(runner.model, chosen, cfg.device, runner.logger)
    optimizer_config = precision.optimizer_hook(cfg.optimizer_config, chosen, distributed)
    with building("lr_config or momentum_config"):
        runner.register_training_hooks(
            cfg.get("lr_config"), optimizer_config, momentum_config=cfg.get("momentum_config")
        )
    log_hooks.register(runner, cfg.log_config)
    for hook in cfg.get("custom_hooks") or ():
        with building(f"custom_hooks, {hook.get('type')}"):
            runner.register_custom_hooks(hook)
    runner.register_hook(hooks.IterationSeedHook(cfg.seed), priority="VERY_HIGH")
    if hooks.schedules_of(hooks.unwrap(runner.model)) is not None:
        runner.register_hook(hooks.DistillScheduleHook(), priority="VERY_HIGH")
    runner.register_hook(hooks.ProgressHook(), priority="HIGH")
    if hasattr(hooks.unwrap(runner.model), "save_prompts"):
        interval = (cfg.checkpoint_config or {}).get("interval", -1)
        runner.register_hook(hooks.SavePromptsHook(interval, by_epoch))
    noted = hook_state.NoteState()
    runner.register_hook(noted, priority=hook_state.CHECKPOINT_PRIORITY)
    if cfg.checkpoint_config is not None:  # the last before the evaluation
        takes = [HOOKS.get("CheckpointHook"), runner.save_checkpoint]
        known = {"type"}.union(*(inspect.signature(each).parameters for each in takes))
        unknown = sorted(set(cfg.checkpoint_config) - (known - {"kwargs"}))
        if unknown:
            raise ConfigError(
                f"checkpoint_config: unknown keys {unknown}; known are {sorted(known)}. Correct or "
                "remove them."
            )
        with building("checkpoint_config"):
            saver = HOOKS.build({"type": "CheckpointHook", **cfg.checkpoint_config})
        runner.register_hook(saver, priority=hook_state.CHECKPOINT_PRIORITY)
    state_hook = hook_state.HookState(by_epoch, noted)
    runner.register_hook(state_hook, priority="LOWEST")
    return state_hook


def _register_evaluation(
    runner: Any, cfg: Any, task: str, by_epoch: bool, distributed: bool
) -> None:
    from freekd import tasks
    from freekd.config import explain
    from freekd.engine import datasets, hooks, metrics

    kind = tasks.get(task).eval_hook(distributed)
    options = dict(cfg.evaluation, by_epoch=by_epoch)
    if not distributed:  # options of several processes alone
        for name in ("tmpdir", "gpu_collect", "broadcast_bn_buffer"):
            options.pop(name, None)
    loader = datasets.build_eval_loader(cfg, "val", task, distributed)
    asked = metrics.evaluate_options(cfg)
    for text in metrics.check(loader.dataset, asked, hooks.unwrap(runner.model), cfg.seed):
        runner.logger.warning(text)
    with explain.building("evaluation"):
        hook = kind(loader, **options)
    hook.evaluate = metrics.named(hook.evaluate, loader.dataset, asked)
    hooks.evaluate_at_the_end(hook)
    runner.register_hook(hook, priority="LOW")
