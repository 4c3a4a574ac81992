"""Puts a deepsight-server under load, and checks that nothing is lost, stuck or left behind.

    python3 examples/server/scripts/load.py [BINARY]

Python 3.11 and ffmpeg, nothing else; Linux, as it reads /proc. By default BINARY is the one in cargo's target folder.
It takes up to three minutes on two cores and ends by itself: 0 when everything held, 1 with what did not. The Markdown
table of figures goes to standard output, the rest to standard error.

1. The storm: 200 uploads at once by clients that come again when the server says so, and with them clients that are
   slow, that leave in the middle of an upload or of a prediction, that watch, and that remove what waits or runs.
2. SIGTERM with analyses under way, and a start on the same data: every report is still there, and what was put back
   ends.
3. kill -9 with 20 analyses under way, twice: each of them ends, or has failed as one that may be tried again.
4. 505 connections of one address that send the body of POST /v1/session byte by byte, with the usual limits of
   connections: health checks and other addresses are answered meanwhile.
5. Two keys, one with twelve videos waiting and then the other with one: they take turns, and do not see each other.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import clients
import crowding
import wire
from clients import Crowd, Timeouts
from server import CLIP, Server, find_binary

QUEUE = 32
# All clients of the test have one address.
MANY = ("--max-connections", "2000", "--max-connections-per-address", "2000")
TIMEOUTS = Timeouts()
MEBIBYTE = 1 << 20
# Limit on the growth of an idle server's memory after the load: freed memory that the allocator keeps.
SPARE_MEMORY = 200 * MEBIBYTE
# Typical timeout of an orchestrator's probe.
SLOWEST_HEALTH = 1.0
# After the grace, the server waits for cancelled analyses and for answers that are being written; and for a client
# that hangs, up to its usual timeout.
SLOWEST_STOP = TIMEOUTS.grace + TIMEOUTS.body + clients.TOLERANCE


@dataclass
class Samples:
    """Samples of the server's state, a few per second."""

    health: list[float] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    uploads: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Watch:
    """Takes samples on another thread while the context is entered."""

    def __init__(self, server: Server):
        self.server, self.samples, self.over = server, Samples(), threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> Samples:
        self.thread.start()
        return self.samples

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _run(self) -> None:
        while not self.over.wait(0.2):
            try:
                self._sample()
            except (OSError, http.client.HTTPException) as error:
                self.samples.failures.append(f"watching: {error!r}")

    def _sample(self) -> None:
        samples, server = self.samples, self.server
        started = time.monotonic()
        status, _ = fetch(server, "/health/live")
        samples.health.append(time.monotonic() - started)
        if status != 200:
            samples.failures.append(f"GET /health/live: {status}")
        samples.queue.append(gauge(server, "queue_length"))
        samples.memory.append(server.memory()[0])
        samples.files.append(server.open_files())
        samples.uploads.append(len(server.uploads()))


def fetch(server: Server, target: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def gauge(server: Server, name: str) -> int:
    """Returns a value of /metrics, and 0 if it has none yet."""
    found = re.search(rf"^deepsight_{re.escape(name)} (\d+)", fetch(server, "/metrics")[1].decode(), re.MULTILINE)
    return int(found[1]) if found else 0


def counted(server: Server, outcome: str) -> int:
    return gauge(server, f'analyses_total{{outcome="{outcome}"}}')


def listed(server: Server) -> list[dict]:
    """Returns all analyses of the server."""
    items, after = [], ""
    while after is not None:
        page = json.loads(fetch(server, f"/v1/analyses?limit=100{after and '&after=' + after}")[1])
        items, after = items + page["items"], page["next"]
    return items


def until(condition: Callable[[], bool], patience: float) -> bool:
    """Waits for a condition. Returns whether it became true in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def settled(server: Server) -> bool:
    return all(item["status"] in ("done", "failed") for item in listed(server))


def report_hashes(server: Server, crowd: Crowd) -> dict[str, str]:
    """Returns a hash of each report, by the id of the analysis."""
    hashes = {}
    for identity in crowd.accepted.keys() - crowd.deleted:
        status, body = fetch(server, f"/v1/analyses/{identity}/report.json")
        crowd.check(status == 200, f"GET report.json of {identity}: {status} {body[:200]!r}")
        hashes[identity] = hashlib.sha256(body).hexdigest()
    return hashes


async def together(*tasks: Awaitable[object]) -> None:
    """Waits for all clients. One that fails is a finding, and ends the test."""
    async with asyncio.timeout(150):
        await asyncio.gather(*tasks)


async def storm(crowd: Crowd) -> None:
    """Runs all clients at the same time."""
    kinds = [
        (clients.upload, 200),
        (clients.drip_header, 8),
        (clients.drip_body, 6),
        (clients.stall_body, 6),
        (clients.leave_upload, 20),
        (clients.leave_predict, 10),
        (clients.predict, 5),
        (clients.remove_running, 5),
    ]
    await together(*(act(crowd, number) for act, count in kinds for number in range(count)))


def check_books(server: Server, crowd: Crowd) -> None:
    """Checks that every accepted analysis is done or was removed by its client, and that there is no other."""
    crowd.check(until(lambda: settled(server), 60), "analyses still wait or run a minute after the last client left")
    items = listed(server)
    by_id = {item["id"]: item for item in items}
    crowd.check(len(by_id) == len(items), "the list names an analysis twice")
    kept = crowd.accepted.keys() - crowd.deleted
    for identity in kept - by_id.keys():
        crowd.findings.append(f"{identity} ({crowd.accepted[identity]}) was accepted and is lost")
    for identity in by_id.keys() - kept:
        crowd.findings.append(f"{identity} ({by_id[identity]['file_name']}) is kept though nobody knows of it")
    for identity in kept & by_id.keys():
        item = by_id[identity]
        crowd.check(item["status"] == "done", f"{identity} ({item['file_name']}): {item['status']}: {item['problem']}")
    for identity in crowd.deleted:
        status, _ = fetch(server, f"/v1/analyses/{identity}")
        crowd.check(status == 404, f"{identity} was removed, and GET answers {status}")


def check_leftovers(server: Server, crowd: Crowd) -> None:
    """Checks that no file, no process and no place in the queue is left."""
    videos = sum(item["video_available"] for item in listed(server))
    good = until(lambda: len(server.uploads()) == videos, 15)
    crowd.check(good, f"{len(server.uploads())} files among the uploads for {videos} kept videos")
    crowd.check(until(lambda: not server.helpers(), 15), f"processes left: {server.helpers()}")
    for name in ("queue_length", "running_analyses"):
        good = until(lambda name=name: gauge(server, name) == 0, 15)
        crowd.check(good, f"/metrics: {name} is {gauge(server, name)} at rest")
    for line in server.errors():
        crowd.findings.append(f"log: {line}")


def stop(server: Server, crowd: Crowd) -> float:
    """Sends SIGTERM, checks that the server ends in order and in time, and returns the seconds."""
    code, seconds = server.stop(TIMEOUTS.grace + 30)
    crowd.check(code == 0, f"SIGTERM: exit code {code} after {seconds:.1f} s")
    crowd.check(seconds < SLOWEST_STOP, f"SIGTERM: stopped after {seconds:.1f} s, not within {SLOWEST_STOP} s")
    crowd.check(not server.helpers(), f"processes left after SIGTERM: {server.helpers()}")
    return seconds


@dataclass
class Test:
    """The state that the phases share."""

    binary: Path
    folder: Path
    small: bytes
    large: bytes
    rows: list[tuple[str, str]] = field(default_factory=list)
    starts: int = 0

    def start(self) -> Server:
        return self.start_with("data", *MANY, *TIMEOUTS.flags())

    def start_with(self, data: str, *flags: str) -> Server:
        self.starts += 1
        log = self.folder / f"server-{self.starts}.log"
        return Server(self.binary, self.folder / data, log, "--queue", str(QUEUE), *flags)

    def crowd(self, server: Server) -> Crowd:
        return Crowd(server.port, self.small, self.large, TIMEOUTS)

    def row(self, name: str, value: str) -> None:
        self.rows.append((name, value))


def phase_storm(test: Test, server: Server) -> tuple[Crowd, dict[str, str]]:
    crowd = test.crowd(server)
    # Both workers have analysed before memory is measured: they keep what they need.
    asyncio.run(together(*(clients.remove_running(crowd, number) for number in range(100, 104))))
    asyncio.run(together(*(clients.predict(crowd, number) for number in range(4))))
    crowd.answers.clear()
    crowd.accepts.clear()
    crowd.waits.clear()
    memory, files = server.memory()[0], server.open_files()
    cancelled = counted(server, "cancelled")

    started = time.monotonic()
    with Watch(server) as samples:
        asyncio.run(storm(crowd))
        arrived = time.monotonic() - started
        check_books(server, crowd)
        seconds = time.monotonic() - started
    check_leftovers(server, crowd)
    check_samples(server, crowd, samples, memory, files)
    check_cancelled(server, crowd, cancelled)

    test.row("200 uploads: all accepted / all analysed", f"{arrived:.1f} s / {seconds:.1f} s")
    test.row("Time to 202, request alone: median / 95 %", spread(crowd.accepts))
    test.row("Time to 202, with retries: median / 95 %", spread(crowd.waits))
    test.row("`/health/live`: median / 95 % / longest", f"{spread(samples.health)} / {shown(max(samples.health))}")
    test.row("Queue: longest / limit", f"{max(samples.queue)} / {QUEUE}")
    test.row(
        "Memory: before / peak / after",
        " / ".join(megabytes(n) for n in (memory, server.memory()[1], server.memory()[0])),
    )
    test.row("Open files: before / most / after", f"{files} / {max(samples.files)} / {server.open_files()}")
    test.row("Files among uploads: most", str(max(samples.uploads)))
    for (kind, what), count in sorted(crowd.answers.items()):
        test.row(f"{kind}: {what}", str(count))
    return crowd, report_hashes(server, crowd)


def check_samples(server: Server, crowd: Crowd, samples: Samples, memory: int, files: int) -> None:
    crowd.findings += samples.failures
    slow = percentile(samples.health, 95)
    crowd.check(slow < SLOWEST_HEALTH, f"/health/live takes {slow:.2f} s under load")
    crowd.check(max(samples.queue) <= QUEUE, f"{max(samples.queue)} videos in a queue for {QUEUE}")
    after = server.memory()[0]
    crowd.check(after < memory + SPARE_MEMORY, f"memory: {megabytes(memory)} before, {megabytes(after)} after")
    # The watcher's own connection may still be closing.
    good = until(lambda: server.open_files() <= files + 2, 15)
    crowd.check(good, f"{server.open_files()} open files at rest, {files} before")


def check_cancelled(server: Server, crowd: Crowd, before: int) -> None:
    """Checks that analyses without a client were stopped."""
    left = crowd.answers["leave in prediction", "left"] + crowd.answers["remove running", "ends with deleted"]
    cancelled = counted(server, "cancelled") - before
    crowd.check(
        cancelled >= left, f"/metrics: {cancelled} analyses cancelled, though {left} clients left or removed theirs"
    )


def phase_term(test: Test, server: Server, before: Crowd, hashes: dict[str, str]) -> list[str]:
    """Stops the server while it works, and checks that the next start has everything."""
    crowd = test.crowd(server)

    async def work_until_term() -> float:
        uploads = (crowd.submit("upload", f"term-{number}.mp4", test.large, frames=180) for number in range(8))
        await together(*uploads)
        idlers = [await hang(crowd, share) for share in (0.0, 0.01, 0.5)]
        asked = asyncio.create_task(last_answer(crowd))
        watched = asyncio.create_task(last_event(crowd, list(crowd.accepted)[-1]))
        await asyncio.sleep(0.5)
        seconds = await asyncio.to_thread(stop, server, crowd)
        status = await asked
        crowd.check(status in (200, 503), f"a prediction that waits at SIGTERM is answered {status}")
        crowd.check(await watched, "a stream of events did not end in order at SIGTERM")
        for idler in idlers:
            idler.close()
        return seconds

    seconds = asyncio.run(work_until_term())
    findings = crowd.findings + [f"log: {line}" for line in server.errors()]
    with test.start() as again:
        unfinished = sum(item["status"] not in ("done", "failed") for item in listed(again))
        crowd = test.crowd(again)
        crowd.accepted = before.accepted | {item["id"]: item["file_name"] for item in listed(again)}
        crowd.deleted = before.deleted
        check_books(again, crowd)
        check_leftovers(again, crowd)
        now = report_hashes(again, crowd)
        changed = [identity for identity, digest in hashes.items() if now.get(identity) != digest]
        crowd.check(not changed, f"reports changed or lost by the restart: {changed}")
        terms = sum(name.startswith("term-") for name in crowd.accepted.values())
        crowd.check(terms == 8, f"{terms} of 8 analyses are there after SIGTERM")
        stop(again, crowd)
    test.row(
        "SIGTERM with 8 analyses under way: stopped after / went on after the start", f"{seconds:.1f} s / {unfinished}"
    )
    test.row("Reports that the restart left as they were", f"{len(hashes) - len(changed)} of {len(hashes)}")
    return findings + crowd.findings


async def hang(crowd: Crowd, share: float) -> wire.Connection:
    """A client that stops in the middle of its upload. It must not keep the server from stopping."""
    connection = await wire.Connection.open(crowd.port)
    data = wire.upload("/v1/analyses", "hangs.mp4", crowd.small).encoded()
    await connection.send(data[: int(share * len(data))])
    return connection


async def last_answer(crowd: Crowd) -> int | str:
    try:
        return (await wire.exchange(crowd.port, wire.upload("/predict?frames=3", "last.mp4", crowd.small))).status
    except clients.BROKEN as error:
        return repr(error)


async def last_event(crowd: Crowd, identity: str) -> bool:
    try:
        async with asyncio.timeout(60), await wire.Connection.open(crowd.port) as connection:
            async for _ in wire.events(connection, f"/v1/analyses/{identity}/events"):
                pass
        return True
    except clients.BROKEN:
        return False


def phase_kill(test: Test) -> list[str]:
    """Kills the server twice while it works."""
    with test.start() as server:
        crowd = test.crowd(server)
        uploads = (crowd.submit("upload", f"kill-{number}.mp4", test.large, frames=30) for number in range(20))
        asyncio.run(together(*uploads))
        ours = list(crowd.accepted)
        # Some are done, some run, some wait.
        crowd.check(until(lambda: ended(server, ours) >= 3, 30), "nothing gets done before kill -9")
        first = kill(server, crowd, ours)
    with test.start() as server:
        until(lambda: gauge(server, "running_analyses") >= 1, 10)
        second = kill(server, crowd, ours)
    with test.start() as server:
        crowd.port = server.port
        crowd.check(until(lambda: ended(server, ours) == len(ours), 60), "analyses do not end after kill -9")
        outcomes = check_outcomes(server, crowd, ours)
        check_leftovers(server, crowd)
        stop(server, crowd)
    test.row("kill -9 twice with 20 analyses: ended before each", f"{first}, {second}")
    test.row("… and in the end: done / failed, to be tried again", outcomes)
    return crowd.findings


def ended(server: Server, ours: list[str]) -> int:
    return sum(item["id"] in ours and item["status"] in ("done", "failed") for item in listed(server))


def kill(server: Server, crowd: Crowd, ours: list[str]) -> int:
    count = ended(server, ours)
    server.kill()
    # Their pipes have no reader any more.
    crowd.check(until(lambda: not server.helpers(), 15), f"processes left after kill -9: {server.helpers()}")
    return count


def check_outcomes(server: Server, crowd: Crowd, ours: list[str]) -> str:
    counts = {"done": 0, "failed": 0}
    items = {item["id"]: item for item in listed(server)}
    for identity in ours:
        item = items.get(identity, {"status": "lost", "problem": None})
        again = item["status"] == "failed" and item["problem"]["retryable"]
        good = crowd.check(
            item["status"] == "done" or again, f"{identity} after kill -9: {item['status']}: {item['problem']}"
        )
        if good:
            counts[item["status"]] += 1
    return f"{counts['done']} / {counts['failed']}"


def phase_crowding(test: Test) -> list[str]:
    """Lets one client crowd out the others: with connections, and with videos."""
    with test.start_with("dripping", *crowding.DRIPPING_FLAGS) as server:
        crowd = test.crowd(server)
        with Watch(server) as samples:
            ends, seconds = asyncio.run(crowding.drip_sessions(crowd))
        slowest = max(samples.health)
        crowd.check(slowest < SLOWEST_HEALTH, f"/health/live takes {slowest:.2f} s beside dripping connections")
        stop(server, crowd)
        findings = crowd.findings + samples.failures
    told = ", ".join(f"{count} × {end}" for end, count in sorted(ends.items()))
    test.row(f"{crowding.DRIPPING} dripping connections: ended", f"{told}; the last after {seconds:.1f} s")
    test.row("`/health/live` meanwhile: median / 95 % / longest", f"{spread(samples.health)} / {shown(slowest)}")
    with test.start_with("keys", *crowding.key_flags()) as server:
        crowd = test.crowd(server)
        ended_before = asyncio.run(crowding.two_keys(crowd))
        findings += crowd.findings
    test.row(f"Two keys: of {crowding.MANY_CLIPS} videos of one, ended before the other's one", str(ended_before))
    return findings


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def shown(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def spread(seconds: list[float]) -> str:
    return f"{shown(statistics.median(seconds))} / {shown(percentile(seconds, 95))}"


def megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def small_clip(folder: Path) -> bytes:
    """Creates a clip of the first second of the example clip, 320 pixels wide."""
    path = folder / "small.mp4"
    scale = ["-t", "1", "-i", str(CLIP), "-vf", "scale=320:-2", "-an"]
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *scale, str(path)], check=True)
    return path.read_bytes()


def run(binary: Path, folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    test = Test(binary, folder, small_clip(folder), CLIP.read_bytes())
    started = time.monotonic()
    with test.start() as server:
        say("the storm")
        crowd, hashes = phase_storm(test, server)
        findings = crowd.findings
        say("SIGTERM, and a start on the same data")
        findings += phase_term(test, server, crowd, hashes)
    say("kill -9, twice")
    findings += phase_kill(test)
    say("one client that crowds out the others")
    findings += phase_crowding(test)
    test.row("The whole test", f"{time.monotonic() - started:.0f} s")
    return test.rows, findings


def say(what: str) -> None:
    print(f"load: {what}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path, nargs="?", help="the server; by default the one in cargo's target folder")
    parser.add_argument("--keep", type=Path, help="folder for the data and the logs, which then stay")
    arguments = parser.parse_args()
    binary = (arguments.binary or find_binary()).resolve()
    with tempfile.TemporaryDirectory(prefix="deepsight-load-") as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows, findings = run(binary, folder.resolve())
    print("| | |\n| --- | ---: |")
    print("\n".join(f"| {name} | {value} |" for name, value in rows))
    for finding in findings:
        say(f"FINDING: {finding}")
    say(f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
