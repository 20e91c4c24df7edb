"""A loopback server in a process of its own that answers every POST with the same bytes, at no cost to the measured process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

HEAD = "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"


@contextmanager
def serving(body: bytes, *, stream: bool = False) -> Iterator[str]:
    """Serve ``body`` for the length of the block; gives the base URL."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "body"
        file.write_bytes(body)
        kind = "text/event-stream" if stream else "application/json"
        with subprocess.Popen([sys.executable, __file__, str(file), kind], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                yield f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            finally:
                server.terminate()


class Canned(asyncio.Protocol):
    """One connection."""

    answer: bytes

    def __init__(self) -> None:
        """Start before the first request."""
        self._come = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when a whole request is there."""
        self._come += data
        head, ended, rest = self._come.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if ended and len(rest) >= length and self._transport is not None:
            self._come = rest[length:]
            self._transport.write(self.answer)


async def main(body: bytes, kind: str) -> None:
    """Serve on a free port, whose number is printed."""
    Canned.answer = HEAD.format(kind=kind, length=len(body)).encode() + body
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).read_bytes(), sys.argv[2]))
