"""Image size: width, height and shape of the stored picture, from its header."""

from curate import Image, scores


@scores("image", width=int, height=int, min_side=int, area=int, aspect=float, elongation=float, version=1)
def image_size(images: list[Image]) -> list[dict[str, float] | None]:
    """Sides in pixels, area in pixels, aspect = width / height, elongation = long side / short side (at least 1)."""
    return [_size(image.width, image.height) for image in images]


def _size(width: int, height: int) -> dict[str, float] | None:
    if not width or not height:
        return None
    short, long = sorted((width, height))
    shape = {"aspect": width / height, "elongation": long / short}
    return {"width": width, "height": height, "min_side": short, "area": width * height, **shape}
