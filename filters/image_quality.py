"""Image quality: is the picture blank, flat or blurred? Measured on luminance, at a short side of 256 to 511 pixels."""

import numpy as np

from curate import Image, scores


@scores("image", contrast=float, sharpness=float, entropy=float, pixels=256, version=1)
def image_quality(images: list[Image]) -> list[dict[str, float] | None]:
    """Three measures of luminance (ITU-R BT.601, 0-255).

    contrast: its standard deviation; 0 is a blank picture, below about 5 a nearly flat one.
    sharpness: variance of the 4-neighbour Laplacian; low is blurred (NeMo Curator's default cut is 100).
    entropy: bits per pixel of its histogram, 0-8; drawings and icons are low, photographs above about 6.
    """
    return [_quality(image.pixels) for image in images]


def _quality(pixels: np.ndarray | None) -> dict[str, float] | None:
    if pixels is None or min(pixels.shape[:2]) < 3:
        return None
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    share = np.bincount(np.rint(grey).astype(np.uint8).ravel(), minlength=256) / grey.size
    share = share[share > 0]
    entropy = -float((share * np.log2(share)).sum())
    return {"contrast": float(grey.std()), "sharpness": float(laplacian.var()), "entropy": max(entropy, 0.0)}
