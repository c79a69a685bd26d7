"""Filters and distortions: blur, edges, solarised colours, squares cut out and noise, with parameters of each sample's own."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from leaven.modalities.pixels import grey_weights
from leaven.views.crop import separable
from leaven.views.masks import rectangles


def blur_kernel_size(side: int) -> int:
    """About a tenth of the side, odd, at least 3 (Chen et al. 2020, appendix A)."""
    return max(3, side // 10 // 2 * 2 + 1)


def blur_matrices(sigma: Float[Tensor, " batch"], side: int, kernel_size: int) -> Float[Tensor, "batch side side"]:
    """Gaussian blur of one axis as a linear map, the picture mirrored at its edges (the edge pixel itself not repeated)."""
    reach = kernel_size // 2
    offset = torch.arange(-reach, reach + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    source = (torch.arange(side, device=sigma.device)[:, None] + offset).abs()
    source = torch.minimum(source, 2 * (side - 1) - source)
    placed = F.one_hot(source, side).to(kernel.dtype)  # (side, kernel, side)
    return torch.einsum("bk,oki->boi", kernel, placed)


def gaussian_blur(x: Float[Tensor, "batch channel height width"], sigma: Float[Tensor, " batch"]) -> Float[Tensor, "batch channel height width"]:
    """Each sample blurred with its own sigma in pixels; the kernel spans about a tenth of each side.

    Equals torchvision's `gaussian_blur` of the same kernel size and sigma within 1e-5. The sides must exceed 1 pixel.
    """
    height, width = x.shape[2:]
    rows = blur_matrices(sigma, height, blur_kernel_size(height))
    columns = rows if width == height else blur_matrices(sigma, width, blur_kernel_size(width))
    return separable(x, rows, columns)


def sobel(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch 2 height width"]:
    """Slopes of the grey picture to the right and downwards, -4 to 4, zeros outside it (the input of Caron et al. 2018)."""
    weights = grey_weights(x.shape[1], x.device, x.dtype)
    slope = x.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([slope, slope.T])[:, None] * weights[:, None, None]
    return F.conv2d(x, kernels, padding=1)


def solarize(x: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel height width"]:
    """Values from 0.5 up are inverted, so none is left above it."""
    return torch.minimum(x, 1 - x)


def cutout(
    x: Float[Tensor, "batch channel height width"], center_y: Int[Tensor, " batch"], center_x: Int[Tensor, " batch"], side: int, value: float = 0.0
) -> Float[Tensor, "batch channel height width"]:
    """A square of this side around each sample's own centre is set to `value`; what sticks out is lost (DeVries & Taylor 2017)."""
    square = rectangles(center_y - side // 2, center_x - side // 2, side, side, (x.shape[2], x.shape[3]))
    return x.masked_fill(square.view(-1, 1, *x.shape[2:]), value)


def gaussian_noise(
    x: Float[Tensor, "batch channel height width"], noise: Float[Tensor, "batch channel height width"], sigma: Float[Tensor, " batch"]
) -> Float[Tensor, "batch channel height width"]:
    """Standard normal noise, scaled by each sample's own sigma, is added; cut to 0-1."""
    return (x + noise * sigma[:, None, None, None]).clamp_(0, 1)
