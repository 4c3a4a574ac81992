"""The clients of the load test, by behavior. A `Crowd` collects their observations."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import wire
from wire import Answer, Connection, Request

# Errors with which a connection can end.
BROKEN = (OSError, TimeoutError)
ENDS = {"done", "failed", "deleted"}
# Tolerance above a time limit on a busy machine, in seconds.
TOLERANCE = 5.0


@dataclass
class Timeouts:
    """The timeouts of the server, in seconds."""

    header: float = 3.0
    body: float = 3.0
    upload: float = 15.0
    # Shorter than an analysis, so that one that runs at SIGTERM is queued again.
    grace: float = 1.0

    def flags(self) -> list[str]:
        pairs = {"header-timeout": self.header, "body-timeout": self.body, "upload-timeout": self.upload}
        pairs["shutdown-grace"] = self.grace
        return [word for name, seconds in pairs.items() for word in (f"--{name}", f"{seconds:.0f}s")]


@dataclass
class Crowd:
    """All clients of one server, and their results."""

    port: int
    small: bytes
    large: bytes
    timeouts: Timeouts
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Errors of the server.
    findings: list[str] = field(default_factory=list)
    # Seconds of each request with status 202, and seconds since the client's first attempt.
    accepts: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    # File name by id.
    accepted: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    def check(self, good: bool, finding: str) -> bool:
        if not good:
            self.findings.append(finding)
        return good

    def saw(self, kind: str, what: str) -> None:
        self.answers[kind, what] += 1

    def answered(self, kind: str, answer: Answer) -> None:
        self.saw(kind, str(answer.status))
        told = f"{kind}: {answer.status} {answer.body[:300]!r}"
        self.check(answer.status < 500 or answer.status == 503, f"{told}: a server error")
        if answer.status in (429, 503):
            self.check(answer.retry_after is not None, f"{told}: no Retry-After")
        if answer.status >= 400:
            self.check(answer.headers.get("content-type") == "application/problem+json", f"{told}: not a problem")

    def lost(self, kind: str, request: Request, error: BaseException) -> None:
        self.saw(kind, "no answer")
        self.findings.append(f"{kind}: {request.method} {request.target}: no answer: {error!r}")

    async def persist(
        self, kind: str, request: Request, attempt: Callable[[], Awaitable[Answer | None]] | None = None
    ) -> Answer | None:
        """Sends until the server accepts, and retries when the server says. Returns `None` without an answer."""
        while True:
            try:
                answer = await (attempt() if attempt else wire.exchange(self.port, request))
            except BROKEN as error:
                self.lost(kind, request, error)
                return None
            if answer is None:
                return None
            self.answered(kind, answer)
            if answer.status not in (429, 503) or answer.retry_after is None:
                return answer
            # Retries at the same moment would be refused again.
            await asyncio.sleep(answer.retry_after + self.dice.random())

    async def submit(self, kind: str, name: str, video: bytes, frames: int) -> str | None:
        """Sends a video to be analysed, and returns its id when it is accepted."""
        started = time.monotonic()
        request = wire.upload(f"/v1/analyses?frames={frames}", name, video)
        answer = await self.persist(kind, request)
        if answer is None or not self.check(answer.status == 202, f"{kind} {name}: {answer.status} instead of 202"):
            return None
        self.accepts.append(answer.seconds)
        self.waits.append(time.monotonic() - started)
        identity = answer.json()["id"]
        self.check(identity not in self.accepted, f"{kind} {name}: the id {identity} was given twice")
        self.accepted[identity] = name
        return identity


async def upload(crowd: Crowd, number: int) -> None:
    """Sends a small video. Some clients watch it to the end, some leave earlier, some remove it at once."""
    identity = await crowd.submit("upload", f"small-{number}.mp4", crowd.small, frames=3)
    if identity is None:
        return
    match number % 10:
        case 0:
            await remove(crowd, "remove queued", identity)
        case 1:
            await follow(crowd, "watch", identity)
        case 2:
            await glance(crowd, identity)


async def remove(crowd: Crowd, kind: str, identity: str) -> None:
    request = Request("DELETE", f"/v1/analyses/{identity}")
    answer = await crowd.persist(kind, request)
    if answer and crowd.check(answer.status == 204, f"{kind} {identity}: {answer.status} instead of 204"):
        crowd.deleted.add(identity)


async def follow(crowd: Crowd, kind: str, identity: str, remove_running: bool = False) -> str | None:
    """Watches an analysis and returns its end. Removes it at the first progress, if asked."""
    target, last, removing = f"/v1/analyses/{identity}/events", None, None
    try:
        async with asyncio.timeout(120), await Connection.open(crowd.port) as connection:
            async for last, data in wire.events(connection, target):
                if remove_running and removing is None and last == "progress" and data["frames"] > 0:
                    removing = asyncio.create_task(remove(crowd, kind, identity))
    except BROKEN as error:
        crowd.lost(kind, Request("GET", target), error)
    if removing:
        await removing
    crowd.saw(kind, f"ends with {last}")
    crowd.check(last in ENDS, f"{kind}: GET {target} ended with {last!r}, not with the end of the analysis")
    return last


async def glance(crowd: Crowd, identity: str) -> None:
    """Watches an analysis and leaves after the first event."""
    async with asyncio.timeout(60), await Connection.open(crowd.port) as connection:
        async for _ in wire.events(connection, f"/v1/analyses/{identity}/events"):
            crowd.saw("watch and leave", "left")
            return


async def remove_running(crowd: Crowd, number: int) -> None:
    """Sends a long video, and removes it while it is analysed."""
    identity = await crowd.submit("remove running", f"large-{number}.mp4", crowd.large, frames=180)
    if identity is not None:
        await follow(crowd, "remove running", identity, remove_running=True)


async def drip_header(crowd: Crowd, number: int) -> None:
    """Sends its header byte by byte. The server must end the connection, with or without an answer."""
    kind, request = "drip header", wire.upload("/v1/analyses", f"header-{number}.mp4", crowd.small)
    started, limit = time.monotonic(), crowd.timeouts.header
    async with await Connection.open(crowd.port) as connection:
        dripping = asyncio.create_task(drip(connection, request.encoded()))
        try:
            async with asyncio.timeout(limit + TOLERANCE):
                crowd.answered(kind, await connection.answer())
        except ConnectionError:
            crowd.saw(kind, "closed")
        except TimeoutError:
            crowd.lost(kind, request, TimeoutError(f"still connected after {limit + TOLERANCE} s"))
        dripping.cancel()
    seconds = time.monotonic() - started
    crowd.check(
        seconds > limit - 0.5, f"{kind}: the server gave up after {seconds:.1f} s already, its limit being {limit} s"
    )


async def drip(connection: Connection, data: bytes, pause: float = 0.5, size: int = 3) -> None:
    """Sends a few bytes a second."""
    for start in range(0, len(data), size):
        try:
            await connection.send(data[start : start + size])
        except ConnectionError:
            return
        await asyncio.sleep(pause)


async def drip_body(crowd: Crowd, number: int) -> None:
    """Sends its video byte by byte, with pauses below the server's limit."""
    await slow(crowd, "drip body", f"drip-{number}.mp4", crowd.timeouts.upload, stall=False)


async def stall_body(crowd: Crowd, number: int) -> None:
    """Sends half of its video and then nothing."""
    await slow(crowd, "stall in body", f"stall-{number}.mp4", crowd.timeouts.body, stall=True)


async def slow(crowd: Crowd, kind: str, name: str, limit: float, stall: bool) -> None:
    request = wire.upload("/v1/analyses", name, crowd.small)
    data, head = request.encoded(), request.head_length
    start = head + len(request.body) // 2 if stall else head + 200

    async def attempt() -> Answer:
        async with asyncio.timeout(limit + TOLERANCE), await Connection.open(crowd.port) as connection:
            await connection.send(data[:start])
            dripping = None if stall else asyncio.create_task(drip(connection, data[start:]))
            try:
                return await connection.answer()
            finally:
                if dripping:
                    dripping.cancel()

    answer = await crowd.persist(kind, request, attempt)
    if answer and crowd.check(answer.status == 408, f"{kind} {name}: {answer.status} instead of 408"):
        crowd.check(answer.seconds > limit - 0.5, f"{kind} {name}: 408 after {answer.seconds:.1f} s of {limit} s")


async def leave_upload(crowd: Crowd, number: int) -> None:
    """Disconnects during its upload, with and without closing the connection in order."""
    request = wire.upload("/v1/analyses", f"left-{number}.mp4", crowd.large)
    connection = await Connection.open(crowd.port)
    half = request.encoded()[: request.head_length + len(request.body) // 2]
    async with wire.sending(connection, half):
        await asyncio.sleep(0.2 + crowd.dice.random())
    (connection.reset if number % 2 else connection.close)()
    crowd.saw("leave in upload", "left")


async def leave_predict(crowd: Crowd, number: int) -> None:
    """Requests a long prediction, and disconnects before its end."""
    request = wire.upload("/predict?frames=180", f"predict-{number}.mp4", crowd.large)

    async def attempt() -> Answer | None:
        async with await Connection.open(crowd.port) as connection, wire.sending(connection, request.encoded()):
            try:
                async with asyncio.timeout(1.5):
                    return await connection.answer()
            except TimeoutError:
                crowd.saw("leave in prediction", "left")
                return None

    await crowd.persist("leave in prediction", request, attempt)


async def predict(crowd: Crowd, number: int) -> None:
    """Requests a prediction and waits for it."""
    answer = await crowd.persist("predict", wire.upload("/predict?frames=3", f"predict-{number}.mp4", crowd.small))
    if answer:
        crowd.check(answer.status == 200, f"predict: {answer.status} instead of 200: {answer.body[:300]!r}")
