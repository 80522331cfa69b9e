"""Send the same GET again and again on open connections; print how many a second.

    python load.py HOST PORT PATH CONNECTIONS SECONDS

It runs in a process of its own, so that it does not share an interpreter with others.
"""

import asyncio
import re
import sys
import time

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


async def _connection(host: str, port: int, path: str, end: float) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    answers = 0
    try:
        while time.perf_counter() < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            if not head.startswith(b"HTTP/1.1 200 ") or length is None:
                raise RuntimeError(f"not an answer to count: {head!r}")
            await reader.readexactly(int(length[1]))
            answers += 1
    finally:
        writer.close()
    return answers


async def measure(
    host: str, port: int, path: str, connections: int, seconds: float
) -> float:
    """Return the answers per second, over all connections."""
    began = time.perf_counter()
    counts = await asyncio.gather(
        *(_connection(host, port, path, began + seconds) for _ in range(connections))
    )
    return sum(counts) / (time.perf_counter() - began)


if __name__ == "__main__":
    target_host, target_port, target, number, duration = sys.argv[1:]
    answers_per_second = measure(
        target_host, int(target_port), target, int(number), float(duration)
    )
    print(asyncio.run(answers_per_second))
