"""What training and testing share: the config, its checks, the model and the datasets.

Every error says which key, what was expected, what came, and what to do.
"""

import contextlib
import difflib
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple
from urllib.error import URLError

import mmcv
import torch

from freekd.engine import pairs, stock_hooks, top_keys
from freekd.engine.errors import ConfigError

TASKS = ("det", "seg")

# Keys that --cfg-options may add to a config that does not have them.
_OPTIONAL_KEYS = (
    "pair prompt algorithm model task seed deterministic device load_from resume_from "
    "auto_resume work_dir log_level fp16 evaluation custom_hooks find_unused_parameters "
    "cudnn_benchmark runner checkpoint_config log_config optimizer_config optimizer lr_config "
    "momentum_config data data_help stock_hooks load_from_min_share auto_scale_lr custom_imports"
).split()


# --------------------------------------------------------------------------- config
def load_config(path: str, options: Optional[Dict[str, Any]] = None) -> Any:
    """Read a config file, merge ``--cfg-options`` into it, and spell out ``pair`` or ``prompt``.

    Args:
        path: The config file; ``package::path`` names a stock one.
        options: Dotted keys and values.

    Raises:
        ConfigError: The file is missing, an option names a key that no config has, or see
            :func:`freekd.engine.pairs.expand`.
    """
    from freekd.models.config_file import ConfigFileError, import_modules, read_config
    from freekd.models.stock import is_stock, stock_path

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
        cfg = read_config(path)
    except ConfigFileError as error:
        raise ConfigError(str(error)) from error
    for key in options or {}:
        first = key.split(".")[0]
        known = [*cfg.keys(), *_OPTIONAL_KEYS]
        if first not in known:
            near = difflib.get_close_matches(first, known, n=3)
            raise ConfigError(
                f"--cfg-options {key}: expected a key of {path}, but it has no '{first}'. "
                f"Nearest: {', '.join(near) or 'none'}. Correct the name."
            )
    late = {}
    if cfg.get("pair") is not None or cfg.get("prompt") is not None:  # these make the algorithm
        late = {k: v for k, v in (options or {}).items() if k.startswith("algorithm.")}
    _merge(cfg, {k: v for k, v in (options or {}).items() if k not in late})
    if any(key.split(".")[0] == "custom_imports" for key in options or {}):
        try:
            import_modules(cfg.get("custom_imports"), path)
        except ConfigFileError as error:
            raise ConfigError(str(error)) from error
    top_keys.check(cfg)
    pairs.expand(cfg)
    _merge(cfg, late)
    stock_hooks.take_along(cfg)
    return cfg


# where a config may name a model by a string, whose parts --cfg-options may change all the same
_MODELS = (
    "model pair.student pair.teacher prompt.teacher algorithm.architecture.model "
    "algorithm.distiller.teacher"
).split()


def _merge(cfg: Any, options: Dict[str, Any]) -> None:
    """Merge options: whole values first, then parts of models that are named by a string."""
    from freekd.models.merge import merge_options

    whole = {k: v for k, v in options.items() if k in _MODELS}
    parts = {k: v for k, v in options.items() if k not in whole}
    with building("--cfg-options"):
        merge_options(cfg, whole)
    for key in _MODELS:
        if any(name.startswith(f"{key}.") for name in parts):
            pairs.open_reference(cfg, key)
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
        ConfigError: it is no distillation config.
    """
    architecture = (cfg.get("algorithm") or {}).get("architecture") or {}
    if not (cfg.get("algorithm") or {}).get("distiller") or "model" not in architecture:
        raise ConfigError(
            "--student-only: expected a distillation config (with 'pair', or an algorithm with a "
            "distiller). A plain model's config trains alone as it is."
        )
    cfg.model, cfg.algorithm = architecture.model, None
    if cfg.get("work_dir"):
        cfg.work_dir = cfg.work_dir.rstrip("/") + "_student_only"


def check_config(cfg: Any, splits: Tuple[str, ...] = ("train",)) -> str:
    """Check that ``cfg`` can be run and return its task, ``'det'`` or ``'seg'``."""
    given = [key for key in ("model", "algorithm") if cfg.get(key) is not None]
    if len(given) != 1:
        came = "both" if given else "neither"
        raise ConfigError(
            "Expected exactly one of the config keys 'model' (a plain mmdet or mmseg model) and "
            f"'algorithm' (mmrazor: prompts or distillation), found {came}. Remove one with "
            "model=None or add the missing one."
        )
    if cfg.get("data") is None:
        raise ConfigError(
            "Expected the config key 'data' with the datasets, found none. Add one of "
            "configs/_base_/datasets to the config's _base_."
        )
    task = decide_task(cfg)
    for split in splits:
        if cfg.data.get(split) is None:
            raise ConfigError(
                f"Expected the config key data.{split} with a dataset, found none. Add it."
            )
        _check_files(cfg, cfg.data[split], f"data.{split}")
    return task


def check_schedule(cfg: Any) -> bool:
    """Fill what a schedule may leave out, check the rest; returns whether the run counts epochs."""
    if cfg.get("runner") is None and cfg.get("total_epochs") is not None:
        cfg.runner = dict(type="EpochBasedRunner", max_epochs=cfg.total_epochs)
    for key in ("runner", "optimizer"):
        if cfg.get(key) is None:
            raise ConfigError(
                f"Expected the config key '{key}', found none. Add one of "
                "configs/_base_/schedules to the config's _base_."
            )
    by_epoch = cfg.runner.get("max_epochs") is not None
    if by_epoch == (cfg.runner.get("max_iters") is not None):
        raise ConfigError(
            "runner: expected max_epochs (EpochBasedRunner) or max_iters (IterBasedRunner), got "
            f"{dict(cfg.runner)}. Give one of them."
        )
    _check_policy(cfg.get("lr_config"), "lr_config", "LrUpdaterHook")
    _check_policy(cfg.get("momentum_config"), "momentum_config", "MomentumUpdaterHook")
    if "checkpoint_config" not in cfg:
        cfg.checkpoint_config = dict(interval=1 if by_epoch else 1000)
    if cfg.checkpoint_config is not None:
        if cfg.checkpoint_config.get("by_epoch", by_epoch) != by_epoch:
            raise ConfigError(
                f"checkpoint_config.by_epoch: expected {by_epoch}, as the runner counts "
                f"{'epochs' if by_epoch else 'iterations'}, got {not by_epoch}: from such a "
                "checkpoint a run could not go on exactly. Remove the key."
            )
        cfg.checkpoint_config.by_epoch = by_epoch
    if "optimizer_config" not in cfg:
        cfg.optimizer_config = dict()
    if "log_config" not in cfg:
        cfg.log_config = dict(interval=10, hooks=[dict(type="TextLoggerHook")])
    workflow = [tuple(step) for step in cfg.get("workflow") or [("train", 1)]]
    if workflow != [("train", 1)]:
        raise ConfigError(
            f"workflow: expected [('train', 1)], got {workflow}. Remove the key: evaluation is "
            "set by the key 'evaluation'."
        )
    return by_epoch


def _check_policy(schedule: Any, key: str, suffix: str) -> None:
    """mmcv's policies are hooks: ``step`` is ``StepLrUpdaterHook``."""
    from mmcv.runner import HOOKS

    if not isinstance(schedule, dict) or "policy" not in schedule:
        return
    policy = schedule["policy"]
    known = [name[: -len(suffix)] for name in HOOKS.module_dict if name.endswith(suffix)]
    name = policy.title() if isinstance(policy, str) and policy == policy.lower() else policy
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=3)
        raise ConfigError(
            f"{key}.policy: expected one of mmcv's {', '.join(filter(None, known))}, got "
            f"{policy!r}; nearest: {', '.join(near) or 'none'}. Correct it."
        )


def _check_files(cfg: Any, dataset: Any, key: str) -> None:
    """Every file and folder that a dataset config names must exist."""
    if isinstance(dataset, (list, tuple)):
        for number, one in enumerate(dataset):
            _check_files(cfg, one, f"{key}.{number}")
        return
    if not isinstance(dataset, dict):
        return
    for inner in ("dataset", "datasets"):
        if inner in dataset:
            _check_files(cfg, dataset[inner], f"{key}.{inner}")
    root = dataset.get("data_root") or ""
    for name in ("ann_file", "img_prefix", "img_dir", "ann_dir", "seg_prefix", "proposal_file"):
        values = dataset.get(name)
        for value in values if isinstance(values, (list, tuple)) else [values]:
            if not isinstance(value, str) or not value or "://" in value:
                continue
            path = value if os.path.isabs(value) else os.path.join(root, value)
            if not os.path.exists(path):
                about = os.path.abspath(cfg.get("data_root") or os.sep)  # what data_help speaks of
                ours = os.path.abspath(path).startswith(about)
                remedy = (ours and cfg.get("data_help")) or (
                    f"Prepare the dataset, or give its place with --cfg-options {key}.{name}=PATH"
                )
                raise ConfigError(
                    f"{key}.{name}: expected a file or folder at {os.path.abspath(path)}, "
                    f"found nothing. {remedy}."
                )


def _typed(cfg: Any) -> Iterator[str]:
    """The ``type`` of a config and of the configs inside it, outermost first."""
    queue: List[Any] = [cfg]
    while queue:
        node = queue.pop(0)
        if isinstance(node, dict):
            if isinstance(node.get("type"), str):
                yield node["type"].split(".")[-1]
            queue.extend(node.values())
        elif isinstance(node, (list, tuple)):
            queue.extend(node)


def decide_task(cfg: Any) -> str:
    """``cfg.task`` if given, else by the registry that holds the (student) model's type."""
    task = cfg.get("task")
    if task is not None:
        if task not in TASKS:
            raise ConfigError(f"task: expected one of {TASKS}, got {task!r}. Correct the key.")
        return str(task)
    from mmdet.models import DETECTORS
    from mmseg.models import SEGMENTORS

    from freekd.models.stock import read_model

    key, model = "model", cfg.get("model")
    if model is None:
        model = cfg.algorithm.get("architecture", cfg.algorithm)
        if "model" in model and model.get("type") not in ("MMDetArchitecture", "MMSegArchitecture"):
            key, model = "algorithm.architecture.model", model.model
    if isinstance(model, str) or "config" in model:
        with building(key):
            model = read_model(model, key)
    own = {"det": DETECTORS.module_dict, "seg": SEGMENTORS.module_dict}
    wrapper = {"det": "MMDetArchitecture", "seg": "MMSegArchitecture"}
    types = list(_typed(model))
    for name in types:
        hits = [task for task in TASKS if name == wrapper[task] or name in own[task]]
        if len(hits) == 1:
            return hits[0]
    raise ConfigError(
        f"Cannot tell detection from segmentation: type {types[0] if types else None!r} is in "
        "neither of mmdet's and mmseg's registries. Expected a detector or segmentor, or the "
        "config key task='det' or task='seg'. Correct the type, or add the key (and "
        "custom_imports for classes of your own)."
    )


# --------------------------------------------------------------------------- building
@contextlib.contextmanager
def building(what: str) -> Iterator[None]:
    """Turn what a constructor says about its arguments into a :class:`ConfigError`.

    Whatever it raises: a model of the user's may assert, divide or index.
    """
    from freekd.engine.explain import explained

    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{what} ({type(error).__name__}): {explained(error)}") from error


def build_model(cfg: Any, task: str) -> torch.nn.Module:
    """The plain model or the algorithm of ``cfg``, not yet initialised."""
    from freekd.models.stock import read_model

    with building("The model cannot be built from the config"):
        if cfg.get("algorithm") is not None:
            from mmrazor.models.builder import build_algorithm

            return build_algorithm(cfg.algorithm)
        options = dict(train_cfg=cfg.get("train_cfg"), test_cfg=cfg.get("test_cfg"))
        model = read_model(cfg.model, "model")
        if task == "det":
            from mmdet.models import build_detector

            return build_detector(model, **options)
        from mmseg.models import build_segmentor

        return build_segmentor(model, **options)


def init_weights(model: torch.nn.Module, cfg: Any) -> None:
    """The model's first weights, as its config says: pretrained backbones, teachers, inheriting.

    Raises:
        ConfigError: a checkpoint is missing or cannot be downloaded; says where to put the file.
    """
    from freekd.models.download import where_to_put

    with building("The model's initial weights"):
        try:
            model.init_weights()
        except URLError as error:
            wanted = where_to_put(cfg.get("model") or cfg.get("algorithm"))
            options = " ".join(
                f"{key}.backbone.init_cfg=None {key}.pretrained=None" for key in _untrained(cfg)
            )
            raise ConfigError(
                f"Weights of a pretrained backbone could not be downloaded ({error.reason}). On a "
                "machine without network, fetch them elsewhere and put them here: "
                f"{'; '.join(wanted) or 'see the init_cfg of the models'}. Or start from random "
                f"weights: --cfg-options {options}"
            ) from error


def _untrained(cfg: Any) -> List[str]:
    """The keys of the models whose backbones start with pretrained weights, as written."""
    short, algorithm = cfg.get("spelled_out"), cfg.get("algorithm") or {}
    if not algorithm:
        return ["pair.student" if short == "pair" else "model"]
    distiller = algorithm.get("distiller")
    if not distiller:
        return ["prompt.teacher" if short == "prompt" else "algorithm.architecture.model"]
    keys = ["pair.student" if short == "pair" else "algorithm.architecture.model"]
    if distiller.get("teacher_checkpoint") is None:
        keys.append("pair.teacher" if short == "pair" else "algorithm.distiller.teacher")
    return keys
