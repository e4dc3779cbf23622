"""Shapes of what tapped modules give for an image of the data's size, for losses that want them.

Channels are told without any data (:mod:`.maps`); heights and widths are those of the data's
images. The model is built, without pretrained weights, and one blank image goes as far as the taps.
"""

from typing import Any, Dict, List, Mapping, Optional

import torch

from freekd import compat
from freekd.config import maps
from freekd.config.errors import ConfigError
from freekd.losses.tokens import shape_of


def image_size(data: Any) -> Optional[maps.Size]:
    """(height, width) of the images that the training pipeline gives: its last size.

    >>> image_size(dict(train=dict(pipeline=[dict(type="Resize", size=256),
    ...                                      dict(type="RandomCrop", size=224)])))
    (224, 224)
    """
    sizes = maps.sizes_in((data or {}).get("train"))
    return sizes[-1] if sizes else None


def tell_shapes(
    reference: Any, who: str, taps: Mapping[str, str], size: Optional[maps.Size], key: str
) -> Dict[str, List[int]]:
    """(channels, height, width) of what each tapped module gives.

    Args:
        reference: what ``pair.teacher`` or ``pair.student`` says.
        who: ``teacher`` or ``student``.
        taps: name -> path.
        size: (height, width) of the data's images.
        key: the config key of the entry.

    Raises:
        ConfigError: no size is known, the model cannot be built or does not take such an image, or
            a module gives neither map nor tokens.
    """
    own = f"{key}.module ({who})"
    if size is None:
        raise ConfigError(
            f"{own}: expected data.train with a pipeline that says how large images become, found "
            f"none, so the sizes of maps cannot be told. Give them in {key}."
        )
    compat.apply()
    from mmrazor.models.builder import MODELS

    from freekd.config.explain import building, explained
    from freekd.distill.run.partial import PartialRun
    from freekd.distill.run.taps import hook_output
    from freekd.distill.weights import find_module, without_pretrained

    model = maps.read_model_at(reference, f"pair.{who}")
    seen: Dict[str, Any] = {}
    with maps.same_random_state(), torch.no_grad(), building(own):
        built = MODELS.build(without_pretrained(model)).eval()
        for name, path in taps.items():
            module = find_module(built, path, own)
            hook_output(module, lambda output, _, name=name: seen.update({name: output}))
        channels = next(iter(maps.image_channels(built, model)))
        run = PartialRun(built, list(taps.values()))
        try:
            run.features(torch.zeros((1, channels, *size)), [])
        except Exception as error:  # what a model says of an image that it does not take
            raise ConfigError(
                f"{own}: the {who} does not run on a blank image of the data's size, "
                f"{size[1]}x{size[0]} pixels, {channels} channels: {explained(error)}. Change the "
                f"model or the data, or give the sizes in {key}."
            ) from error
        return {name: list(shape_of(seen[name], f"{own}, tap {name!r}")) for name in taps}
