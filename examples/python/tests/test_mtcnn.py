"""MTCNN with the interface of facenet-pytorch. The expected faces are those that facenet-pytorch 2.6.0 found."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from PIL import Image

import deepsight
from conftest import CONFIDENCE, PIXELS, REPOSITORY, photo
from deepsight import MTCNN

EXPECTED = json.loads((REPOSITORY / "deepsight-face" / "tests" / "suite" / "parity" / "expected.json").read_text())


@pytest.fixture(scope="module")
def mtcnn() -> MTCNN:
    return MTCNN(keep_all=True)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_faces_agree_with_facenet_pytorch(mtcnn: MTCNN, name: str) -> None:
    boxes, probabilities, points = mtcnn.detect(photo(name), landmarks=True)
    expected = EXPECTED[name]
    if not expected:
        assert (boxes, points) == (None, None)
        assert probabilities.tolist() == [None]
        return
    assert (boxes.dtype, boxes.shape, points.shape) == (np.float32, (len(expected), 4), (len(expected), 5, 2))
    np.testing.assert_allclose(boxes, [face["box"] for face in expected], atol=PIXELS, rtol=0)
    np.testing.assert_allclose(points, [face["landmarks"] for face in expected], atol=PIXELS, rtol=0)
    np.testing.assert_allclose(probabilities, [face["confidence"] for face in expected], atol=CONFIDENCE, rtol=0)


def test_lists_tuples_and_batches_give_an_element_for_each_picture(mtcnn: MTCNN) -> None:
    one, many, none = photo("one"), photo("many"), photo("none")
    alone = mtcnn.detect(many)
    boxes, probabilities = mtcnn.detect([one, many, none])
    assert boxes.shape == (3,) and boxes[2] is None and list(probabilities[2]) == [None]
    np.testing.assert_array_equal(boxes[1], alone[0])
    np.testing.assert_array_equal(probabilities[1], alone[1])
    stacked, scores = mtcnn.detect(np.stack([np.asarray(one)] * 2))
    assert (stacked.dtype, stacked.shape, scores.shape) == (np.float32, (2, 1, 4), (2, 1))
    np.testing.assert_array_equal(stacked, mtcnn.detect((one, one))[0])
    assert mtcnn.detect([none, none])[0].tolist() == [None, None]
    assert len(mtcnn.detect([])[0]) == 0


def test_pil_images_of_any_mode_and_arrays_of_any_strides_are_the_same(mtcnn: MTCNN) -> None:
    image = photo("one")
    boxes = mtcnn.detect(image)[0]
    pixels = np.asarray(image)
    for same in (image.convert("RGBA"), pixels, np.asfortranarray(pixels), pixels[..., ::-1].copy()[..., ::-1]):
        np.testing.assert_array_equal(mtcnn.detect(same)[0], boxes)
    wide = np.zeros((pixels.shape[0], 2 * pixels.shape[1], 3), np.uint8)
    wide[:, ::2] = pixels
    np.testing.assert_array_equal(mtcnn.detect(wide[:, ::2])[0], boxes)
    read_only = pixels.copy()
    read_only.setflags(write=False)
    np.testing.assert_array_equal(mtcnn.detect(read_only)[0], boxes)


def test_wrong_arrays_are_refused_by_name_with_a_cure(mtcnn: MTCNN) -> None:
    pixels = np.asarray(photo("one"))
    cases = [
        (pixels.astype(bool), r"^img has dtype bool: uint8 is needed.*astype"),
        (pixels / 255, r"^img has values from 0.0 to 0.98\d*: .*multiply by 255"),
        (pixels - 127.5, r"^img has values from -127.5 to 124.5: values from 0 to 255 are needed"),
        (pixels * np.uint16(257), r"^img has values from 0 to 64764: values from 0 to 255"),
        (np.where(pixels == 0, np.nan, pixels), r"^img has values from nan to nan"),
        ([pixels, pixels / 255], r"^img\[1\] has values from 0.0 to 0.98"),
        (np.stack([pixels, pixels]).transpose(0, 3, 1, 2), r"^img\[0\] has shape \[3, .*transpose\(1, 2, 0\)"),
        (pixels.transpose(2, 0, 1), r"has shape \[3, .*transpose\(1, 2, 0\)"),
        (pixels[..., 0], r"has shape .*repeat"),
        (np.dstack([pixels, pixels[..., :1]]), r"\.\.\., :3"),
    ]
    for array, message in cases:
        with pytest.raises(deepsight.ArrayError, match=message) as caught:
            mtcnn.detect(array)
        assert isinstance(caught.value, (TypeError, ValueError)) and "\n" not in str(caught.value)
    with pytest.raises(deepsight.ArrayError, match=r"img is a str"):
        mtcnn.detect("photograph.jpg")
    with pytest.raises(deepsight.ArrayError, match=r"img\[1\] is a NoneType"):
        mtcnn.detect([pixels, None])


def test_numbers_from_0_to_255_of_any_type_are_a_picture(mtcnn: MTCNN) -> None:
    pixels = np.asarray(photo("one"))
    boxes = mtcnn.detect(pixels)[0]
    for dtype in (np.float16, np.float32, np.float64, np.int16, np.int64):
        np.testing.assert_array_equal(mtcnn.detect(pixels.astype(dtype))[0], boxes)
    np.testing.assert_array_equal(mtcnn.detect(np.stack([pixels, pixels]).astype(np.float32))[0], [boxes, boxes])
    between = np.clip(pixels + 0.75, 0, 255)
    np.testing.assert_array_equal(mtcnn.detect(between)[0], mtcnn.detect(np.rint(between).astype(np.uint8))[0])
    # As facenet-pytorch does it in a list.
    np.testing.assert_array_equal(mtcnn.detect([between])[0][0], mtcnn.detect(between.astype(np.uint8))[0])
    # A black picture has values of 0 to 1, too.
    assert mtcnn.detect(np.zeros((60, 60, 3)))[0] is None


def test_a_face_cut_out_of_fractions_keeps_them() -> None:
    pixels = np.asarray(photo("one"))
    box = MTCNN().detect(pixels)[0][0]
    whole, exact = (deepsight.extract_face(image, box, 48) for image in (pixels, pixels.astype(np.float64)))
    assert exact.dtype == np.float32 and np.abs(exact - np.rint(exact)).max() > 0.25
    np.testing.assert_array_equal(np.rint(exact), whole)


def test_faces_are_ordered_by_area_or_by_probability() -> None:
    image = photo("many")
    boxes, _ = MTCNN(select_largest=True).detect(image)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert list(areas) == sorted(areas, reverse=True)
    _, probabilities = MTCNN(select_largest=False).detect(image)
    assert list(probabilities) == sorted(probabilities, reverse=True)


def test_one_face_is_cut_out_or_all() -> None:
    image = photo("many")
    face, probability = MTCNN(image_size=96)(image, return_prob=True)
    assert (face.dtype, face.shape) == (np.float32, (3, 96, 96)) and 0.9 < probability <= 1
    assert -1 <= face.min() < -0.5 and 0.5 < face.max() <= 1
    raw = MTCNN(image_size=96, post_process=False)(image)
    np.testing.assert_allclose((raw - 127.5) / 128, face, atol=1e-6)
    faces, probabilities = MTCNN(image_size=96, keep_all=True)(image, return_prob=True)
    assert faces.shape == (len(probabilities), 3, 96, 96)
    np.testing.assert_array_equal(faces[0], face)


def test_no_face_gives_none() -> None:
    image = photo("none")
    for keep_all in (False, True):
        faces, probability = MTCNN(keep_all=keep_all)(image, return_prob=True)
        assert faces is None
        assert list(np.atleast_1d(np.array(probability, dtype=object))) == [None]
        found = MTCNN(keep_all=keep_all)([photo("one"), image])
        assert found[0] is not None and found[1] is None


@pytest.mark.parametrize("method", ["largest", "probability", "largest_over_threshold", "center_weighted_size"])
def test_the_selected_face_is_one_of_all(method: str) -> None:
    image = photo("many")
    chosen = MTCNN(selection_method=method)
    boxes, scores, points = chosen.detect(image, landmarks=True)
    box, score, point = chosen.select_boxes(boxes, scores, points, image, method=method)
    place = boxes.tolist().index(box[0].tolist())
    assert (score, point[0].tolist()) == (scores[place], points[place].tolist())
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    if method.startswith("largest"):
        assert place == areas.argmax()
    elif method == "probability":
        assert scores[place] == scores.max()
    # Arrays have no `width`, which facenet-pytorch needs for one of the methods.
    assert chosen.select_boxes(boxes, scores, points, np.asarray(image), method=method)[1] == score
    selected = chosen.select_boxes(*chosen.detect([image, photo("none")], landmarks=True), [image, photo("none")])
    assert len(selected[0]) == 2 and selected[0][1] is None


def test_a_margin_widens_the_crop_within_the_picture() -> None:
    image = photo("border")
    boxes, _ = MTCNN().detect(image)
    narrow, wide = (deepsight.extract_face(image, boxes[0], 80, margin) for margin in (0, 20))
    assert narrow.shape == wide.shape == (3, 80, 80) and not np.array_equal(narrow, wide)
    with pytest.raises(deepsight.FaceError, match="no pixel"):
        deepsight.extract_face(image, [-50, -50, -10, -10])


def test_arrays_and_pil_images_give_nearly_the_same_crop() -> None:
    image = photo("one")
    ours, theirs = (MTCNN(post_process=False)(picture) for picture in (np.asarray(image), image))
    assert np.abs(ours - theirs).mean() < 4


def test_faces_are_saved_with_numbers(tmp_path) -> None:
    image = photo("many")
    faces = MTCNN(keep_all=True, post_process=False)(image, save_path=str(tmp_path / "sub" / "face.png"))
    names = sorted(path.name for path in (tmp_path / "sub").iterdir())
    assert names == sorted(["face.png", *(f"face_{number}.png" for number in range(2, len(faces) + 1))])
    saved = np.asarray(Image.open(tmp_path / "sub" / "face_2.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(saved, faces[1])


def test_settings_outside_their_range_are_refused() -> None:
    cases = [
        ({"thresholds": [0.6, 0.7]}, "thresholds has 2"),
        ({"thresholds": [0.6, 0.7, 1.5]}, "thresholds"),
        ({"factor": 1.0}, "factor"),
        ({"min_face_size": 1}, "min_face_size"),
        ({"image_size": 0}, "image_size"),
        ({"margin": 160}, "margin is 160"),
        ({"selection_method": "best"}, "selection_method is 'best'"),
    ]
    for settings, message in cases:
        with pytest.raises(deepsight.SettingError, match=message):
            MTCNN(**settings)
    with pytest.raises(deepsight.DeviceError, match="cuda:0"):
        MTCNN(device="cuda:0")
    with pytest.raises(deepsight.DeviceError):
        MTCNN().to("cuda")
    assert MTCNN(device="cpu").eval().to("cpu").device == "cpu"


def test_a_larger_smallest_face_finds_fewer() -> None:
    image = photo("many")
    largest = max(box[3] - box[1] for box in MTCNN().detect(image)[0])
    found = MTCNN(min_face_size=float(largest) * 0.8).detect(image)[0]
    assert len(found) < len(MTCNN().detect(image)[0])


def test_it_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(MTCNN(image_size=64, select_largest=False, min_face_size=40)))
    assert (copy.image_size, copy.select_largest, copy.min_face_size) == (64, False, 40)
    assert copy.selection_method == "probability"


def test_settings_that_are_changed_later_hold_from_the_next_picture_on() -> None:
    image = photo("one")
    mtcnn = MTCNN()
    box = mtcnn.detect(image)[0][0]
    mtcnn.min_face_size = 2 * max(box[2] - box[0], box[3] - box[1])
    assert mtcnn.detect(image)[0] is None
    mtcnn.min_face_size = 20
    np.testing.assert_array_equal(mtcnn.detect(image)[0][0], box)
    with pytest.raises(deepsight.SettingError, match="thresholds has 1"):
        mtcnn.thresholds = [0.5]
    mtcnn.thresholds = [0.6, 0.7, 0.9999999]
    assert pickle.loads(pickle.dumps(mtcnn)).thresholds == mtcnn.thresholds == (0.6, 0.7, 0.9999999)
