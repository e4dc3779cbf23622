"""What ``cache_embeddings`` wants of the training data: images that are the same each time."""

from typing import Any, Iterator, List, Tuple

KEY = "pair.cache_embeddings"

# Steps of a pipeline that give an image the same pixels each time.
_OF_IMAGE = ("LoadImageFromFile", "Resize", "Normalize", "Pad")
_OF_OTHERS = (
    "LoadAnnotations", "LoadSamMasks", "SamplePrompts", "ImageToTensor", "ToDataContainer",
    "DefaultFormatBundle", "Collect",
)  # fmt: skip


def _levels(dataset: Any) -> Iterator[Any]:
    """A data set and those that it wraps."""
    yield dataset
    for part in getattr(dataset, "datasets", ()):
        yield from _levels(part)
    if hasattr(dataset, "dataset"):
        yield from _levels(dataset.dataset)


def names_of(dataset: Any) -> Iterator[str]:
    """The images' files, of a data set and those that it wraps."""
    for level in _levels(dataset):
        for info in getattr(level, "data_infos", ()):
            yield str(info.get("filename") or info)


def fixed_steps(dataset: Any) -> List[List[str]]:
    """What makes the images of a data set, step by step, in words.

    Raises:
        ValueError: a step may change an image from one time to the next, names it; or images are
            not of one size, so that they are padded as the batch has it; or have no file's name.
    """
    found = []
    for level in _levels(dataset):
        steps = getattr(level, "pipeline", None)
        if steps is None:
            continue
        words = []
        sized = False
        for step in getattr(steps, "transforms", steps):
            kind = type(step).__name__
            if kind in _OF_IMAGE and not _varies(step):
                words.append(f"{kind}({', '.join(f'{k}={v}' for k, v in _plain(step))})")
                sized = sized or _gives_one_size(step)
            elif kind not in _OF_OTHERS:
                raise ValueError(
                    f"data.train.pipeline: {kind} may change an image from one time to the next, "
                    f"and {KEY} keeps one embedding of each. Expected only "
                    f"{', '.join((*_OF_IMAGE, *_OF_OTHERS))}, and Resize to one size. Remove the "
                    f"step, or set {KEY}=None"
                )
            lacking = {"filename"} - set(getattr(step, "meta_keys", ("filename",)))
            if lacking:
                raise ValueError(
                    f"data.train.pipeline: {kind}: expected 'filename' among its meta_keys, by "
                    f"which {KEY} knows an image, got {list(step.meta_keys)}. Add it"
                )
        if words and not sized:
            raise ValueError(
                "data.train.pipeline: expected images of one size, as an embedding depends on how "
                "an image is padded, and a batch pads its images to the largest. Give Pad a size="
                f"(height, width), or Resize keep_ratio=False, or set {KEY}=None"
            )
        found.append(words)
    return found


def _gives_one_size(step: Any) -> bool:
    if type(step).__name__ == "Resize":
        return getattr(step, "keep_ratio", None) is False
    return type(step).__name__ == "Pad" and getattr(step, "size", None) is not None


def _varies(step: Any) -> bool:
    """Whether a Resize draws the size, or a Pad the value."""
    scales = getattr(step, "img_scale", None)
    many = isinstance(scales, (list, tuple)) and len(scales) > 1 and not isinstance(scales[0], int)
    return many or getattr(step, "ratio_range", None) is not None


def _plain(step: Any) -> Iterator[Tuple[str, Any]]:
    for name, value in sorted(vars(step).items()):
        value = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(value, (int, float, str, bool, list, tuple, dict, type(None))):
            yield name, value
