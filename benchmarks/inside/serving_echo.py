"""Answers every request with the same bytes, on the server's event loop: the share of client and loopback."""

from __future__ import annotations

import asyncio
import os

import uvloop

_BODY = b"x" * 1300  # as long as an answer of ours
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(_BODY), _BODY)


class Echo(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A request came, whole: these clients send no other."""
        assert data
        self._transport.write(ANSWER)  # type: ignore[attr-defined] # a stream's transport


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(os.environ["PEER_PORT"])))
