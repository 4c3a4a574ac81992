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
# What the environment may say: everything else would change what is measured.
KEPT = {"DEEPSIGHT_FFMPEG", "DEEPSIGHT_FFPROBE", "DEEPSIGHT_CPU", "DEEPSIGHT_LOG"}


def find_binary() -> Path:
    """The newest build in cargo's target folder that is optimised, else one that is not."""
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
        """Ends it at once, as a power cut would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, patience: float) -> tuple[int | None, float]:
        """SIGTERM: its exit code, `None` where it did not end in time, and the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            code = None
        return code, time.monotonic() - started

    def errors(self) -> list[str]:
        """Lines of the log that tell of something broken inside."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if " ERROR " in line or "panicked" in line]

    def memory(self) -> tuple[int, int]:
        """Resident memory now and at its highest, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        now, peak = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
        return (int(now[1]) * 1024 if now else 0), (int(peak[1]) * 1024 if peak else 0)

    def open_files(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def uploads(self) -> list[str]:
        """Names of the files among the uploads."""
        return sorted(os.listdir(self.data / "uploads"))

    def helpers(self) -> list[str]:
        """Command lines of ffmpeg and ffprobe that work for this server, or did before it was killed; zombies too."""
        return [command for pid, parent, command in _processes() if pid != self.pid and self._owns(parent, command)]

    def _owns(self, parent: int, command: str) -> bool:
        return parent == self.pid or str(self.data) in command


def _processes() -> Iterator[tuple[int, int, str]]:
    """Process id, its parent's and the command line of all processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name stands in brackets and may hold anything, brackets too.
                stat = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            yield int(entry.name), int(stat[1]), command or f"(state {stat[0]})"
