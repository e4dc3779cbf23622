"""The names of a DINO's weights in mmdet 3.x and here: a bijection.

mmdet 3.x keeps encoder, decoder and the tables of the queries in the detector itself; mmdet 2.x,
and so this package, in the head's transformer. Backbone, neck and branches have one name.
"""

import re
from typing import Any, Dict, List, Mapping, Tuple

_TRANSFORMER = "bbox_head.transformer."
# (mmdet 3.x, here): the first that fits counts; a number stands for '#'
_PAIRS: Tuple[Tuple[str, str], ...] = (
    ("encoder.layers.#.self_attn.", _TRANSFORMER + "encoder.layers.#.attentions.0."),
    ("encoder.layers.#.ffn.", _TRANSFORMER + "encoder.layers.#.ffns.0."),
    ("decoder.layers.#.self_attn.", _TRANSFORMER + "decoder.layers.#.attentions.0."),
    ("decoder.layers.#.cross_attn.", _TRANSFORMER + "decoder.layers.#.attentions.1."),
    ("decoder.layers.#.ffn.", _TRANSFORMER + "decoder.layers.#.ffns.0."),
    ("encoder.", _TRANSFORMER + "encoder."),
    ("decoder.", _TRANSFORMER + "decoder."),
    ("level_embed", _TRANSFORMER + "level_embeds"),
    ("memory_trans_fc.", _TRANSFORMER + "enc_output."),
    ("memory_trans_norm.", _TRANSFORMER + "enc_output_norm."),
    ("query_embedding.", _TRANSFORMER + "query_embed."),
    ("dn_query_generator.label_embedding.", "bbox_head.label_embedding."),
)
_MARK = "decoder.layers.0.cross_attn."  # no network of mmdet 2.x has it at its root


def _rules(there: int) -> List[Tuple["re.Pattern[str]", str]]:
    """Patterns of one side, and what takes the place of what they match."""
    found = []
    for pair in _PAIRS:
        ours, theirs = pair[1 - there], pair[there]
        whole = "" if ours.endswith(".") else "$"
        pattern = re.compile(re.escape(ours).replace(r"\#", "#").replace("#", r"(\d+)") + whole)
        found.append((pattern, theirs.replace("#", r"\1")))
    return found


_FROM_3, _TO_3 = _rules(1), _rules(0)


def from_mmdet3(name: str) -> str:
    """A weight's name here, from its name in mmdet 3.x.

    >>> from_mmdet3("decoder.layers.5.cross_attn.value_proj.bias")
    'bbox_head.transformer.decoder.layers.5.attentions.1.value_proj.bias'
    """
    return _renamed(name, _FROM_3)


def to_mmdet3(name: str) -> str:
    """The inverse of :func:`from_mmdet3`.

    >>> to_mmdet3("bbox_head.transformer.level_embeds")
    'level_embed'
    """
    return _renamed(name, _TO_3)


def _renamed(name: str, rules: List[Tuple["re.Pattern[str]", str]]) -> str:
    for pattern, replacement in rules:
        match = pattern.match(name)
        if match is not None:
            return match.expand(replacement) + name[match.end() :]
    return name


def is_dino(state: Mapping[str, Any]) -> bool:
    """Whether the weights, under our names, are a DINO's."""
    return {"bbox_head.label_embedding.weight", f"{_TRANSFORMER}query_embed.weight"} <= set(state)


def has_mmdet3_names(state: Mapping[str, Any], prefix: str = "") -> bool:
    """Whether the weights are named as in mmdet 3.x, behind ``prefix``."""
    return any(name.startswith(prefix + _MARK) for name in state)


def rename_mmdet3(state: Dict[str, Any], prefix: str = "") -> None:
    """Give the weights behind ``prefix``, if they have mmdet 3.x's names, ours, in place."""
    if not has_mmdet3_names(state, prefix):
        return
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + from_mmdet3(name[len(prefix) :])] = state.pop(name)
