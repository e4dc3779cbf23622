"""Channels and number of the maps that a module gives: told by the config, or by a blank image.

The config's text counts only where it is certain; for all else the model is built, without
pretrained weights, and one blank image goes as far as the module.
"""

import contextlib
import random
from functools import partial
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from freekd import compat, tasks
from freekd.checks import FeatureError
from freekd.config.errors import ConfigError

Size = Tuple[int, int]  # height, width
_USUAL: Size = (128, 128)
_OTHERS: Tuple[Size, ...] = ((224, 224), (300, 300), (384, 384), (512, 512), (640, 640))
_MOST = 672  # pixels; larger images take too long for a look
_SIZE_KEYS = ("img_size", "input_size", "pretrain_img_size", "crop_size", "img_scale", "size")


class Maps(NamedTuple):
    """What a module gives; ``channels`` is one number, or one per level where they differ."""

    channels: Union[int, List[int]]
    num_levels: int


def tell_maps(model: Mapping[str, Any], module: str, key: str, reference: Any = None) -> Maps:
    """Channels and number of the maps that ``module`` gives.

    Args:
        model: the config of a model.
        module: path of the tapped module.
        key: the config key of the module, for errors.
        reference: what ``model`` was read from; its data tell the images' size if 128 pixels do
            not do.

    Raises:
        ConfigError: the model cannot be built, has no such module (the nearest are named), or does
            not give maps there when a blank image is sent through.
    """
    return _from_text(model, module) or _from_image(model, module, key, reference)


def tell_named(
    model: Mapping[str, Any], modules: Mapping[str, str], key: str, reference: Any = None
) -> Dict[str, Maps]:
    """Of each named tap: what a loss with such taps is told of it.

    Beside maps these may be tokens (N, L, C) and vectors (N, C): what they must be, the loss alone
    knows. Of a tuple whose first part is no map, as of a stage that tells its size, that counts.

    Args:
        model: the config of a model.
        modules: the tapped module of each name.
        key: the config key of the modules, for errors.
        reference: see :func:`tell_maps`.

    Raises:
        ConfigError: as :func:`tell_maps`.
    """
    found = {name: _from_text(model, module) for name, module in modules.items()}
    left = {name: modules[name] for name, maps in found.items() if maps is None}
    if left:
        keys = {name: f"{key}, tap {name!r}" for name in left}
        for name, output in _outputs(model, left, keys, reference).items():
            try:
                found[name] = _maps_of_named(*output, key=f"{keys[name]}={left[name]!r}")
            except FeatureError as error:
                raise _cannot_tell(model, left[name], keys[name], str(error)) from None
    return {name: maps for name, maps in found.items() if maps is not None}


def _cannot_tell(model: Mapping[str, Any], module: str, key: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{key}={module!r}: the channels and the number of its maps cannot be told from the config "
        f"of {model.get('type')}, nor seen by a blank image: {reason}."
    )


# --------------------------------------------------------------------------- from the config
def _from_text(model: Mapping[str, Any], module: str) -> Optional[Maps]:
    """What the config says, where that is certain."""
    task = tasks.of_model(model)
    told = task.maps_from_text(model, module) if task is not None else None
    return Maps(*told) if told is not None else None


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# --------------------------------------------------------------------------- from a blank image
class _Seen(BaseException):
    """The tapped module has given its first output. No part of a model catches it."""


def _from_image(model: Mapping[str, Any], module: str, key: str, reference: Any) -> Maps:
    output = _outputs(model, {"": module}, {"": key}, reference)[""]
    from freekd.distill.run.taps import as_levels

    try:
        return _maps_of(as_levels(*output, key=f"{key}={module!r}"))
    except FeatureError as error:
        raise _cannot_tell(model, module, key, str(error)) from None


def _outputs(
    model: Mapping[str, Any],
    modules: Mapping[str, str],
    keys: Mapping[str, str],
    reference: Any,
    size: Optional[Size] = None,
) -> Dict[str, Tuple[Any, Any]]:
    """What each of the modules gives first, (output, spatial sizes or None), for a blank image.

    Of ``size``; None: of any size that the model takes.
    """
    compat.apply()
    from mmrazor.models.builder import MODELS

    from freekd.config.explain import building
    from freekd.distill.run.taps import hook_output
    from freekd.distill.weights import find_module, without_pretrained

    seen: Dict[str, Tuple[Any, Any]] = {}

    def record(name: str, output: Any, sizes: Any) -> None:
        seen.setdefault(name, (output, sizes))
        if len(seen) == len(modules):
            raise _Seen

    first = next(iter(modules))
    with _same_random_state(), torch.no_grad():
        with building(keys[first]):
            built = MODELS.build(without_pretrained(model)).eval()
        for name, module in modules.items():
            with building(keys[name]):
                hook_output(find_module(built, module, keys[name]), partial(record, name))
        sizes = [*_image_sizes(model, reference)] if size is None else [size]
        reason = _send_images(built, model, [*modules.values()], sizes)
    if reason is not None:
        missed = next((name for name in modules if name not in seen), first)
        raise _cannot_tell(model, modules[missed], keys[missed], reason)
    return seen


def _maps_of_named(output: Any, sizes: Any, key: str) -> Maps:
    from freekd.distill.run.taps import as_levels

    if isinstance(output, (tuple, list)) and output and not _is_map(output[0]):
        output = output[0]
    if sizes is None and torch.is_tensor(output) and output.dim() in (2, 3):
        return Maps(int(output.shape[-1]), 1)
    return _maps_of(as_levels(output, sizes, key=key))


def _is_map(value: Any) -> bool:
    return torch.is_tensor(value) and value.dim() == 4


def _maps_of(levels: List[Tensor]) -> Maps:
    if not levels or any(level.dim() != 4 or level.shape[0] != 1 for level in levels):
        shapes = [tuple(level.shape) for level in levels]
        raise FeatureError(
            f"for one image the module gives {shapes}, expected maps (1, C, H, W). Queries, boxes "
            "and parts of images are no maps: tap a backbone, a neck or an encoder"
        )
    channels = [int(level.shape[1]) for level in levels]
    return Maps(channels[0] if len(set(channels)) == 1 else channels, len(channels))


def _send_images(
    built: nn.Module, model: Mapping[str, Any], modules: Sequence[str], sizes: Sequence[Size]
) -> Optional[str]:
    """Send blank images until one reaches the modules: None, or why none does."""
    from freekd.config.explain import explained

    first = reason = None
    for channels in _image_channels(built, model):
        for size in sizes:
            try:
                _run(built, modules, torch.zeros((1, channels, *size)))
                reason = "the module takes no part"
                break  # it will not in a larger image either
            except _Seen:
                return None
            except NotImplementedError:
                reason = "it lies in a part that cannot be run alone; tap the neck or a box head"
                break
            except Exception as error:  # what a model says of an image that it does not take
                reason = f"{size[1]}x{size[0]} pixels, {channels} channels: {explained(error)}"
            first = first or reason
    return first or reason


def _run(built: Any, modules: Sequence[str], img: Tensor) -> None:
    from freekd.distill.run.partial import PartialRun

    height, width = img.shape[-2:]
    shape = (height, width, img.shape[1])
    metas = [
        dict(
            img_shape=shape, pad_shape=shape, ori_shape=shape, batch_input_shape=(height, width),
            scale_factor=1.0, flip=False, filename=None,
        )
    ]  # fmt: skip
    run = PartialRun(built, modules)
    if run.possible:
        feats = run.features(img, metas)
        for stage in run.stages:
            run.roi_head(feats, img.new_tensor([[0.0, 0.0, 0.0, width / 2, height / 2]]), stage)
    else:  # such as SOLO's mask head, the semantic head of a panoptic FPN, or a cascade's heads
        for module in modules:
            tasks.of_built(built).reach(built, module, img, metas)


def _image_channels(built: nn.Module, model: Mapping[str, Any]) -> Iterator[int]:
    """Channels of the images, the most likely number first."""
    backbone = model.get("backbone")
    found = [backbone.get("in_channels")] if isinstance(backbone, Mapping) else []
    convs = [m for m in getattr(built, "backbone", built).modules() if isinstance(m, nn.Conv2d)]
    if convs:
        first = convs[0].in_channels
        found += [first, first // 4]  # YOLOX's first layer puts four pixels into one
    yield from dict.fromkeys(channels for channels in [*found, 3] if _positive(channels))


def _image_sizes(model: Mapping[str, Any], reference: Any) -> Iterator[Size]:
    """A small size, then those that the config names, then what is usual for fixed sizes."""
    tried = {_USUAL}
    yield _USUAL
    named = _sizes_in(model.get("backbone"))
    with contextlib.suppress(ValueError, OSError):  # it was read before
        named += _sizes_of(reference)
    for size in [*named, *_OTHERS]:
        if size not in tried and max(size) <= _MOST:
            tried.add(size)
            yield size


def _sizes_of(reference: Any) -> List[Size]:
    """The sizes in the training data of the config that ``reference`` names."""
    from freekd.zoo.config_file import read_config
    from freekd.zoo.stock import find_config

    while isinstance(reference, Mapping):
        reference = reference.get("config")
    if not isinstance(reference, str):
        return []
    cfg = read_config(find_config(reference, "config"))
    return _sizes_in((cfg.get("data") or {}).get("train")) or _sizes_of(cfg.get("model"))


def _sizes_in(node: Any) -> List[Size]:
    found: List[Size] = []
    if isinstance(node, Mapping):
        for name, value in node.items():
            sizes = _as_sizes(value) if name in _SIZE_KEYS else _sizes_in(value)
            found += [(h, w) for w, h in sizes] if name == "img_scale" else sizes  # width first
    elif isinstance(node, (list, tuple)):
        for item in node:
            found += _sizes_in(item)
    return found


def _as_sizes(value: Any) -> List[Size]:
    if _positive(value):
        return [(value, value)]
    if isinstance(value, (list, tuple)):
        if len(value) == 2 and all(_positive(part) for part in value):
            return [(int(value[0]), int(value[1]))]
        return [size for part in value for size in _as_sizes(part) if not _positive(part)]
    return []


def train_size(cfg: Mapping[str, Any]) -> Optional[Size]:
    """(height, width) of the images that a config trains on, the last that its pipeline names.

    None where it names none, or images come in several sizes.
    """
    data = cfg.get("data")
    train = data.get("train") if isinstance(data, Mapping) else None
    while isinstance(train, Mapping) and "dataset" in train and "pipeline" not in train:
        train = train["dataset"]
    pipeline = train.get("pipeline") if isinstance(train, Mapping) else None
    for step in reversed(pipeline if isinstance(pipeline, (list, tuple)) else []):
        found = _sizes_in(step)
        if found:
            return found[0] if len(set(found)) == 1 else None
    return None


class Look:
    """What the tapped modules of one model give for a blank image of the data's size, if asked.

    Args:
        reference: the model, as ``pair`` names it.
        who: ``student`` or ``teacher``.
        modules: the tapped module, or a dict from names to such.
        key: the config key of the entry, for errors.
        size: of the images; None: not known, an image of any size.
        levels: numbers of the module's maps that count; None: what it gives, as it is.
    """

    def __init__(
        self,
        reference: Any,
        who: str,
        modules: Any,
        key: str,
        size: Optional[Size],
        levels: Optional[Sequence[int]] = None,
    ) -> None:
        self.reference, self.who, self.modules, self.size = reference, who, modules, size
        self.levels = levels
        self.key = f"{key}.module ({who})"

    @property
    def model(self) -> Any:
        """The model's config."""
        return read_model_at(self.reference, f"pair.{self.who}")

    def outputs(self) -> Any:
        """What the tapped module gives; a dict where there are names. The model is built for it.

        Raises:
            ConfigError: see :func:`tell_maps`.
        """
        named = self.modules if isinstance(self.modules, Mapping) else {"": self.modules}
        keys = {name: f"{self.key}, tap {name!r}" if name else self.key for name in named}
        seen = _outputs(self.model, named, keys, self.reference, self.size)
        found = {name: output for name, (output, _) in seen.items()}
        if self.levels is not None:
            from freekd.distill.run.levels import choose

            found = {name: choose(*seen[name], self.levels, keys[name]) for name in found}
        return found if isinstance(self.modules, Mapping) else found[""]


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """What is drawn in the block is as if it had not been."""
    states: Dict[str, Any] = dict(python=random.getstate(), numpy=np.random.get_state())
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states["python"])
        np.random.set_state(states["numpy"])


# --------------------------------------------------------------------------- for short configs
def read_model_at(reference: Any, key: str) -> Any:
    """The model config that the config key ``key`` names.

    Raises:
        ConfigError: there is no such config.
    """
    from freekd.config.explain import building
    from freekd.zoo.stock import read_model

    with building(key):
        return read_model(reference, key)


class Given(NamedTuple):
    """What the config says of the maps, and the key of their channels."""

    channels: Any
    num_levels: Optional[int]
    name: str = "channels"


def maps_of(short: str, who: str, reference: Any, module: str, given: Given) -> Tuple[Any, int]:
    """Channels and number of the maps that ``module`` gives: as given, else as the model tells."""
    model = read_model_at(reference, f"{short.split('.')[0]}.{who}")
    channels, num_levels = given.channels, given.num_levels
    if num_levels is None and isinstance(channels, (list, tuple)):
        num_levels = len(channels)
    if channels is None or num_levels is None:
        try:
            told = tell_maps(model, module, f"{short}.module ({who})", reference)
        except ConfigError as error:
            remedy = f" Or give {short}.{given.name} (a number, or one per level) and "
            remedy += f"{short}.num_levels."
            raise ConfigError(
                f"{error}{remedy}" if "blank image" in str(error) else error
            ) from None
        channels = told.channels if channels is None else channels
        num_levels = told.num_levels if num_levels is None else num_levels
    return channels, num_levels


def chosen(maps: Tuple[Any, int], levels: Optional[Sequence[int]], key: str) -> Tuple[Any, int]:
    """Channels and number of those maps that ``levels`` names; None: of all.

    Args:
        maps: channels, one number or one per level, and number of a module's maps.
        levels: their numbers, from 0.
        key: the config key, for errors.

    Raises:
        ConfigError: there is no such map; has both lists.

    >>> chosen(([96, 192, 384], 3), [1, 2], "pair.levels")
    ([192, 384], 2)
    """
    from freekd.distill.run.levels import check_there

    channels, count = maps
    if levels is None:
        return maps
    try:
        check_there(levels, count, key)
    except FeatureError as error:
        raise ConfigError(f"{error}.") from None
    if isinstance(channels, (list, tuple)) and len(channels) == count:
        channels = [channels[level] for level in levels]
    return channels, len(levels)


def named_maps(short: str, who: str, reference: Any, modules: Mapping[str, str]) -> Dict[str, Maps]:
    """The same for named taps: as the model tells, see :func:`tell_named`."""
    model = read_model_at(reference, f"{short.split('.')[0]}.{who}")
    return tell_named(model, modules, f"{short}.module ({who})", reference)
