"""``pair = dict(...)``, the short form of stage 2, spelled out as an algorithm.

A pair joins two stock configs: it says who teaches whom. Its ``losses`` say what is taught, one
entry for each term, by the name of a method or of a registered loss. Everything else follows from
the two models.
"""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from mmcv import ConfigDict

from freekd import tasks
from freekd.checks import FeatureError
from freekd.config import fields
from freekd.config.errors import ConfigError
from freekd.config.losses import Entry, read_entry
from freekd.config.maps import Given, Look, Size, chosen, maps_of, named_maps, read_model_at
from freekd.losses import cards
from freekd.state_dict import MIN_SHARE


class Pair(NamedTuple):
    """Stage 2: the keys of ``pair``.

    Args:
        student, teacher: a stock config (``mmdet::retinanet/retinanet_r101_fpn_2x_coco.py``), the
            path of a config with a ``model``, or a dict with ``config`` and what to change in it.
            The teacher is None for methods that need none.
        teacher_checkpoint: path or address of the teacher's weights.
        losses: what is taught: a dict from a method's name (``docs/methods.md``), or from a label
            of your own with ``type``, to the options of the loss; None leaves an entry out. See
            :func:`freekd.config.losses.read_entry` for the keys that every entry may have.
        module: the tap of the entries that compare feature maps and name none themselves: a path
            in both models, or a dict with ``student`` and ``teacher``; None: as the method's card
            says.
        inherit: parts of the student that start with the teacher's weights.
        channels, student_channels, num_levels: of the maps at ``module``, where the models do not
            tell, see :mod:`freekd.config.maps`.
        resize: True where the student's maps are meant to be of another size.
        levels: which maps of the tapped modules are compared: numbers from 0, of the teacher's as a
            list, or as a dict with ``student``, ``teacher`` or both; None: all, one by one.
        min_share, teacher_autocast, class_map, cache_embeddings: see ``FreeKDDistiller``.
    """

    student: fields.Model
    teacher: Optional[fields.Model] = None
    teacher_checkpoint: Optional[str] = None
    losses: Optional[Mapping[str, Any]] = None
    module: Any = None
    inherit: Any = ()
    channels: Any = None
    student_channels: Any = None
    num_levels: Optional[int] = None
    resize: bool = False
    levels: Any = None
    min_share: float = MIN_SHARE
    teacher_autocast: Optional[str] = None
    class_map: Optional[str] = None
    cache_embeddings: Any = None


PAIR_CHECKS: Dict[str, fields.Check] = dict(
    student=fields.model,
    teacher=fields.optional(fields.model),
    teacher_checkpoint=fields.optional(fields.text),
    losses=fields.optional(fields.mapping),
    module=fields.optional(fields.taps),
    inherit=fields.parts,
    channels=fields.optional(fields.channels),
    student_channels=fields.optional(fields.channels),
    num_levels=fields.optional(fields.integer(1, fields.MOST_LEVELS)),
    resize=fields.flag,
    levels=fields.optional(fields.levels),
    min_share=fields.number(0, 1),
    teacher_autocast=fields.optional(fields.text),
    class_map=fields.optional(fields.text),
    cache_embeddings=fields.optional(fields.folder_with("dtype")),
)


def distill(pair: Pair, image: Optional[Size] = None) -> ConfigDict:
    """The algorithm that ``pair`` stands for.

    Args:
        pair: the keys of ``pair``.
        image: (height, width) of the images of the training; None: not known.

    Raises:
        ConfigError: a wrong entry of ``losses``, no entry at all, no such model or module, or
            channels that cannot be told.
    """
    teacher = None if pair.teacher is None else read_model_at(pair.teacher, "pair.teacher")
    student = read_model_at(pair.student, "pair.student")
    task, other = tasks.of_model(student), None if teacher is None else tasks.of_model(teacher)
    if task is not None and other is not None and task is not other:
        raise ConfigError(
            f"pair.teacher: expected a model for {task.noun}, as the student "
            f"({student.get('type')}) is one, got a {teacher.get('type')} for {other.noun}. Take a "
            "teacher of the student's task."
        )
    entries = [
        read_entry(label, options, f"pair.losses.{label}", task.name if task else None)
        for label, options in (pair.losses or {}).items()
        if options is not None
    ]
    if not entries:
        raise ConfigError(
            "pair.losses: expected at least one entry, such as losses=dict(freekd=dict("
            f"prompts=..., loss_weight=1.0)), found none. The methods are {', '.join(cards())}."
        )
    _check_used(pair, entries)
    check_teacher(pair, {entry.key: entry.takes_teacher for entry in entries})
    kept = pair.cache_embeddings
    seen: Dict[str, Dict[str, Any]] = {}  # to look at the same taps, models may have to be built
    return ConfigDict(
        type="FreeKDDistill",
        architecture=dict(type=(task or tasks.every()[0]).architecture, model=pair.student),
        inherit=pair.inherit or (),
        distiller=dict(
            type="FreeKDDistiller",
            teacher=pair.teacher,
            teacher_checkpoint=pair.teacher_checkpoint,
            components=[_component(pair, entry, seen, image) for entry in entries],
            min_share=pair.min_share,
            teacher_autocast=pair.teacher_autocast,
            class_map=pair.class_map,
            **({} if kept is None else {"cache_embeddings": kept}),
        ),
    )


# what only a teacher makes sense of
_OF_TEACHER = (
    "teacher_checkpoint", "inherit", "levels", "min_share", "teacher_autocast", "class_map",
    "cache_embeddings",
)  # fmt: skip


def check_teacher(pair: Pair, takes: Mapping[str, bool]) -> None:
    """A pair without a teacher has no entry, and says nothing, that needs one.

    Args:
        pair: the keys of ``pair``.
        takes: of each entry's key, whether it takes a teacher.

    Raises:
        ConfigError: names both keys.
    """
    if pair.teacher is not None:
        return
    need = [key for key, taken in takes.items() if taken]
    if need:
        raise ConfigError(
            f"pair.teacher: expected a model, as {', '.join(need)} "
            f"{'needs' if len(need) == 1 else 'need'} a teacher, got None. Give the teacher, or "
            f"remove the entr{'y' if len(need) == 1 else 'ies'} ({need[0]}=None)."
        )
    for name in _OF_TEACHER:
        value = getattr(pair, name)
        if value and value != Pair._field_defaults[name]:
            raise ConfigError(
                f"pair.{name}={fields.shown(value)}: pair.teacher is None, so there is no teacher "
                f"that it could be for. Remove the key (of a base config: pair.{name}="
                f"{Pair._field_defaults[name]}), or give a teacher."
            )


def _check_used(pair: Pair, entries: Sequence[Entry]) -> None:
    """What the pair says of its tap must reach an entry.

    Raises:
        ConfigError: a key of the pair that no entry uses.
    """
    one_tap = [entry for entry in entries if not getattr(entry.taken, "named_taps", False)]
    of_maps = [entry for entry in one_tap if entry.compares_maps]
    told = [entry for entry in one_tap if entry.takes_maps and entry.module is None]
    used = dict(
        module=[entry for entry in of_maps if entry.module is None],
        resize=[entry for entry in of_maps if entry.resize is None],
        levels=[entry for entry in of_maps if entry.levels is None],
        channels=[entry for entry in told if not entry.channels],
        student_channels=[entry for entry in told if not entry.student_channels],
        num_levels=[entry for entry in told if not entry.num_levels],
    )
    for name, by in used.items():
        if getattr(pair, name) and not by:
            raise ConfigError(
                f"pair.{name}={fields.shown(getattr(pair, name))}: it is for entries that compare "
                "feature maps and do not say by themselves what or how, and there is none among "
                f"{[entry.label for entry in entries]}. Remove the key (of a base config: "
                f"pair.{name}={Pair._field_defaults[name]})."
            )


def _component(
    pair: Pair, entry: Entry, seen: Dict[str, Dict[str, Any]], image: Optional[Size]
) -> Dict[str, Any]:
    """One entry of ``losses`` in the distiller's form; ``seen`` is what entries before it asked."""
    student, teacher = _taps(pair, entry)
    if entry.takes_teacher:
        sides: Dict[str, Any] = dict(student_module=student, teacher_module=teacher)
    else:
        sides = dict(student_module=student)
    named = isinstance(student, Mapping)
    _check_taps(entry, student)
    levels = _levels(pair, entry, named)
    told: Dict[str, Any] = {}
    if hasattr(entry.taken, "tell"):
        told = _asked(pair, entry, (student, teacher), image, levels)
    elif entry.takes_maps:
        given = (entry.module, entry.channels, entry.student_channels, entry.num_levels)
        asked = repr((student, teacher, given, levels))
        if asked not in seen:
            seen[asked] = _told(pair, entry, student, teacher, levels)
        told = seen[asked]
    component = dict(key=entry.key, **sides, losses=[entry.loss(told)])
    resize = entry.resize
    if resize is None and entry.compares_maps and not named:
        resize = pair.resize
    if resize is not None:
        component["resize"] = resize
    if levels:
        component["levels"] = levels
    if entry.align_module is not None:
        component["align_module"] = entry.align_module
    return component


def _levels(pair: Pair, entry: Entry, named: bool) -> Dict[str, Any]:
    """Which maps of each side the entry compares; empty: all."""
    given = entry.levels
    if given is None and entry.compares_maps and not named:
        given = pair.levels
    found = fields.sides_of_levels(given)
    if "teacher" in found and not entry.takes_teacher:
        raise ConfigError(
            f"{entry.key}.levels: {entry.kind} takes no teacher, got the teacher's maps "
            f"{fields.shown(found['teacher'])}. Write levels=dict(student=[...])."
        )
    return {who: list(numbers) for who, numbers in found.items()}


def _taps(pair: Pair, entry: Entry) -> Tuple[Any, Any]:
    """The taps in student and teacher: the entry's own, else the pair's, else the card's.

    The teacher's are None for an entry that takes none.
    """
    module = entry.module
    if module is None and entry.compares_maps and not getattr(entry.taken, "named_taps", False):
        module = pair.module
    if module is not None and not entry.takes_teacher:
        if fields.sides(module)[0] is not module:
            raise ConfigError(
                f"{entry.key}.module: {entry.kind} takes no teacher, so expected taps of the "
                f"student, got {fields.shown(module)}. Write module={module['student']!r}."
            )
        return module, None
    if module is not None:
        return fields.sides(module)
    if entry.default_module is None:
        raise ConfigError(
            f"{entry.key}.module: expected the path of the tapped module, or a dict with student "
            "and teacher, got none. Add it."
        )
    sides = []  # a card may give a word, such as logits, whose path differs by model
    for side, who in zip(fields.sides(entry.default_module), ("student", "teacher")):
        if who == "teacher" and not entry.takes_teacher:
            return sides[0], None
        model = read_model_at(getattr(pair, who), f"pair.{who}")
        task = tasks.of_model(model) or tasks.every()[0]
        named = isinstance(side, Mapping)
        try:
            paths = {name: task.tap(path, model) for name, path in side.items()} if named else {}
            sides.append(paths if named else task.tap(side, model))
        except tasks.TaskError as error:
            raise ConfigError(f"{entry.key}, pair.{who}: {error}") from error
    return sides[0], sides[1]


def _check_taps(entry: Entry, student: Any) -> None:
    """One path or named ones, as the loss takes them."""
    named = isinstance(student, Mapping)
    if named and not getattr(entry.taken, "named_taps", False):
        raise ConfigError(
            f"{entry.key}.module: {entry.kind} compares what one module gives, got the named taps "
            f"{dict(student)}. Give one path, or an entry for each."
        )
    if getattr(entry.taken, "named_taps", False) and not named:
        raise ConfigError(
            f"{entry.key}.module: {entry.kind} takes named taps, a dict from their names to paths, "
            f"got {student!r}. Write module=dict(name='path', ...)."
        )
    for option in ("resize", "levels", "align_module"):
        if named and getattr(entry, option):
            raise ConfigError(
                f"{entry.key}.{option}: {entry.kind} gets its named taps as they are, and aligns "
                "them by itself. Remove the key."
            )
    if entry.align_module and "align" in entry.parameters:
        raise ConfigError(
            f"{entry.key}.align_module: it is for losses that do not align their maps, and "
            f"{entry.kind} does, as its option align says. Remove the key."
        )


def _asked(
    pair: Pair,
    entry: Entry,
    taps: Tuple[Any, Any],
    image: Optional[Size],
    levels: Mapping[str, Any],
) -> Dict[str, Any]:
    """What a class that has ``tell`` reads off the two models, of what its entry does not say.

    Raises:
        ConfigError: they do not give what it needs.
    """
    looks = [
        Look(getattr(pair, who), who, tap, entry.key, image, levels.get(who))
        for who, tap in zip(("student", "teacher"), taps)
    ]
    try:
        told: Dict[str, Any] = entry.taken.tell(entry.options, *looks, entry.key)
    except FeatureError as error:
        raise ConfigError(str(error)) from error
    return told


def _told(
    pair: Pair, entry: Entry, student: Any, teacher: Any, chosen_levels: Mapping[str, Any]
) -> Dict[str, Any]:
    """Channels and numbers of the maps at an entry's taps, for the arguments of its loss."""
    own = entry.module is None  # at the pair's module: what the pair says of it counts
    channels = entry.channels or (pair.channels if own else None)
    of_student = entry.student_channels or (pair.student_channels if own else None)
    count = entry.num_levels or (pair.num_levels if own else None)
    key = "pair" if own and not (entry.channels or entry.num_levels) else entry.key
    if isinstance(student, Mapping):
        ours = named_maps(key, "student", pair.student, student)
        both: Dict[str, Any] = dict(
            student_channels={name: maps.channels for name, maps in ours.items()},
            num_levels={name: maps.num_levels for name, maps in ours.items()},
        )
        if teacher is not None:
            theirs = named_maps(key, "teacher", pair.teacher, teacher)
            both["teacher_channels"] = {name: maps.channels for name, maps in theirs.items()}
            both["num_levels"] = {name: maps.num_levels for name, maps in theirs.items()}
        return both
    where = f"{entry.key if entry.levels is not None else 'pair'}.levels"
    if teacher is None:
        all_ours = maps_of(key, "student", pair.student, student, Given(of_student, count))
        ours, levels = chosen(all_ours, chosen_levels.get("student"), f"{where} (student)")
        return dict(student_channels=ours, num_levels=levels)
    all_theirs = maps_of(key, "teacher", pair.teacher, teacher, Given(channels, count))
    known = None if chosen_levels else all_theirs[1]  # a student's own number, where it may differ
    given = Given(of_student, known, "student_channels")
    all_ours = maps_of(key, "student", pair.student, student, given)
    theirs, levels = chosen(
        all_theirs, chosen_levels.get("teacher"), f"{where} (teacher, {teacher!r})"
    )
    ours, others = chosen(all_ours, chosen_levels.get("student"), f"{where} (student, {student!r})")
    if levels != others:
        lists = [
            list(chosen_levels.get(who) or range(maps[1]))
            for who, maps in (("student", all_ours), ("teacher", all_theirs))
        ]
        raise ConfigError(
            f"{where}: the student's maps {lists[0]} and the teacher's {lists[1]} are compared one "
            f"by one, so expected as many on both sides, got {others} and {levels}. Correct the "
            "lists."
        )
    return dict(student_channels=ours, teacher_channels=theirs, num_levels=levels)
