"""Frames of videos as arrays."""

from __future__ import annotations

import numpy as np
import pytest

import deepsight
from conftest import PHOTOS, photo
from deepsight import Sampling, read_frames


def test_frames_come_one_by_one_and_as_one_array(clip: str) -> None:
    frames = read_frames(clip, 5)
    assert (frames.expected, frames.input["container"]) == (5, "mov,mp4,m4a,3gp,3g2,mj2")
    one_by_one = list(frames)
    stack = read_frames(clip, 5).stack()
    images, times, indices = stack
    assert (images.dtype, images.shape[0], images.shape[3]) == (np.uint8, 5, 3)
    assert [frame.index for frame in one_by_one] == indices.tolist()
    assert [frame.time for frame in one_by_one] == times.tolist()
    assert times[0] == 0 and times[-1] <= frames.duration
    for frame, image in zip(one_by_one, images):
        np.testing.assert_array_equal(frame.image, image)
    assert next(frames, None) is None


def test_the_array_of_a_frame_is_writable_and_shares_its_memory_by_dlpack(clip: str) -> None:
    image = next(read_frames(clip, 1)).image
    shared = np.from_dlpack(image)
    image[0, 0] = 7
    assert shared[0, 0].tolist() == [7, 7, 7]


def test_samplings_choose_by_number_rate_step_and_time(clip: str) -> None:
    total = read_frames(clip).frame_count
    every = list(read_frames(clip, Sampling.every(total // 2)))
    assert [frame.index for frame in every[:2]] == [0, total // 2]
    assert len(read_frames(clip, "all").stack().times) == total
    assert read_frames(clip, Sampling.times([0.5])).stack().times[0] == pytest.approx(0.5, abs=0.05)
    assert len(list(read_frames(clip, Sampling.fps(1)))) == pytest.approx(read_frames(clip).duration, abs=1.01)


def test_frames_are_scaled_down(clip: str) -> None:
    assert max(next(read_frames(clip, 1, max_side=64)).image.shape) == 64


def test_a_picture_is_one_frame() -> None:
    frame = next(read_frames(PHOTOS / "one.png"))
    np.testing.assert_array_equal(frame.image, np.asarray(photo("one")))


def test_a_closed_reader_has_no_more_frames(clip: str) -> None:
    with read_frames(clip, "all") as frames:
        next(frames)
    assert list(frames) == []


def test_faults_have_classes_one_line_and_a_cause(tmp_path, clip: str) -> None:
    def fault(cls: type[deepsight.DeepSightError], *arguments, **settings) -> deepsight.DeepSightError:
        with pytest.raises(cls) as caught:
            list(read_frames(*arguments, **settings))
        assert "\n" not in str(caught.value) and str(caught.value)
        return caught.value

    missing = fault(deepsight.MissingFileError, tmp_path / "missing.mp4")
    assert isinstance(missing, (FileNotFoundError, deepsight.VideoError))
    assert "missing.mp4" in str(missing) and missing.__cause__.errno == 2
    fault(deepsight.VideoFileError, tmp_path)
    (tmp_path / "empty.mp4").touch()
    fault(deepsight.VideoFileError, tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("not a video")
    fault(deepsight.VideoError, tmp_path / "text.mp4")
    assert "1 s" in str(fault(deepsight.LimitError, clip, max_duration=1))
    for sampling in (0, -1, "some", Sampling.fps(0), Sampling.times([]), 2.5):
        fault(deepsight.SettingError, clip, sampling)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(open(clip, "rb").read()[: 200_000])
    fault(deepsight.VideoError, cut)


def test_a_missing_ffmpeg_says_how_to_install_it(monkeypatch, clip: str, tmp_path) -> None:
    monkeypatch.setenv("DEEPSIGHT_FFMPEG", str(tmp_path / "no-ffmpeg"))
    monkeypatch.setenv("DEEPSIGHT_FFPROBE", str(tmp_path / "no-ffprobe"))
    with pytest.raises(deepsight.FfmpegError, match="install ffmpeg"):
        read_frames(clip)
