"""The bundled tasks: the data, the teacher and the student of each, and how long they train.

The methods' rows come from their cards (:mod:`freekd.study.rows`).
"""

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from freekd.datasets import make_digit_images, make_digit_maps, make_digit_masks, make_digits

SPLITS = (("train", "train"), ("val", "val"), ("test", "val"))


class Plan(NamedTuple):
    """How long to train what."""

    teacher_epochs: int
    prompt_iters: int
    student_epochs: int


class Pictures(NamedTuple):
    """What draws the finished students: a tool, and the first of the pictures that it makes."""

    tool: str
    first: str


class Judge(NamedTuple):
    """Students that are compared with their teacher's results, and not with labels.

    ``tool`` writes these, by the teacher's config and checkpoint, once the teacher is trained; they
    are given to the evaluation of all others as the options ``keys``. The teacher's own score is
    ``perfect``.
    """

    tool: str
    keys: Tuple[str, ...]
    perfect: float


class BundledTask(NamedTuple):
    """A task that comes with the project.

    Args:
        name: as the quickstart calls it.
        data: folder of the data, as the configs have it.
        make: makes the data: ``make(folder, num_train=..., num_val=...)``.
        images: how many of them by default.
        paths: what a split of the data says of its files; ``{data}`` and ``{split}`` are filled in.
        teacher, baseline: configs.
        prompt: config of stage 1; None: the task has none.
        metric: as ``tools/test.py --eval`` calls it.
        scores: name in the summary -> score of the evaluation; the first is the table's.
        heading: of the score in the table.
        decimals: of the score.
        full, fast: schedules.
        seconds: of an epoch of the teacher, an iteration of the prompts and an epoch of the
            student, on two idle cores: for the first guess of the remaining time.
        methods: rows of a call without seeds; empty: all.
        pictures: of the finished students; None: none.
        of: the task of :mod:`freekd.tasks`, where that has another name.
        stages: trainings of a student that is distilled, each of ``student_epochs``; the student
            alone trains as long as all of them.
        alone: further options of the student alone.
        judge: who students are compared with; None: the labels.
        bare: whether the exported student is a bare dict of tensors.
        reader: the package that reads the exported student; empty: the task's.
    """

    name: str
    data: str
    make: Callable[..., Any]
    images: Tuple[int, int]
    paths: Mapping[str, str]
    teacher: str
    baseline: str
    prompt: Optional[str]
    metric: str
    scores: Mapping[str, str]
    heading: str
    decimals: int
    full: Plan
    fast: Plan
    seconds: Tuple[float, float, float]
    methods: Tuple[str, ...] = ()
    pictures: Optional[Pictures] = None
    of: str = ""
    stages: int = 1
    alone: Mapping[str, str] = {}
    judge: Optional[Judge] = None
    bare: bool = False
    reader: str = ""

    @property
    def task(self) -> str:
        """The task of :mod:`freekd.tasks`."""
        return self.of or self.name

    @property
    def score(self) -> str:
        """The table's score, as the summary calls it."""
        return next(iter(self.scores))

    def files(self, data: str, split: str) -> Dict[str, str]:
        """Options of ``data.<split>`` for the files of ``split`` in the folder ``data``.

        >>> TASKS["cls"].files("data/mine", "val")
        {'data_prefix': 'data/mine/val'}
        """
        return {key: path.format(data=data, split=split) for key, path in self.paths.items()}

    def entry_of(self, record: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
        """What the summary says of one run, from what the run left."""
        assert record is not None  # it is done
        found, score = record["metrics"], self.scores[self.score]
        if score not in found and self.judge is not None:  # of the teacher itself
            found = {**found, score: self.judge.perfect}
        main = {self.score: found[score]}
        others = {name: found.get(score, 0.0) for name, score in self.scores.items()}
        return {**others, **main, "seconds": record["seconds"]}


_TASKS = (
    BundledTask(
        name="det",
        data="data/digits",
        make=make_digits,
        images=(400, 100),
        paths=dict(ann_file="{data}/annotations/{split}.json", img_prefix="{data}/{split}/"),
        teacher="configs/teacher/retinanet_r34_digits.py",
        baseline="configs/baseline/retinanet_r18_digits.py",
        prompt="configs/prompt/retinanet_r34_digits.py",
        metric="bbox",
        scores=dict(mAP="bbox_mAP", mAP_50="bbox_mAP_50"),
        heading="COCO mAP",
        decimals=3,
        full=Plan(teacher_epochs=14, prompt_iters=300, student_epochs=8),
        fast=Plan(teacher_epochs=2, prompt_iters=40, student_epochs=2),
        seconds=(24.0, 0.22, 12.0),
        methods=("baseline", "freekd"),
        pictures=Pictures("tools/quickstart_pictures.py", "detections.png"),
    ),
    BundledTask(
        name="seg",
        data="data/digits_seg",
        make=make_digit_maps,
        images=(800, 200),
        paths=dict(data_root="{data}"),
        teacher="configs/teacher/fpn_r34_digits_seg.py",
        baseline="configs/baseline/fpn_r18_digits_seg.py",
        prompt="configs/prompt/fpn_r34_digits_seg.py",
        metric="mIoU",
        scores=dict(mIoU="mIoU", aAcc="aAcc"),
        heading="mIoU",
        decimals=3,
        full=Plan(teacher_epochs=20, prompt_iters=300, student_epochs=20),
        fast=Plan(teacher_epochs=2, prompt_iters=40, student_epochs=2),
        seconds=(6.0, 0.1, 3.0),
    ),
    BundledTask(
        name="cls",
        data="data/digits_cls",
        make=make_digit_images,
        images=(2876, 718),
        paths=dict(data_prefix="{data}/{split}"),
        teacher="configs/teacher/resnet34_digits_cls.py",
        baseline="configs/baseline/resnet18_digits_cls.py",
        prompt=None,
        metric="accuracy",
        scores=dict(accuracy="accuracy_top-1"),
        heading="top-1 accuracy, %",
        decimals=1,
        full=Plan(teacher_epochs=10, prompt_iters=0, student_epochs=10),
        fast=Plan(teacher_epochs=2, prompt_iters=0, student_epochs=2),
        seconds=(6.0, 0.0, 3.0),
    ),
    BundledTask(
        name="sam",
        data="data/digits_sam",
        make=make_digit_masks,
        images=(400, 100),
        paths=dict(data_root="{data}"),
        teacher="configs/teacher/sam_tiny_w96_digits.py",
        baseline="configs/baseline/sam_tiny_w24_digits.py",
        prompt="configs/prompt/sam_tiny_w96_digits.py",
        metric="mIoU",
        scores=dict(
            mIoU="mIoU", standard_error="mIoU_standard_error", mIoU_annotation="mIoU_annotation"
        ),
        heading="mIoU to the teacher",
        decimals=3,
        full=Plan(teacher_epochs=16, prompt_iters=100, student_epochs=8),
        fast=Plan(teacher_epochs=2, prompt_iters=20, student_epochs=1),
        seconds=(14.0, 0.3, 7.0),
        pictures=Pictures("tools/quickstart_masks.py", "masks.png"),
        of="det",
        stages=2,
        alone={"model.decoder_checkpoint": "{teacher}/latest.pth"},
        judge=Judge("tools/sam_reference.py", ("data.val.reference", "data.test.reference"), 1.0),
        bare=True,
        reader="segment_anything",
    ),
)
TASKS: Dict[str, BundledTask] = {task.name: task for task in _TASKS}
