"""Short configs: ``pair = dict(...)`` and ``prompt = dict(...)``, spelled out as algorithms.

A pair joins two stock configs: it names teacher, student, the tapped module and the weights of the
terms; everything else follows from the two models. ``tools/print_config.py`` shows what became of
it. The keys are those of :class:`Pair` and :class:`Prompt` below; anything else is an error.
"""

import difflib
import inspect
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from mmcv import ConfigDict

from freekd.engine.errors import ConfigError

Model = Union[str, Mapping[str, Any]]


class Pair(NamedTuple):
    """Stage 2: the keys of ``pair``.

    Args:
        teacher, student: a stock config (``mmdet::retinanet/retinanet_r101_fpn_2x_coco.py``), the
            path of a config with a ``model``, or a dict with ``config`` and what to change in it.
        teacher_checkpoint: path or address of the teacher's weights.
        module: the tapped module of both; or a dict with ``student`` and ``teacher``.
        prompts: the prompt file that stage 1 wrote; None: plain frequency distillation (Eq. 3).
        freekd: options of ``FreeKDLoss``, at least ``loss_weight``; None leaves the term out.
        mse: options of ``FeatureMSELoss`` on the same maps, or None.
        regression: imitation of the teacher's box regression: a list of dicts with ``module``
            (or ``student`` and ``teacher``), ``loss_weight`` and options of ``SmoothL1Loss``.
        inherit: parts of the student that start with the teacher's weights.
        components: further components, in MMRazor's own form.
        channels, student_channels, num_levels: of the tapped maps, where they cannot be told from
            the models' configs.
        resize: True where the student's maps are meant to be of another size.
        min_share, teacher_autocast: see ``FreeKDDistiller``.
    """

    teacher: Model
    student: Model
    teacher_checkpoint: Optional[str] = None
    module: Union[str, Mapping[str, str]] = "neck"
    prompts: Optional[str] = None
    freekd: Optional[Mapping[str, Any]] = None
    mse: Optional[Mapping[str, Any]] = None
    regression: Sequence[Mapping[str, Any]] = ()
    inherit: Any = ()
    components: Sequence[Mapping[str, Any]] = ()
    channels: Any = None
    student_channels: Any = None
    num_levels: Optional[int] = None
    resize: bool = False
    min_share: float = 0.95
    teacher_autocast: Optional[str] = None


class Prompt(NamedTuple):
    """Stage 1: the keys of ``prompt``; those not here are as in :class:`Pair`.

    Args:
        num_prompts, wavelet, dwt_levels, dwt_mode, granularity, gate: as in
            :class:`freekd.prompt.PromptSpec`.
        dissimilarity, dissimilarity_weight: as in ``FrequencyPromptFinetune``.
    """

    teacher: Model
    teacher_checkpoint: Optional[str] = None
    module: str = "neck"
    num_prompts: int = 2
    wavelet: str = "haar"
    dwt_levels: int = 3
    dwt_mode: str = "zero"
    granularity: str = "band"
    gate: Optional[str] = "position"
    dissimilarity: str = "jaccard"
    dissimilarity_weight: float = 1.0
    channels: Any = None
    num_levels: Optional[int] = None
    min_share: float = 0.95


def expand(cfg: Any) -> None:
    """Set ``cfg.algorithm`` from ``cfg.pair`` or ``cfg.prompt``, if it has one of them.

    The short form is then gone, so that what a run writes down can be read again;
    ``cfg.spelled_out`` says which it was.

    Raises:
        ConfigError: unknown or missing keys, no such config, or channels that cannot be told.
    """
    cfg.pop("spelled_out", None)
    given = [key for key in ("pair", "prompt", "algorithm") if cfg.get(key) is not None]
    if len(given) > 1:
        raise ConfigError(
            f"Expected one of the config keys pair, prompt and algorithm, found {given}. Remove "
            f"one, with {given[-1]}=None if it comes from _base_."
        )
    if given == ["pair"]:
        cfg.algorithm = _distill(_read(Pair, cfg.pair, "pair"))
    elif given == ["prompt"]:
        cfg.algorithm = _finetune(_read(Prompt, cfg.prompt, "prompt"))
    else:
        return
    cfg.pop(given[0])
    cfg.spelled_out = given[0]


def open_reference(cfg: Any, key: str) -> None:
    """Make a model that is named by a string a dict, so that options can change parts of it."""
    *holders, name = key.split(".")
    node = cfg
    for holder in holders:
        node = node.get(holder) or {}
    if isinstance(node.get(name), str):
        node[name] = dict(config=node[name])


def _read(kind: Any, given: Any, key: str) -> Any:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{key}: expected a dict, got {given!r}.")
    known = kind._fields
    unknown = [name for name in given if name not in known]
    if unknown:
        near = {name: difflib.get_close_matches(name, known, n=1) for name in unknown}
        hint = ", ".join(f"{name} -> {hit[0]}" for name, hit in near.items() if hit)
        raise ConfigError(
            f"{key}: unknown keys {unknown}; known are {list(known)}."
            + (f" Did you mean {hint}?" if hint else "")
        )
    needed = [name for name in known if name not in kind._field_defaults]
    missing = [name for name in needed if given.get(name) is None]
    if missing:
        raise ConfigError(f"{key}: the keys {missing} are missing. Add them.")
    return kind(**given)


def _model(reference: Model, key: str) -> ConfigDict:
    from freekd.engine.setup import building
    from freekd.models.stock import read_model

    with building(key):
        return read_model(reference, key)


# --------------------------------------------------------------------------- stage 1
def _finetune(prompt: Prompt) -> ConfigDict:
    model = _model(prompt.teacher, "prompt.teacher")
    channels, num_levels = _maps(model, prompt.module, prompt.channels, prompt.num_levels, "prompt")
    names = "num_prompts wavelet dwt_levels dwt_mode granularity gate min_share module".split()
    return ConfigDict(
        type="FrequencyPromptFinetune",
        architecture=dict(
            type="FrequencyPromptTeacher",
            model=prompt.teacher,
            checkpoint=prompt.teacher_checkpoint,
            channels=channels,
            num_levels=num_levels,
            **{name: getattr(prompt, name) for name in names},
        ),
        dissimilarity=prompt.dissimilarity,
        dissimilarity_weight=prompt.dissimilarity_weight,
    )


# --------------------------------------------------------------------------- stage 2
def _distill(pair: Pair) -> ConfigDict:
    teacher, student = _model(pair.teacher, "pair.teacher"), _model(pair.student, "pair.student")
    taps = _both(pair.module, "pair.module")
    losses = _feature_losses(pair, teacher, student, taps)
    components: List[Dict[str, Any]] = []
    if losses:
        components.append(
            dict(student_module=taps[0], teacher_module=taps[1], losses=losses, resize=pair.resize)
        )
    if isinstance(pair.regression, Mapping):
        raise ConfigError("pair.regression: expected a list of dicts, got a dict. Put it into [ ].")
    components += [_regression(term, i) for i, term in enumerate(pair.regression or ())]
    components += [dict(component) for component in pair.components or ()]
    if not components:
        raise ConfigError(
            "pair: no distillation term. Give freekd=dict(loss_weight=...), mse, regression or "
            "components."
        )
    segments = str(student.get("type")).startswith("mmseg.")
    return ConfigDict(
        type="FreeKDDistill",
        architecture=dict(
            type="MMSegArchitecture" if segments else "MMDetArchitecture", model=pair.student
        ),
        inherit=pair.inherit or (),
        distiller=dict(
            type="FreeKDDistiller",
            teacher=pair.teacher,
            teacher_checkpoint=pair.teacher_checkpoint,
            components=components,
            min_share=pair.min_share,
            teacher_autocast=pair.teacher_autocast,
        ),
    )


def _feature_losses(
    pair: Pair, teacher: ConfigDict, student: ConfigDict, taps: Tuple[str, str]
) -> List[Dict[str, Any]]:
    from freekd.models import FeatureMSELoss, FreeKDLoss

    if pair.freekd is None and pair.mse is None:
        return []
    channels, num_levels = _maps(teacher, taps[1], pair.channels, pair.num_levels, "pair")
    student_channels, _ = _maps(
        student, taps[0], pair.student_channels, num_levels, "pair", "student_channels"
    )
    maps = dict(student_channels=student_channels, teacher_channels=channels, num_levels=num_levels)
    losses = []
    if pair.freekd is not None:
        _check_options(FreeKDLoss, pair.freekd, "pair.freekd")
        options = {**maps, "prompts": pair.prompts, **pair.freekd}
        losses.append(dict(type="FreeKDLoss", name="loss_freekd", **options))
    if pair.mse is not None:
        _check_options(FeatureMSELoss, pair.mse, "pair.mse")
        losses.append(dict(type="FeatureMSELoss", name="loss_mse", **{**maps, **pair.mse}))
    return losses


def _regression(term: Mapping[str, Any], index: int) -> Dict[str, Any]:
    from mmdet.models.losses import SmoothL1Loss

    key = f"pair.regression[{index}]"
    if not isinstance(term, Mapping):
        raise ConfigError(f"{key}: expected a dict, got {term!r}.")
    options = dict(term)
    if "module" in options:
        taps = _both(options.pop("module"), f"{key}.module")
    else:
        taps = _both({k: options.pop(k) for k in ("student", "teacher") if k in options}, key)
    _check_options(SmoothL1Loss, options, key)
    name = "loss_regression" + (f"_{index}" if index else "")
    return dict(
        student_module=taps[0],
        teacher_module=taps[1],
        losses=[{"type": "mmdet.SmoothL1Loss", "name": name, **options}],
    )


def _check_options(loss: Any, options: Any, key: str) -> None:
    """Every option must be an argument of the loss (``type`` replaces it, and its arguments)."""
    if not isinstance(options, Mapping):
        raise ConfigError(f"{key}: expected a dict, got {options!r}.")
    if "type" in options:
        return
    known = [*inspect.signature(loss).parameters, "name"]
    unknown = [name for name in options if name not in known]
    if unknown:
        near = [hit for name in unknown for hit in difflib.get_close_matches(name, known, n=1)]
        raise ConfigError(
            f"{key}: {loss.__name__} has no options {unknown}"
            + (f"; did you mean {', '.join(near)}?" if near else "")
            + f" It knows {known}."
        )


def _both(module: Any, key: str) -> Tuple[str, str]:
    """A module path for student and teacher."""
    if isinstance(module, str):
        return module, module
    if isinstance(module, Mapping) and set(module) == {"student", "teacher"}:
        return module["student"], module["teacher"]
    raise ConfigError(
        f"{key}: expected a module path, or a dict with 'student' and 'teacher', got {module!r}."
    )


# --------------------------------------------------------------------------- what the models say
def _maps(
    model: ConfigDict,
    module: str,
    channels: Any,
    num_levels: Optional[int],
    key: str,
    name: str = "channels",
) -> Tuple[Any, int]:
    """Channels and number of the maps that ``module`` gives, told from the model's config."""
    told = _told(model, module)
    channels = told[0] if channels is None else channels
    num_levels = told[1] if num_levels is None else num_levels
    if channels is None or num_levels is None:
        _check_module(model, module, key)
        raise ConfigError(
            f"{key}: the channels and the number of maps of module {module!r} cannot be told from "
            f"the config of {model.get('type')}. Give {key}.{name} (a number, or one per level) "
            f"and {key}.num_levels."
        )
    return channels, num_levels


def _check_module(model: ConfigDict, module: str, key: str) -> None:
    """Is it only misspelt? The error then names the nearest."""
    from mmrazor.models.builder import MODELS

    from freekd.engine.setup import building
    from freekd.models.utils import find_module, without_pretrained

    with building(key):
        find_module(MODELS.build(without_pretrained(model)), module, f"{key}.module")


def _told(model: ConfigDict, module: str) -> Tuple[Any, Optional[int]]:
    neck = model.get("neck")
    necks = neck if isinstance(neck, (list, tuple)) else [neck]
    head = model.get("decode_head") or {}
    if module == "neck" and neck is not None:
        widths = [part["out_channels"] for part in necks if "out_channels" in part]
        counts = [part["num_outs"] for part in necks if "num_outs" in part]
        return (widths or [None])[-1], (counts or [None])[-1]
    if module.endswith("transformer.encoder"):  # a level of the sequence per map of the neck
        return _told(model, "neck")
    if module == "decode_head.conv_seg" and isinstance(head, Mapping):
        return head.get("num_classes"), 1
    return None, None
