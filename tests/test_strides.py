"""Correlation at a stride by blocks, against the convolutions of PyTorch as they are written."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from mzsr.imaging.strides import BLOCK, FEW, correlate, spread

SHAPES = [  # kernel, stride, rows and columns of results
    (1, 1, 1, 1),
    (1, 8, 2, 3),
    (3, 2, BLOCK, 2 * BLOCK),
    (15, 2, 5, 9),
    (21, 3, 7, 4),
    (33, 4, 3, 10),
    (64, 1, 2, 6),
]


@pytest.mark.parametrize(("size", "stride", "rows", "columns"), SHAPES)
@pytest.mark.parametrize("spare", [0, 1])
def test_as_a_convolution_at_a_stride(size: int, stride: int, rows: int, columns: int, spare: int) -> None:
    """Pixels beyond the last place where the kernel fits are passed over."""
    spare = min(spare, stride - 1)
    images = torch.randn(2, 3, *(stride * (side - 1) + size + spare for side in (rows, columns))).double()
    kernel = torch.randn(size, size).double()
    expected = conv2d(images.reshape(6, 1, *images.shape[2:]), kernel[None, None], stride=stride)
    torch.testing.assert_close(correlate(images, kernel[None], stride), expected.reshape(2, 3, rows, columns))


@pytest.mark.parametrize(("size", "stride", "rows", "columns"), SHAPES)
def test_as_a_transposed_convolution(size: int, stride: int, rows: int, columns: int) -> None:
    images, kernel = torch.randn(2, 3, rows, columns).double(), torch.randn(size, size).double()
    expected = conv_transpose2d(
        images.reshape(6, 1, rows, columns), kernel[None, None], stride=stride, output_padding=stride - 1
    )
    assert expected.shape[2:] == (stride * rows - 1 + size, stride * columns - 1 + size)
    torch.testing.assert_close(spread(images, kernel[None], stride), expected.reshape(2, 3, *expected.shape[2:]))


@pytest.mark.parametrize("count", [2, FEW, FEW + 1])
@pytest.mark.parametrize("apply", [correlate, spread])
def test_a_kernel_for_each(count: int, apply: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Few images go one after the other, many at once; the results are those of each alone."""
    images, kernels = torch.randn(count, 3, 12, 14).double(), torch.randn(count, 5, 5).double()
    each = [apply(image[None], kernel[None], 2) for image, kernel in zip(images, kernels, strict=True)]
    torch.testing.assert_close(apply(images, kernels, 2), torch.cat(each))


def test_a_single_pixel_is_not_smeared_by_zeros() -> None:
    """What a kernel of one tap leaves alone stays the same to the bit."""
    images = torch.rand(1, 3, 37, 41)
    assert torch.equal(correlate(images, torch.ones(1, 1, 1), 2), images[:, :, ::2, ::2])


def test_memory_layout_does_not_matter() -> None:
    images, kernel = torch.rand(2, 3, 30, 26), torch.rand(1, 7, 7)
    last = images.contiguous(memory_format=torch.channels_last)
    for apply in (correlate, spread):
        assert torch.equal(apply(last, kernel, 2), apply(images, kernel, 2))


def test_gradients_of_pictures_and_kernels() -> None:
    images, kernel = (
        torch.randn(1, 2, 3, BLOCK + 1).double().requires_grad_(),
        torch.randn(1, 3, 3).double().requires_grad_(),
    )
    for apply in (correlate, spread):
        assert torch.autograd.gradcheck(lambda x, k, f=apply: f(x, k, 2), (images, kernel))
        assert torch.autograd.gradgradcheck(lambda x, k, f=apply: f(x, k, 2), (images, kernel))


def test_under_vmap() -> None:
    images, kernels = torch.randn(3, 1, 2, 9, 9).double(), torch.randn(3, 1, 5, 5).double()
    for apply in (correlate, spread):
        each = torch.stack([apply(x, k, 2) for x, k in zip(images, kernels, strict=True)])
        torch.testing.assert_close(torch.vmap(lambda x, k, f=apply: f(x, k, 2))(images, kernels), each)
