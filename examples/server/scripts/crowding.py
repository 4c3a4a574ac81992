"""Clients that crowd out others: one that holds connections open, and one that has many videos waiting."""

import asyncio
import hashlib
import json
import time
from collections import Counter

import clients
import wire
from clients import Crowd
from wire import Connection, Request

# As in a report of a server that one client made unreachable.
DRIPPING = 505
DRIPPING_FLAGS = ("--request-timeout", "10s")
REQUEST_TIMEOUT = 10.0
# Seconds between the bytes of a dripping body.
PAUSE = 5.0
# Another client of the machine: its connections are counted apart.
OTHER_ADDRESS = "127.0.0.2"
KEYS = {"many": "ds_many", "one": "ds_one"}
MANY_CLIPS = 12


async def drip_sessions(crowd: Crowd) -> tuple[Counter[str], float]:
    """Holds as many connections as the server lets one address have, and asks for a prediction from another address
    meanwhile. Returns how they ended, and the seconds until the last one did."""
    started = time.monotonic()
    dripping = [asyncio.create_task(drip_session(crowd)) for _ in range(DRIPPING)]
    # The server has seen most of them.
    while sum(task.done() for task in dripping) < DRIPPING // 2 and time.monotonic() - started < REQUEST_TIMEOUT / 2:
        await asyncio.sleep(0.1)
    request = wire.upload("/predict?frames=3", "other.mp4", crowd.small)
    answer = await wire.exchange(crowd.port, request, address=OTHER_ADDRESS)
    crowd.check(answer.status == 200, f"a prediction for another address beside them: {answer.status} {answer.body!r}")
    ends = Counter(await asyncio.gather(*dripping))
    seconds = time.monotonic() - started
    limit = REQUEST_TIMEOUT + clients.TOLERANCE
    crowd.check(seconds < limit, f"dripping connections ended after {seconds:.1f} s, not within {limit} s")
    crowd.check(ends["408"] > 0 and ends["429"] > 0, f"dripping connections ended with {dict(ends)}")
    return ends, seconds


async def drip_session(crowd: Crowd) -> str:
    """Sends a body byte by byte, and returns the status of the answer."""
    request = Request("POST", "/v1/session", {"Content-Type": "application/json"}, b" " * 100)
    try:
        async with asyncio.timeout(60), await Connection.open(crowd.port) as connection:
            await connection.send(request.encoded()[: request.head_length])
            dripping = asyncio.create_task(clients.drip(connection, request.body, PAUSE, 1))
            try:
                return str((await connection.answer()).status)
            finally:
                dripping.cancel()
    except ConnectionError:
        return "closed"
    except TimeoutError:
        return "still open"


def key_flags() -> list[str]:
    lines = [f"{name}:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in KEYS.items()]
    return ["--workers", "1", *(word for line in lines for word in ("--api-key", line))]


async def two_keys(crowd: Crowd) -> int:
    """Has many videos of one key waiting, and then one of another. Returns how many of the many ended before it."""
    many = [await send(crowd, "many", number) for number in range(MANY_CLIPS)]
    one = await send(crowd, "one", 0)
    while await status(crowd, "one", one) not in ("done", "failed"):
        await asyncio.sleep(0.05)
    ended = [identity for identity in many if await status(crowd, "many", identity) in ("done", "failed")]
    for method in ("GET", "DELETE"):
        answer = await asked(crowd, "one", Request(method, f"/v1/analyses/{many[-1]}"))
        crowd.check(answer.status == 404, f"{method} of an analysis of another key: {answer.status}")
    # One may run already, and one may end while this client looks.
    crowd.check(len(ended) <= 3, f"{len(ended)} of {MANY_CLIPS} videos of one key were analyzed before one of another")
    for identity in many:
        await asked(crowd, "many", Request("DELETE", f"/v1/analyses/{identity}"))
    return len(ended)


async def send(crowd: Crowd, key: str, number: int) -> str:
    answer = await asked(crowd, key, wire.upload("/v1/analyses?frames=30", f"{key}-{number}.mp4", crowd.large))
    if not crowd.check(answer.status == 202, f"video {number} of the key {key}: {answer.status} {answer.body!r}"):
        raise SystemExit(crowd.findings[-1])
    return answer.json()["id"]


async def status(crowd: Crowd, key: str, identity: str) -> str:
    return json.loads((await asked(crowd, key, Request("GET", f"/v1/analyses/{identity}"))).body)["status"]


async def asked(crowd: Crowd, key: str, request: Request) -> wire.Answer:
    request.headers["Authorization"] = f"Bearer {KEYS[key]}"
    return await wire.exchange(crowd.port, request)
