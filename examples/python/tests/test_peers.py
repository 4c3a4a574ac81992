"""Comparison with facenet-pytorch, timm and OpenCV, which `scripts/test-peers.sh` installs."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import pytest

import deepsight
from conftest import CONFIDENCE, PHOTOS, PIXELS, REPOSITORY, photo
from deepsight._resize import resize_area

pytestmark = pytest.mark.peers

NAMES = ["border", "grey", "many", "none", "one", "small"]
SETTINGS = [
    {},
    {"select_largest": False},
    {"min_face_size": 40, "factor": 0.6, "thresholds": [0.5, 0.6, 0.6]},
    {"keep_all": True, "post_process": False, "image_size": 96, "margin": 24},
    {"selection_method": "center_weighted_size", "image_size": 48, "margin": 10},
    {"selection_method": "largest_over_threshold", "image_size": 224},
]


@pytest.fixture(params=range(len(SETTINGS)))
def both(request):
    """The same detector of both packages."""
    import facenet_pytorch

    settings = SETTINGS[request.param]
    return deepsight.MTCNN(**settings), facenet_pytorch.MTCNN(**settings)


def too_small(theirs, name: str) -> bool:
    """Return whether the photograph is smaller than the smallest face, which is an error of facenet-pytorch."""
    return min(photo(name).size) < theirs.min_face_size


def same_faces(ours, theirs) -> None:
    assert len(ours) == len(theirs)
    for one, other, tolerance in zip(ours, theirs, (PIXELS, CONFIDENCE, PIXELS)):
        if other is None or (len(other) == 1 and other[0] is None):
            assert one is None or one[0] is None
        else:
            np.testing.assert_allclose(one, np.asarray(other, float), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_detections_agree(both, name: str) -> None:
    ours, theirs = both
    if too_small(theirs, name):
        assert ours.detect(photo(name), landmarks=True)[0] is None
        return
    for image in (photo(name), np.asarray(photo(name))):
        same_faces(ours.detect(image, landmarks=True), theirs.detect(image, landmarks=True))
        assert len(ours.detect(image)) == len(theirs.detect(image)) == 2


def test_batches_agree(both) -> None:
    ours, theirs = both
    one = photo("one")
    images = [one, photo("many").crop((0, 0, *one.size)), photo("none").resize(one.size)]
    for batch in (images, tuple(images), np.stack([np.asarray(image) for image in images])):
        mine, others = ours.detect(batch, landmarks=True), theirs.detect(batch, landmarks=True)
        for place in range(len(images)):
            same_faces([column[place] for column in mine], [column[place] for column in others])
    # As many faces in each picture: one array there, and here.
    mine, others = ours.detect([one, one]), theirs.detect([one, one])
    assert [column.shape for column in mine] == [column.shape for column in others]


@pytest.mark.parametrize("name", NAMES)
def test_faces_that_are_cut_out_agree(both, name: str) -> None:
    ours, theirs = both
    if too_small(theirs, name):
        assert ours(photo(name)) is None
        return
    # One level, of 0 to 255 or of -1 to 1.
    level = 1.01 * (1 / 128 if ours.post_process else 1)
    for image in (photo(name), np.asarray(photo(name))):
        if theirs.selection_method == "center_weighted_size" and not hasattr(image, "width"):
            continue
        mine, my_probability = ours(image, return_prob=True)
        other, probability = theirs(image, return_prob=True)
        if other is None:
            assert mine is None
            continue
        assert mine.shape == tuple(other.shape) and mine.dtype == np.float32
        np.testing.assert_allclose(my_probability, np.asarray(probability, float), atol=CONFIDENCE, rtol=0)
        apart = np.abs(mine - other.numpy())
        assert np.quantile(apart, 0.999) <= level, apart.max()


def test_numbers_of_any_type_agree() -> None:
    import facenet_pytorch
    import torch

    ours, theirs = deepsight.MTCNN(keep_all=True), facenet_pytorch.MTCNN(keep_all=True)
    pixels = np.asarray(photo("many"))
    between = (0.9 * pixels + 7.3).astype(np.float32)
    for image in (pixels.astype(np.int64), pixels.astype(np.float64), between, torch.from_numpy(between)):
        same_faces(ours.detect(image, landmarks=True), theirs.detect(image, landmarks=True))
    batch = np.stack([between, between[:, ::-1]])
    for images in (batch, torch.from_numpy(batch)):
        mine, others = ours.detect(images, landmarks=True), theirs.detect(images, landmarks=True)
        for place in range(2):
            same_faces([column[place] for column in mine], [column[place] for column in others])
    # In a list, fractions are cut off there.
    mine, others = ours.detect(list(batch), landmarks=True), theirs.detect(list(batch), landmarks=True)
    for place in range(2):
        same_faces([column[place] for column in mine], [column[place] for column in others])
    # Numbers that are refused here find nothing there.
    assert theirs.detect(pixels / 255)[0] is None


@pytest.mark.parametrize("settings", [{}, {"image_size": 48, "margin": 10}, {"image_size": 224}])
def test_faces_cut_out_of_tensors_and_fractions_agree(settings: dict) -> None:
    import facenet_pytorch
    import torch

    pixels = np.asarray(photo("one"))
    between = (0.9 * pixels + 7.3).astype(np.float32)
    box = facenet_pytorch.MTCNN().detect(pixels)[0][0]
    for image in (torch.from_numpy(pixels.copy()), torch.from_numpy(between), between, between.astype(np.float64)):
        mine = deepsight.extract_face(image, box, **settings)
        apart = np.abs(mine - facenet_pytorch.extract_face(image, box, **settings).numpy())
        assert apart.max() <= 1.01


def test_faces_of_a_list_agree(both) -> None:
    ours, theirs = both
    one = photo("one")
    mine, others = ours([one, one]), theirs([one, one])
    assert len(mine) == len(others) == 2
    for face, other in zip(mine, others):
        assert face.shape == tuple(other.shape)


def test_saved_faces_agree(tmp_path) -> None:
    import facenet_pytorch

    paths = []
    for package in (deepsight, facenet_pytorch):
        folder = tmp_path / package.__name__
        package.MTCNN(keep_all=True)(photo("many"), save_path=str(folder / "face.png"))
        paths.append(sorted(path.name for path in folder.iterdir()))
    assert paths[0] == paths[1]


def test_a_tensor_is_a_picture_and_results_share_memory_with_torch() -> None:
    import torch

    pixels = np.asarray(photo("one"))
    mtcnn = deepsight.MTCNN()
    np.testing.assert_array_equal(mtcnn.detect(torch.from_numpy(pixels.copy()))[0], mtcnn.detect(pixels)[0])
    face = mtcnn(pixels)
    tensor = torch.from_dlpack(face)
    tensor[0, 0, 0] = 7.0
    assert face[0, 0, 0] == 7.0
    frame = next(deepsight.read_frames(REPOSITORY / "examples" / "clips" / "portraits.mp4", 1)).image
    assert torch.from_numpy(frame).shape == frame.shape


@pytest.mark.parametrize(
    "source", [(31, 47), (116, 89), (97, 160), (160, 97), (160, 160), (400, 700), (320, 640), (90, 400)]
)
@pytest.mark.parametrize("target", [1, 48, 80, 160, 224])
def test_areas_are_resized_as_opencv_does(source: tuple[int, int], target: int) -> None:
    import cv2

    image = np.random.default_rng(1).integers(0, 256, (*source, 3), dtype=np.uint8)
    expected = cv2.resize(image, (target, target), interpolation=cv2.INTER_AREA)
    apart = np.abs(resize_area(image, target, target).astype(int) - expected)
    assert apart.max() <= 1


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b1", "efficientnet_lite0"])
def test_a_model_of_timm_scores_as_in_torch(name: str, tmp_path) -> None:
    import timm
    import torch

    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=2).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.05)
            module.running_var.uniform_(0.8, 1.2)
    faces = np.random.default_rng(2).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    own = deepsight.Classifier(
        deepsight.convert(model, tmp_path / "own.safetensors", input_size=128, mean=[0.5] * 3, std=[0.5] * 3)
    )
    assert own.architecture.removeprefix("tf_") == name.removeprefix("tf_")
    with torch.inference_mode():
        batch = (torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        expected = model(batch).softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(own.score(faces), expected, atol=1e-4)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "checkpoint.pth")
    settings = {"input_size": 128, "mean": [0.5] * 3, "std": [0.5] * 3}
    variant = "tensorflow" if name.startswith("tf_") else "pytorch"
    path = deepsight.convert(
        tmp_path / "checkpoint.pth", tmp_path / "again.safetensors", model_name=name, variant=variant, **settings
    )
    np.testing.assert_array_equal(deepsight.Classifier(path).score(faces), own.score(faces))
    half = deepsight.convert(
        model.bfloat16().state_dict(), tmp_path / "half.safetensors", model_name=name, variant=variant, **settings
    )
    np.testing.assert_allclose(deepsight.Classifier(half).score(faces), expected, atol=0.05)


@pytest.mark.parametrize(
    "name", ["vit_base_patch32_clip_224", "vit_base_patch32_clip_quickgelu_224", "vit_small_patch14_dinov2"]
)
def test_a_vision_transformer_of_timm_scores_as_in_torch(name: str, tmp_path) -> None:
    import timm
    import torch

    torch.manual_seed(1)
    side = 224
    model = timm.create_model(name, num_classes=2, img_size=side).eval()
    # The head of an untrained network is zero or small.
    torch.nn.init.normal_(model.head.weight, std=0.2)
    faces = np.random.default_rng(1).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    with torch.inference_mode():
        batch = (torch.from_numpy(faces).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = model(batch).softmax(1)[:, 1].numpy()
    own = deepsight.Classifier(deepsight.convert(model, tmp_path / "own.safetensors"))
    assert own.architecture == name
    np.testing.assert_allclose(own.score(faces), expected, atol=1e-3)
    again = {
        "double": model.double().state_dict(), "half": model.half().state_dict(), "bits": model.bfloat16().state_dict(),
    }  # fmt: skip
    cfg = model.pretrained_cfg
    for kind, state_dict in again.items():
        path = deepsight.convert(
            state_dict, tmp_path / f"{kind}.safetensors", model_name=name, mean=cfg["mean"], std=cfg["std"]
        )
        tolerance = 1e-6 if kind == "double" else 0.05
        np.testing.assert_allclose(deepsight.Classifier(path).score(faces), own.score(faces), atol=tolerance)

    class Detector(torch.nn.Module):
        """A network of one's own around one of timm, with a head of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = timm.create_model(name, num_classes=0, img_size=side)
            self.head = torch.nn.Linear(self.backbone.num_features, 1)

    wrapped = Detector().eval()
    with torch.inference_mode():
        expected = wrapped.head(wrapped.backbone(batch))[:, 0].sigmoid().numpy()
    own = deepsight.Classifier(deepsight.convert(wrapped, tmp_path / "wrapped.safetensors"))
    np.testing.assert_allclose(own.score(faces), expected, atol=1e-3)
    apart = deepsight.convert(
        wrapped.backbone, tmp_path / "apart.safetensors", head_weights=wrapped.head
    )
    np.testing.assert_allclose(deepsight.Classifier(apart).score(faces), own.score(faces), atol=1e-6)


def test_frames_have_the_pixels_of_opencv(clip: str) -> None:
    import cv2

    video = cv2.VideoCapture(clip)
    video.set(cv2.CAP_PROP_POS_FRAMES, 40)
    expected = cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB)
    frame = list(deepsight.read_frames(clip, deepsight.Sampling.every(40)))[1]
    assert frame.index == 40
    # The two convert colors with other rounding.
    assert np.abs(frame.image.astype(int) - expected).mean() < 2


def test_a_program_needs_another_import_only(tmp_path) -> None:
    program = (REPOSITORY / "examples" / "python" / "faces_of_a_folder.py").read_text()
    assert 40 <= len(program.splitlines()) <= 45
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.png").write_bytes((PHOTOS / f"{name}.png").read_bytes())
    tables = []
    for package in ("deepsight", "facenet_pytorch"):
        script, table = tmp_path / f"with_{package}.py", tmp_path / f"{package}.csv"
        script.write_text(program.replace("from deepsight import", f"from {package} import"))
        subprocess.run([sys.executable, script, folder, table], check=True)
        with table.open() as file:
            tables.append([[row[0], *map(float, row[1:])] for row in list(csv.reader(file))[1:]])
    assert [row[0] for row in tables[0]] == [row[0] for row in tables[1]]
    ours, theirs = (np.array([row[1:] for row in table]) for table in tables)
    np.testing.assert_allclose(ours, theirs, atol=PIXELS, rtol=0)
