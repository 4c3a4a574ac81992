"""Find forged faces in videos: from a file to an explained verdict.

>>> import deepsight
>>> print(deepsight.analyze("clip.mp4"))

:class:`Analyzer` analyzes many files with the same networks, :class:`Session` frames of your own. :class:`MTCNN` is a
drop-in for the detector of facenet-pytorch. :func:`read_frames` decodes, :class:`Classifier` scores single faces, and
:func:`convert` makes a model file of weights of PyTorch.

A verdict is evidence to look closer, not proof. The bundled model is for research use only.
"""

from __future__ import annotations

from importlib.metadata import version as _version

from ._analyze import Analyzer, Progress, Session, Update, analyze, analyze_many, devices
from ._classifier import Classifier
from ._convert import convert
from ._deepsight import get_threads, set_threads
from ._errors import (
    AnalysisError,
    ArrayError,
    CancelledError,
    ConversionWarning,
    DeepSightError,
    DeviceError,
    FaceError,
    FfmpegError,
    LimitError,
    MissingFileError,
    ModelError,
    ProcessError,
    ReportError,
    SettingError,
    VideoError,
    VideoFileError,
    WriteError,
)
from ._frames import Frames, FrameStack, VideoFrame, read_frames
from ._mtcnn import MTCNN, extract_face, fixed_image_standardization
from ._report import Coverage, Evidence, Face, Frame, Quality, Reason, Report, Segment, Track
from ._sampling import Sampling

__version__ = _version("deepsight")

__all__ = [
    "MTCNN",
    "AnalysisError",
    "Analyzer",
    "ArrayError",
    "CancelledError",
    "Classifier",
    "ConversionWarning",
    "Coverage",
    "DeepSightError",
    "DeviceError",
    "Evidence",
    "Face",
    "FaceError",
    "FfmpegError",
    "Frame",
    "FrameStack",
    "Frames",
    "LimitError",
    "MissingFileError",
    "ModelError",
    "ProcessError",
    "Progress",
    "Quality",
    "Reason",
    "Report",
    "ReportError",
    "Sampling",
    "Segment",
    "Session",
    "SettingError",
    "Track",
    "Update",
    "VideoError",
    "VideoFileError",
    "VideoFrame",
    "WriteError",
    "analyze",
    "analyze_many",
    "convert",
    "devices",
    "extract_face",
    "fixed_image_standardization",
    "get_threads",
    "read_frames",
    "set_threads",
]
