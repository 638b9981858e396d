"""A few pages of text over HTTP on loopback, for whoever collects metrics or asks whether a process is well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from datalab.errors import InvalidSetting

Page = Callable[[], tuple[int, str]]
_SECONDS = 5.0


@contextmanager
def served(port: int, pages: Mapping[str, Page]) -> Iterator[int]:
    """While the block runs, GET of each path answers with status and text; port 0 picks one. InvalidSetting."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(pages))
    except OSError as error:
        raise InvalidSetting(f"port {port} cannot be listened on: {error.strerror}", "choose another one") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="pages", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(pages: Mapping[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS

        def do_GET(self) -> None:
            page = pages.get(self.path)
            status, text = page() if page else (404, "not found\n")
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: asking is no event."""

    return Handler
