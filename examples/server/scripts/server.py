"""A deepsight-server as a child process: started on a free port, watched through /proc (Linux), stopped by signal."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CLIP = REPOSITORY / "examples/clips/portraits.mp4"
# Variables that are passed on: all others could affect the measurement.
KEPT = {"DEEPSIGHT_FFMPEG", "DEEPSIGHT_FFPROBE", "DEEPSIGHT_CPU", "DEEPSIGHT_LOG"}


def find_binary() -> Path:
    """Returns the newest optimised build in cargo's target folder, else another one."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    for profile in ("release", "debug"):
        binary = target / profile / "deepsight-server"
        if binary.is_file():
            return binary
    raise SystemExit(
        f"no deepsight-server in {target}: build it (cargo build --release -p deepsight-server), or name one"
    )


class Server:
    """A running server; its log is `log`, its standard error."""

    def __init__(self, binary: Path, data: Path, log: Path, *flags: str, patience: float = 60.0):
        self.data, self.log = data, log
        environment = {name: value for name, value in os.environ.items() if self._is_kept(name)}
        with log.open("wb") as stderr:
            command = [str(binary), "--port", "0", "--data-dir", str(data), *flags]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr, env=environment)
        self.port = self._port(patience)

    @staticmethod
    def _is_kept(name: str) -> bool:
        return name in KEPT or not name.startswith("DEEPSIGHT_")

    def _port(self, patience: float) -> int:
        until = time.monotonic() + patience
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.log.read_text(errors="replace"))
            if found:
                return int(found[1])
            time.sleep(0.05)
        self.kill()
        raise SystemExit(f"the server did not start:\n{self.log.read_text(errors='replace')}")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kills the server, as a power cut would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, patience: float) -> tuple[int | None, float]:
        """Sends SIGTERM. Returns the exit code, `None` if it did not end in time, and the seconds."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            code = None
        return code, time.monotonic() - started

    def errors(self) -> list[str]:
        """Returns the lines of the log that report internal errors."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if " ERROR " in line or "panicked" in line]

    def memory(self) -> tuple[int, int]:
        """Returns the resident memory now and its peak, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        now, peak = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
        return (int(now[1]) * 1024 if now else 0), (int(peak[1]) * 1024 if peak else 0)

    def open_files(self) -> int:
        """Returns the number of open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def uploads(self) -> list[str]:
        """Returns the names of the files in the folder of uploads."""
        return sorted(os.listdir(self.data / "uploads"))

    def helpers(self) -> list[str]:
        """Returns the command lines of this server's ffmpeg and ffprobe, also after it was killed, and of zombies."""
        return [command for pid, parent, command in _processes() if pid != self.pid and self._owns(parent, command)]

    def _owns(self, parent: int, command: str) -> bool:
        return parent == self.pid or str(self.data) in command


def _processes() -> Iterator[tuple[int, int, str]]:
    """Returns the process id, its parent's and the command line of all processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name is in brackets and may contain any character, also brackets.
                stat = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            yield int(entry.name), int(stat[1]), command or f"(state {stat[0]})"
