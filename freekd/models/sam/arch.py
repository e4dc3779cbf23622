"""The shapes of Segment Anything, and its three parts by the package that defines them."""

from functools import partial
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from torch import nn

INSTALL = "pip install 'freekd[sam]' (that is: pip install segment-anything==1.0)"
PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


class Arch(NamedTuple):
    """The sizes of one model; those of the decoder are alike in all released ones.

    Attributes:
        embed_dim, depth, num_heads: of the image encoder, a vision transformer.
        global_attn_indexes: its blocks that attend to the whole image, counted from 0; all others
            attend within windows.
        image_size: side of its input, in pixels.
        patch_size: side of a patch, in pixels; ``image_size`` is a multiple of it.
        window_size: side of a window, in patches.
        mlp_ratio: hidden width of a block over its width.
        out_chans: channels of the image embedding, which are the decoder's width.
        decoder_depth, decoder_heads, decoder_mlp: of the two-way transformer.
        iou_depth, iou_hidden: layers and width of the head that predicts the IoU.
        mask_chans: channels inside the encoder of mask prompts, which we do not use.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: Tuple[int, ...]
    image_size: int = 1024
    patch_size: int = 16
    window_size: int = 14
    mlp_ratio: float = 4.0
    out_chans: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    iou_depth: int = 3
    iou_hidden: int = 256
    mask_chans: int = 16

    @property
    def grid(self) -> int:
        """Side of the image embedding, in patches.

        >>> VARIANTS["vit_h"].grid
        64
        """
        return self.image_size // self.patch_size


VARIANTS: Dict[str, Arch] = dict(
    vit_h=Arch(1280, 32, 16, (7, 15, 23, 31)),
    vit_l=Arch(1024, 24, 16, (5, 11, 17, 23)),
    vit_b=Arch(768, 12, 12, (2, 5, 8, 11)),
    vit_tiny=Arch(192, 12, 3, (2, 5, 8, 11)),  # ours: DeiT-Tiny's width, depth and heads
)
_NEEDED = tuple(name for name in Arch._fields if name not in Arch._field_defaults)


def read_arch(variant: Optional[str], arch: Optional[Mapping[str, Any]], key: str) -> Arch:
    """The sizes that a config asks for.

    Args:
        variant: of :data:`VARIANTS`; None where ``arch`` says all that is needed.
        arch: fields of :class:`Arch` that differ from the variant's.
        key: how errors call the model.

    Raises:
        ValueError: neither is given, an unknown name, or sizes that do not go together.

    >>> read_arch("vit_b", dict(image_size=512), "model").grid
    32
    """
    given = dict(arch or {})
    unknown = sorted(set(given) - set(Arch._fields))
    if unknown:
        raise ValueError(
            f"{key}.arch: expected the keys {', '.join(Arch._fields)}, got {unknown}. Correct them."
        )
    if variant is not None and variant not in VARIANTS:
        raise ValueError(
            f"{key}.variant: expected one of {', '.join(VARIANTS)}, got {variant!r}. Correct it, "
            "or give the sizes as arch=dict(...)."
        )
    lacking = [name for name in _NEEDED if name not in given]
    if variant is None and lacking:
        raise ValueError(
            f"{key}.arch: without a variant ({', '.join(VARIANTS)}) expected the keys "
            f"{', '.join(_NEEDED)}; {lacking} are missing. Add them, or give a variant."
        )
    for name, value in given.items():
        _check(name, value, f"{key}.arch.{name}")
    if "global_attn_indexes" in given:
        given["global_attn_indexes"] = tuple(given["global_attn_indexes"])
    sizes = Arch(**given) if variant is None else VARIANTS[variant]._replace(**given)
    _check_together(sizes, f"{key}.arch")
    return sizes


def _check(name: str, value: Any, key: str) -> None:
    if name == "global_attn_indexes":
        fits = isinstance(value, (list, tuple)) and all(_whole(item, 0) for item in value)
        expected = "a list of numbers of blocks, from 0"
    elif name == "mlp_ratio":
        fits = not isinstance(value, bool) and isinstance(value, (int, float)) and value > 0
        expected = "a number above 0"
    else:
        fits, expected = _whole(value, 0 if name == "window_size" else 1), "a whole number above 0"
    if not fits:
        raise ValueError(f"{key}: expected {expected}, got {value!r}. Correct it.")


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_together(arch: Arch, key: str) -> None:
    """Raise ValueError where the package would fail deep inside, or silently do something else."""
    problems = [
        (arch.embed_dim % arch.num_heads, "embed_dim", f"a multiple of num_heads={arch.num_heads}"),
        (arch.image_size % arch.patch_size, "image_size", "a multiple of patch_size"),
        # the decoder upscales to a quarter of the channels' square root, and its points' Fourier
        # features are sines and cosines in halves
        (arch.out_chans % 8, "out_chans", "a multiple of 8"),
        (
            arch.out_chans % (2 * arch.decoder_heads),
            "out_chans",
            f"a multiple of twice decoder_heads={arch.decoder_heads}",
        ),
        (arch.mask_chans % 4, "mask_chans", "a multiple of 4"),
    ]
    for wrong, name, expected in problems:
        if wrong:
            raise ValueError(
                f"{key}.{name}: expected {expected}, got {getattr(arch, name)}. Correct it."
            )
    outside = [index for index in arch.global_attn_indexes if index >= arch.depth]
    if outside:
        raise ValueError(
            f"{key}.global_attn_indexes: expected blocks 0 to {arch.depth - 1} (depth="
            f"{arch.depth}), got {outside}. Correct them."
        )


def package() -> Any:
    """The module ``segment_anything.modeling``.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    try:
        from segment_anything import modeling
    except ImportError as error:
        raise ImportError(
            "SegmentAnything needs the package segment-anything, an extra of freekd that is not "
            f"installed ({error}). Run: {INSTALL}"
        ) from error
    return modeling


def build_parts(arch: Arch) -> Dict[str, nn.Module]:
    """Image encoder, prompt encoder and mask decoder, as the package makes them.

    Raises:
        ImportError: see :func:`package`.
    """
    modeling = package()
    grid, size = (arch.grid, arch.grid), (arch.image_size, arch.image_size)
    return dict(
        image_encoder=modeling.ImageEncoderViT(
            img_size=arch.image_size,
            patch_size=arch.patch_size,
            embed_dim=arch.embed_dim,
            depth=arch.depth,
            num_heads=arch.num_heads,
            mlp_ratio=arch.mlp_ratio,
            out_chans=arch.out_chans,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=arch.window_size,
            global_attn_indexes=arch.global_attn_indexes,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=arch.out_chans,
            image_embedding_size=grid,
            input_image_size=size,
            mask_in_chans=arch.mask_chans,
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(
                depth=arch.decoder_depth,
                embedding_dim=arch.out_chans,
                num_heads=arch.decoder_heads,
                mlp_dim=arch.decoder_mlp,
            ),
            transformer_dim=arch.out_chans,
            iou_head_depth=arch.iou_depth,
            iou_head_hidden_dim=arch.iou_hidden,
        ),
    )


def build_sam(arch: Arch, parts: Optional[Mapping[str, nn.Module]] = None) -> nn.Module:
    """The package's own ``Sam`` of these sizes, in evaluation mode.

    Args:
        arch: the sizes.
        parts: modules to take, by name; None: new ones.
    """
    modules = dict(build_parts(arch) if parts is None else parts)
    return package().Sam(**modules).eval()


def check_parts(names: Any, key: str) -> Sequence[str]:
    """Raise ValueError unless ``names`` lists parts of the model."""
    if not isinstance(names, (list, tuple)) or not set(names) <= set(PARTS):
        raise ValueError(
            f"{key}: expected a list of {', '.join(PARTS)}, got {names!r}. Correct the names."
        )
    return tuple(names)
