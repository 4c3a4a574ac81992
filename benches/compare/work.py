"""Processes that take turns: confined to the same cores, stopped while they wait, and killed at the end."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from statistics import median
from typing import Any, Iterable, Iterator, Sequence

PR_SET_PDEATHSIG = 1
ANSWER_SECONDS = 600


class Failure(Exception):
    """The reason why there is no result, in one line."""


class Silent(Failure):
    """A process that did not answer in time, or has ended. It accepts no further requests."""


class Unavailable(Failure):
    """A part of this project that this build does not have."""


_alive: set[subprocess.Popen[bytes]] = set()


def end_all() -> None:
    """Kills all running processes, with their descendants."""
    for process in list(_alive):
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    _alive.discard(process)


def end_all_on_exit() -> None:
    atexit.register(end_all)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def chosen_cpus(count: int) -> list[int]:
    """Returns the cores to use: one hardware thread of each core before the second one of any."""
    allowed = sorted(os.sched_getaffinity(0))
    if count > len(allowed):
        raise Failure(f"--threads {count}: there are {len(allowed)} CPUs")
    return sorted(allowed, key=lambda cpu: (_place_in_core(cpu), cpu))[:count]


def _place_in_core(cpu: int) -> int:
    try:
        text = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return 0
    siblings: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        siblings += range(int(first), int(last or first) + 1)
    return siblings.index(cpu)


def start(command: Sequence[str], cpus: Sequence[int], errors: Any, **pipes: Any) -> subprocess.Popen[bytes]:
    threads = str(len(cpus))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    libc = ctypes.CDLL(None)

    def confine() -> None:
        # Even if this program is killed without a chance to clean up, its children end.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cpus)

    try:
        process = subprocess.Popen(
            list(command), stderr=errors, env=environment, preexec_fn=confine, start_new_session=True, **pipes
        )
    except OSError as error:
        raise Failure(f"cannot start {command[0]}: {error.strerror}") from error
    _alive.add(process)
    return process


def complaint(errors: Any) -> str:
    """Returns the line of standard error with the reason: the one with an error, or the last."""
    errors.seek(0)
    return last_line(errors.read().decode(errors="replace"))


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    named = (line.removeprefix("error: ") for line in lines if line.startswith("error: "))
    return next(named, lines[-1] if lines else "it said nothing")


class Worker:
    """A process that answers one request at a time, and is stopped between two so that it cannot spin on a core."""

    def __init__(self, name: str, command: Sequence[str], cpus: Sequence[int]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()
        self._process = start(command, cpus, self._errors, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, request: dict[str, Any], seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        os.killpg(self._process.pid, signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Silent(f"{self.name} ended: {complaint(self._errors)}") from None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            raise Silent(f"{self.name} did not answer in {seconds:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise Silent(f"{self.name} ended: {complaint(self._errors)}")
        os.killpg(self._process.pid, signal.SIGSTOP)
        answer = json.loads(line)
        if "error" in answer:
            kind = Unavailable if answer["error"].startswith("unavailable: ") else Failure
            raise kind(f"{self.name}: {answer['error'].removeprefix('unavailable: ')}")
        return answer

    def run(self, repeat: int, seconds: float = ANSWER_SECONDS) -> list[float]:
        return self.ask({"do": "run", "repeat": repeat}, seconds)["seconds"]

    def peak_mib(self) -> float:
        return _peak_kib(self._process.pid) / 1024

    def close(self) -> None:
        end(self._process)
        self._errors.close()


@contextlib.contextmanager
def workers() -> Iterator[dict[str, Worker]]:
    """Yields an empty set of workers to fill. They end with the block."""
    filled: dict[str, Worker] = {}
    try:
        yield filled
    finally:
        for worker in filled.values():
            worker.close()


def turns(names: Iterable[str], rounds: int) -> Iterator[str]:
    """Returns the order of the turns, round by round: A B C, C B A, A B C ..."""
    order = list(names)
    for _ in range(rounds):
        yield from order
        order.reverse()


def take_turns(workers: dict[str, Worker], rounds: int, seconds: float) -> dict[str, list[list[float]]]:
    """Returns the times of each worker in `turns`, round by round.

    A turn takes about `seconds`; the first run in it wakes threads and caches and does not count.
    """
    repeats = {}
    for name, worker in workers.items():
        worker.run(1)
        repeats[name] = max(2, min(100, round(seconds / median(worker.run(3)))))
    times: dict[str, list[list[float]]] = {name: [] for name in workers}
    for name in turns(workers, rounds):
        workers[name].run(1)
        times[name].append(workers[name].run(repeats[name]))
    return times


@dataclass
class Finished:
    seconds: float
    peak_mib: float
    output: bytes


def run_once(name: str, command: Sequence[str], cpus: Sequence[int]) -> Finished:
    """Runs a process from start to end, and measures its memory with that of its child processes."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = start(command, cpus, errors, stdin=subprocess.DEVNULL, stdout=output)
        with _Watch(process.pid) as watch:
            try:
                code = process.wait(ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                raise Failure(f"{name} did not end in {ANSWER_SECONDS} s") from None
            seconds = time.perf_counter() - started
        end(process)
        if code != 0:
            raise Failure(f"{name} failed: {complaint(errors)}")
        output.seek(0)
        return Finished(seconds, watch.peak_mib(), output.read())


class _Watch:
    """Measures the peak memory of a process and its descendants: the sum of each one's peak."""

    def __init__(self, pid: int) -> None:
        self._peaks: dict[int, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(pid,), daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self, root: int) -> None:
        while not self._done.wait(0.02):
            waiting = [root]
            while waiting:
                pid = waiting.pop()
                self._peaks[pid] = max(self._peaks.get(pid, 0), _peak_kib(pid))
                waiting += _children(pid)

    def peak_mib(self) -> float:
        return sum(self._peaks.values()) / 1024


def _peak_kib(pid: int) -> int:
    """Returns the peak memory of a process in KiB, and 0 if it has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return next((int(line.split()[1]) for line in lines), 0)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, path.read_text().split())
        except OSError:
            pass
    return found
