"""A data set whose images are corrupted after they are loaded, before anything else is done.

That is where COCO-C has it: the file's own pixels are corrupted, then resized and normalised as in
every test. The images are loaded by the config's own steps, whatever these are called: the
corruption comes after the first that gives ``results["img"]``.
"""

import hashlib
import zlib
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from freekd.analysis.robustness.corruptions import CorruptionError, Image, corrupt
from freekd.config.errors import ConfigError

Cell = Tuple[str, int]  # a corruption and its severity


class Kept:
    """The corrupted images of one cell, for the next model: some corruptions cost more than a pass.

    Of no use to a loader's worker processes, which end with a pass.

    Args:
        limit: bytes; what comes after them is not kept.
    """

    def __init__(self, limit: int = 512 * 2**20) -> None:
        self.limit, self.size = limit, 0
        self.cell: Optional[Cell] = None
        self.images: Dict[Any, Image] = {}

    def get(self, image: Image, name: str, cell: Cell, bgr: bool) -> Image:
        """:func:`corrupt`, or what it gave before for the same name and pixels."""
        if cell != self.cell:
            self.cell, self.size, self.images = cell, 0, {}
        pixels = zlib.crc32(np.ascontiguousarray(image).tobytes())
        key = (name, bgr, image.shape, str(image.dtype), pixels)
        if key not in self.images:
            made = corrupt(image, name, *cell, bgr=bgr)
            if self.size + made.nbytes > self.limit:
                return made
            self.size += made.nbytes
            self.images[key] = made
        return self.images[key].copy()  # the steps after this may write into it


class CorruptedPipeline:
    """A host's pipeline with a corruption in it.

    Args:
        pipeline: mmdet's, mmseg's or mmcls's ``Compose``.
        as_bgr: hand the package the channels in the order in which they are loaded, as mmdet's
            own ``Corrupt`` does; it expects RGB, and so gets it otherwise.
        kept: shared by the models of a table.

    Attributes:
        cell: what is done to the images; None: nothing.
    """

    def __init__(self, pipeline: Any, as_bgr: bool = False, kept: Optional[Kept] = None) -> None:
        self.pipeline, self.as_bgr = pipeline, as_bgr
        self.kept = Kept(0) if kept is None else kept
        self.cell: Optional[Cell] = None

    @property
    def transforms(self) -> List[Any]:
        """The host's own steps."""
        steps: List[Any] = self.pipeline.transforms
        return steps

    def __call__(self, results: Any) -> Any:
        if self.cell is None:
            return self.pipeline(results)
        rgb, done = False, False
        for step in [None, *self.transforms]:
            if step is not None:
                results = step(results)
                rgb = rgb or getattr(step, "channel_order", "bgr") == "rgb"
            if results is None:
                return None
            if not done and isinstance(results.get("img"), np.ndarray):
                results, done = self._corrupted(results, rgb), True
        if not done:
            raise CorruptionError(
                "data.test.pipeline: expected a step that loads one image into results['img'], but "
                f"none of {[type(step).__name__ for step in self.transforms]} does. Begin it with "
                "LoadImageFromFile."
            )
        return results

    def _corrupted(self, results: Dict[str, Any], rgb: bool) -> Dict[str, Any]:
        assert self.cell is not None
        bgr = not rgb and not self.as_bgr
        made = self.kept.get(results["img"], image_name(results), self.cell, bgr)
        return {**results, "img": made}


def image_name(results: Dict[str, Any]) -> str:
    """What an image is called, below its data set's folder; without a file, what it consists of."""
    info = results.get("img_info") or {}
    for name in (results.get("ori_filename"), info.get("filename"), results.get("filename")):
        if isinstance(name, str) and name:
            return name.replace("\\", "/")
    return hashlib.sha256(np.ascontiguousarray(results["img"]).tobytes()).hexdigest()


def datasets_inside(dataset: Any) -> Iterator[Any]:
    """The data sets that load images: a data set, or those that a wrapper holds."""
    inner = getattr(dataset, "datasets", None)
    if inner is None and hasattr(dataset, "dataset"):
        inner = [dataset.dataset]
    if inner is None:
        yield dataset
        return
    for part in inner:
        yield from datasets_inside(part)


def corrupt_dataset(
    dataset: Any, as_bgr: bool = False, kept: Optional[Kept] = None
) -> List[CorruptedPipeline]:
    """Put a :class:`CorruptedPipeline` into a data set, once; it still does nothing.

    The arguments are those of the class.

    Raises:
        ConfigError: a data set without a pipeline of steps.
    """
    found: List[CorruptedPipeline] = []
    for part in datasets_inside(dataset):
        pipeline = getattr(part, "pipeline", None)
        if not hasattr(pipeline, "transforms"):
            raise ConfigError(
                f"data.test: expected a data set with a pipeline of steps, but a "
                f"{type(part).__name__} has none, so nothing can be put between loading and "
                "resizing. Use the data set of a stock config."
            )
        if not isinstance(pipeline, CorruptedPipeline):
            pipeline = part.pipeline = CorruptedPipeline(pipeline, as_bgr, kept)
        if all(pipeline is not other for other in found):
            found.append(pipeline)
    return found
