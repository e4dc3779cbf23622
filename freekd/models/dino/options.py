"""What the options of a DINO must be, checked when it is built."""

from typing import Any, Dict, Optional

from torch import nn

from freekd.checks import check_integer

_MOST_QUERIES = 10**5


def check_options(
    transformer: Any, num_query: Any, num_classes: Any, train_cfg: Any, test_cfg: Any
) -> Dict[str, Any]:
    """The head's options, before anything is built.

    Args:
        transformer, num_query, num_classes, train_cfg, test_cfg: as :class:`.head.DINOHead` has
            them.

    Returns:
        The transformer's config, with ``two_stage_num_proposals``.

    Raises:
        ValueError: a wrong one; names its config key.
    """
    if not isinstance(transformer, dict):
        raise ValueError(
            "bbox_head.transformer: expected a dict with type='DINOTransformer', got "
            f"{transformer!r}"
        )
    check_integer("bbox_head.num_query", num_query, _MOST_QUERIES)
    proposals = transformer.get("two_stage_num_proposals", num_query)
    if proposals != num_query:
        raise ValueError(
            f"bbox_head.transformer.two_stage_num_proposals={proposals!r}: expected num_query="
            f"{num_query!r}, as each chosen token is a query. Remove the key"
        )
    for key, given in (("train_cfg", train_cfg), ("test_cfg", test_cfg)):
        if given is not None and not isinstance(given, dict):
            raise ValueError(f"model.{key}: expected a dict, got {given!r}")
    if train_cfg and "assigner" not in train_cfg:
        raise ValueError(
            "model.train_cfg.assigner: expected dict(type='HungarianAssigner', ...), found none"
        )
    _check_results(test_cfg or {}, num_query, num_classes)
    return dict(transformer, two_stage_num_proposals=num_query)


def _check_results(test_cfg: Dict[str, Any], num_query: int, num_classes: Optional[int]) -> None:
    """An image has no more results than pairs of a query and a class."""
    asked = test_cfg.get("max_per_img", num_query)
    check_integer("model.test_cfg.max_per_img", asked, 2**31)
    if isinstance(num_classes, int) and asked > num_query * num_classes:
        raise ValueError(
            f"model.test_cfg.max_per_img={asked}: expected at most num_query * num_classes, "
            f"{num_query} * {num_classes}, as each result is a query and a class. Lower it"
        )


def check_types(transformer: nn.Module, loss_cls: nn.Module) -> None:
    """Another transformer or decoder than DINO's would train something else, or end midway.

    Raises:
        ValueError: one of them is another; names its config key.
    """
    from .transformer import DINOTransformer, DINOTransformerDecoder

    if not isinstance(transformer, DINOTransformer):
        raise ValueError(
            "bbox_head.transformer.type: expected 'DINOTransformer', got "
            f"{type(transformer).__name__!r}"
        )
    if not isinstance(transformer.decoder, DINOTransformerDecoder):
        raise ValueError(
            "bbox_head.transformer.decoder.type: expected 'DINOTransformerDecoder', got "
            f"{type(transformer.decoder).__name__!r}"
        )
    if not getattr(loss_cls, "use_sigmoid", False):
        raise ValueError(
            "bbox_head.loss_cls.use_sigmoid: expected True, as DINO chooses queries and results by "
            "the best score of a class, without a background. Set it, as FocalLoss has it"
        )


def check_levels(transformer: nn.Module, neck: Any) -> None:
    """Neck, transformer and attention have as many levels.

    Args:
        transformer: the head's.
        neck: the detector's config of it, or None.

    Raises:
        ValueError: they have not; has all the keys.
    """
    levels = transformer.num_feature_levels
    key = "bbox_head.transformer.num_feature_levels"
    attended = {
        str(module.num_levels)
        for module in transformer.modules()
        if type(module).__name__ == "MultiScaleDeformableAttention"
    }
    if attended - {str(levels)}:
        raise ValueError(
            f"{key}={levels}, but the attention layers of encoder and decoder (attn_cfgs) have "
            f"num_levels={', '.join(sorted(attended))}: expected one number. Make them equal"
        )
    outs = neck.get("num_outs") if isinstance(neck, dict) else None
    if isinstance(outs, int) and outs != levels:
        raise ValueError(
            f"model.neck.num_outs={outs}, but {key}={levels}: expected one number, as each of the "
            "neck's maps is a level. Make them equal"
        )
