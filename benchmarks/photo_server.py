"""`python -m benchmarks.photo_server FOLDER DELAY_S UNAVAILABLE_EVERY`: a folder's files over HTTP, late or at once.

A process of its own on 127.0.0.1 that does little for a request: it shares the cores with what is measured.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.machine import ROOT


@contextmanager
def serving(folder: Path, *, delay_s: float = 0.0, unavailable_every: int = 0) -> Iterator[str]:
    """The URL under which `folder/NAME` is `URL/NAME`, while entered. Each answer waits for `delay_s`; every
    `unavailable_every`th, if that is not 0, is a 503."""
    command = [sys.executable, "-m", "benchmarks.photo_server", str(folder), str(delay_s), str(unavailable_every)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError(f"the server of {folder} did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Photographs(asyncio.Protocol):
    """One connection, kept open; requests on it are answered in their order."""

    def __init__(
        self, answers: dict[bytes, bytes], delay_s: float, unavailable_every: int, asked: "count[int]"
    ) -> None:
        self.answers, self.delay_s, self.unavailable_every, self.asked = answers, delay_s, unavailable_every, asked
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            line, self.received = self.received.partition(b"\r\n")[0], self.received[end + 4 :]
            answer = self._answer(line.split()[1].partition(b"?")[0].lstrip(b"/"))
            if self.delay_s:
                asyncio.get_running_loop().call_later(self.delay_s, self.transport.write, answer)
            else:
                self.transport.write(answer)

    def _answer(self, name: bytes) -> bytes:
        if self.unavailable_every and next(self.asked) % self.unavailable_every == 0:
            return b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
        return self.answers.get(name, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


async def serve(folder: Path, delay_s: float, unavailable_every: int) -> None:
    answers = {}
    for path in folder.iterdir():
        body = path.read_bytes()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
        answers[path.name.encode()] = head.encode() + body
    connection = partial(Photographs, answers, delay_s, unavailable_every, count(1))
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
