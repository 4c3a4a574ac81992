"""Compares the analysis of whole clips, several at a time, with decoding alone, to show which bounds the other."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
from statistics import mean
from typing import Any, Iterator

import work
from place import Place
from turns import Budget
from work import Failure

FRAMES = 30
# More than any machine analyzes in a window.
COPIES = 1000


def measure(place: Place, inputs: dict[str, Any], budget: Budget) -> Iterator[dict[str, Any]]:
    del inputs
    for jobs, height in place.size.clips:
        # A CPU has no hardware decoder; this checks that the flag is refused.
        for hwaccel in (False, True):
            print(f"clips: {jobs} of {height} rows at once, {budget.left():.0f} s left", flush=True)
            entries = {
                "decode": _attempt(_decode, place, height, jobs, hwaccel, budget),
                "analyze": _attempt(_analyze, place, height, jobs, hwaccel, budget),
            }
            yield {"height": height, "jobs": jobs, "hwaccel": hwaccel, "entries": entries}


def _attempt(action: Any, place: Place, height: int, jobs: int, hwaccel: bool, budget: Budget) -> dict[str, Any]:
    try:
        if budget.left() < 2 * place.size.window_seconds:
            raise Failure("no time was left")
        return action(place, height, jobs, hwaccel, budget)
    except Failure as failure:
        return {"missing": str(failure)}


def _frames_in(clip: pathlib.Path) -> int:
    command = [os.environ["DEEPSIGHT_FFPROBE"], "-v", "error", "-select_streams", "v:0", "-count_packets"]
    command += ["-show_entries", "stream=nb_read_packets", "-of", "default=nw=1:nk=1", str(clip)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _analyze(place: Place, height: int, jobs: int, hwaccel: bool, budget: Budget) -> dict[str, Any]:
    """Returns the reports per second in the steady state. The first reports, one for each job, do not count, because
    kernels are compiled and chosen in them."""
    clip = place.clip(height)
    # Separate names, in case a later version treats equal names as one clip.
    links = place.folder / f"copies_{height}"
    links.mkdir(exist_ok=True)
    copies = [links / f"{number}.mp4" for number in range(COPIES)]
    for copy in copies:
        if not copy.is_symlink():
            copy.symlink_to(clip)
    command = [place.program("analyze"), "--device", place.ours_device, "--json", "-", "--frames", str(FRAMES)]
    command += ["--jobs", str(jobs), *(["--hwaccel", "cuda"] if hwaccel else []), *map(str, copies)]
    with tempfile.TemporaryFile() as errors:
        process = work.start(command, place.cpus, errors, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        lines: list[float] = []
        reader = threading.Thread(target=_note_lines, args=(process, lines), daemon=True)
        reader.start()
        try:
            warm = time.monotonic() + min(place.size.patience, budget.left())
            while len(lines) <= jobs and time.monotonic() < warm and process.poll() is None:
                time.sleep(0.02)
            if process.poll() is not None:
                raise Failure(f"analyze ended: {work.complaint(errors)}")
            if len(lines) <= jobs:
                raise Failure(f"analyze had {len(lines)} of {jobs + 1} clips done when its warm-up was cut")
            with _Watch() as watch:
                first, start = len(lines), time.monotonic()
                # The window is longer if there are few clips, because the count is a whole number.
                while time.monotonic() - start < place.size.window_seconds or len(lines) - first < 4:
                    if process.poll() is not None or budget.left() < 1:
                        break
                    time.sleep(0.02)
                done, seconds = len(lines) - first, time.monotonic() - start
            if process.poll() is not None:
                raise Failure(f"analyze ended: {work.complaint(errors)}")
        finally:
            _stop(process)
            reader.join(2)
    if done == 0:
        raise Failure(f"analyze finished no clip in {seconds:.1f} s")
    return _rates(done, seconds, _frames_in(clip)) | watch.said()


def _note_lines(process: subprocess.Popen[bytes], lines: list[float]) -> None:
    assert process.stdout
    for _ in process.stdout:
        lines.append(time.monotonic())


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stops a process: with a signal first, so that it can end its child processes."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            pass
    work.end(process)


def _decode(place: Place, height: int, jobs: int, hwaccel: bool, budget: Budget) -> dict[str, Any]:
    """Decodes repeatedly with our ffmpeg, and discards the frames."""
    clip = place.clip(height)
    total = _frames_in(clip)
    threads = str(min(8, len(place.cpus) + 1))
    command = [os.environ["DEEPSIGHT_FFMPEG"], "-v", "error", "-nostdin", "-threads", threads]
    command += ["-hwaccel", "cuda", "-hwaccel_device", "0"] if hwaccel else []
    chain = f"select=not(mod(n\\,{max(1, total // FRAMES)})),{'format=yuv420p,' if hwaccel else ''}scale,format=rgb24"
    command += ["-i", str(clip), "-vf", chain, "-fps_mode", "passthrough", "-f", "rawvideo", "-y", "/dev/null"]
    end = time.monotonic() + min(place.size.window_seconds, budget.left())
    done, failures = [0] * jobs, []

    def loop(number: int) -> None:
        while time.monotonic() < end and not failures:
            with tempfile.TemporaryFile() as errors:
                process = work.start(command, place.cpus, errors, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                try:
                    code = process.wait(max(10, place.size.window_seconds))
                except subprocess.TimeoutExpired:
                    failures.append("ffmpeg took over ten seconds for one clip")
                    return
                finally:
                    work.end(process)
                if code != 0:
                    failures.append(f"ffmpeg failed: {work.complaint(errors)}")
                    return
            done[number] += 1

    start = time.monotonic()
    threads_of = [threading.Thread(target=loop, args=(number,), daemon=True) for number in range(jobs)]
    with _Watch() as watch:
        for thread in threads_of:
            thread.start()
        for thread in threads_of:
            thread.join()
        seconds = time.monotonic() - start
    if failures:
        raise Failure(failures[0])
    return _rates(sum(done), seconds, total) | watch.said()


def _rates(clips: int, seconds: float, frames: int) -> dict[str, Any]:
    return {"clips": clips, "window": seconds, "frames_per_second": clips * frames / seconds}


class _Watch:
    """Measures the load of CPUs and GPU; that of the GPU with nvidia-smi, which only reads."""

    # Not every driver reports the decoder.
    FIELDS = [
        "utilization.gpu,utilization.memory,memory.used,utilization.decoder",
        "utilization.gpu,utilization.memory,memory.used",
    ]

    def __enter__(self) -> _Watch:
        self._start = _busy()
        self._samples: list[list[float]] = []
        self._reason = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()
        for fields in self.FIELDS:
            try:
                if subprocess.run(_smi(fields), capture_output=True, timeout=5, check=False).returncode == 0:
                    command = [*_smi(fields), "-lms", "200"]
                    self._process = work.start(
                        command, sorted(os.sched_getaffinity(0)), self._errors, stdout=subprocess.PIPE
                    )
                    break
            except (OSError, subprocess.TimeoutExpired, Failure) as error:
                self._reason = f"nvidia-smi: {getattr(error, 'strerror', None) or error}"
        return self

    def __exit__(self, *_: object) -> None:
        then, now = self._start, _busy()
        self._cpu = (now[0] - then[0]) / max(now[1] - then[1], 1e-9)
        if self._process:
            work.end(self._process)
            assert self._process.stdout
            for line in self._process.stdout.read().decode().splitlines():
                try:
                    self._samples.append([float(value) for value in line.split(",")])
                except ValueError:
                    # An incomplete last line, or a field that this GPU does not have.
                    continue
        self._errors.close()

    def said(self) -> dict[str, Any]:
        columns = [mean(values) for values in zip(*self._samples)] if self._samples else []
        names = ["gpu_busy", "gpu_memory_busy", "gpu_memory_mib", "decoder_busy"]
        gpu = dict(zip(names, columns)) if columns else {"gpu_missing": self._reason or "nvidia-smi gave no sample"}
        return {"cpu_busy": 100 * self._cpu, **gpu}


def _smi(fields: str) -> list[str]:
    return ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "--id=0"]


def _busy() -> tuple[float, float]:
    ticks = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], float(sum(ticks))
