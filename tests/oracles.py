"""Slow and obvious: the definitions, written with loops and dense matrices, that the fast code must agree with.

Everything here is numpy in float64 and on one plane; nothing here imports mzsr.
"""

import numpy as np


def mirror(index: int, length: int) -> int:
    """Fold an index back into 0…length-1 at half-sample mirrors: -1 is 0, -2 is 1, length is length - 1."""
    while not 0 <= index < length:
        index = -1 - index if index < 0 else 2 * length - 1 - index
    return index


def correlate(plane: np.ndarray, kernel: np.ndarray, scale: int) -> np.ndarray:
    """Correlate around the middle tap with symmetric borders, then keep every scale-th pixel from 0 on."""
    height, width = plane.shape
    middle = kernel.shape[0] // 2
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            for i in range(kernel.shape[0]):
                for j in range(kernel.shape[1]):
                    y, x = mirror(row + i - middle, height), mirror(column + j - middle, width)
                    result[row, column] += kernel[i, j] * plane[y, x]
    return result[::scale, ::scale]


def operator(kernel: np.ndarray, scale: int, height: int, width: int) -> np.ndarray:
    """Write `correlate` as a matrix, (pixels of lr) x (pixels of hr)."""
    rows, columns = range(0, height, scale), range(0, width, scale)
    middle = kernel.shape[0] // 2
    matrix = np.zeros((len(rows) * len(columns), height * width))
    for equation, (row, column) in enumerate((row, column) for row in rows for column in columns):
        for i in range(kernel.shape[0]):
            for j in range(kernel.shape[1]):
                y, x = mirror(row + i - middle, height), mirror(column + j - middle, width)
                matrix[equation, y * width + x] += kernel[i, j]
    return matrix


def least_squares(matrix: np.ndarray, lr: np.ndarray, prior: np.ndarray, alpha: float) -> np.ndarray:
    """Solve argmin ‖A x - y‖² + α ‖x - x₀‖² by its normal equations."""
    normal = matrix.T @ matrix + alpha * np.eye(matrix.shape[1])
    return np.linalg.solve(normal, matrix.T @ lr.ravel() + alpha * prior.ravel()).reshape(prior.shape)


def cubic(x: float) -> float:
    """Evaluate the cubic of Keys, 1981, equation 15 (a = -1/2)."""
    x = abs(x)
    if x < 1:
        return 3 / 2 * x**3 - 5 / 2 * x**2 + 1
    if x < 2:
        return -1 / 2 * x**3 + 5 / 2 * x**2 - 4 * x + 2
    return 0.0


def imresize(
    plane: np.ndarray, size: tuple[int, int], scales: tuple[float, float], phase: tuple[float, float]
) -> np.ndarray:
    """Resize as the help of MATLAB's imresize says: at each output pixel a weighted mean under the cubic.

    The cubic lies around the output pixel's place in the input, stretched by 1 / scale when shrinking; its weights are
    divided by their sum; pixels outside are mirror images. Input pixel 0 lies on output pixel `phase`.
    """
    matrices = []
    for length, outputs, scale, start in zip(plane.shape, size, scales, phase, strict=True):
        matrix = np.zeros((outputs, length))
        for output in range(outputs):
            place = (output - start) / scale
            reach = 2 / min(scale, 1.0)
            inputs = range(int(np.floor(place - reach)), int(np.ceil(place + reach)) + 1)
            weights = [cubic((place - i) * min(scale, 1.0)) for i in inputs]
            for i, weight in zip(inputs, weights, strict=True):
                matrix[output, mirror(i, length)] += weight / sum(weights)
        matrices.append(matrix)
    return matrices[0] @ plane @ matrices[1].T


def blob(size: tuple[int, int], middle: tuple[float, float], deviation: float) -> np.ndarray:
    """Sample a round Gaussian; what should stay where it is stays if its centroid does."""
    row = np.arange(size[0])[:, None] - middle[0]
    column = np.arange(size[1])[None, :] - middle[1]
    return np.exp(-(row**2 + column**2) / (2 * deviation**2))


def centroid(plane: np.ndarray) -> np.ndarray:
    """Return the centre of mass, (row, column), of a plane counted from its first pixel."""
    rows, columns = np.indices(plane.shape)
    return np.array([(rows * plane).sum(), (columns * plane).sum()]) / plane.sum()
