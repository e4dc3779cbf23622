"""The distance of two spectra on the Riemann sphere, the student's amplitude mixed with noise.

For student S and teacher T, (N, C, H, W), with F the orthonormal transform of the last two axes:

    P = pre S,    A = mix [|F(P)|; |F(T)|],    Z_S = A U e^{i arg F(P)},    Z_T = F(T)
    D = 1/2 sum_{k in X,Y,Z} mean_{n,c,u,v} w[n,c] (B(k_S) - B(k_T))^2,    w = 1 - cos(S, T)

X, Y, Z: of a + ib the point (2a, 2b, a^2 + b^2 - 1) / (a^2 + b^2 + 1). B standardises a channel
over (N, u, v). Value and gradient come from one pass:

* All but U is even or odd in the frequency, so all but U is kept for half the frequencies alone.
* With r = A U and phase p, g = 2r / (1 + r^2): X = g cos p, Y = g sin p, Z = r g - 1.
* Two standardised maps are compared by sums of x, x^2 and x y over a channel: no map is made of it.
* Channels meet in ``pre`` and ``mix`` alone, so the sphere is done a few channels at a time, in the
  cache. Of the size of a map, (N, C, H, W) numbers, three are held at most: half the spectrum P (as
  much as a map), U, and half as much for each of A, later dD/dA, and dD/dp. |F(T)| is made again.
* The maps are widened and made contiguous an image or some channels at a time, never whole.
"""

import math
from typing import Any, Callable, List, Tuple

import torch
from torch import Tensor

from freekd.frequency.half_plane import HalfPlane
from freekd.widen import wide_dtype

Affine = Tuple[Tensor, Tensor]
Roll = Tuple[int, int]
# of some channels of all images, at a time; there are about fifteen such things at once
_CHUNK_BYTES, _CHUNK_BYTES_GPU = 2**19, 2**25
# on a CPU: so many chunks at least, the fifteen being less than a map; unless they get that small
_FEWEST, _LEAST_BYTES = 20, 2**16
_EPS = 1e-5  # of the standardisation
_LEAST_NORM = 1e-8  # of a cosine
_LEAST_AMPLITUDE = 1e-15  # up to it a frequency of P is not there


def sphere_distance(
    student: Tensor,
    teacher: Tensor,
    draw: Callable[[], Tensor],
    pre: Affine,
    mix: Affine,
    roll: Roll = (0, 0),
) -> Tensor:
    """D above.

    Args:
        student: S; computed in float32, or in float64 where an argument is that.
        teacher: T, of the same shape; no gradient flows into it.
        draw: gives U (N, C, H, W), frequency 0 in the middle. It is called when U is needed, so
            that U is not there before, nor after.
        pre: weight (C, C) and bias (C,).
        mix: weight (C, 2C) and bias (C,); the weight's first C columns are for the student.
        roll: (images, channels) by which w and U are ahead of the maps: w[n + images, c + channels]
            goes with the spectrum of map (n, c).

    Returns:
        A scalar. It may be differentiated once: its gradient is a constant for autograd. A
        frequency of P with no more amplitude than the mean's rounding has phase 0 and passes no
        gradient on.
    """
    dtype = wide_dtype(student, teacher, *pre, *mix)
    tensors = (student, *(x.to(dtype) for x in (*pre, *mix)))
    wants = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    out: Tensor = _SphereDistance.apply(  # type: ignore[no-untyped-call]
        *tensors, teacher.detach(), draw, roll, wants
    )
    return out


class _SphereDistance(torch.autograd.Function):
    """The gradient is made with the value, and saved."""

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        pre_weight: Tensor,
        pre_bias: Tensor,
        mix_weight: Tensor,
        mix_bias: Tensor,
        teacher: Tensor,
        draw: Callable[[], Tensor],
        roll: Roll,
        wants: bool,
    ) -> Tensor:
        work = _Pass(student, teacher, pre_weight.dtype, roll)
        work.transform(pre_weight, pre_bias, mix_weight, mix_bias)
        value = work.on_the_sphere(draw, wants)
        if wants:
            ctx.type = student.dtype
            ctx.save_for_backward(*work.to_the_inputs(pre_weight, mix_weight))
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> Any:
        first, *others = (grad_out * x for x in ctx.saved_tensors)
        return (first.to(ctx.type), *others, None, None, None, None)


class _Pass:
    """One evaluation of D, with what its stages hand on."""

    def __init__(self, student: Tensor, teacher: Tensor, dtype: torch.dtype, roll: Roll) -> None:
        self.student, self.teacher, self.dtype, self.roll = student, teacher, dtype, roll
        self.count, self.channels, height, width = student.shape
        self.plane = HalfPlane(height, width)
        self.size, self.half = height * width, (self.channels, height, self.plane.half)

    def parts(self, images: int, fewest: int = 1) -> List[slice]:
        """Channels at a time, so that their maps of so many images stay in a CPU's cache.

        Args:
            fewest: so many parts at least, on a CPU, unless they get small; see _FEWEST.
        """
        chunk = least = _CHUNK_BYTES_GPU
        if self.student.device.type == "cpu":
            chunk, least = _CHUNK_BYTES, _LEAST_BYTES
        one = images * self.size * torch.finfo(self.dtype).bits // 8
        step = max(1, min(chunk // one, max(self.channels // fewest, least // one)))
        starts = range(0, self.channels, step)
        return [slice(start, min(start + step, self.channels)) for start in starts]

    def wide(self, maps: Tensor) -> Tensor:
        """A few maps, in the type that all is computed in, and contiguous."""
        return maps.to(self.dtype).contiguous()

    def empty(self, *shape: int) -> Tensor:
        """Of that type."""
        return self.student.new_empty(shape, dtype=self.dtype)

    def transform(
        self, pre_weight: Tensor, pre_bias: Tensor, mix_weight: Tensor, mix_bias: Tensor
    ) -> None:
        """F(P) and A, halves (N, C, H, half), and the weights w, (N, C)."""
        kind = torch.promote_types(self.dtype, torch.complex64)
        self.own = self.student.new_empty((self.count, *self.half), dtype=kind)
        self.fused = self.empty(self.count, *self.half)
        dots = self.empty(3, self.count, self.channels)
        from_own, from_other = mix_weight.split(self.channels, 1)
        amplitude, parts = self.empty(*self.half), self.parts(1)
        for image, rows in enumerate(self.fused.flatten(2)):
            s = self.student[image].to(self.dtype)
            mapped = torch.addmm(pre_bias[:, None], pre_weight, s.flatten(1)).view(s.shape)
            for part in parts:
                spectrum = self.plane.analyse(mapped[part])
                self.own[image, part] = spectrum
                amplitude[part] = _present(spectrum)
            del mapped
            torch.addmm(mix_bias[:, None], from_own, amplitude.flatten(1), out=rows)
            for part in parts:
                t = self.wide(self.teacher[image, part])
                amplitude[part] = _amplitude(self.plane.analyse(t))
                x, y = s[part].flatten(1), t.flatten(1)
                for dot, pair in zip(dots, ((x, x), (y, y), (x, y))):
                    dot[image, part] = _dot(*pair)
            rows.addmm_(from_other, amplitude.flatten(1))
            del s, t, x, y, pair
        self.norm, self.products = dots[0].sqrt(), dots[2]
        self.scale = self.norm.clamp(min=_LEAST_NORM) * dots[1].sqrt().clamp(min=_LEAST_NORM)
        self.weight = 1 - self.products / self.scale

    def on_the_sphere(self, draw: Callable[[], Tensor], wants: bool) -> Tensor:
        """D; where wanted also dD/dA and dD/dp / |F(P)|, (N, C, H, half), and dD/dw, (N, C)."""
        fused = self.fused
        turn = torch.empty_like(fused) if wants else None
        noise = draw().to(self.dtype).reshape(-1, self.size)
        positions = self.plane.positions(True, noise.device)
        weight = torch.roll(self.weight, (-self.roll[0], -self.roll[1]), (0, 1))
        errors = torch.empty_like(weight)
        for part in self.parts(self.count, _FEWEST):
            # several times as fast as noise[rows][:, positions]
            drawn = noise.index_select(0, self._rows(part, noise.device)).index_select(1, positions)
            sphere = _Sphere(self, part, fused[:, part], drawn)
            errors[:, part] = sphere.errors(weight[:, part])
            if turn is not None:
                fused[:, part], turn[:, part] = sphere.gradients()
            del sphere, drawn
        if turn is not None:
            self.to_fused, self.to_phase = fused, turn
            self.to_weight = torch.roll(errors, self.roll, (0, 1)) / (2 * self.student.numel())
        return (weight * errors).sum() / (2 * self.student.numel())

    def _rows(self, part: slice, device: torch.device) -> Tensor:
        """Which of the N C rows of U belong to these channels of all images."""
        images = (torch.arange(self.count, device=device) + self.roll[0]) % self.count
        channels = torch.arange(part.start, part.stop, device=device) + self.roll[1]
        return (images[:, None] * self.channels + channels % self.channels).flatten()

    def to_the_inputs(self, pre_weight: Tensor, mix_weight: Tensor) -> Tuple[Tensor, ...]:
        """Gradients in student, pre_weight, pre_bias, mix_weight and mix_bias."""
        plane, from_own = self.plane, mix_weight[:, : self.channels]
        to_pre, to_mix = torch.zeros_like(pre_weight), torch.zeros_like(mix_weight)
        to_own, to_other = to_mix[:, : self.channels], to_mix[:, self.channels :]
        shares, amplitude, parts = plane.shares(pre_weight), self.empty(*self.half), self.parts(1)
        for image, rows in enumerate(self.to_fused.flatten(2)):
            for part in parts:
                t = self.wide(self.teacher[image, part])
                amplitude[part] = _amplitude(plane.analyse(t))
            to_other.addmm_(rows, amplitude.flatten(1).t())
            for part in parts:
                amplitude[part] = _present(self.own[image, part])
            to_own.addmm_(rows, amplitude.flatten(1).t())
            radial = torch.mm(from_own.t(), rows).view(self.half)
            for part in parts:
                inverse = _inverse(amplitude[part]).mul_(shares)
                change = inverse * radial[part], inverse * self.to_phase[image, part]
                self.own[image, part] *= torch.complex(*change)
            del radial
        to_mix_bias = self.to_fused.sum((0, 2, 3))
        del self.fused, self.to_fused, self.to_phase, rows, amplitude
        # of the cosine; a map of zeros has no direction, and no gradient for it
        along_teacher = -self.to_weight / self.scale
        along_own = -along_teacher * self.products / self.norm.square()
        for along in (along_teacher, along_own):
            along.masked_fill_(self.norm <= _LEAST_NORM, 0)
        gradient, to_pre_bias = self.empty(*self.student.shape), torch.zeros_like(to_mix_bias)
        for image, found in enumerate(gradient):
            s, mapped = self.student[image].to(self.dtype), torch.empty_like(found)
            for part in parts:
                mapped[part] = plane.adjoint(self.own[image, part])
            to_pre.addmm_(mapped.flatten(1), s.flatten(1).t())
            to_pre_bias += mapped.sum((1, 2))
            torch.mm(pre_weight.t(), mapped.flatten(1), out=found.flatten(1))
            for part in parts:
                for along, feat in ((along_teacher, self.teacher[image]), (along_own, s)):
                    feat = feat[part].to(self.dtype)
                    found[part].addcmul_(along[image, part, None, None], feat)
            del s, mapped, feat
        return gradient, to_pre, to_pre_bias, to_mix, to_mix_bias


class _Sphere:
    """Some channels of all images on the sphere, (N, K, HW) spread, both networks."""

    def __init__(self, work: _Pass, part: slice, fused: Tensor, noise: Tensor) -> None:
        self.plane = plane = work.plane
        self.total = 2 * work.student.numel()
        own = work.own[:, part]
        amplitude = _present(own)
        self.inverse = _inverse(amplitude)
        # without amplitude there is no phase, so it is 0 and stays
        self.cos = plane.spread((own.real * self.inverse).add_(amplitude == 0))
        self.sin = plane.spread(own.imag * self.inverse, -1)
        self.noise = noise.view_as(self.cos)
        self.radius = plane.spread(fused).mul_(self.noise)
        self.half_g = self.radius.square().add_(1).reciprocal_()  # 1 / (1 + r^2)
        self.g = (self.radius * self.half_g).mul_(2)
        self.maps = [self.g * self.cos, self.g * self.sin, self.radius * self.g]
        other = plane.analyse(work.wide(work.teacher[:, part]))
        square = torch.addcmul(other.real.square(), other.imag, other.imag)
        g = (square + 1).reciprocal_().mul_(2)
        self.others = [
            plane.spread(g * other.real), plane.spread(g * other.imag, -1), plane.spread(square * g)
        ]  # fmt: skip

    def errors(self, weight: Tensor) -> Tensor:
        """sum_k sum_{u,v} (B(k_S) - B(k_T))^2, (N, K)."""
        self.weight, self.scales = weight, []
        errors = torch.zeros_like(weight)
        count = self.cos.shape[0] * self.cos.shape[2]
        for own, other in zip(self.maps, self.others):
            excess = []  # of an image's mean over that of all
            for x in (own, other):
                of_images = x.mean(2)
                mean = of_images.mean(0)
                x.sub_(mean[:, None])
                excess.append(of_images - mean)
            own_square, other_square = _dot(own, own), _dot(other, other)
            product = _dot(own, other)
            deviation, scale = (
                (x.sum(0) / count + _EPS).rsqrt() for x in (own_square, other_square)
            )
            own_square, other_square = own_square * deviation**2, other_square * scale**2
            product = product * (deviation * scale)
            errors += own_square - 2 * product + other_square
            # dD/dx = a x - b y - c, for the centred x and y
            factor = 2 * weight / self.total
            pull = (factor * (own_square - product)).sum(0) / count
            apart = excess[0] * deviation - excess[1] * scale
            mean = (factor * apart).mean(0)
            self.scales.append(
                (deviation**2 * (factor - pull), deviation * scale * factor, deviation * mean)
            )
        return errors

    def gradients(self) -> Tuple[Tensor, Tensor]:
        """dD/dA, and dD/dp / |F(P)|, halves (N, K, H, half)."""
        for own, other, (a, b, c) in zip(self.maps, self.others, self.scales):
            own.mul_(a[..., None]).sub_(other.mul_(b[..., None])).sub_(c[:, None])
        x, y, z = self.maps
        radial = (x * self.cos).addcmul_(y, self.sin)
        turn = y.mul_(self.cos).sub_(x.mul_(self.sin)).mul_(self.g)
        # dg/dr = 2 h (2 h - 1) and d(rg)/dr = 2 h g, h = 1 / (1 + r^2)
        two_h = self.half_g.mul_(2)
        to_radius = radial.mul_(two_h - 1).addcmul_(z, self.g).mul_(two_h).mul_(self.noise)
        return self.plane.fold(to_radius), self.plane.fold(turn, -1) * self.inverse


def _dot(one: Tensor, two: Tensor) -> Tensor:
    """sum_x one two over the last axis."""
    return (one * two).sum(-1)


def _amplitude(spectrum: Tensor) -> Tensor:
    """|spectrum|; several times as fast as torch.abs, which guards against overflow."""
    real, imag = spectrum.real, spectrum.imag
    return torch.addcmul(real.square(), imag, imag).sqrt_()


def _present(spectrum: Tensor) -> Tensor:
    """|F(P)|, and 0 where it is only rounding, as all but the mean of a constant map is."""
    amplitude = _amplitude(spectrum)
    rounding = amplitude[..., :1, :1] * torch.finfo(amplitude.dtype).eps
    return amplitude.mul_(amplitude > rounding.clamp(min=_LEAST_AMPLITUDE))


def _inverse(amplitude: Tensor) -> Tensor:
    """1 / amplitude, and 0 where that is 0; several times as fast as masked_fill."""
    return torch.threshold(amplitude, 0.0, math.inf).reciprocal_()
