"""The exceptions of the package."""

from __future__ import annotations


class DeepSightError(Exception):
    """Base of all exceptions of this package.

    The message is one line that names what was found, what was expected and what to do. ``__cause__`` is the deeper
    error, where there is one; an error of the operating system is an :class:`OSError` with its ``errno``.
    """

    __module__ = "deepsight"


class AnalysisError(DeepSightError):
    """No frame, or none of the faces, could be analyzed."""

    __module__ = "deepsight"


class ArrayError(DeepSightError, TypeError, ValueError):
    """An array has another dtype or shape than is needed."""

    __module__ = "deepsight"


class CancelledError(DeepSightError):
    """The analysis was cancelled."""

    __module__ = "deepsight"


class DeviceError(DeepSightError):
    """The device is not there, does not work, or this build does not have it."""

    __module__ = "deepsight"


class FaceError(DeepSightError, ValueError):
    """A face cannot be cut out or scored."""

    __module__ = "deepsight"


class ModelError(DeepSightError):
    """A model file or weights cannot be used."""

    __module__ = "deepsight"


class ProcessError(DeepSightError, RuntimeError):
    """An object is used in another process than the one that it belongs to."""

    __module__ = "deepsight"


class ReportError(DeepSightError, ValueError):
    """Text is not the JSON of a report of this version."""

    __module__ = "deepsight"


class SettingError(DeepSightError, ValueError):
    """A setting is outside its range."""

    __module__ = "deepsight"


class VideoError(DeepSightError):
    """A file cannot be opened or decoded as a video or picture."""

    __module__ = "deepsight"


class FfmpegError(VideoError):
    """ffmpeg or ffprobe is not installed, or does not run."""

    __module__ = "deepsight"


class LimitError(VideoError):
    """A video is over a limit: its length, its size, or the time that decoding takes."""

    __module__ = "deepsight"


class VideoFileError(VideoError, OSError):
    """A file cannot be read."""

    __module__ = "deepsight"


class MissingFileError(VideoFileError, FileNotFoundError):
    """A file does not exist."""

    __module__ = "deepsight"


class WriteError(DeepSightError, OSError):
    """A file cannot be written."""

    __module__ = "deepsight"


class ConversionWarning(UserWarning):
    """A converted model may score faces differently from the original, or leaves weights of the checkpoint out."""

    __module__ = "deepsight"
