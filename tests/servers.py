"""Servers on the loopback address: plain files with faults, and the part of the hub's protocol that its client asks for."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server has, and what it was asked for.

    Attributes:
        files: path -> bytes.
        cut: paths whose transfer breaks off in the middle, and how often it still will.
        status: path -> HTTP status to answer with instead.
        headers: path -> more headers.
        once: path -> statuses to answer with first, one a request; None answers as usual.
        ranges: whether a part of a file can be asked for.
        no_head: path -> status to answer HEAD with instead.
        seconds: how long every answer takes.
        requests: (method, path) in order.
        times: when each of them came.
        asked_ranges: (path, Range) of the requests that asked for a part, in order.
        authorizations: (path, Authorization) of the requests that carried one, in order.
        agents: the User-Agents that asked.
        most_at_once: the largest number of requests that were open at the same time.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    once: dict[str, list[int | None]] = field(default_factory=dict)
    ranges: bool = False
    no_head: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    requests: list[tuple[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    asked_ranges: list[tuple[str, str]] = field(default_factory=list)
    authorizations: list[tuple[str, str]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    most_at_once: int = 0
    address: str = ""


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve a site on a free port until the block ends."""
    counting, open_now = threading.Lock(), 0

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            nonlocal open_now
            with counting:
                open_now += 1
                site.most_at_once = max(site.most_at_once, open_now)
            time.sleep(site.seconds)
            with counting:  # before the answer is out: a client may send the next request as soon as it has this one's
                open_now -= 1
            self.reply(body=body)

        def reply(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            with counting:
                site.requests.append((self.command, path))
                site.times.append(time.monotonic())
                site.agents.add(self.headers.get("User-Agent", ""))
                if self.headers.get("Authorization"):
                    site.authorizations.append((path, self.headers["Authorization"]))
                if self.headers.get("Range"):
                    site.asked_ranges.append((path, self.headers["Range"]))
                status = site.once[path].pop(0) if site.once.get(path) else site.status.get(path)
                if self.command == "HEAD":
                    status = site.no_head.get(path, status)
            if status is not None:
                self.send_response(status)
                for name, value in site.headers.get(path, {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if path not in site.files:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = site.files[path]
            part = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if site.ranges else None
            start = int(part.group(1)) if part else 0
            self.send_response(206 if part else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("Accept-Ranges", "bytes" if site.ranges else "none")
            if part:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            data = data[start:]
            for name, value in site.headers.get(path, {}).items():
                self.send_header(name, value)
            self.end_headers()
            if not body:
                return
            if site.cut.get(path, 0) > 0:
                site.cut[path] -= 1
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hub_file(site: Site, repository: str, revision: str, path: str, data: bytes, *, etag: str = "") -> None:
    """Add a file of a hub repository to a site."""
    place = f"/{repository}/resolve/{revision}/{path}"
    site.files[place] = data
    tag = etag or hashlib.sha256(data).hexdigest()
    site.headers[place] = {"ETag": f'"{tag}"', "X-Repo-Commit": revision}
