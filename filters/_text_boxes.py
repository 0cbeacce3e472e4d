"""Text boxes: what finds the lines of writing in a picture. Reads none of it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from curate.document import Pixels

Boxes = npt.NDArray[np.float64]
"""(n, 4): left, top, right, bottom as shares of the picture's width and height."""

SIDE = 736
MEAN, STD = np.array((123.675, 116.28, 103.53)), np.array((0.229, 0.224, 0.225))
"""As PaddleOCR and opencv_zoo give them to PP-OCRv3: to blue, green and red."""
BINARY, POLYGON, UNCLIP, SHORTEST = 0.3, 0.5, 2.0, 3.0
"""The least probability of a pixel and of a core; how far a core grows; its least side in pixels."""
DEMO_SIDE = 512
CONTRAST = 40
"""Grey levels by which a stroke must differ from what is around it, for the demo detector."""


def detector_of(detector: str) -> Callable[[Pixels], Any]:
    """What finds text: from pixels to boxes."""
    if detector == "demo":
        return demo
    if ":" in detector:
        module, _, attribute = detector.partition(":")
        found: Callable[[Pixels], Any] = getattr(importlib.import_module(module), attribute)
        return found
    return DBNet(detector)


class DBNet:
    """A DBNet (Liao et al. 2020) run by OpenCV, with opencv_zoo's settings; one in each thread.

    Its map is read as by OpenCV's TextDetectionModel_DB, which itself finds nothing, and says nothing, where the map
    has the shape (1, 1, h, w), as PaddleOCR exports it.
    """

    def __init__(self, file: str) -> None:
        self.file, self.own = file, threading.local()

    def __call__(self, pixels: Pixels) -> Boxes:
        """The upright box around each rotated one."""
        if not hasattr(self.own, "net"):
            self.own.net = cv2.dnn.readNet(self.file)
        square = cv2.cvtColor(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        self.own.net.setInput(((square - MEAN) / 255 / STD).astype(np.float32).transpose(2, 0, 1)[None])
        return grown(np.asarray(self.own.net.forward()).squeeze()) / SIDE


def grown(likely: npt.NDArray[np.float32]) -> Boxes:
    """The boxes in a map of probabilities (h, w), in its pixels: DBNet finds the cores of lines, and they are grown."""
    if likely.ndim != 2:
        raise ValueError(f"text_in_image: the detector gives {likely.shape}; a DBNet gives one map")
    found = []
    for contour in cv2.findContours((likely > BINARY).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]:
        left, top, width, height = cv2.boundingRect(contour)
        core = cv2.fillPoly(np.zeros((height, width), np.uint8), [contour - (left, top)], 1)
        centre, (along, across), angle = cv2.minAreaRect(contour)
        if min(along, across) < SHORTEST or likely[top : top + height, left : left + width][core > 0].mean() < POLYGON:
            continue
        more = UNCLIP * along * across / (along + across)
        points = cv2.boxPoints((centre, (along + more, across + more), angle))
        found.append([*points.min(axis=0), *points.max(axis=0)])
    return np.array(found, np.float64).reshape(-1, 4)


def demo(pixels: Pixels) -> Boxes:
    """Lines of strokes: what is thin and brighter or darker than around it (top hat), many times along a row."""
    scale = min(1.0, DEMO_SIDE / max(pixels.shape[:2]))
    size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]
    grey = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    stroke = max(3, max(size) // 24)
    kept: list[tuple[int, ...]] = []
    for hat in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        thin = cv2.morphologyEx(grey, hat, np.ones((stroke, stroke), np.uint8)) > CONTRAST
        line = cv2.morphologyEx(thin.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((1, 2 * stroke), np.uint8))
        count, _, found, _ = cv2.connectedComponentsWithStats(line)
        for left, top, width, height, area in found[1:count].tolist():
            strokes = np.diff(thin[top : top + height, left : left + width], axis=1).sum() / 2 / height
            if height >= 6 and width >= 2 * height and area >= 0.5 * width * height and strokes >= width / height:
                kept.append((left, top, left + width, top + height))
    boxes: Boxes = np.array(kept, np.float64).reshape(-1, 4) / (size[0], size[1], size[0], size[1])
    return boxes
