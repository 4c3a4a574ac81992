"""MTCNN with the interface of facenet-pytorch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _deepsight
from ._errors import ArrayError, DeviceError, FaceError, SettingError
from ._paths import PathLike, text
from ._pixels import Float32Array, ImageLike, batch, is_batch, is_pil, levels, pixels
from ._resize import resize_area, resize_pooled
from ._sampling import real

_METHODS = ("largest", "probability", "center_weighted_size", "largest_over_threshold")
_OF_NETWORKS = ("min_face_size", "thresholds", "factor")


def _networks(min_face_size: float, thresholds: Sequence[float], factor: float) -> _deepsight.Mtcnn:
    limits = [real("thresholds", threshold) for threshold in thresholds]
    if len(limits) != 3:
        raise SettingError(f"thresholds has {len(limits)} values: one for each of the three networks is needed")
    return _deepsight.Mtcnn(real("min_face_size", min_face_size), limits, real("factor", factor))


class MTCNN:
    """The face detector MTCNN, with the arguments, results and order of ``facenet_pytorch.MTCNN``.

    Boxes and landmarks agree with those of facenet-pytorch 2.6 within half a pixel, and probabilities within 0.001.
    What is a torch tensor there is a NumPy array here; ``torch.from_numpy(face)`` shares its memory.

    Pictures are PIL images, arrays ``[height, width, 3]`` of numbers from 0 to 255 (RGB), or anything that NumPy reads
    as one, such as a tensor on the CPU. Fractions are rounded for :meth:`detect`, and cut off in a list, as
    facenet-pytorch does there. The pictures of a list may differ in size. A picture that is smaller than the smallest
    face has no faces; facenet-pytorch raises an error there.

    Parameters
    ----------
    image_size
        Side in pixels of the faces that ``mtcnn(image)`` cuts out.
    margin
        Margin around them, in pixels of the face as it is cut out.
    min_face_size
        Side in pixels of the smallest face that is looked for, 4 to 16384.
    thresholds
        Probabilities from which a box passes each of the three networks.
    factor
        Ratio between the sizes at which faces are looked for, 0.1 to 0.95.
    post_process
        Whether the faces' values are ``(pixel - 127.5) / 128``; else they are 0 to 255.
    select_largest
        Whether the largest face comes first; else the most probable one.
    selection_method
        The face that is cut out: ``"probability"``, ``"largest"``, ``"largest_over_threshold"`` (probability above
        0.9) or ``"center_weighted_size"``. By default `select_largest` decides.
    keep_all
        Whether all faces are cut out; else the selected one.
    device
        ``None`` or the CPU. :class:`Analyzer` runs on GPUs.

    Examples
    --------
    >>> from deepsight import MTCNN
    >>> mtcnn = MTCNN(keep_all=True)
    >>> boxes, probabilities = mtcnn.detect(Image.open("photograph.jpg"))
    """

    thresholds: Sequence[float]

    def __init__(
        self,
        image_size: int = 160,
        margin: int = 0,
        min_face_size: float = 20,
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        post_process: bool = True,
        select_largest: bool = True,
        selection_method: str | None = None,
        keep_all: bool = False,
        device: object = None,
    ) -> None:
        _check_crop(image_size, margin)
        if isinstance(thresholds, str) or not isinstance(thresholds, Iterable):
            raise SettingError(f"thresholds is {thresholds!r}: it must be three numbers")
        if selection_method is not None and selection_method not in _METHODS:
            raise SettingError(f"selection_method is {selection_method!r}: it must be {', '.join(_METHODS)} or None")
        _check_device(device)
        self.image_size = int(image_size)
        self.margin = margin
        self.min_face_size = min_face_size
        self.thresholds = tuple(thresholds)
        self.factor = factor
        self.post_process = post_process
        self.select_largest = select_largest
        self.selection_method = selection_method or ("largest" if select_largest else "probability")
        self.keep_all = keep_all
        self.device = "cpu"
        self._networks = _networks(min_face_size, self.thresholds, factor)

    def __setattr__(self, name: str, value: object) -> None:
        # In facenet-pytorch these settings may be changed at any time, and hold from the next picture on.
        if name == "thresholds" and isinstance(value, Iterable):
            value = tuple(value)
        if name in _OF_NETWORKS and "_networks" in self.__dict__:
            settings: dict[str, Any] = {setting: getattr(self, setting) for setting in _OF_NETWORKS}
            settings[name] = value
            self.__dict__["_networks"] = _networks(**settings)
        super().__setattr__(name, value)

    def detect(self, img: ImageLike | Sequence[ImageLike], landmarks: bool = False) -> tuple[Any, ...]:
        """Find the faces of one or several pictures.

        Parameters
        ----------
        img
            A picture, a list of pictures, or an array ``[pictures, height, width, 3]``.
        landmarks
            Whether to return the landmarks, too.

        Raises
        ------
        ArrayError
            If an array has another shape, or values outside 0 to 255.

        Returns
        -------
        boxes : numpy.ndarray or None
            ``[faces, 4]``: left, top, right, bottom in pixels. ``None`` if there is no face.
        probabilities : numpy.ndarray
            ``[faces]``. ``[None]`` if there is no face.
        points : numpy.ndarray or None
            ``[faces, 5, 2]``, only with `landmarks`: left eye, right eye, nose, left and right corner of the mouth.

            Of several pictures, each of these is an array with an element for each picture.
        """
        several, cut = is_batch(img), isinstance(img, (list, tuple))
        arrays = batch(img, "img")
        names = [f"img[{index}]" for index in range(len(arrays))] if several else ["img"]
        images = [levels(array, name, cut=cut) for array, name in zip(arrays, names)]
        found = [self._ordered(*faces) for faces in self._networks.detect(images, "img", several)]
        columns: list[Any] = [[picture[column] for picture in found] for column in range(3)]
        results = [_gathered(column) for column in columns] if several else [column[0] for column in columns]
        if not landmarks:
            results.pop()
        return tuple(results)

    def _ordered(self, boxes: Float32Array, scores: Float32Array, points: Float32Array) -> tuple[Any, Any, Any]:
        if len(boxes) == 0:
            return None, np.array([None], dtype=object), None
        if not self.select_largest:
            return boxes, scores, points
        order = np.argsort(_areas(boxes))[::-1]
        return boxes[order], scores[order], points[order]

    def __call__(
        self,
        img: ImageLike | Sequence[ImageLike],
        save_path: PathLike | Sequence[PathLike] | None = None,
        return_prob: bool = False,
    ) -> Any:
        """Find faces, and cut them out.

        Parameters
        ----------
        img
            A picture, a list of pictures, or an array ``[pictures, height, width, 3]``.
        save_path
            A file, or one for each picture, for the face without post-processing. Further faces are saved as
            ``NAME_2``, ``NAME_3`` and so on. This needs PIL.
        return_prob
            Whether to return the probabilities, too.

        Returns
        -------
        faces : numpy.ndarray, list or None
            The face ``[3, image_size, image_size]`` of float32, or with `keep_all` all faces
            ``[faces, 3, image_size, image_size]``; ``None`` if there is no face. A list of these for several pictures.
        probabilities
            As :meth:`detect` returns them; the one of the selected face without `keep_all`. Only with `return_prob`.
        """
        boxes, probabilities, points = self.detect(img, landmarks=True)
        if not self.keep_all:
            boxes, probabilities, points = self.select_boxes(
                boxes, probabilities, points, img, method=self.selection_method
            )
        faces = self.extract(img, boxes, save_path)
        return (faces, probabilities) if return_prob else faces

    forward = __call__

    def select_boxes(
        self,
        all_boxes: Any,
        all_probs: Any,
        all_points: Any,
        imgs: ImageLike | Sequence[ImageLike],
        method: str = "probability",
        threshold: float = 0.9,
        center_weight: float = 2.0,
    ) -> tuple[Any, Any, Any]:
        """Select one face of each picture.

        Parameters
        ----------
        all_boxes, all_probs, all_points
            What :meth:`detect` returned.
        imgs
            What it was given.
        method
            As `selection_method`.
        threshold
            Probability of ``"largest_over_threshold"``.
        center_weight
            How much the distance from the middle counts for ``"center_weighted_size"``.

        Returns
        -------
        boxes, probabilities, points
            As :meth:`detect` returns them, with one face each. For one picture the probability is a number.
        """
        several = is_batch(imgs)
        if not several:
            imgs, all_boxes, all_probs, all_points = [imgs], [all_boxes], [all_probs], [all_points]
        order = _ranking(method, threshold, center_weight)
        columns: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
        for image, *faces in zip(imgs, all_boxes, all_probs, all_points):
            selected: tuple[Any, ...] = (None, [None], None)
            if faces[0] is not None:
                boxes, scores, points = (np.asarray(part, np.float32) for part in faces)
                ranked = order(boxes, scores, _size(image))
                if len(ranked):
                    selected = tuple(part[ranked[:1]] for part in (boxes, scores, points))
            for column, value in zip(columns, selected):
                column.append(value)
        if several:
            return _gathered(columns[0]), _gathered(columns[1]), _gathered(columns[2])
        return columns[0][0], columns[1][0][0], columns[2][0]

    def extract(
        self,
        img: ImageLike | Sequence[ImageLike],
        batch_boxes: Any,
        save_path: PathLike | Sequence[PathLike] | None = None,
    ) -> Any:
        """Cut out the faces of boxes: see :meth:`__call__`."""
        several = is_batch(img)
        images, boxes = (img, batch_boxes) if several else ([img], [batch_boxes])
        paths: Sequence[PathLike | None] = [None] * len(images)
        if save_path is not None:
            paths = [save_path] if isinstance(save_path, (str, bytes, os.PathLike)) else save_path
        for name, items in (("batch_boxes", boxes), ("save_path", paths)):
            if len(items) != len(images):
                rule = f"one for each of {len(images)} pictures is needed"
                raise SettingError(f"{name} has {len(items)} elements: {rule}")
        faces: list[Any] = []
        for image, found, path in zip(images, boxes, paths):
            if found is None:
                faces.append(None)
                continue
            kept = found if self.keep_all else found[:1]
            cut = [self._cut(image, box, _numbered(path, place)) for place, box in enumerate(kept)]
            faces.append(np.stack(cut) if self.keep_all else cut[0])
        return faces if several else faces[0]

    def _cut(self, image: ImageLike, box: npt.ArrayLike, path: PathLike | None) -> Float32Array:
        face = extract_face(image, box, self.image_size, self.margin, path)
        return fixed_image_standardization(face) if self.post_process else face

    def eval(self) -> MTCNN:
        """Return the detector: it is always in evaluation mode."""
        return self

    def to(self, device: object) -> MTCNN:
        """Return the detector, if the device is the CPU."""
        _check_device(device)
        return self

    def __reduce__(self) -> tuple[Callable[..., MTCNN], tuple[Any, ...]]:
        settings = (
            self.image_size, self.margin, self.min_face_size, self.thresholds, self.factor, self.post_process,
            self.select_largest, self.selection_method, self.keep_all,
        )  # fmt: skip
        return MTCNN, settings

    def __repr__(self) -> str:
        return f"MTCNN(min_face_size={self.min_face_size}, thresholds={self.thresholds}, factor={self.factor})"


def extract_face(
    img: ImageLike, box: npt.ArrayLike, image_size: int = 160, margin: float = 0, save_path: PathLike | None = None
) -> Float32Array:
    """Cut a face out of a picture, as ``facenet_pytorch.extract_face`` does.

    PIL images are resized by PIL, bilinearly; arrays as ``cv2.resize`` does with ``INTER_AREA``, and tensors as
    ``torch.nn.functional.interpolate`` does with ``"area"``, both within one level.

    Parameters
    ----------
    img
        A PIL image, an array ``[height, width, 3]`` of numbers from 0 to 255, RGB, or such a tensor on the CPU.
    box
        Left, top, right and bottom in pixels.
    image_size, margin
        As for :class:`MTCNN`.
    save_path
        A file for the face. This needs PIL.

    Returns
    -------
    numpy.ndarray
        The face ``[3, image_size, image_size]`` of float32, 0 to 255.

    Raises
    ------
    FaceError
        If no pixel of the picture is in the box.
    """
    _check_crop(image_size, margin)
    edges = np.asarray(box, np.float32)
    if edges.shape != (4,) or not np.isfinite(edges).all():
        raise FaceError(f"box is {box!r}: left, top, right and bottom are needed, in pixels")
    x1, y1, x2, y2 = map(float, edges)
    array = None if is_pil(img) else pixels(img, "img")
    if array is not None and (array.ndim != 3 or array.shape[2] != 3):
        raise ArrayError(f"img has shape {list(array.shape)}: [height, width, 3] is needed")
    width, height = _size(img if array is None else array)
    across, down = (margin * side / (image_size - margin) / 2 for side in (x2 - x1, y2 - y1))
    left, top = int(max(x1 - across, 0)), int(max(y1 - down, 0))
    right, bottom = int(min(x2 + across, width)), int(min(y2 + down, height))
    if not (left < right and top < bottom):
        raise FaceError(f"cannot cut out the face: no pixel of {width} x {height} is in {[x1, y1, x2, y2]}")
    if array is None:
        from PIL import Image

        picture = img if img.mode == "RGB" else img.convert("RGB")
        crop = picture.crop((left, top, right, bottom))
        face: npt.NDArray[Any] = np.asarray(crop.resize((image_size, image_size), Image.Resampling.BILINEAR))
    else:
        resize = resize_pooled if hasattr(img, "detach") else resize_area
        face = resize(array[top:bottom, left:right], image_size, image_size)
    if save_path is not None:
        _save(face, save_path)
    return np.ascontiguousarray(face.transpose(2, 0, 1), np.float32)


def fixed_image_standardization(image_tensor: Float32Array) -> Float32Array:
    """Return ``(pixel - 127.5) / 128``, the values that networks of facenet-pytorch take."""
    standardized: Float32Array = (image_tensor - np.float32(127.5)) / np.float32(128.0)
    return standardized


def _check_crop(image_size: int, margin: float) -> None:
    if not (isinstance(image_size, (int, np.integer)) and 1 <= image_size <= 4096):
        raise SettingError(f"image_size is {image_size!r}: it must be a whole number of pixels, 1 to 4096")
    if not 0 <= real("margin", margin) < image_size:
        raise SettingError(f"margin is {margin}: it must be at least 0 and less than image_size, {image_size}")


def _check_device(device: object) -> None:
    if device is not None and str(device) != "cpu":
        raise DeviceError(f"MTCNN runs on the CPU, not on {str(device)!r}: Analyzer(device=...) runs on GPUs")


def _areas(boxes: Float32Array) -> Float32Array:
    areas: Float32Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _ranking(
    method: str, threshold: float, center_weight: float
) -> Callable[[Float32Array, Float32Array, tuple[int, int]], npt.NDArray[np.intp]]:
    """Return the function that gives the indices of faces, best first."""

    def by(values: Float32Array) -> npt.NDArray[np.intp]:
        return np.argsort(values)[::-1]

    def centered(boxes: Float32Array, scores: Float32Array, size: tuple[int, int]) -> npt.NDArray[np.intp]:
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        distances = np.sum((centers - np.array(size) / 2) ** 2, axis=1)
        return by(_areas(boxes) - center_weight * distances)

    def sure(boxes: Float32Array, scores: Float32Array, size: tuple[int, int]) -> npt.NDArray[np.intp]:
        order = by(_areas(boxes))
        return order[scores[order] > threshold]

    if method == "largest":
        return lambda boxes, scores, size: by(_areas(boxes))
    if method == "probability":
        return lambda boxes, scores, size: by(scores)
    if method == "center_weighted_size":
        return centered
    if method == "largest_over_threshold":
        return sure
    raise SettingError(f"method is {method!r}: it must be {', '.join(_METHODS)}")


def _size(image: ImageLike) -> tuple[int, int]:
    """Return width and height of a picture."""
    width, height = image.size if is_pil(image) else image.shape[1::-1]
    return int(width), int(height)


def _gathered(items: list[Any]) -> npt.NDArray[Any]:
    """Return the results of several pictures as one array, of floats if every picture has as many faces."""
    lengths = {None if item is None or item[0] is None else len(item) for item in items}
    if len(lengths) == 1 and None not in lengths:
        return np.stack([np.asarray(item, np.float32) for item in items])
    gathered = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        gathered[place] = item
    return gathered


def _numbered(path: PathLike | None, place: int) -> PathLike | None:
    if path is None or place == 0:
        return path
    stem, extension = os.path.splitext(text(path, "save_path"))
    return f"{stem}_{place + 1}{extension}"


def _save(face: npt.NDArray[Any], path: PathLike) -> None:
    target = text(path, "save_path")
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("saving faces needs PIL: pip install pillow") from error
    if folder := os.path.dirname(target):
        os.makedirs(folder, exist_ok=True)
    Image.fromarray(np.rint(face).astype(np.uint8)).save(target)
