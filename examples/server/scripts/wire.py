"""HTTP/1.1 over sockets, for clients that no library offers: slow ones, and ones that disconnect."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

BOUNDARY = "deepsight-load-boundary"


@dataclass
class Answer:
    """The server's answer; `seconds` is the time from the connection to its last byte."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float = 0.0

    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def retry_after(self) -> int | None:
        return int(self.headers["retry-after"]) if "retry-after" in self.headers else None


@dataclass
class Request:
    """A request that may also be sent in part."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def encoded(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    @property
    def head_length(self) -> int:
        return len(self.encoded()) - len(self.body)


def upload(target: str, name: str, video: bytes) -> Request:
    """Returns a form with a video."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="video"; filename="{name}"\r\n\r\n'
    body = head.encode() + video + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Request("POST", target, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, body)


class Connection:
    """A socket whose two directions fail each by itself: an answer can be read although sending broke off, which
    asyncio's own streams do not let one do."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.received = b""
        self.started = time.monotonic()

    @classmethod
    async def open(cls, port: int, address: str = "127.0.0.1") -> "Connection":
        """Connects from an address of this machine."""
        connection = cls()
        try:
            connection.socket.bind((address, 0))
            await asyncio.get_running_loop().sock_connect(connection.socket, ("127.0.0.1", port))
        except BaseException:
            connection.close()
            raise
        return connection

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Resets the connection without closing it in order."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def more(self) -> bool:
        """Waits for bytes. Returns false at the end."""
        data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
        self.received += data
        return bool(data)

    async def until(self, mark: bytes) -> bytes:
        """Removes the bytes up to and including `mark`, and returns those before it."""
        while mark not in self.received:
            if not await self.more():
                raise ConnectionError(f"the connection ended after {self.received[:200]!r}")
        data, _, self.received = self.received.partition(mark)
        return data

    async def exactly(self, count: int) -> bytes:
        while len(self.received) < count:
            if not await self.more():
                raise ConnectionError(f"the connection ended with {len(self.received)} of {count} bytes")
        data, self.received = self.received[:count], self.received[count:]
        return data

    async def head(self) -> Answer:
        """Reads the answer without its body."""
        status, *lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return Answer(int(status.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}, b"")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yields the chunks of a body of unknown length."""
        while size := int((await self.until(b"\r\n")).partition(b";")[0], 16):
            yield await self.exactly(size)
            await self.exactly(2)

    async def answer(self) -> Answer:
        answer = await self.head()
        if answer.headers.get("transfer-encoding") == "chunked":
            answer.body = b"".join([chunk async for chunk in self.chunks()])
        else:
            answer.body = await self.exactly(int(answer.headers.get("content-length", "0")))
        answer.seconds = time.monotonic() - self.started
        return answer


@contextlib.asynccontextmanager
async def sending(connection: Connection, data: bytes) -> AsyncIterator[None]:
    """Sends in the background, because the server may answer before it has read everything."""

    async def send() -> None:
        # The answer says why the server refused the rest; without an answer, reading fails.
        with contextlib.suppress(ConnectionError):
            await connection.send(data)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def exchange(port: int, request: Request, patience: float = 60.0, address: str = "127.0.0.1") -> Answer:
    """Sends one request on a new connection, and returns the answer."""
    async with asyncio.timeout(patience), await Connection.open(port, address) as connection:
        async with sending(connection, request.encoded()):
            return await connection.answer()


async def get(port: int, target: str) -> Answer:
    return await exchange(port, Request("GET", target))


async def events(connection: Connection, target: str) -> AsyncIterator[tuple[str, dict]]:
    """Yields server-sent events, name and data, until the stream ends."""
    await connection.send(Request("GET", target, {"Accept": "text/event-stream"}).encoded())
    answer = await connection.head()
    if answer.status != 200:
        raise ConnectionError(f"GET {target} was answered {answer.status}")
    stream = b""
    async for chunk in connection.chunks():
        stream += chunk
        while b"\n\n" in stream:
            event, _, stream = stream.partition(b"\n\n")
            fields = dict(line.split(": ", 1) for line in event.decode().split("\n") if ": " in line)
            # A comment keeps the connection alive and has no name.
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"])
