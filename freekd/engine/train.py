"""The training entry behind ``tools/train.py``: one config, one run, on CPU or GPU.

mmrazor's own entry calls ``.cuda()``; this one runs plain mmdet/mmseg models and mmrazor algorithms
alike, on any device, in one process or many, and resumes exactly (see :mod:`freekd.engine.data`).
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, List, Optional

import mmcv
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
    from freekd.engine.checkpoint import CheckpointError
    from freekd.engine.setup import ConfigError, choose_device, init_processes, load_config

    args = parse_args(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    try:
        cfg = load_config(args.config, args.cfg_options)
        cfg.device = choose_device(args.device or cfg.get("device"))
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
        distributed = init_processes(args.launcher)
        train(cfg, validate=not args.no_validate, distributed=distributed)
    except (ConfigError, CheckpointError, FileNotFoundError) as error:
        if os.environ.get("FREEKD_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; --auto-resume continues from the last checkpoint", file=sys.stderr)
        return 130
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def trainable_optimizer(model: torch.nn.Module, cfg: Any) -> torch.optim.Optimizer:
    """The config's optimizer over the parameters that require a gradient, and no others."""
    from mmcv.runner import build_optimizer

    from freekd.engine.setup import ConfigError

    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError(
            "Expected parameters to train, but every parameter of the model is frozen. Check "
            "frozen_stages and requires_grad in the config."
        )
    optimizer = build_optimizer(model, cfg)
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if p.requires_grad]
    optimizer.param_groups = [group for group in optimizer.param_groups if group["params"]]
    return optimizer


def wrap_model(model: torch.nn.Module, cfg: Any, distributed: bool) -> torch.nn.Module:
    """Put the model on its device, into mmcv's (distributed) data-parallel wrapper."""
    from mmcv.parallel import MMDataParallel, MMDistributedDataParallel

    on_gpu = cfg.device == "cuda"
    if not distributed:
        return (
            MMDataParallel(model.cuda(), device_ids=[0])
            if on_gpu
            else (compat.cpu_data_parallel(model))
        )
    if on_gpu:
        model = model.cuda()
    return MMDistributedDataParallel(
        model,
        device_ids=[torch.cuda.current_device()] if on_gpu else None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )


def _run_defaults(cfg: Any) -> bool:
    """Fill what a config may leave out; returns whether the run counts epochs."""
    from freekd.engine.setup import ConfigError

    if cfg.get("runner") is None:
        if cfg.get("total_epochs") is None:
            raise ConfigError(
                "Expected the config key 'runner', found none. Add one of configs/_base_/schedules,"
                " or runner = dict(type='EpochBasedRunner', max_epochs=12)."
            )
        cfg.runner = dict(type="EpochBasedRunner", max_epochs=cfg.total_epochs)
    if cfg.get("optimizer") is None:
        raise ConfigError(
            "Expected the config key 'optimizer', found none. Add one of configs/_base_/schedules."
        )
    by_epoch = "max_epochs" in cfg.runner
    if not by_epoch and "max_iters" not in cfg.runner:
        raise ConfigError(
            f"runner: expected max_epochs or max_iters, got {dict(cfg.runner)}. Add one."
        )
    cfg.setdefault("checkpoint_config", dict(interval=1 if by_epoch else 1000))
    if cfg.checkpoint_config is not None:
        saves_by_epoch = cfg.checkpoint_config.get("by_epoch", by_epoch)
        if saves_by_epoch != by_epoch:
            raise ConfigError(
                f"checkpoint_config.by_epoch: expected {by_epoch}, as the runner counts "
                f"{'epochs' if by_epoch else 'iterations'}, got {saves_by_epoch}: such a "
                "checkpoint could not be resumed exactly. Remove the key."
            )
        cfg.checkpoint_config.by_epoch = by_epoch
    cfg.setdefault("optimizer_config", {})
    cfg.setdefault("log_config", dict(interval=10, hooks=[dict(type="TextLoggerHook")]))
    workflow = [tuple(step) for step in cfg.get("workflow") or [("train", 1)]]
    if workflow != [("train", 1)]:
        raise ConfigError(
            f"workflow: expected [('train', 1)], got {workflow}. Remove the key: evaluation is "
            "set by the key 'evaluation'."
        )
    return by_epoch


def train(cfg: Any, validate: bool = True, distributed: bool = False) -> Any:
    """Run the training that ``cfg`` describes and return its runner.

    Args:
        cfg: An mmcv Config; ``work_dir`` and ``device`` are set. See ``tools/train.py --help``.
        validate: Evaluate during training as ``cfg.evaluation`` says.
        distributed: The process group is there.
    """
    compat.apply()
    from mmcv.runner import build_runner, get_dist_info

    from freekd.engine import checkpoint, data, hooks, setup
    from freekd.engine.io import remove_stale_temp_files

    by_epoch = _run_defaults(cfg)
    validate = validate and cfg.get("evaluation") is not None and "val" in cfg.get("data", {})
    task = setup.check_config(cfg, ("train", "val") if validate else ("train",))
    rank, world_size = get_dist_info()
    cfg.seed = setup.share_seed(cfg.get("seed"))
    cfg.gpu_ids = list(range(world_size))
    cfg.work_dir = os.path.abspath(cfg.work_dir)
    os.makedirs(cfg.work_dir, exist_ok=True)
    timestamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    logger = setup.make_logger(
        os.path.join(cfg.work_dir, f"{timestamp}.log"), cfg.get("log_level", "INFO")
    )
    if rank == 0:
        remove_stale_temp_files(cfg.work_dir)
    meta = _describe(cfg, timestamp, logger, rank, world_size, task)

    torch.backends.cudnn.benchmark = bool(cfg.get("cudnn_benchmark", False))
    setup.set_random_seed(cfg.seed, cfg.get("deterministic", False))
    model = setup.build_model(cfg, task)
    # Again: building a teacher must not change the student's first weights.
    setup.set_random_seed(cfg.seed)
    model.init_weights()
    if cfg.device == "cpu":
        model, replaced = compat.plain_batch_norm(model)
        if replaced:
            logger.warning("%d SyncBN layers run as BN: SyncBN needs a GPU", replaced)

    dataset = setup.build_dataset(cfg.data.train, task)
    names = setup.name_classes(model, dataset)
    if cfg.checkpoint_config is not None:
        cfg.checkpoint_config.meta = dict(freekd_version=freekd.__version__, task=task, **names)
    loader_cfg = dict(
        samples_per_gpu=cfg.data.get("samples_per_gpu", 2),
        workers_per_gpu=cfg.data.get("workers_per_gpu", 2),
    )
    loader_cfg.update(cfg.data.get("train_dataloader", {}))
    loader = data.build_train_loader(
        dataset, seed=cfg.seed, by_epoch=by_epoch, rank=rank, world_size=world_size, **loader_cfg
    )
    if loader_cfg["workers_per_gpu"] == 0:
        compat.shorten_epoch_pause()

    model = wrap_model(model, cfg, distributed)
    runner = build_runner(
        cfg.runner,
        default_args=dict(
            model=model,
            optimizer=trainable_optimizer(model, cfg.optimizer),
            work_dir=cfg.work_dir,
            logger=logger,
            meta=meta,
        ),
    )
    runner.timestamp = timestamp
    _register_hooks(runner, cfg, by_epoch, distributed)
    if validate:
        _register_evaluation(runner, cfg, task, by_epoch, distributed)

    path = cfg.get("resume_from")
    if path is None and cfg.get("auto_resume"):
        path = checkpoint.find_resumable(cfg.work_dir, by_epoch, logger)
        logger.info("auto-resume: %s", path or "no checkpoint found, starting from the beginning")
    if path is not None:
        checkpoint.resume(runner, path)
    elif cfg.get("load_from"):
        runner.load_checkpoint(cfg.load_from, map_location="cpu")
    loader.batch_sampler.start_iter = runner.iter
    algorithm = hooks.unwrap(model)
    if hasattr(algorithm, "check_ready"):
        algorithm.check_ready()
    runner.run([loader], [("train", 1)])
    return runner


def _describe(cfg: Any, timestamp: str, logger: Any, rank: int, world_size: int, task: str) -> dict:
    """Log where the run happens and with which config; returns the checkpoint's meta."""
    from mmcv.utils import collect_env

    from freekd.engine.io import atomic_write_text

    env = "\n".join(f"{key}: {value}" for key, value in collect_env().items())
    logger.info("environment:\n%s\nfreekd: %s", env, freekd.__version__)
    logger.info("config:\n%s", cfg.pretty_text)
    logger.info(
        "task %s, device %s, %d process(es), seed %d, work dir %s",
        task, cfg.device, world_size, cfg.seed, cfg.work_dir,
    )  # fmt: skip
    name = os.path.basename(cfg.filename) if cfg.filename else "config.py"
    if rank == 0:
        atomic_write_text(os.path.join(cfg.work_dir, name), cfg.pretty_text)
    return dict(
        env_info=env,
        config=cfg.pretty_text,
        seed=cfg.seed,
        exp_name=name,
        world_size=world_size,
        mmcv_version=mmcv.__version__,
    )


def _register_hooks(runner: Any, cfg: Any, by_epoch: bool, distributed: bool) -> None:
    from mmcv.runner import Fp16OptimizerHook, OptimizerHook

    from freekd.engine import hooks

    optimizer_config = cfg.optimizer_config
    fp16 = compat.usable_fp16(cfg.get("fp16"), cfg.device)
    if fp16 is not None:
        optimizer_config = Fp16OptimizerHook(
            **(optimizer_config or {}), **fp16, distributed=distributed
        )
    elif optimizer_config is not None and "type" not in optimizer_config:
        optimizer_config = OptimizerHook(**optimizer_config)
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
    import importlib

    from freekd.engine import setup

    core = importlib.import_module("mmdet.core" if task == "det" else "mmseg.core")
    options = dict(cfg.evaluation, by_epoch=by_epoch)
    hook = (core.DistEvalHook if distributed else core.EvalHook)(
        setup.build_eval_loader(cfg, "val", task, distributed), **options
    )
    runner.register_hook(hook, priority="LOW")
