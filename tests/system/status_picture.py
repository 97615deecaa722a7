"""Makes the picture of the status page: python -m tests.system.status_picture facaded/manual/status-page.png"""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from facaded.admin.status_page import write_status_page
from facaded.admin.status_pages import DIRECTORY, FILES
from facaded.web.static_files import read_static_file
from tests.admin.scenes import OUTAGE
from tests.system.browser import running_browser

WIDTH, HEIGHT = 1160, 768
"""Pixels: down to the end of the backends."""


class Scene(BaseHTTPRequestHandler):
    """Answers with the page of the scene, and its files."""

    def do_GET(self) -> None:
        body, media_type = write_status_page(OUTAGE), "text/html; charset=utf-8"
        if self.path in FILES:
            file = read_static_file(DIRECTORY / self.path.removeprefix("/"))
            body, media_type = file.content, file.media_type
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main(path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scene)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with TemporaryDirectory() as directory, running_browser(Path(directory)) as browser:
        tab = browser.open(f"http://127.0.0.1:{server.server_port}/", width=WIDTH)
        tab.take_picture(path, height=HEIGHT)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
