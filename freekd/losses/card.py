"""A method's card: all that the rest of the house needs to know of it."""

from typing import Any, Mapping, NamedTuple, Optional, Tuple, Type

from torch import nn


class Published(NamedTuple):
    """One published result."""

    pair: str  # teacher -> student
    data: str  # with the metric: "COCO AP"
    alone: float
    distilled: float
    source: str  # paper, table


class Card(NamedTuple):
    """What a method is.

    Every file of this package that defines ``CARD`` is a method. From it come the entry of
    ``pair.losses``, MMRazor's registry, the doctor's hints, the rows of the quickstart and
    ``docs/methods.md``.

    Args:
        name: the key in ``pair.losses``, and the file's name.
        title: as the paper calls it.
        summary: one sentence: what is compared.
        module: the loss's class, registered under its own name; None: the class ``kind`` is
            another package's.
        kind: the registered name of the class; None: that of ``module``.
        paper: authors' short title, venue and link.
        tasks: which it is made for: ``det``, ``seg``, ``cls``.
        taps: task -> the default of ``module`` in its entry; a task that is not here needs one.
        defaults: options that differ from the class's own defaults.
        needs: what it needs beyond the taps, in words: ``prompts``, ``labels``.
        weight: the option that scales the term; the doctor names it.
        ratio: the least and the largest size of the weighted term, relative to the student's task
            loss at the start, with which it is known to work; None: not known.
        bundled: config of the bundled task -> (its row in the table, its short name); these are
            the quickstart's and the study's rows.
        published: results of the paper.
    """

    name: str
    title: str
    summary: str
    module: Optional[Type[nn.Module]] = None
    kind: Optional[str] = None
    paper: str = ""
    tasks: Tuple[str, ...] = ()
    taps: Mapping[str, Any] = {}
    defaults: Mapping[str, Any] = {}
    needs: Tuple[str, ...] = ()
    weight: str = "loss_weight"
    ratio: Optional[Tuple[float, float]] = None
    bundled: Mapping[str, Tuple[str, str]] = {}
    published: Tuple[Published, ...] = ()

    @property
    def type(self) -> str:
        """The registered name of the loss's class."""
        if self.kind is not None:
            return self.kind
        assert self.module is not None, f"the card {self.name} has neither module nor kind"
        return self.module.__name__
