"""Scores of faces, and models of one's own."""

from __future__ import annotations

import numpy as np
import pytest

import deepsight
from conftest import MODEL, photo, read_safetensors
from deepsight import Analyzer, Classifier, convert


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


def bundled() -> tuple[dict, dict]:
    """Return the state dict of the bundled model, and the settings with which it becomes that model again."""
    card, tensors = read_safetensors(MODEL)
    crop = card["crop"]
    settings = {
        "model_name": f"tf_{card['architecture']}",
        "input_size": card["input_size"],
        "mean": card["mean"],
        "std": card["std"],
        "crop": f"aligned:{crop['size']}:{crop['scale']}:{crop['down']}",
        "threshold": card["threshold"],
        "temperature": card["temperature"],
        "mirrored": card["mirrored"],
    }
    return tensors, settings


def test_a_state_dict_in_memory_becomes_a_model(classifier: Classifier, face: np.ndarray, tmp_path) -> None:
    tensors, settings = bundled()
    # Weights in half precision are rounded to nothing else when they become single precision, and strides do not count.
    state_dict = {name: np.asfortranarray(tensor.astype(np.float32)) for name, tensor in tensors.items()}
    state_dict["bn1.num_batches_tracked"] = np.int64(7) + np.zeros((), np.int64)
    path = convert(state_dict, tmp_path / "mine.safetensors", **settings)
    own = Classifier(path)
    assert (own.name, own.architecture, own.threshold) == ("mine", "efficientnet_lite0", classifier.threshold)
    np.testing.assert_allclose(own.score(face), classifier.score(face), atol=1e-6)
    wrapped = convert({"state_dict": tensors}, tmp_path / "half.safetensors", format="f16", **settings)
    np.testing.assert_array_equal(Classifier(wrapped).score(face), classifier.score(face))
    again = convert(wrapped, tmp_path / "again.safetensors", **settings)
    np.testing.assert_allclose(Classifier(again).score(face), classifier.score(face), atol=1e-6)


def test_a_model_of_timm_says_its_name(classifier: Classifier, face: np.ndarray, tmp_path) -> None:
    tensors, settings = bundled()
    del settings["model_name"]

    class Model:
        """What a model of timm has."""

        pretrained_cfg = {"architecture": "tf_efficientnet_lite0"}

        def state_dict(self) -> dict:
            return tensors

    own = Classifier(convert(Model(), tmp_path / "own.safetensors", **settings))
    np.testing.assert_allclose(own.score(face), classifier.score(face), atol=1e-6)
    Model.pretrained_cfg = {"architecture": "efficientnet_lite0"}
    other = Classifier(convert(Model(), tmp_path / "other.safetensors", **settings))
    assert abs(float(other.score(face)[0] - own.score(face)[0])) > 1e-4


def test_references_are_compared_and_kept(face: np.ndarray, tmp_path) -> None:
    tensors, settings = bundled()
    settings |= {"mirrored": False, "temperature": 1.0}
    plain = convert(tensors, tmp_path / "plain.safetensors", **settings)
    score = float(Classifier(plain).score(face)[0])
    convert(tensors, tmp_path / "checked.safetensors", references=[(face, score)], **settings)
    with pytest.raises(deepsight.ModelError, match="reference 1 scores"):
        convert(tensors, tmp_path / "wrong.safetensors", references=[(face, 1 - score)], **settings)
    assert not (tmp_path / "wrong.safetensors").exists()


def test_weights_that_are_no_model_are_refused(tmp_path) -> None:
    tensors, settings = bundled()
    target = tmp_path / "none.safetensors"
    with pytest.raises(deepsight.SettingError, match="model_name"):
        convert(tensors, target)
    with pytest.raises(deepsight.ModelError, match="efficientnet"):
        convert(tensors, target, model_name="resnet50")
    with pytest.raises(deepsight.ModelError):
        convert({name: tensor for name, tensor in tensors.items() if "head" not in name}, target, **settings)
    with pytest.raises(deepsight.ModelError, match="missing"):
        convert({"conv_stem.weight": tensors["conv_stem.weight"]}, target, **settings)
    with pytest.raises(deepsight.SettingError, match="crop is 'round'"):
        convert(tensors, target, **(settings | {"crop": "round"}))
    with pytest.raises(deepsight.ModelError, match="input_size"):
        convert(tensors, target, **(settings | {"input_size": 5}))
    with pytest.raises(deepsight.SettingError, match="no tensors"):
        convert({}, target, **settings)
    with pytest.raises(deepsight.ModelError, match="variant"):
        convert(tensors, target, model_name="efficientnet_lite0")
    with pytest.raises(deepsight.SettingError, match="state dict"):
        convert(object(), target, **settings)
    with pytest.raises(deepsight.ModelError, match="missing.pth"):
        convert(tmp_path / "missing.pth", target, **settings)
    with pytest.raises(deepsight.WriteError):
        convert(tensors, tmp_path / "no" / "folder" / "model.safetensors", **settings)
    assert not target.exists()


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
