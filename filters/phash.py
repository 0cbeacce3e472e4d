"""Perceptual hash: 64 bits that stay close when a picture is resized or re-encoded.

Imagehash's phash (32x32 luminance, DCT, the 8x8 low frequencies against their median), as COYO's ``image_phash``.
Blank pictures and smooth gradients share one hash: gate on ``image_quality.contrast`` before grouping by it.
"""

import imagehash

from curate import Image, scores
from curate.image import to_pil


@scores("image", phash=str, pixels=128)
def phash(images: list[Image]) -> list[dict[str, str] | None]:
    """The hash as 16 hex digits."""
    return [
        {"phash": str(imagehash.phash(to_pil(image.pixels)))} if image.pixels is not None else None for image in images
    ]
