"""The package as people see it: help, types, the example program."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import deepsight
from conftest import CLIP, REPOSITORY

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


@pytest.mark.parametrize("options", [[], ["--frames", "12"]])
def test_the_example_program_prints_verdict_and_confidence(options: list[str]) -> None:
    program = REPOSITORY / "examples" / "python" / "predict_video.py"
    assert len(program.read_text().splitlines()) == 10
    done = subprocess.run([sys.executable, program, CLIP, *options], capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first == "Prediction: REAL" and second.startswith("Confidence: ") and second.endswith("%")
    assert done.returncode == 0, done.stderr
