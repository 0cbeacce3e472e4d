"""Faces: where a picture shows faces, and how sure the detector is. Recognises nobody and blurs nothing.

With weights it is YuNet (Wu et al. 2023) through OpenCV's FaceDetectorYN, which finds faces of about 10 to 300 pixels
(opencv_zoo): at a long side of 320, those of 3 % of it and more. RedCaps drops a picture with any face of 0.9 and more;
its detector was RetinaFace, so 0.9 of another detector is another cut.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from curate import Image, scores
from curate.document import Pixels
from curate.filters._heads import DEMO
from curate.filters._heat_map import HeatMap

Floats = npt.NDArray[np.float64]
YUNET_SIDE = 320
NMS = 0.3
"""Of two boxes that overlap more (IoU), the better one is a face; FaceDetectorYN's default."""


class Detector(Protocol):
    """Finds faces in a picture: (n, 5), left, top, right, bottom in pixels and the score, 0 to 1."""

    side: int

    def __call__(self, pixels: Pixels) -> Floats:
        """Called in several threads."""
        ...


@scores(
    "image",
    boxes=list[float],
    count=int,
    largest=float,
    score=float,
    pixels=YUNET_SIDE,
    requires=("opencv-python-headless",),
    version=1,
)
class Faces:
    """Where the faces are, best first.

    boxes: left, top, right, bottom of each, one after the other, as shares of the picture's width and height.
    count: how many. largest: the largest one's share of the picture's area. score: the best one's. All 0 without faces.

    Args:
        weights: YuNet's ``.onnx`` (opencv_zoo, ``face_detection_yunet_2023mar.onnx``), or ``demo``, a network that
            finds the drawn faces of the demo and no others.
        side: a larger picture is shrunk to this long side; 0: what the detector is best at. Twice that finds faces
            of half the size, and misses close-ups.
        floor: a lower score is no face.
    """

    def __init__(self, weights: str = "demo", side: int = 0, floor: float = 0.5) -> None:
        file, *config = self.weights(weights)
        self.detect: Detector = HeatMap(file, config[0], floor) if config else YuNet(weights, floor)
        self.side = side or self.detect.side

    @staticmethod
    def weights(weights: str = "demo", side: int = 0, floor: float = 0.5) -> list[Path]:  # noqa: ARG004
        """The files that the scores depend on."""
        if weights == "demo":
            return [DEMO / "faces" / "model.safetensors", DEMO / "faces" / "config.json"]
        if not Path(weights).is_file() or not weights.endswith(".onnx"):
            raise FileNotFoundError(f"faces: weights are YuNet's .onnx, or demo; there is no such file {weights}")
        return [Path(weights)]

    @staticmethod
    def pixels(weights: str = "demo", side: int = 0, floor: float = 0.5) -> int:  # noqa: ARG004
        """The long side that the detector sees, which the short one need not exceed."""
        return side or YUNET_SIDE

    def prepare(self, image: Image) -> Floats:
        """The faces, found in the decoding threads: (n, 5), the boxes as shares of the picture, best first."""
        assert image.pixels is not None
        small = shrunk(image.pixels, self.side)
        found = np.asarray(self.detect(small), np.float64).reshape(-1, 5)
        height, width = small.shape[:2]
        found[:, :4] = (found[:, :4] / (width, height, width, height)).clip(0, 1)
        found = found[np.isfinite(found).all(axis=1) & (areas(found) > 0)]
        return found[np.lexsort((found[:, 1], found[:, 0], -found[:, 4]))]

    def __call__(self, batch: list[Floats]) -> list[dict[str, Any]]:
        """A row for each picture's faces."""
        return [row(found) for found in batch]


def row(found: Floats) -> dict[str, Any]:
    """The columns of a picture with these faces."""
    largest, score = (float(values.max(initial=0)) for values in (areas(found), found[:, 4]))
    return {"boxes": found[:, :4].ravel().tolist(), "count": len(found), "largest": largest, "score": score}


def areas(found: Floats) -> Floats:
    """(n,); negative or 0 for no box."""
    return np.asarray((found[:, 2] - found[:, 0]).clip(0) * (found[:, 3] - found[:, 1]).clip(0))


def shrunk(pixels: Pixels, side: int) -> Pixels:
    """The picture with at most this long side."""
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


class YuNet:
    """OpenCV's detector; one in each thread, since it holds the size of its picture."""

    side = YUNET_SIDE

    def __init__(self, weights: str, floor: float) -> None:
        self.weights, self.floor, self.own = weights, floor, threading.local()

    def __call__(self, pixels: Pixels) -> Floats:
        """As ``Detector`` says."""
        size = pixels.shape[1::-1]
        if not hasattr(self.own, "net"):
            self.own.net = cv2.FaceDetectorYN.create(self.weights, "", size, self.floor, NMS)
        self.own.net.setInputSize(size)
        found = self.own.net.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
        corners = np.empty((0, 15)) if found is None else np.asarray(found, np.float64)
        return np.column_stack([corners[:, :2], corners[:, :2] + corners[:, 2:4], corners[:, 14]])
