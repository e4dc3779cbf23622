"""A method's card: all that the rest of the house needs to know of it."""

from typing import Any, Callable, Mapping, NamedTuple, Optional, Tuple, Type

from torch import Tensor, nn


class Published(NamedTuple):
    """One published result."""

    pair: str  # teacher -> student
    data: str  # with the metric: "COCO AP"
    alone: float
    distilled: float
    source: str  # paper, table


class Bundled(NamedTuple):
    """A way to train the student of a bundled task: a row of the quickstart's table.

    ``then`` is a config that goes on from the student of ``config``, where one training is not all.
    """

    config: str
    label: str  # in the table
    legend: str  # in the pictures
    then: Optional[str] = None


class Case(NamedTuple):
    """A file of reference numbers, its arrays as tensors of one precision.

    ``inputs`` whose gradient the file has, and all ``parameters``, require a gradient.
    """

    inputs: Mapping[str, Tensor]  # in__...
    parameters: Mapping[str, Tensor]  # param__...
    draws: Mapping[str, Tensor]  # rand__..., what the reference drew
    options: Mapping[str, Any]  # hp__..., plain values


class Outcome(NamedTuple):
    """What a method makes of a :class:`Case`.

    ``outputs`` has at least ``loss``; ``parameters`` are those in which the gradients of the case's
    arrives, by their name in the file, where they are not the case's own tensors.
    ``float32_gradients`` is how far the gradients of a run in float32 may be from the numbers, as a
    share of the largest entry: more than this only where the reference itself is so far off.
    """

    outputs: Mapping[str, Any]
    parameters: Mapping[str, Tensor] = {}
    float32_gradients: float = 1e-3


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
        also: registered names of other packages' classes of the same equation: an entry under the
            method's name may ask for one by ``type``.
        paper: authors' short title, venue and link.
        tasks: which it is made for: ``det``, ``seg``, ``cls``.
        taps: task -> the default of ``module`` in its entry; a task that is not here needs one.
            A word that the task knows stands for a path that differs by model: ``logits``, the
            classifier layer of image classification, or ``dense_head``, a detector's head of every
            place (:meth:`freekd.tasks.base.Task.tap`).
        defaults: options that differ from the class's own defaults.
        of_task: task -> further such options, of entries for students of that task.
        needs: what it needs beyond the taps, in words: ``prompts``, ``labels``, ``boxes``.
        maps: whether it compares feature maps, so that ``pair.module`` is its tap.
        weight: the option that scales the term; the doctor names it.
        hint: what the doctor says of a good size of the term beside the task loss, from the built
            loss; None: nothing.
        bundled: task -> name -> how the method trains the student of that bundled task; these are
            the rows of ``tools/quickstart.sh --task`` and of the studies. Names are unique within a
            task.
        published: results of the paper.
        golden: the method on reference numbers, for ``tests/losses/test_golden.py``; every file
            ``<name>_*.npz`` of the folder is taken.
    """

    name: str
    title: str
    summary: str
    module: Optional[Type[nn.Module]] = None
    kind: Optional[str] = None
    also: Tuple[str, ...] = ()
    paper: str = ""
    tasks: Tuple[str, ...] = ()
    taps: Mapping[str, Any] = {}
    defaults: Mapping[str, Any] = {}
    of_task: Mapping[str, Mapping[str, Any]] = {}
    needs: Tuple[str, ...] = ()
    maps: bool = True
    weight: str = "loss_weight"
    hint: Optional[Callable[[Any], str]] = None
    bundled: Mapping[str, Mapping[str, Bundled]] = {}
    published: Tuple[Published, ...] = ()
    golden: Optional[Callable[[Case], Outcome]] = None

    @property
    def takes_teacher(self) -> bool:
        """Whether it compares student and teacher, as its module says; few need no teacher."""
        return bool(getattr(self.module, "takes_teacher", True))

    @property
    def types(self) -> Tuple[str, ...]:
        """The registered names that an entry under the method's name may have as ``type``."""
        return (self.type, *self.also)

    @property
    def type(self) -> str:
        """The registered name of the loss's class."""
        if self.kind is not None:
            return self.kind
        assert self.module is not None, f"the card {self.name} has neither module nor kind"
        return self.module.__name__
