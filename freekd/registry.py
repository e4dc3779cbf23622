"""Components by their config form: ``dict(type='haar', levels=3)``, or ``'haar'`` for short.

A registry holds the classes of one kind: transforms (:mod:`freekd.frequency.transform`) or gates
(:mod:`freekd.gates`). Their options are the arguments that have a default; those without one are
the house's to give (a gate's channels). A class of your own joins with a decorator, in a module
that the config names in ``custom_imports``:

>>> from freekd.gates import GATES, Gate
>>> @GATES.register("constant")
... class ConstantGate(Gate):
...     def __init__(self, channels, value=1.0):
...         super().__init__()
...         self.value = value
...     def forward(self, feats):
...         return [x.new_full((len(x), x.shape[1], 1, 1), self.value) for x in feats]
>>> GATES.config(dict(type="constant", value=0.5))
{'type': 'constant', 'value': 0.5}
>>> del GATES.classes["constant"]

Pure Python: mmcv's registry would bring mmcv into the core.
"""

import inspect
from difflib import get_close_matches
from typing import (
    Any,
    Callable,
    Dict,
    Generic,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

T = TypeVar("T")


class Family(NamedTuple):
    """Types that are one class: each name of ``names()`` is that value of ``option``."""

    option: str
    names: Callable[[], Sequence[str]]
    words: str  # for all of them, in an error


class UnknownType(ValueError):
    """A type that no class is registered for."""


class Registry(Generic[T]):
    """The classes of one kind by name.

    Args:
        key: the config key whose values they are, such as ``gate``; for errors.
        usual: the type that an error takes as its example.
    """

    def __init__(self, key: str, usual: str) -> None:
        self.key, self.usual = key, usual
        self.classes: Dict[str, Type[T]] = {}
        self.families: Dict[str, Family] = {}

    def register(self, name: str, family: Optional[Family] = None) -> Callable[[Type[T]], Type[T]]:
        """A decorator: from now on the class is ``dict(type=name)``, and every name of its family.

        Raises:
            ValueError: the name is taken.
        """

        def add(kind: Type[T]) -> Type[T]:
            if name in self.classes:
                raise ValueError(f"{self.key} {name!r} is taken by {self.classes[name]}")
            self.classes[name] = kind
            if family is not None:
                self.families[name] = family
            return kind

        return add

    def find(self, name: str, key: str) -> Tuple[Type[T], Dict[str, Any]]:
        """The class of a type, and the options that the type itself says.

        Raises:
            UnknownType: no such type; the nearest are named.
        """
        if name in self.classes:
            return self.classes[name], {}
        known, words = list(self.classes), [repr(name) for name in self.classes]
        for member, family in self.families.items():
            if name in family.names():
                return self.classes[member], {family.option: name}
            known += family.names()
            words.append(family.words)
        near = get_close_matches(name, known, n=4, cutoff=0.4)
        hint = f"; nearest: {', '.join(map(repr, near))}" if near else ""
        raise UnknownType(f"{key}.type={name!r} is not known{hint}; there is {', '.join(words)}")

    def config(self, given: Any, key: str = "") -> Dict[str, Any]:
        """The full form: ``type``, and every option with its value.

        Args:
            given: ``dict(type=..., option=...)``, or a name.
            key: the config key, for errors; None: the registry's own.

        Raises:
            ValueError: no such type or option (the nearest are named), or no config form at all.
        """
        key = key or self.key
        form = as_config(given, key, [self.usual])
        kind, said = self.find(form["type"], key)
        parameters = inspect.signature(kind).parameters.values()
        known = {p.name: p.default for p in parameters if p.default is not p.empty}
        known = {name: value for name, value in known.items() if name not in said}
        for option in form:
            if option != "type" and option not in known:
                near = get_close_matches(option, known, n=1)
                raise ValueError(
                    f"{key}={written(form)} has no option {option!r}; it has {list(known)}"
                    + (f". Did you mean {near[0]!r}?" if near else "")
                )
        return {"type": form["type"], **known, **form}

    def build(self, given: Any, *args: Any, key: str = "") -> T:
        """The component that a config form names.

        Args:
            given, key: as for :meth:`config`.
            args: the arguments that are the house's to give.

        Raises:
            ValueError: as :meth:`config`, or a value that the class refuses, under its key.
        """
        key = key or self.key
        options = self.config(given, key)
        kind, said = self.find(options.pop("type"), key)
        try:
            return kind(*args, **said, **options)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from error


def as_config(given: Any, key: str, known: Sequence[str] = ()) -> Dict[str, Any]:
    """A config form as a dict with a ``type``, a copy.

    >>> as_config("haar", "transform")
    {'type': 'haar'}

    Raises:
        ValueError: neither a name nor a dict with ``type``.
    """
    if isinstance(given, str) and given:
        return {"type": given}
    if isinstance(given, Mapping) and isinstance(given.get("type"), str):
        if all(isinstance(option, str) for option in given):
            return dict(given)
    example = f" such as {known[0]!r}" if known else ""
    raise ValueError(
        f"{key} must be a name{example}, or dict(type=<name>, <option>=...), got {given!r}"
    )


def written(config: Mapping[str, Any]) -> str:
    """A config form as one writes it.

    >>> written({"type": "haar", "levels": 3})
    "dict(type='haar', levels=3)"
    """
    return f"dict({', '.join(f'{name}={value!r}' for name, value in config.items())})"
