"""A web server on this machine that answers, and misbehaves, as a test tells it."""

import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Page:
    """One file of the site."""

    body: bytes
    etag: bool = True
    last_modified: str | None = None
    ranges: bool = True
    length: bool = True
    chunked: bool = False
    heeds_if_range: bool = True

    def tag(self) -> str | None:
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"' if self.etag else None


@dataclass
class Answer:
    """What one request gets instead of the whole page: a status, or the page up to a byte."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    up_to: int | None = None
    """Bytes of the body that are sent before `then`."""
    then: str = "cut"
    """`cut`, or `stall`: nothing more comes for as long as the site stands."""


@dataclass
class Site:
    """What is served, what was asked for, and the answers to come before the site behaves."""

    address: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    forever: Answer | None = None
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers (names in lower case)."""
    bytes_a_second: float | None = None
    closing: threading.Event = field(default_factory=threading.Event)

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("range") for _, _, headers in self.requests]


def _handler(site: Site) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            self.close_connection = True
            headers = {name.lower(): value for name, value in self.headers.items()}
            site.requests.append((self.command, self.path, headers))
            answer = site.answers.pop(0) if site.answers else site.forever or Answer()
            page = site.pages.get(self.path.partition("?")[0])
            if answer.status is not None or page is None:
                self._say(answer.status or 404, {**answer.headers, "Content-Length": "0"})
                return
            start, status = 0, 200
            wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", "")) if page.ranges else None
            told = headers.get("if-range")
            if wanted and page.heeds_if_range and told is not None and told not in (page.tag(), page.last_modified):
                wanted = None
            sent = {"ETag": page.tag(), "Last-Modified": page.last_modified}
            if wanted:
                start, status = int(wanted[1]), 206
                sent["Content-Range"] = f"bytes {start}-{len(page.body) - 1}/{len(page.body)}"
                if start >= len(page.body):
                    self._say(416, {"Content-Range": f"bytes */{len(page.body)}", "Content-Length": "0"})
                    return
            if page.chunked:
                sent["Transfer-Encoding"] = "chunked"
            elif page.length:
                sent["Content-Length"] = str(len(page.body) - start)
            self._say(status, {name: value for name, value in sent.items() if value is not None})
            if self.command == "HEAD":
                return
            end = len(page.body) if answer.up_to is None else answer.up_to
            self._send(page, page.body[start:end])
            if answer.up_to is not None:
                if answer.then == "stall":
                    site.closing.wait(60)
            elif page.chunked:
                self.wfile.write(b"0\r\n\r\n")

        def _send(self, page: Page, body: bytes) -> None:
            step = 4096 if site.bytes_a_second else 1 << 20
            for at in range(0, len(body), step):
                piece = body[at : at + step]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if page.chunked else piece)
                if site.bytes_a_second:
                    time.sleep(len(piece) / site.bytes_a_second)
            self.wfile.flush()

        def _say(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what some tests are about."""


@contextmanager
def serve_site() -> Iterator[Site]:
    """The site stands until the block ends."""
    site = Site()
    with _Server(("127.0.0.1", 0), _handler(site)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        yield site
        site.closing.set()
        server.shutdown()
        thread.join()
