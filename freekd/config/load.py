"""Reading a config, with ``--cfg-options``, and what a run writes down of it."""

import difflib
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import mmcv

from freekd import compat
from freekd.config import short, stock_hooks, top_keys
from freekd.config.errors import ConfigError
from freekd.config.explain import building
from freekd.zoo.config_file import ConfigFileError, import_modules, read_config
from freekd.zoo.merge import merge_options
from freekd.zoo.stock import is_stock, stock_path

# Keys that --cfg-options may add to a config that does not have them.
_OPTIONAL_KEYS = (
    "pair prompt algorithm model task seed deterministic device load_from resume_from "
    "auto_resume work_dir log_level fp16 evaluation custom_hooks find_unused_parameters "
    "cudnn_benchmark runner checkpoint_config log_config optimizer_config optimizer lr_config "
    "momentum_config data data_help stock_hooks load_from_min_share auto_scale_lr custom_imports"
).split()


def load_config(path: str, options: Optional[Dict[str, Any]] = None) -> Any:
    """Read a config file, merge ``--cfg-options`` into it, and spell out ``pair`` or ``prompt``.

    Args:
        path: The config file; ``package::path`` names a stock one.
        options: Dotted keys and values.

    Raises:
        ConfigError: The file is missing, an option names a key that no config has, or see
            :func:`freekd.config.short.expand`.
    """
    cfg, late = read(path, options)
    import_own(cfg, path)
    short.expand(cfg)
    _merge(cfg, late)
    stock_hooks.take_along(cfg)
    return cfg


def import_own(cfg: Any, path: str) -> None:
    """Import the modules of a config's ``custom_imports``, which register what it names.

    Args:
        cfg: what :func:`read` gives.
        path: of its file, for an error's text.

    Raises:
        ConfigError: a module cannot be imported; names it.
    """
    if cfg.get("custom_imports"):
        compat.apply()  # modules of the user's import the 2022-era stack
    try:
        import_modules(cfg.get("custom_imports"), path)
    except ConfigFileError as error:
        raise ConfigError(str(error)) from error


def read(path: str, options: Optional[Dict[str, Any]] = None) -> Tuple[Any, Dict[str, Any]]:
    """The config with the options in it, checked as far as its own text goes.

    Nothing slow is imported for it: mmcv and torch alone, no model and no module of
    ``custom_imports``.

    Returns:
        The config, and those options that are for the algorithm which the short form makes.

    Raises:
        ConfigError: as :func:`load_config`, for a wrong key or value of the config itself.
    """
    if is_stock(path):
        with building("config"):
            path = stock_path(path)
    if not Path(path).is_file():
        folder = Path(path).parent
        near = difflib.get_close_matches(
            Path(path).name, [p.name for p in folder.glob("*.py")], n=3, cutoff=0.0
        )
        hint = f"; the nearest names in {folder} are {', '.join(near)}" if near else ""
        raise ConfigError(f"Expected a config file at {path}, found none{hint}. Correct the path.")
    try:
        cfg = read_config(path, imports=False)
    except ConfigFileError as error:
        raise ConfigError(str(error)) from error
    for key in options or {}:
        first = key.split(".")[0]
        known = [*cfg.keys(), *_OPTIONAL_KEYS]
        if first not in known:
            near = difflib.get_close_matches(first, dict.fromkeys(known), n=3)
            raise ConfigError(
                f"--cfg-options {key}: expected a key of {path}, but it has no '{first}'. "
                f"Nearest: {', '.join(near) or 'none'}. Correct the name."
            )
    late = {}
    if cfg.get("pair") is not None or cfg.get("prompt") is not None:  # these make the algorithm
        late = {k: v for k, v in (options or {}).items() if k.startswith("algorithm.")}
    _merge(cfg, {k: v for k, v in (options or {}).items() if k not in late})
    top_keys.check(cfg)
    short.check(cfg, imported=False)
    return cfg, late


# where a config may name a model by a string, whose parts --cfg-options may change all the same
_MODELS = (
    "model pair.student pair.teacher prompt.teacher algorithm.architecture.model "
    "algorithm.distiller.teacher"
).split()


def _merge(cfg: Any, options: Dict[str, Any]) -> None:
    """Merge options: whole values first, then parts of models that are named by a string."""
    whole = {k: v for k, v in options.items() if k in _MODELS}
    parts = {k: v for k, v in options.items() if k not in whole}
    with building("--cfg-options"):
        merge_options(cfg, whole)
    for key in _MODELS:
        if any(name.startswith(f"{key}.") for name in parts):
            short.open_reference(cfg, key)
    with building("--cfg-options"):
        merge_options(cfg, parts)


def text_of(cfg: Any) -> str:
    """The config as a run writes it down.

    Raises:
        ConfigError: a value that cannot be written, such as a class or a function; names its key.
    """
    try:
        return str(cfg.pretty_text)
    except Exception as error:
        for key, value in cfg.items():
            try:
                mmcv.Config({key: value}).pretty_text  # noqa: B018
            except Exception:
                raise ConfigError(
                    f"{key}: expected text, numbers, lists and dicts, which a run can write down, "
                    f"got {value!r}. Name classes and functions by their registered name."
                ) from error
        raise


def keep_student_only(cfg: Any) -> None:
    """Turn a distillation config into its baseline: the student alone, all else as it is.

    Raises:
        ConfigError: it is no distillation config, or it names another as its ``baseline``.
    """
    architecture = (cfg.get("algorithm") or {}).get("architecture") or {}
    if not (cfg.get("algorithm") or {}).get("distiller") or "model" not in architecture:
        raise ConfigError(
            "--student-only: expected a distillation config (with 'pair', or an algorithm with a "
            "distiller). A plain model's config trains alone as it is."
        )
    if cfg.get("baseline") is not None:
        raise ConfigError(
            "--student-only: the student of this pair has no loss of its own: it learns from its "
            f"teacher alone. Train its baseline: python tools/train.py {cfg.baseline}"
        )
    cfg.model, cfg.algorithm = architecture.model, None
    if cfg.get("work_dir"):
        cfg.work_dir = cfg.work_dir.rstrip("/") + "_student_only"


def default_work_dir(path: str) -> str:
    """Where a run of the config at ``path`` goes unless it says so itself.

    >>> default_work_dir("configs/freekd/retinanet_r34_r18_digits.py")
    'work_dirs/freekd/retinanet_r34_r18_digits'
    >>> default_work_dir("/home/me/my_config.py")
    'work_dirs/my_config'
    >>> default_work_dir("configs.py")
    'work_dirs/configs'
    """
    *folders, name = Path(path).with_suffix("").parts
    inside = folders[::-1].index("configs") if "configs" in folders else 0
    return str(Path("work_dirs", *folders[len(folders) - inside :], name))
