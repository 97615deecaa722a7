"""An HTTP server that collects notifications."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from attrs import define, field

from tests.process.daemon import free_port


@define
class Receiver:
    """An HTTP server that collects the documents that are posted to it."""

    port: int = field(factory=free_port)
    documents: list[dict[str, Any]] = field(factory=list)

    @property
    def kinds(self) -> list[str]:
        return [event["kind"] for document in self.documents for event in document["events"]]

    @contextlib.contextmanager
    def serving(self) -> Iterator["Receiver"]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.documents.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
