"""What every public function says of a bad argument: its key, what was expected, what came."""

from typing import Any, Mapping, Sequence


class FeatureError(ValueError):
    """Feature maps that are not what the config says: their number, channels or kind."""


def check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError, naming the config key, unless ``value`` is one of ``choices``."""
    if value not in choices:
        expected = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{key}={value!r} is not known; expected one of {expected}")


def check_weight(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` is a finite number of at least 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value < 1e300:
        raise ValueError(f"{key} must be a finite number of at least 0, got {value!r}")


def check_integer(key: str, value: Any, most: int) -> None:
    """Raise ValueError, naming the key, unless ``value`` is an integer from 1 to ``most``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{key} must be an integer from 1 to {most}, got {value!r}")


def check_channels(key: str, value: Any) -> None:
    """Raise ValueError, naming the key, unless ``value`` is an integer or a list of integers."""
    for channels in value if isinstance(value, (list, tuple)) else [value]:
        check_integer(key, channels, 2**15)


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
