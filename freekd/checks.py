"""What every public function says of a bad argument: its key, what was expected, what came."""

from typing import Any, Iterable, Mapping, Sequence


class FeatureError(ValueError):
    """Feature maps that are not what the config says: their number, channels or kind."""


def check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError, naming the config key, unless ``value`` is one of ``choices``."""
    if value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{key}={value!r} is not known; expected one of {expected}")


def check_weight(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` is a finite number of at least 0."""
    if not _number(value) or not 0 <= value < 1e300:
        raise ValueError(f"{key} must be a finite number of at least 0, got {value!r}")


def check_temperature(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless a softmax in float32 can be divided by ``value``."""
    if not _number(value) or not 1e-3 <= value < 1e6:
        raise ValueError(f"{key} must be a number of at least 0.001 (below 1e6), got {value!r}")


def check_share(key: str, value: Any, why: str, whole: bool = True) -> None:
    """Raise ValueError, naming the key, unless ``value`` is a number from 0 to 1.

    Args:
        key, value: what was given.
        why: words for the message: what the share is of.
        whole: whether 1 itself is one.
    """
    if not _number(value) or not 0 <= value <= 1 or (value == 1 and not whole):
        most = "to 1" if whole else "up to, but below, 1"
        raise ValueError(f"{key} must be a number from 0 {most}, {why}, got {value!r}")


def check_flag(key: str, value: object) -> None:
    """Raise ValueError, naming the key, unless ``value`` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be True or False, got {value!r}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_integer(key: str, value: Any, most: int) -> None:
    """Raise ValueError, naming the key, unless ``value`` is an integer from 1 to ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{key} must be an integer from 1 to {most}, got {value!r}")


def check_channels(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` is an integer or a list of integers."""
    for channels in value if isinstance(value, (list, tuple)) else [value]:
        check_integer(key, channels, 2**15)


def check_named_taps(
    key: str,
    given: Iterable[str],
    wanted: Sequence[str],
    known: Sequence[str] = (),
    instead: str = "",
) -> None:
    """Raise FeatureError, naming the key, unless the taps of a loss are there, and no unknown ones.

    Args:
        key: of the taps in the config.
        given: names of those that there are.
        wanted: of those that the loss compares.
        known: of others that may be there.
        instead: words for the message: what to do other than to add a missing one.
    """
    names = sorted(given)
    lacking = [name for name in wanted if name not in names]
    unknown = [name for name in names if name not in (*wanted, *known)]
    remedies = [f"Add {', '.join(lacking)}{instead}"] if lacking else []
    if unknown:
        remedies.append(f"Remove {', '.join(unknown)}, or correct the name")
    if remedies:
        raise FeatureError(
            f"{key}: expected the taps {', '.join(wanted)}, got {', '.join(names) or 'none'}. "
            + ". ".join(remedies)
        )


def check_align_module(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` is what MMRazor makes a layer of."""
    given = value if isinstance(value, Mapping) else {}
    channels = ("student_channels", "teacher_channels")
    if set(given) != {"type", *channels} or given["type"] not in ("conv2d", "linear"):
        raise ValueError(
            f"{key} must be dict(type='conv2d' or 'linear', student_channels=<integer>, "
            f"teacher_channels=<integer>), got {value!r}"
        )
    for name in channels:
        check_integer(f"{key}.{name}", given[name], 2**15)
