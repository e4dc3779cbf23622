"""Short configs: ``pair = dict(...)`` and ``prompt = dict(...)``, spelled out as algorithms.

A pair joins two stock configs: it names teacher, student, the tapped module and the weights of the
terms; everything else follows from the two models. ``tools/print_config.py`` shows what became of
it. The keys are those of :class:`Pair` and :class:`Prompt` below; anything else is an error.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from mmcv import ConfigDict

from freekd.config import fields
from freekd.config.errors import ConfigError
from freekd.config.losses import check_names, loss_config, takes_maps

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
        channels, student_channels, num_levels: of the tapped maps, where the models do not tell,
            see :mod:`freekd.config.maps`.
        resize: True where the student's maps are meant to be of another size.
        min_share, teacher_autocast, class_map: see ``FreeKDDistiller``.
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
    class_map: Optional[str] = None


class Prompt(NamedTuple):
    """Stage 1: the keys of ``prompt``; those not here are as in :class:`Pair`.

    Args:
        num_prompts, wavelet, dwt_levels, dwt_mode, granularity, gate: as in
            :class:`freekd.prompts.spec.PromptSpec`.
        dissimilarity, dissimilarity_weight, class_map: as in ``FrequencyPromptFinetune``.
        without_losses: heads whose loss is left out of the teacher's own, see
            ``FrequencyPromptTeacher``.
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
    class_map: Optional[str] = None
    without_losses: Sequence[str] = ()


# what each key may be; those of Prompt that are not here are as in Pair
PAIR_CHECKS: Dict[str, fields.Check] = dict(
    teacher=fields.model,
    student=fields.model,
    teacher_checkpoint=fields.optional(fields.text),
    module=fields.both,
    prompts=fields.optional(fields.text),
    freekd=fields.optional(fields.mapping),
    mse=fields.optional(fields.mapping),
    regression=fields.dicts,
    inherit=fields.parts,
    components=fields.dicts,
    channels=fields.optional(fields.channels),
    student_channels=fields.optional(fields.channels),
    num_levels=fields.optional(fields.integer(1, fields.MOST_LEVELS)),
    resize=fields.flag,
    min_share=fields.number(0, 1),
    teacher_autocast=fields.optional(fields.text),
    class_map=fields.optional(fields.text),
)
PROMPT_CHECKS: Dict[str, fields.Check] = dict(
    PAIR_CHECKS,
    module=fields.text,
    num_prompts=fields.integer(1, 1024),
    wavelet=fields.text,
    dwt_levels=fields.integer(1, 16),
    dwt_mode=fields.text,
    granularity=fields.text,
    gate=fields.optional(fields.text),
    dissimilarity=fields.text,
    dissimilarity_weight=fields.number(0),
    without_losses=fields.parts,
)


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
        cfg.algorithm = _distill(_read(Pair, PAIR_CHECKS, cfg.pair, "pair"))
    elif given == ["prompt"]:
        cfg.algorithm = _finetune(_read(Prompt, PROMPT_CHECKS, cfg.prompt, "prompt"))
    else:
        return
    cfg.pop(given[0])
    cfg.spelled_out = given[0]


def open_reference(cfg: Any, key: str) -> None:
    """Make a model that is named by a string a dict, so that options can change parts of it."""
    *holders, name = key.split(".")
    node = cfg
    for holder in holders:
        node = node.get(holder) if isinstance(node.get(holder), Mapping) else {}
    if isinstance(node.get(name), str):
        node[name] = dict(config=node[name])


def _read(kind: Any, checks: Mapping[str, fields.Check], given: Any, key: str) -> Any:
    fields.mapping(given, key)
    known = kind._fields
    check_names(given, known, key)
    needed = [name for name in known if name not in kind._field_defaults]
    missing = [name for name in needed if given.get(name) is None]
    if missing:
        raise ConfigError(f"{key}: the keys {missing} are missing. Add them.")
    for name, value in given.items():
        checks[name](value, f"{key}.{name}")
        fields.plain(value, f"{key}.{name}")
    return kind(**given)


def _model(reference: Model, key: str) -> ConfigDict:
    from freekd.config.explain import building
    from freekd.zoo.stock import read_model

    with building(key):
        return read_model(reference, key)


# --------------------------------------------------------------------------- stage 1
def _finetune(prompt: Prompt) -> ConfigDict:
    given = _Given(prompt.channels, prompt.num_levels)
    channels, num_levels = _maps("prompt", "teacher", prompt.teacher, prompt.module, given)
    names = (
        "num_prompts wavelet dwt_levels dwt_mode granularity gate min_share module without_losses"
    ).split()
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
        class_map=prompt.class_map,
    )


# --------------------------------------------------------------------------- stage 2
def _distill(pair: Pair) -> ConfigDict:
    _model(pair.teacher, "pair.teacher")
    student = _model(pair.student, "pair.student")
    taps = _both(pair.module)
    losses = _feature_losses(pair, taps)
    components: List[Dict[str, Any]] = []
    if losses:
        components.append(
            dict(student_module=taps[0], teacher_module=taps[1], losses=losses, resize=pair.resize)
        )
    components += [_regression(term, i) for i, term in enumerate(pair.regression or ())]
    components += [_component(one, i) for i, one in enumerate(pair.components or ())]
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
            class_map=pair.class_map,
        ),
    )


def _feature_losses(pair: Pair, taps: Tuple[str, str]) -> List[Dict[str, Any]]:
    both = dict(freekd=("FreeKDLoss", pair.freekd), mse=("FeatureMSELoss", pair.mse))
    terms = {name: term for name, term in both.items() if term[1] is not None}
    maps: Dict[str, Any] = {}
    if any(takes_maps(kind, options, f"pair.{name}") for name, (kind, options) in terms.items()):
        given = _Given(pair.channels, pair.num_levels)
        channels, num_levels = _maps("pair", "teacher", pair.teacher, taps[1], given)
        given = _Given(pair.student_channels, num_levels, "student_channels")
        of_student, _ = _maps("pair", "student", pair.student, taps[0], given)
        maps = dict(student_channels=of_student, teacher_channels=channels, num_levels=num_levels)
    losses = []
    for name, (kind, options) in terms.items():
        told = {**maps, "prompts": pair.prompts} if name == "freekd" else maps
        losses.append(loss_config(kind, f"loss_{name}", options, told, f"pair.{name}"))
    return losses


def _regression(term: Mapping[str, Any], index: int) -> Dict[str, Any]:
    key = f"pair.regression[{index}]"
    options = dict(term)
    if "module" in options:
        where, module = f"{key}.module", options.pop("module")
    else:
        where = key
        module = {k: options.pop(k) for k in ("student", "teacher") if k in options}
    fields.both(module, where)
    taps = _both(module)
    name = "loss_regression" + (f"_{index}" if index else "")
    loss = loss_config("mmdet.SmoothL1Loss", name, options, {}, key)
    return dict(student_module=taps[0], teacher_module=taps[1], losses=[loss])


def _component(component: Mapping[str, Any], index: int) -> Dict[str, Any]:
    """A component in MMRazor's form; what the distiller checks itself is left to it."""
    key = f"pair.components[{index}]"
    for name in ("student_module", "teacher_module"):
        if name in component:
            fields.text(component[name], f"{key}.{name}")
    fields.flag(component.get("resize", False), f"{key}.resize")
    fields.dicts(component.get("losses"), f"{key}.losses")
    for i, loss in enumerate(component.get("losses") or ()):
        fields.text(loss.get("type"), f"{key}.losses[{i}].type")
        loss_config(loss["type"], "loss", loss, {}, f"{key}.losses[{i}]")
    return dict(component)


def _both(module: Any) -> Tuple[str, str]:
    """The module paths of student and teacher."""
    return (module, module) if isinstance(module, str) else (module["student"], module["teacher"])


# --------------------------------------------------------------------------- what the models say
class _Given(NamedTuple):
    """What the config says of the maps, and the key of their channels."""

    channels: Any
    num_levels: Optional[int]
    name: str = "channels"


def _maps(short: str, who: str, reference: Model, module: str, given: _Given) -> Tuple[Any, int]:
    """Channels and number of the maps that ``module`` gives: as given, else as the model tells."""
    from freekd.config.maps import tell_maps

    model = _model(reference, f"{short}.{who}")
    channels, num_levels = given.channels, given.num_levels
    if num_levels is None and isinstance(channels, (list, tuple)):
        num_levels = len(channels)
    if channels is None or num_levels is None:
        try:
            told = tell_maps(model, module, f"{short}.module ({who})", reference)
        except ConfigError as error:
            remedy = f" Or give {short}.{given.name} (a number, or one per level) and "
            remedy += f"{short}.num_levels."
            raise ConfigError(
                f"{error}{remedy}" if "blank image" in str(error) else error
            ) from None
        channels = told.channels if channels is None else channels
        num_levels = told.num_levels if num_levels is None else num_levels
    return channels, num_levels
