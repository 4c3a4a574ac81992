"""Scores of single faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ._analyze import Analyzer, ModelLike
from ._errors import FaceError
from ._pixels import Float32Array, ImageLike, UInt8Array, batch, is_batch, pixels
from ._report import Face


class Classifier:
    """A model that scores faces.

    Parameters
    ----------
    path
        A model file, such as :func:`convert` writes, an ensemble file, or several model files; the bundled model by
        default. The bundled model is for research use only.
    device
        As for :func:`analyze`.

    Examples
    --------
    >>> classifier = deepsight.Classifier()
    >>> face = classifier.crop(photograph, deepsight.Analyzer().faces(photograph)[0])
    >>> classifier.score([face])
    array([0.0421], dtype=float32)
    """

    def __init__(self, path: ModelLike = None, *, device: str = "cpu") -> None:
        self._analyzer = Analyzer(path, device=device)

    @property
    def name(self) -> str:
        """The name of the model."""
        return str(self._analyzer.model["name"])

    @property
    def architecture(self) -> str:
        """The network, such as ``efficientnet_b3``."""
        return str(self._analyzer.model["architecture"])

    @property
    def threshold(self) -> float:
        """Probability from which a face counts as forged."""
        return float(self._analyzer.model["threshold"])

    def crop(
        self,
        image: ImageLike,
        face: Face | Sequence[float] | npt.NDArray[np.floating],
        landmarks: Sequence[Sequence[float]] | npt.NDArray[np.floating] | None = None,
    ) -> UInt8Array:
        """Cut a face out of a picture as the model expects it.

        Parameters
        ----------
        image
            A PIL image, or an array ``[height, width, 3]`` of uint8, RGB.
        face
            A face of :meth:`Analyzer.faces`, or a box of :meth:`MTCNN.detect`: left, top, right, bottom in pixels.
        landmarks
            The landmarks ``[5, 2]`` of the box. Models whose crop is ``aligned`` need them, such as the bundled one.

        Returns
        -------
        numpy.ndarray
            The face, ``[height, width, 3]`` of uint8.

        Raises
        ------
        FaceError
            If the face has no pixels, or lacks the landmarks that the crop needs.
        """
        box = np.asarray(face.box if isinstance(face, Face) else face, float)
        if box.shape != (4,):
            raise FaceError(f"face has shape {list(box.shape)}: a Face, or left, top, right and bottom are needed")
        points = face.landmarks if isinstance(face, Face) and landmarks is None else landmarks
        if points is not None and np.shape(points) != (5, 2):
            raise FaceError(f"landmarks has shape {list(np.shape(points))}: [5, 2] is needed")
        plain = None if points is None else np.asarray(points, float).tolist()
        return self._analyzer._detector.crop(pixels(image, "image"), box.tolist(), plain)

    def score(self, faces: ImageLike | Sequence[ImageLike]) -> Float32Array:
        """Return the probability that each face is forged.

        Parameters
        ----------
        faces
            One face, a list of faces of any sizes, or an array ``[faces, height, width, 3]`` of uint8, RGB. They must
            be cut out as the model expects it: see :meth:`crop`.

        Returns
        -------
        numpy.ndarray
            Calibrated probabilities ``[faces]`` of float32, 0 to 1.
        """
        return self._analyzer._detector.score(batch(faces, "faces"), "faces", is_batch(faces))

    def explain(self, face: ImageLike) -> Float32Array:
        """Return where in a face the evidence for a forgery lies.

        Returns
        -------
        numpy.ndarray
            The class activation map ``[height, width]`` of float32 over the face's pixels; 1 is the strongest evidence.
        """
        return self._analyzer._detector.explain(pixels(face, "face"))

    def __repr__(self) -> str:
        return f"<Classifier {self.name!r} {self.architecture}>"
