"""Short configs: ``pair = dict(...)`` and ``prompt = dict(...)``, spelled out as algorithms.

The keys are those of :class:`~freekd.config.pair.Pair` and :class:`~freekd.config.prompt.Prompt`;
anything else is an error. ``tools/print_config.py`` shows what became of a short config.
"""

from typing import Any, Mapping

from freekd import compat
from freekd.config import fields
from freekd.config.errors import ConfigError
from freekd.config.losses import card_of_entry, check_names
from freekd.config.maps import train_size
from freekd.config.old_keys import refuse_old_keys
from freekd.config.pair import PAIR_CHECKS, Pair, check_teacher, distill
from freekd.config.prompt import COMPONENTS, PROMPT_CHECKS, Prompt, finetune
from freekd.config.prompt import refuse_old_keys as refuse_old_prompt_keys


def check(cfg: Any, imported: bool = True) -> None:
    """What ``cfg.pair`` or ``cfg.prompt`` says, as far as it can be told without a model.

    Args:
        cfg: The config.
        imported: Whether the modules of its ``custom_imports`` are: before, a transform or a gate
            of the user's own is not known yet.

    Raises:
        ConfigError: both of them, unknown or missing keys, a value of another kind, or an entry of
            ``pair.losses`` that names no method.
    """
    given = [key for key in ("pair", "prompt", "algorithm") if cfg.get(key) is not None]
    if len(given) > 1:
        raise ConfigError(
            f"Expected one of the config keys pair, prompt and algorithm, found {given}. Remove "
            f"one, with {given[-1]}=None if it comes from _base_."
        )
    if given == ["pair"]:
        pair = _pair(cfg)
        takes = {}
        for label, options in (pair.losses or {}).items():
            if options is not None:
                card = card_of_entry(label, options, f"pair.losses.{label}")
                takes[f"pair.losses.{label}"] = card is not None and card.takes_teacher
        check_teacher(pair, takes)
    elif given == ["prompt"]:
        _prompt(cfg, imported or not cfg.get("custom_imports"))


def expand(cfg: Any) -> None:
    """Set ``cfg.algorithm`` from ``cfg.pair`` or ``cfg.prompt``, if it has one of them.

    The short form is then gone, so that what a run writes down can be read again;
    ``cfg.spelled_out`` says which it was.

    Raises:
        ConfigError: as :func:`check`; no such config or loss, or channels that cannot be told.
    """
    cfg.pop("spelled_out", None)
    check(cfg)
    for key in ("pair", "prompt"):
        if cfg.get(key) is not None:
            compat.apply()
            import freekd.models  # noqa: F401  (registers the networks that the hosts lack)

            if key == "pair":
                cfg.algorithm = distill(_pair(cfg), train_size(cfg))
            else:
                cfg.algorithm = finetune(_prompt(cfg))
            cfg.pop(key)
            cfg.spelled_out = key
            return


def _pair(cfg: Any) -> Pair:
    fields.mapping(cfg.pair, "pair")
    refuse_old_keys(cfg.pair)
    pair: Pair = _read(Pair, PAIR_CHECKS, cfg.pair, "pair")
    return pair


def _prompt(cfg: Any, imported: bool = True) -> Prompt:
    fields.mapping(cfg.prompt, "prompt")
    refuse_old_prompt_keys(cfg.prompt)
    checks = (
        PROMPT_CHECKS if imported else {**PROMPT_CHECKS, **dict.fromkeys(COMPONENTS, fields.plain)}
    )
    prompt: Prompt = _read(Prompt, checks, cfg.prompt, "prompt")
    return prompt


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
