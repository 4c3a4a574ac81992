"""Scores of faces, and models of one's own."""

from __future__ import annotations

import numpy as np
import pytest

import deepsight
from conftest import photo
from deepsight import Analyzer, Classifier


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def test_a_face_has_the_score_that_the_analysis_gives_it(
    classifier: Classifier, analyzer: Analyzer, face: np.ndarray
) -> None:
    score = classifier.score(face)
    assert (score.dtype, score.shape) == (np.float32, (1,))
    report = analyzer.analyze_image(photo("one"))
    assert report.frames[0].faces[0].fake_probability == pytest.approx(float(score[0]), abs=1e-7)


def test_lists_and_batches_are_scored_in_order(classifier: Classifier, face: np.ndarray) -> None:
    mirrored, small = face[:, ::-1], face[::2, ::2]
    scores = classifier.score([face, mirrored, small])
    assert scores.shape == (3,)
    alone = [float(classifier.score(one)[0]) for one in (face, mirrored, small)]
    np.testing.assert_allclose(scores, alone, atol=1e-7)
    np.testing.assert_array_equal(classifier.score(np.stack([face, mirrored])), scores[:2])
    assert classifier.score([]).shape == (0,)


def test_a_map_shows_where_the_evidence_is(classifier: Classifier, face: np.ndarray) -> None:
    activation = classifier.explain(face)
    assert (activation.dtype, activation.shape) == (np.float32, face.shape[:2])
    assert 0 <= activation.min() and activation.max() in (0, pytest.approx(1))


def test_a_crop_needs_the_landmarks_of_its_model(classifier: Classifier, face: np.ndarray) -> None:
    image = photo("one")
    boxes, _, points = deepsight.MTCNN(min_face_size=40).detect(image, landmarks=True)
    np.testing.assert_array_equal(classifier.crop(image, boxes[0], points[0]), face)
    with pytest.raises(deepsight.FaceError, match="landmarks"):
        classifier.crop(image, boxes[0])


def test_a_face_without_pixels_is_refused(classifier: Classifier) -> None:
    with pytest.raises(deepsight.FaceError, match="empty"):
        classifier.score(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(deepsight.ArrayError, match=r"faces\[1\] has dtype float64"):
        classifier.score([np.zeros((5, 5, 3), np.uint8), np.zeros((5, 5, 3))])


def test_a_file_that_is_no_model_is_refused(tmp_path) -> None:
    (tmp_path / "text.safetensors").write_text("not a model")
    for path in (tmp_path / "text.safetensors", tmp_path / "missing.safetensors"):
        with pytest.raises(deepsight.ModelError, match=path.name):
            Classifier(path)
    with pytest.raises(deepsight.DeviceError, match="gpu"):
        Analyzer(device="gpu")
    with pytest.raises(deepsight.DeviceError, match="cuda"):
        Analyzer(device="cuda:7")
    with pytest.raises(deepsight.SettingError, match="threshold"):
        Analyzer(threshold=2.0)
    assert deepsight.devices()[0] == "cpu"
