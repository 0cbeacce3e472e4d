"""Text in the image: how much of a picture is writing, and whether its caption still fits without it. Reads no word.

T-MARS (Maini et al. 2023): where the caption only repeats what is written in the picture, the similarity falls once the
writing is painted over. T-MARS finds it by FAST, whose weights are a research repository's; here it is a DBNet through
OpenCV, such as opencv_zoo's ``text_detection_en_ppocrv3_2023may.onnx``.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from curate import Image, Text, scores
from curate.document import Pixels
from curate.filters._text_boxes import Boxes, detector_of
from curate.filters.clip import Clip

BORDER = 2
"""Pixels around a box whose mean colour fills it."""


@scores(
    "pair",
    area=float,
    boxes=list[float],
    masked_sim=float,
    pixels="full",
    batch=64,
    requires=("open_clip_torch", "opencv-python-headless"),
    version=1,
)
class TextInImage:
    """What is written in a picture, and its similarity to its caption without that.

    area: the share of the picture that is text. boxes: left, top, right, bottom of each line, one after the other,
    as shares of width and height, from the top. masked_sim: the cosine of picture and caption with the boxes painted
    over in the colour around them; that of ``clip`` where there are none.

    Args:
        detector: a DBNet as .onnx; ``module:attribute`` for a function from pixels (h, w, 3) to boxes (n, 4); or
            ``demo``, which takes strokes in a row for text: right about plain letters, of no use on photographs.
        model: as for ``clip``, and so are the next two.
        weights: of the CLIP.
        precision: of the CLIP.
    """

    def __init__(self, detector: str = "demo", model: str = "demo", weights: str = "", precision: str = "auto") -> None:
        self.detect = detector_of(detector)
        self.clip = Clip(model, weights, precision)

    @staticmethod
    def weights(detector: str = "demo", model: str = "demo", weights: str = "", precision: str = "auto") -> list[Path]:
        """The files that the scores depend on."""
        files = Clip.weights(model, weights, precision)
        if ":" in detector:
            return [*files, Path(str(importlib.import_module(detector.partition(":")[0]).__file__))]
        if detector != "demo" and not (detector.endswith(".onnx") and Path(detector).is_file()):
            raise FileNotFoundError(
                f"text_in_image: detector is a DBNet as .onnx, module:attribute or demo; not {detector}"
            )
        return files if detector == "demo" else [*files, Path(detector)]

    def prepare(self, image: Image) -> tuple[float, Boxes, Any]:
        """In the decoding threads: the share of text, its boxes, and the picture without it as the CLIP reads it."""
        assert image.pixels is not None
        boxes = np.asarray(self.detect(image.pixels), np.float64).reshape(-1, 4).clip(0, 1)
        boxes = boxes[np.lexsort((boxes[:, 0], boxes[:, 1]))]
        plain, area = painted(image.pixels, boxes)
        return area, boxes, self.clip.prepare(replace(image, pixels=plain))

    def __call__(self, pairs: list[tuple[tuple[float, Boxes, Any], Text]]) -> list[dict[str, Any]]:
        """A row for each prepared picture and its caption."""
        pictures = self.clip.encode_image([ready for (*_, ready), _ in pairs]).astype(np.float64)
        captions = self.clip.encode_text([text for _, text in pairs]).astype(np.float64)
        sims = (pictures * captions).sum(axis=1)
        return [
            {"area": area, "boxes": boxes.ravel(), "masked_sim": float(sim)}
            for ((area, boxes, _), _), sim in zip(pairs, sims, strict=True)
        ]


def painted(pixels: Pixels, boxes: Boxes) -> tuple[Pixels, float]:
    """The picture with each box in the mean colour around it, and the share of the picture that they cover."""
    height, width = pixels.shape[:2]
    scaled = boxes * (width, height, width, height)
    corners = np.concatenate([np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])], axis=1).astype(int).tolist()
    text = np.zeros((height, width), bool)
    for left, top, right, bottom in corners:
        text[top:bottom, left:right] = True
    plain = pixels.copy()
    for left, top, right, bottom in corners:
        around = np.s_[max(0, top - BORDER) : bottom + BORDER, max(0, left - BORDER) : right + BORDER]
        inside = next(each for each in (pixels[around][~text[around]], pixels[~text], pixels[text]) if len(each))
        plain[top:bottom, left:right] = np.rint(inside.mean(axis=0))
    return plain, float(text.mean())
