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
  cache. Of the size of a whole map there are half a spectrum, the amplitudes, U, and the gradient.
"""

from typing import Any, Callable, List, Optional, Tuple

import torch
from torch import Tensor

from freekd.frequency.half_plane import HalfPlane

Affine = Tuple[Tensor, Tensor]
Roll = Tuple[int, int]
# of some channels of all images, at a time; there are about fifteen such things at once
_CHUNK_BYTES, _CHUNK_BYTES_GPU = 2**19, 2**25
_EPS = 1e-5  # of the standardisation
_LEAST_NORM = 1e-8  # of a cosine
_LEAST_AMPLITUDE = 1e-15  # below it a frequency is not there: it has no phase and no gradient


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
        student: S, float32 or float64.
        teacher: T, of the same shape and type; no gradient flows into it.
        draw: gives U (N, C, H, W), of the same type, frequency 0 in the middle. It is called when U
            is needed, so that U is not there before, nor after.
        pre: weight (C, C) and bias (C,).
        mix: weight (C, 2C) and bias (C,); the weight's first C columns are for the student.
        roll: (images, channels) by which w and U are ahead of the maps: w[n + images, c + channels]
            goes with the spectrum of map (n, c).

    Returns:
        A scalar. It may be differentiated once: its gradient is a constant for autograd.
    """
    tensors = (student, *pre, *mix)
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
        work = _Pass(student.contiguous(), teacher.contiguous(), roll)
        work.transform(pre_weight, pre_bias)
        value = work.on_the_sphere(mix_weight, mix_bias, draw, wants)
        if wants:
            ctx.save_for_backward(*work.to_the_inputs(pre_weight, mix_weight))
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> Tuple[Optional[Tensor], ...]:
        return (*(grad_out * x for x in ctx.saved_tensors), None, None, None, None)


class _Pass:
    """One evaluation of D, with what its stages hand on."""

    def __init__(self, student: Tensor, teacher: Tensor, roll: Roll) -> None:
        self.student, self.teacher, self.roll = student, teacher, roll
        self.count, self.channels, height, width = student.shape
        self.plane = HalfPlane(height, width)
        self.size = height * width
        flat = (-1, self.size)
        s, t = student.reshape(flat), teacher.reshape(flat)
        self.norms = tuple(_dot(x, x).sqrt() for x in (s, t))
        self.products = _dot(s, t)
        lengths = [x.clamp(min=_LEAST_NORM) for x in self.norms]
        self.scale = lengths[0] * lengths[1]
        weight = 1 - self.products / self.scale
        self.weight = weight.view(self.count, self.channels)

    def parts(self, images: int) -> List[slice]:
        """Channels at a time, so that their maps of so many images stay in a CPU's cache."""
        chunk = _CHUNK_BYTES if self.student.device.type == "cpu" else _CHUNK_BYTES_GPU
        step = max(1, chunk // (images * self.size * self.student.element_size()))
        starts = range(0, self.channels, step)
        return [slice(start, min(start + step, self.channels)) for start in starts]

    def transform(self, pre_weight: Tensor, pre_bias: Tensor) -> None:
        """F(P) and |F(T)|: halves (N, C, H, half)."""
        shape = (*self.student.shape[:3], self.plane.half)
        dtype = torch.promote_types(self.student.dtype, torch.complex64)
        self.own = self.student.new_empty(shape, dtype=dtype)
        self.other_amplitude = self.student.new_empty(shape)
        for image, (s, t) in enumerate(zip(self.student, self.teacher)):
            mapped = torch.addmm(pre_bias[:, None], pre_weight, s.flatten(1)).view_as(s)
            for part in self.parts(1):
                self.own[image, part] = self.plane.analyse(mapped[part])
                self.other_amplitude[image, part] = _amplitude(self.plane.analyse(t[part]))
            del mapped

    def own_amplitude(self, image: int) -> Tensor:
        """|F(P)| of one image, (C, H half)."""
        out = self.student.new_empty(self.own.shape[1:])
        for part in self.parts(1):
            out[part] = _amplitude(self.own[image, part])
        return out.flatten(1)

    def on_the_sphere(
        self, mix_weight: Tensor, mix_bias: Tensor, draw: Callable[[], Tensor], wants: bool
    ) -> Tensor:
        """D; where wanted also dD/dA and dD/dp / |F(P)|, (N, C, H, half), and dD/dw, (N, C)."""
        fused = torch.empty_like(self.other_amplitude)
        from_own, from_other = mix_weight.split(self.channels, 1)
        for image, other in enumerate(self.other_amplitude):
            rows = fused[image].flatten(1)
            torch.addmm(mix_bias[:, None], from_own, self.own_amplitude(image), out=rows)
            rows.addmm_(from_other, other.flatten(1))
        turn = torch.empty_like(fused) if wants else None
        noise = draw().reshape(-1, self.size)
        positions = self.plane.positions(True, noise.device)
        weight = torch.roll(self.weight, (-self.roll[0], -self.roll[1]), (0, 1))
        errors = torch.empty_like(weight)
        for part in self.parts(self.count):
            drawn = noise[self._rows(part, noise.device)][:, positions]
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
        to_own, to_other, to_pre = (torch.zeros_like(pre_weight) for _ in range(3))
        for rows, other in zip(self.to_fused, self.other_amplitude):
            to_other.addmm_(rows.flatten(1), other.flatten(1).t())
        shape, shares = self.own.shape[1:], plane.shares(self.other_amplitude)
        del self.other_amplitude, other
        for image, rows in enumerate(self.to_fused):
            own = self.own_amplitude(image)
            to_own.addmm_(rows.flatten(1), own.t())
            radial = torch.mm(from_own.t(), rows.flatten(1)).view(shape)
            own = own.view(shape)
            for part in self.parts(1):
                inverse = own[part].reciprocal().masked_fill_(own[part] < _LEAST_AMPLITUDE, 0)
                inverse.mul_(shares)
                change = inverse * radial[part], inverse * self.to_phase[image, part]
                self.own[image, part] *= torch.complex(*change)
            del own, radial
        to_mix, to_mix_bias = torch.cat([to_own, to_other], 1), self.to_fused.sum((0, 2, 3))
        del self.to_fused, self.to_phase, rows
        gradient, to_pre_bias = torch.empty_like(self.student), torch.zeros_like(to_mix_bias)
        for image, s in enumerate(self.student):
            mapped = torch.empty_like(s)
            for part in self.parts(1):
                mapped[part] = plane.adjoint(self.own[image, part])
            mapped = mapped.flatten(1)
            to_pre.addmm_(mapped, s.flatten(1).t())
            to_pre_bias += mapped.sum(1)
            torch.mm(pre_weight.t(), mapped, out=gradient[image].flatten(1))
            del mapped
        # of the cosine; a map of zeros has no direction, and no gradient for it
        along_teacher = -self.to_weight.flatten() / self.scale
        along_own = -along_teacher * self.products / self.norms[0].square()
        flat = gradient.view(-1, self.size)
        for along, feat in ((along_teacher, self.teacher), (along_own, self.student)):
            along.masked_fill_(self.norms[0] <= _LEAST_NORM, 0)
            flat.addcmul_(along[:, None], feat.view(-1, self.size))
        return gradient, to_pre, to_pre_bias, to_mix, to_mix_bias


class _Sphere:
    """Some channels of all images on the sphere, (N, K, HW) spread, both networks."""

    def __init__(self, work: _Pass, part: slice, fused: Tensor, noise: Tensor) -> None:
        self.plane = plane = work.plane
        self.total = 2 * work.student.numel()
        own = work.own[:, part]
        amplitude = _amplitude(own)
        # of a constant map, rounding: there is no phase, so it is 0 and stays
        rounding = amplitude[..., :1, :1] * torch.finfo(amplitude.dtype).eps
        zero = amplitude <= rounding.clamp(min=_LEAST_AMPLITUDE)
        self.inverse = amplitude.reciprocal_().masked_fill_(zero, 0)
        self.cos = plane.spread((own.real * self.inverse).masked_fill_(zero, 1))
        self.sin = plane.spread(own.imag * self.inverse, -1)
        self.noise = noise.view_as(self.cos)
        self.radius = plane.spread(fused).mul_(self.noise)
        self.half_g = self.radius.square().add_(1).reciprocal_()  # 1 / (1 + r^2)
        self.g = (self.radius * self.half_g).mul_(2)
        self.maps = [self.g * self.cos, self.g * self.sin, self.radius * self.g]
        other = plane.analyse(work.teacher[:, part])
        square = work.other_amplitude[:, part].square()
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
            for x in (own, other):
                x.sub_(x.mean(2).mean(0)[:, None])
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
            mean = (factor * (own.sum(2) * deviation - other.sum(2) * scale)).sum(0) / count
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
    return (spectrum * spectrum.conj()).real.sqrt()
