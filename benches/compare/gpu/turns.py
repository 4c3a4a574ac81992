"""Engines that take turns under a deadline. One that fails or is late is reported and left out."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Callable, Mapping, Sequence

from work import Failure, Silent, Worker

Entry = dict[str, Any]


class Budget:
    """The time until a deadline. Deadlines are fixed in advance, so the next part gets the time that one leaves."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())


class Engine:
    """A process that is started when it is first needed, and again after it was killed for being late."""

    def __init__(self, name: str, command: Sequence[str], cpus: Sequence[int]) -> None:
        self.name = name
        self._command, self._cpus = command, cpus
        self._worker: Worker | None = None

    def start(self) -> None:
        """Starts the process early, so that engines load their libraries at the same time."""
        if self._worker is None:
            self._worker = Worker(self.name, self._command, self._cpus)

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        self.start()
        assert self._worker
        try:
            return self._worker.ask(request, seconds)
        except Silent:
            self.close()
            raise

    def run(self, repeat: int, seconds: float) -> list[float]:
        return self.ask({"do": "run", "repeat": repeat}, seconds)["seconds"]

    def close(self) -> None:
        if self._worker:
            self._worker.close()
        self._worker = None


def measured(
    engines: Mapping[str, Engine],
    requests: Mapping[str, dict[str, Any]],
    budget: Budget,
    rounds: int,
    seconds: float,
    patience: float,
) -> dict[str, Entry]:
    """Returns for each request, by its engine's name, {"output", "prepared", "seconds": rounds of times}, as far as it
    came, and {"missing": reason} if it did not come to the end.

    To prepare, the first run included (kernels are compiled and chosen in it), an engine has `patience` seconds. A turn
    takes about `seconds`, and its first run does not count.
    """
    entries: dict[str, Entry] = {name: {} for name in requests}

    def attempt(name: str, action: Callable[[Engine, float], None], longest: float) -> None:
        if "missing" in entries[name]:
            return
        allowed = min(longest, budget.left())
        try:
            if allowed < 0.5:
                raise Failure("no time was left")
            action(engines[name], allowed)
        except Failure as failure:
            # Keeps the results so far.
            entries[name]["missing"] = str(failure)

    def prepare(name: str) -> Callable[[Engine, float], None]:
        def action(engine: Engine, allowed: float) -> None:
            start = time.monotonic()
            entries[name]["output"] = engine.ask(requests[name], allowed)["output"]
            entries[name]["prepared"] = time.monotonic() - start

        return action

    def calibrate(name: str) -> Callable[[Engine, float], None]:
        def action(engine: Engine, allowed: float) -> None:
            engine.run(1, allowed)
            repeats[name] = max(1, min(100, round(seconds / median(engine.run(2, allowed)))))

        return action

    def turn(name: str) -> Callable[[Engine, float], None]:
        def action(engine: Engine, allowed: float) -> None:
            engine.run(1, allowed)
            entries[name].setdefault("seconds", []).append(engine.run(repeats[name], allowed))

        return action

    repeats: dict[str, int] = {}
    for name in requests:
        attempt(name, prepare(name), patience)
    for name in requests:
        attempt(name, calibrate(name), patience)
    for number in range(rounds):
        if budget.left() < 1 and number > 0:
            # Prefers fewer rounds for all engines to more rounds for some.
            break
        for name in list(requests) if number % 2 == 0 else reversed(list(requests)):
            attempt(name, turn(name), patience)
    return entries
