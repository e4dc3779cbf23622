"""The hooks of ``log_config``: what they need must be there before anything slow begins.

mmcv imports TensorBoard when training starts, after minutes of loading, and says only what to
install. Here the key is named too, and nothing was built yet.
"""

import importlib
import sys
from pathlib import Path
from typing import Any, Dict, NamedTuple

from freekd.config.errors import ConfigError


class Package(NamedTuple):
    """What a hook imports, and the package that has it."""

    module: str
    name: str

    @property
    def command(self) -> str:
        """Installs it; in a clone so that no version that freekd is tested with changes."""
        pinned = Path(__file__).resolve().parents[2] / "requirements" / "pinned.txt"
        constraint = f"-c {pinned} " if pinned.is_file() else ""
        return f"{sys.executable} -m pip install {constraint}{self.name}"


PACKAGES: Dict[str, Package] = {
    "TensorboardLoggerHook": Package("torch.utils.tensorboard", "tensorboard"),
    "WandbLoggerHook": Package("wandb", "wandb"),
    "MlflowLoggerHook": Package("mlflow.pytorch", "mlflow"),
}


def check_log_hooks(cfg: Any) -> None:
    """Every hook of ``log_config.hooks`` must find the package that it writes with.

    Hooks that inherit from mmcv's (mmdet's ``MMDetWandbHook``) are asked the same.

    Raises:
        ConfigError: With the key, the package and the command that installs it.
    """
    from mmcv.runner import HOOKS

    for number, hook in enumerate((cfg.get("log_config") or {}).get("hooks") or ()):
        named = hook.get("type")
        kind = HOOKS.get(named) if isinstance(named, str) else named
        for parent in getattr(kind, "__mro__", ()):
            package = PACKAGES.get(parent.__name__)
            if package is not None:
                _check_package(package, f"log_config.hooks.{number}.type={named!r}")


def _check_package(package: Package, key: str) -> None:
    try:
        importlib.import_module(package.module)
    except Exception as error:  # a package that is there and broken may raise anything
        name = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        missing = str(name).split(".")[0] == package.name
        came = "it is not installed" if missing else f"importing it failed ({error})"
        raise ConfigError(
            f"{key}: expected the Python package {package.name}, but {came}. Install it: "
            f"{package.command}; or remove the hook from log_config.hooks."
        ) from error
