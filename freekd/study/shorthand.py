"""Short forms of a row, for study files with many rows that vary one thing (docs/study.md)."""

from typing import Any, Dict


def loss_row(config: str, loss: str, label: str, **options: Any) -> Dict[str, Any]:
    """A row that varies one loss of a pair.

    Args:
        config: of the pair.
        loss: the name of its entry in ``pair.losses``.
        label: in the table.
        options: of the loss.

    >>> loss_row("pair.py", "mine", "weaker", loss_weight=0.5)["options"]
    {'pair.losses.mine.loss_weight': 0.5}
    """
    keys = {f"pair.losses.{loss}.{name}": value for name, value in options.items()}
    return dict(config=config, label=label, options=keys)


def prompt_row(config: str, seed: int = 0, **options: Any) -> Dict[str, Any]:
    """A row of stage 1, trained once for all rows that use its prompts.

    Args:
        config: of stage 1.
        seed: its seed.
        options: of ``prompt``.

    >>> prompt_row("prompt.py", form="energy")["options"]
    {'prompt.form': 'energy'}
    """
    keys = {f"prompt.{name}": value for name, value in options.items()}
    return dict(config=config, seed=seed, options=keys)
