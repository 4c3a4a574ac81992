"""The package as people see it: help, types, the example program."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deepsight
from conftest import CLIP, MODEL, PHOTOS, REPOSITORY, photo, read_safetensors

PUBLIC = [getattr(deepsight, name) for name in deepsight.__all__]


def test_every_public_name_has_a_docstring_and_a_signature() -> None:
    for thing in PUBLIC:
        assert inspect.getdoc(thing), thing
        if callable(thing) and not (inspect.isclass(thing) and issubclass(thing, Exception)):
            assert "*args" not in str(inspect.signature(thing)), thing
        if inspect.isclass(thing):
            for name, member in vars(thing).items():
                if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    assert inspect.getdoc(member), f"{thing.__name__}.{name}"


def test_the_exceptions_have_one_base_and_the_name_of_the_package() -> None:
    classes = [thing for thing in PUBLIC if inspect.isclass(thing) and issubclass(thing, Exception)]
    assert len(classes) > 10
    for cls in classes:
        assert issubclass(cls, (deepsight.DeepSightError, UserWarning))
        assert cls.__module__ == "deepsight"


def test_the_package_is_typed_and_has_the_version_of_the_crates() -> None:
    assert (Path(deepsight.__file__).parent / "py.typed").exists()
    assert f'\nversion = "{deepsight.__version__}"\n' in (REPOSITORY / "Cargo.toml").read_text()


def test_only_numpy_is_imported() -> None:
    program = "import deepsight, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "cv2", "PIL", "pandas", "matplotlib"} & set(done.stdout.split())


def test_the_code_of_the_readme_runs_and_does_what_it_says(tmp_path, monkeypatch, capsys) -> None:
    text = (REPOSITORY / "examples" / "python" / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    for source, name in [(CLIP, "clip.mp4"), (MODEL, "model.safetensors"), (PHOTOS / "many.png", "photograph.jpg")]:
        (tmp_path / name).write_bytes(Path(source).read_bytes())
    monkeypatch.chdir(tmp_path)
    card, tensors = read_safetensors(MODEL)

    class Model:
        """What a network of timm has."""

        pretrained_cfg = {"architecture": f"tf_{card['architecture']}"}

        def state_dict(self) -> dict:
            return tensors

    names = {
        "deepsight": deepsight, "Image": Image, "paths": ["clip.mp4", "missing.mp4"], "model": Model(),
        "camera": [(0.0, photo("one")), (0.5, photo("one"))], "first": photo("one"), "second": photo("none"),
        "image": photo("one"),
    }  # fmt: skip
    for block in blocks:
        if importlib.util.find_spec("pandas") is None:
            block = block.replace("; report.to_dataframe()", "")
        exec(compile(block, "README.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "REAL (fake probability 1" in shown and "30 of 30" in shown and "missing.mp4 missing.mp4: " in shown
    assert f"{names['report'].fake_probability:.2f}" in "".join(blocks)
    assert (tmp_path / "report.html").exists() and (tmp_path / "mine.safetensors").exists()
    assert names["images"].shape[0] == 30 and names["faces"][0].shape == (1, 3, 160, 160) and names["faces"][1] is None
    assert names["update"].verdict in ("REAL", "FAKE", "UNCERTAIN")


def test_arrays_that_come_out_are_written_to_and_shared_without_a_copy(report: deepsight.Report) -> None:
    frame = next(deepsight.read_frames(CLIP, 1)).image
    face = deepsight.MTCNN()(photo("one"))
    scores = deepsight.Classifier().score([report.evidence[0].image])
    for array in (frame, face, scores, report.evidence[0].image, report.evidence[0].activation):
        assert array.flags.writeable and array.flags.c_contiguous
        assert np.shares_memory(np.from_dlpack(array), array)


@pytest.mark.parametrize("options", [[], ["--frames", "12"]])
def test_the_example_program_prints_verdict_and_confidence(options: list[str]) -> None:
    program = REPOSITORY / "examples" / "python" / "predict_video.py"
    assert len(program.read_text().splitlines()) == 10
    done = subprocess.run([sys.executable, program, CLIP, *options], capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first == "Prediction: REAL" and second.startswith("Confidence: ") and second.endswith("%")
    assert done.returncode == 0, done.stderr
