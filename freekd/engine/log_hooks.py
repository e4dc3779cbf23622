"""The logger hooks of mmcv in a run: TensorBoard, WandB, MLflow, the text log.

They are mmcv's own. Two things are added: an error while one is set up names its key, and a run
that goes on from a checkpoint takes back what TensorBoard was told of the steps it runs again.
"""

from typing import Any

from freekd.config.explain import building


def register(runner: Any, log_config: Any) -> None:
    """Build the hooks of ``log_config`` and register them, each by its key.

    As mmcv's ``register_logger_hooks`` does, and its runner that counts iterations: ``interval``
    and, there, ``by_epoch=False`` are what a hook has that does not say otherwise.

    Raises:
        ConfigError: A hook cannot be built, with its key.
    """
    from mmcv.runner import HOOKS, IterBasedRunner
    from mmcv.utils import build_from_cfg

    if log_config is None:
        return
    common = dict(interval=log_config.get("interval", 10))
    if isinstance(runner, IterBasedRunner):
        common["by_epoch"] = False
    for number, cfg in enumerate(log_config.get("hooks") or ()):
        key = f"log_config.hooks.{number}"
        with building(key):
            hook = build_from_cfg(cfg, HOOKS, default_args=dict(common))
        _set_up_with_key(hook, f"{key}, {cfg.get('type')}")
        runner.register_hook(hook, priority="VERY_LOW")


def _set_up_with_key(hook: Any, key: str) -> None:
    """``wandb.init`` and their like speak of what they miss, not of the config."""
    set_up = hook.before_run

    def before_run(runner: Any) -> None:
        with building(key):
            set_up(runner)
            if runner.iter and runner.rank == 0 and _writes_tensorboard(hook):
                purge(hook, runner.iter + 1)

    hook.before_run = before_run


def _writes_tensorboard(hook: Any) -> bool:
    from mmcv.runner import HOOKS

    return isinstance(hook, HOOKS.get("TensorboardLoggerHook"))


def purge(hook: Any, step: int) -> None:
    """Let TensorBoard forget what it was told of ``step`` and later ones.

    A run that was killed has logged steps after its last checkpoint; it runs them again, and both
    would be drawn.
    """
    from torch.utils.tensorboard import SummaryWriter

    hook.writer.close()
    hook.writer = SummaryWriter(hook.log_dir, purge_step=step)
