"""A closed-loop HTTP load generator on bare sockets: so many clients, each asks again as soon as it is answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Load:
    """What N clients saw: seconds of every answer, statuses other than 200, and the seconds all of it took."""

    clients: int
    latencies: np.ndarray
    failed: int
    seconds: float

    def figures(self) -> dict[str, float]:
        p50, p99 = np.percentile(self.latencies, [50, 99]) * 1000
        rate = len(self.latencies) / self.seconds
        answers = len(self.latencies)
        return {"per_second": rate, "p50_ms": p50, "p99_ms": p99, "answers": answers, "failed": self.failed}


def run_load(port: int, bodies: Sequence[dict[str, object]], clients: int, seconds: float, at_least: int) -> Load:
    """Ask for `seconds`, and until `at_least` answers have come; the first answer of each client isn't counted."""
    return asyncio.run(_run(port, [json.dumps(body).encode() for body in bodies], clients, seconds, at_least))


async def _run(port: int, bodies: list[bytes], clients: int, seconds: float, at_least: int) -> Load:
    latencies: list[float] = []
    state = {"next": 0, "failed": 0, "waiting": clients, "started": 0.0}
    everybody = asyncio.Event()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await _ask(reader, writer, _next(bodies, state))
        state["waiting"] -= 1
        if state["waiting"] == 0:
            state["started"] = time.perf_counter()
            everybody.set()
        await everybody.wait()
        while time.perf_counter() - state["started"] < seconds or len(latencies) < at_least:
            asked = time.perf_counter()
            status = await _ask(reader, writer, _next(bodies, state))
            latencies.append(time.perf_counter() - asked)
            state["failed"] += status != 200
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return Load(clients, np.array(latencies), int(state["failed"]), time.perf_counter() - state["started"])


def _next(bodies: list[bytes], state: dict[str, float]) -> bytes:
    state["next"] += 1
    return bodies[int(state["next"]) % len(bodies)]


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> int:
    head = b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))
    return int(answer.split(b" ", 2)[1])
