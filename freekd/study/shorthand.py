"""Short forms of a row, for study files with many rows that vary one thing (docs/study.md)."""

from typing import Any, Dict, Iterator, Mapping, Optional, Tuple


def loss_row(config: str, loss: str, label: str, **options: Any) -> Dict[str, Any]:
    """A row that varies one loss of a pair.

    Args:
        config: of the pair.
        loss: the name of its entry in ``pair.losses``.
        label: in the table.
        options: of the loss; one with parts of its own as a dict.

    Returns:
        The row, for ``rows`` of a study.

    >>> loss_row("pair.py", "mine", "weaker", loss_weight=0.5)["options"]
    {'pair.losses.mine.loss_weight': 0.5}
    >>> loss_row("pair.py", "mine", "blocks", transform=dict(type="dct", block=8))["options"]
    {'pair.losses.mine.transform.type': 'dct', 'pair.losses.mine.transform.block': 8}
    """
    keys = dict(_keys(f"pair.losses.{loss}", options))
    return dict(config=config, label=label, options=keys)


def masked_row(
    config: str, loss: str, label: str, prompts: Optional[str], **options: Any
) -> Dict[str, Any]:
    """A row of a loss that reads prompts, or goes without; its weight in sum does not depend on it.

    Args:
        config, loss, label: as of :func:`loss_row`.
        prompts: the row of stage 1 whose prompts the loss reads, its masks divided by their mean
            and its gate left out, so that the places alone differ; None: without prompts.
        options: of the loss, over these.

    Returns:
        The row, for ``rows`` of a study.

    >>> masked_row("pair.py", "mine", "all alike", None)["options"]
    {'pair.losses.mine.prompts': None}
    >>> row = masked_row("pair.py", "mine", "prompts", "first", loss_weight=0.5)
    >>> row["options"]["pair.losses.mine.prompts"]
    '{first}/prompts.pth'
    """
    said: Dict[str, Any] = dict(prompts=None)
    if prompts is not None:
        said = dict(prompts=f"{{{prompts}}}/prompts.pth", gate=None, mask_norm="mean")
    return loss_row(config, loss, label, **{**said, **options})


def prompt_row(config: str, seed: int = 0, **options: Any) -> Dict[str, Any]:
    """A row of stage 1, trained once for all rows that use its prompts.

    Args:
        config: of stage 1.
        seed: its seed.
        options: of ``prompt``.

    Returns:
        The row, for ``rows`` of a study.

    >>> prompt_row("prompt.py", form="energy")["options"]
    {'prompt.form': 'energy'}
    """
    return dict(config=config, seed=seed, options=dict(_keys("prompt", options)))


def _keys(start: str, options: Mapping[str, Any]) -> Iterator[Tuple[str, Any]]:
    """What a command line says of options, one key for each part of a dict."""
    for name, value in options.items():
        key = f"{start}.{name}"
        if isinstance(value, Mapping):
            yield from _keys(key, value)
        else:
            yield key, value
