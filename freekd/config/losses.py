"""The entries of ``pair.losses``: each against its method's card and what its class takes."""

import difflib
import inspect
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from freekd.checks import check_align_module
from freekd.config import fields
from freekd.config.errors import ConfigError
from freekd.losses import Card, card_of_class, cards


def _time(value: Any, key: str) -> None:
    """``start``, ``stop`` or ``warmup``."""
    from freekd.distill.schedule import read_time

    fields.told_by(read_time)(value, key)


# what every entry may say, beside the options of its loss
ROUTING: Dict[str, fields.Check] = dict(
    type=fields.text,
    module=fields.optional(fields.taps),
    resize=fields.optional(fields.flag),
    levels=fields.optional(fields.levels),
    align_module=fields.optional(fields.told_by(lambda value, key: check_align_module(key, value))),
    start=_time,
    stop=_time,
    warmup=_time,
)
OF_MAPS: Dict[str, fields.Check] = dict(
    channels=fields.optional(fields.channels),
    student_channels=fields.optional(fields.channels),
    num_levels=fields.optional(fields.integer(1, fields.MOST_LEVELS)),
)


def check_names(given: Mapping[Any, Any], known: Sequence[str], key: str, whose: str = "") -> None:
    """Raise ConfigError, with the nearest names, unless every key is known."""
    unknown = [name for name in given if name not in known]
    if unknown:
        near = {n: difflib.get_close_matches(str(n), known, n=1) for n in unknown}
        hint = ", ".join(f"{name} -> {hit[0]}" for name, hit in near.items() if hit)
        raise ConfigError(
            f"{key}: {whose}unknown keys {unknown}; known are {list(known)}."
            + (f" Did you mean {hint}?" if hint else "")
        )


class Entry(NamedTuple):
    """An entry of ``pair.losses``, read and checked; None: left to the pair or the models."""

    key: str  # pair.losses.<label>
    label: str
    kind: str  # the registered name of the class
    options: Dict[str, Any]  # arguments of the class
    taken: Any  # the class
    compares_maps: bool  # pair.module is its tap
    default_module: Any
    module: Any = None
    resize: Optional[bool] = None
    levels: Any = None
    align_module: Optional[Mapping[str, Any]] = None
    channels: Any = None
    student_channels: Any = None
    num_levels: Optional[int] = None
    start: Any = None
    stop: Any = None
    warmup: Any = None

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The arguments of the class."""
        return inspect.signature(self.taken).parameters

    @property
    def takes_maps(self) -> bool:
        """Whether the loss wants to know channels and number of the maps."""
        return bool({"num_levels", "student_channels", "teacher_channels"} & {*self.parameters})

    @property
    def takes_teacher(self) -> bool:
        """Whether the loss compares student and teacher."""
        return bool(getattr(self.taken, "takes_teacher", True))

    def loss(self, told: Mapping[str, Any]) -> Dict[str, Any]:
        """The config of the loss, with what is ``told`` of the maps where it takes that.

        Raises:
            ConfigError: an argument is missing.
        """
        told = {k: v for k, v in told.items() if k in self.parameters}
        unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        lacking = [
            name
            for name, parameter in self.parameters.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind not in unnamed
            and name not in told
            and name not in self.options
        ]
        if lacking:
            raise ConfigError(f"{self.key}: the options {lacking} are missing. Add them.")
        times = dict(start=self.start, stop=self.stop, warmup=self.warmup)
        times = {name: time for name, time in times.items() if time is not None}
        return {"type": self.kind, "name": f"loss_{self.label}", **told, **self.options, **times}


def read_entry(label: str, options: Any, key: str, task: Optional[str]) -> Entry:
    """One entry of ``pair.losses``.

    Args:
        label: the method's name, or, beside ``type``, a name of your own: the log and the doctor
            call the term so.
        options: of its loss, and beside them: ``type``, a method's name or a class registered with
            MMRazor or, with the scope before it, with mmdet (``mmdet.SmoothL1Loss``); ``module``,
            the tapped module: a path in both models, a dict with ``student`` and ``teacher``, or a
            dict of named taps; ``resize``, see ``FreeKDDistiller``; ``levels``, as in
            ``pair``; ``align_module``, MMRazor's, for classes of others; ``channels``,
            ``student_channels`` and ``num_levels`` of the maps, where the models do not tell;
            ``start``, ``stop`` and ``warmup``, when the term acts, see
            :mod:`freekd.distill.schedule`.
        key: the config key of the entry.
        task: of the student, None where it cannot be told.

    Raises:
        ConfigError: no such method or class, an unknown option (the nearest is named), a value of
            another kind, or a method that is not made for this task.
    """
    card = card_of_entry(label, options, key)
    kind, taken = _class_of(card, options, key)
    parameters = inspect.signature(taken).parameters
    if card is not None and task is not None and task not in card.tasks:
        raise ConfigError(
            f"{key}: {card.title} is made for the tasks {', '.join(card.tasks)}; the student of "
            f"this pair does {task}. Remove the entry ({key}=None)."
        )
    _check_times(taken, options, key)
    routing = [name for name in ROUTING if name in options]
    routing += [name for name in _of_maps(parameters) if name in options]
    own = {k: v for k, v in options.items() if k not in routing}
    _check_arguments(own, taken, kind, key)
    defaults = {**card.defaults, **card.of_task.get(task or "", {})} if card else {}
    return Entry(
        key=key,
        label=label,
        kind=kind,
        options={**defaults, **own},
        taken=taken,
        compares_maps=card.maps if card else True,
        default_module=card.taps.get(task or "") if card else None,
        **{name: options[name] for name in routing if name != "type"},
    )


def card_of_entry(label: str, options: Any, key: str) -> Optional[Card]:
    """The method's card; None for a class of others.

    Raises:
        ConfigError: what stands for the entry is none, or there is no such method.
    """
    if not isinstance(label, str) or not label.isidentifier():
        raise fields.refuse("pair.losses", "labels that are names, such as 'freekd'", label)
    fields.mapping(options, key)
    for name, check in {**ROUTING, **OF_MAPS}.items():
        if name in options:
            check(options[name], f"{key}.{name}")
    known, kind = cards(), options.get("type", label)
    card = known.get(kind) or card_of_class(kind)
    if label in known and card is not known[label] and kind not in known[label].types:
        raise ConfigError(
            f"{key}.type={kind!r}: {label!r} is the name of a method, {known[label].title}, which "
            f"the log would then show for another. Give the entry a name of its own: "
            f"pair.losses.my_{label}=dict(type={kind!r}, ...)."
        )
    if card is not None or "type" in options:
        return card or (known[label] if label in known else None)
    near = difflib.get_close_matches(label, known, n=3, cutoff=0.4)
    raise ConfigError(
        f"{key}: there is no method {label!r}; nearest: {', '.join(near) or 'none'}; known are "
        f"{', '.join(known)}. Correct the name, or give the type of a registered loss: "
        f"{label}=dict(type='ChannelWiseDivergence', ...)."
    )


def _of_maps(parameters: Mapping[str, Any]) -> Sequence[str]:
    """The keys of the maps, which a loss has that is told their number."""
    return [*OF_MAPS] if "num_levels" in parameters else []


def _check_times(taken: Any, options: Mapping[str, Any], key: str) -> None:
    from freekd.distill.schedule import Schedule, check_not_own

    fields.told_by(lambda value, key: check_not_own(taken, value, key))(options, key)
    fields.told_by(Schedule.read)(options, key)


def _check_arguments(own: Mapping[str, Any], taken: Any, kind: str, key: str) -> None:
    parameters = inspect.signature(taken).parameters
    if hasattr(taken, "check_options"):  # what the class itself knows of them
        fields.told_by(taken.check_options)(own, key)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        known = [*dict.fromkeys([*parameters, *ROUTING, *_of_maps(parameters)])]
        check_names(own, known, key, f"{kind} has ")
    checks_itself = hasattr(taken, "check_options")
    for option, value in own.items():
        if option in parameters:
            check = fields.argument(parameters[option], divisors=not checks_itself)
            check(value, f"{key}.{option}")


def check_methods(losses: Any) -> None:
    """Check the entries that are methods of ours, before anything but their names is known.

    Args:
        losses: ``pair.losses`` of a config. A class of others is passed over: it may be registered
            by a module that the training imports first.

    Raises:
        ConfigError: as :func:`read_entry`.
    """
    if losses is None:
        return
    fields.mapping(losses, "pair.losses")
    for label, options in losses.items():
        key = f"pair.losses.{label}"
        if options is None:
            continue
        card = card_of_entry(label, options, key)
        if card is not None and card.module is not None and options.get("type") not in card.also:
            read_entry(label, options, key, None)


def _class_of(card: Optional[Card], options: Mapping[str, Any], key: str) -> Tuple[str, Any]:
    """The registered name and the class of an entry; a method's own class is known by its card."""
    if card is None or options.get("type") in card.also:
        return options["type"], _registered(options["type"], key)
    return card.type, card.module or _registered(card.type, key)


def _registered(kind: str, key: str) -> Any:
    """The registered class."""
    from freekd import compat

    compat.apply()
    from mmrazor.models.builder import LOSSES

    import freekd.models  # noqa: F401  (registers the losses)
    from freekd.config.explain import building, nearest_types

    with building(f"{key}.type={kind!r}"):
        found = LOSSES.get(kind)
    if found is None:
        near = nearest_types(LOSSES, kind)
        near += difflib.get_close_matches(kind, cards(), n=2)
        raise ConfigError(
            f"{key}.type={kind!r}: no such method, and no such class is registered; nearest: "
            f"{', '.join(near) or 'none'}. Correct it, or name the module of a class of your own "
            "in custom_imports."
        )
    return found
