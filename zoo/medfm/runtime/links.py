"""Do the catalog's addresses still lead somewhere? A polite client, and a ledger of what it found.

Polite: one request at a time to a host, a pause between two, robots.txt respected, HEAD before GET, no body read. Bounded:
retries, redirects, waits and the length of a robots.txt have limits. Resumable: the ledger is written whenever answers have
come in, and the next run asks first what was never asked.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from pydantic import TypeAdapter, ValidationError

from medfm.catalog.parts import Part
from medfm.errors import InputError, MissingExtraError, SourceError
from medfm.files import writing

if TYPE_CHECKING:
    import requests
    from urllib3 import BaseHTTPResponse

Status = Literal["ok", "moved", "gone", "refused", "unreachable"]

USER_AGENT = "medfm (link check)"
REDIRECTS = 5
RETRIES = 3
_PERMANENT = (301, 308)
_GONE = (404, 410)
_ASK_AGAIN = (403, 405, 501, *_GONE)  # some servers refuse HEAD, or know nothing of it: GET decides
_BUSY = (429, 500, 502, 503, 504)
_LONGEST_WAIT = 60.0  # seconds; a server that wants more is left for another run
_ROBOTS_BYTES = 512 << 10  # as much as RFC 9309 asks crawlers to read


# ---------------------------------------------------------------- the ledger


@dataclass(frozen=True)
class Answer:
    """What came of one address.

    Attributes:
        address: the address that was asked.
        status: ok; moved (for good, and reached there); gone (404, 410); refused (by the server or its robots.txt);
            unreachable (no connection, no end of redirects, or an error of the server that retries did not cure).
        code: the last HTTP status; None where there was none.
        moved_to: the new address.
    """

    address: str
    status: Status
    code: int | None = None
    moved_to: str | None = None


class Entry(Part):
    """What the ledger knows of one address."""

    first_seen: datetime
    """When the address was first found in the catalog."""
    last_ok: datetime | None = None
    """When it, or the address it moved to, was last reached."""
    last_checked: datetime | None = None
    status: Status | None = None
    """None: never asked yet."""
    code: int | None = None
    moved_to: str | None = None
    failures: int = 0
    """Checks since it was last reached."""


_ENTRIES = TypeAdapter(dict[str, Entry])


class Ledger:
    """The entries of all addresses, kept in a JSON file.

    Attributes:
        path: the file; it need not exist yet.
        entries: address -> entry. Addresses that leave the catalog stay, with their history.
    """

    def __init__(self, path: Path) -> None:
        """Read a ledger.

        Raises:
            InputError: the file is no ledger.
            SourceError: the file cannot be read.
        """
        self.path = path
        self.entries: dict[str, Entry] = {}
        try:
            self.entries = _ENTRIES.validate_json(path.read_bytes())
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SourceError(f"{path}: {(error.strerror or str(error)).lower()}") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ": ".join([*(str(part) for part in first["loc"]), first["msg"]])
            raise InputError(f"is no ledger of links ({where}); mend it or name another", path=str(path)) from None

    def see(self, addresses: Iterable[str]) -> None:
        """Open an entry for every address that has none."""
        now = _now()
        for address in addresses:
            self.entries.setdefault(address, Entry(first_seen=now))

    def due(self, addresses: Iterable[str], older_than: timedelta) -> list[str]:
        """Return the addresses to ask: those never asked, then those asked longest ago; fresh ones are left out."""
        now = _now()
        times = {address: entry.last_checked for address, entry in self.entries.items()}
        never = [address for address in addresses if times.get(address) is None]
        old = [(then, address) for address in addresses if (then := times.get(address)) and now - then >= older_than]
        return never + [address for _, address in sorted(old)]

    def note(self, answers: Iterable[Answer]) -> None:
        """Enter answers."""
        now = _now()
        for answer in answers:
            before = self.entries.get(answer.address) or Entry(first_seen=now)
            reached = answer.status in ("ok", "moved")
            self.entries[answer.address] = Entry(
                first_seen=before.first_seen,
                last_ok=now if reached else before.last_ok,
                last_checked=now,
                status=answer.status,
                code=answer.code,
                moved_to=answer.moved_to,
                failures=0 if reached else before.failures + 1,
            )

    def write(self) -> None:
        """Write the file: whole or not at all.

        Raises:
            SourceError: it cannot be written.
        """
        with writing(self.path, overwrite=True) as temporary:
            temporary.write_bytes(_ENTRIES.dump_json(dict(sorted(self.entries.items())), indent=1) + b"\n")


def check(
    ledger: Ledger, addresses: Sequence[str], *, hosts: int = 4, pause: float = 1.0, timeout: float = 20.0
) -> Iterator[list[Answer]]:
    """Ask addresses and give the answers batch by batch, each batch after the ledger with it has been written.

    Raises:
        MissingExtraError: requests is not installed.
        SourceError: the ledger cannot be written.
    """
    ledger.see(addresses)
    ledger.write()  # a ledger that cannot be written is found before anybody is asked
    for batch in ask(addresses, hosts=hosts, pause=pause, timeout=timeout):
        ledger.note(batch)
        ledger.write()
        yield batch


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


# ---------------------------------------------------------------- asking


def ask(
    addresses: Iterable[str], *, hosts: int = 4, pause: float = 1.0, timeout: float = 20.0
) -> Iterator[list[Answer]]:
    """Ask addresses, several hosts at once, and give the answers as they come in.

    Args:
        addresses: http(s) addresses.
        hosts: how many hosts are asked at the same time.
        pause: seconds between two requests to one host; a Crawl-delay that is longer holds instead.
        timeout: seconds to wait for a connection, and for an answer.

    Raises:
        MissingExtraError: requests is not installed.
    """
    from multiprocessing.pool import ThreadPool  # its threads are daemons: an interrupted run ends at once

    waiting: dict[str, deque[str]] = {}
    for address in addresses:
        waiting.setdefault(host_of(address), deque()).append(address)
    answers: SimpleQueue[tuple[str, Answer | BaseException]] = SimpleQueue()
    busy: set[str] = set()
    client = Client(pause=pause, timeout=timeout)

    def work(host: str, address: str) -> None:
        try:
            answers.put((host, client.ask(address)))
        except BaseException as error:
            answers.put((host, error))  # it is raised where the answers are read

    pool = ThreadPool(hosts)
    try:
        while waiting or busy:
            idle = sorted((host for host in waiting if host not in busy), key=lambda host: -len(waiting[host]))
            for host in idle[: hosts - len(busy)]:  # the longest queues first: they decide when all is done
                busy.add(host)
                pool.apply_async(work, (host, waiting[host].popleft()))
                if not waiting[host]:
                    del waiting[host]
            batch = [answers.get()]
            while not answers.empty():
                batch.append(answers.get())
            busy -= {host for host, _ in batch}
            yield [answer for _, answer in batch if isinstance(answer, Answer)]
            for _, answer in batch:
                if isinstance(answer, BaseException):
                    raise answer
    finally:
        pool.terminate()
        client.close()


def host_of(address: str) -> str:
    """Return the host of an address, with the port where it names one.

    >>> host_of("https://Example.org:8080/a")
    'example.org:8080'
    """
    return address.partition("://")[2].replace("?", "/").replace("#", "/").partition("/")[0].rpartition("@")[2].lower()


@dataclass
class _Host:
    """One host: its connection, its rules, and when it was last asked. `asking` is held during a request."""

    session: requests.Session
    pause: float
    asking: threading.Lock = field(default_factory=threading.Lock)
    reading: threading.Lock = field(default_factory=threading.Lock)
    robots: RobotFileParser | None = None
    last: float = float("-inf")


class Client:
    """Asks addresses. Safe to use from several threads: a host is asked by one at a time."""

    def __init__(self, *, pause: float = 1.0, timeout: float = 20.0) -> None:
        try:
            import requests  # noqa: F401
        except ImportError:
            raise MissingExtraError("requests", "links", why="checking links") from None
        self.pause, self.timeout = pause, timeout
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def ask(self, address: str) -> Answer:
        """Ask one address; whatever goes wrong is an answer too."""
        from urllib3.exceptions import HTTPError

        try:
            return self._follow(address)
        except (OSError, ValueError, HTTPError):  # those of requests are OSErrors; ValueError: no address at all
            return Answer(address, "unreachable")

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for host in self._hosts.values():
                host.session.close()

    def _follow(self, address: str) -> Answer:
        """Ask an address and those that it redirects to; every host on the way has its own pause and robots.txt."""
        here, moved_to, for_good, code = address, None, True, None
        for _ in range(REDIRECTS + 1):
            if urlsplit(here).scheme.lower() not in ("http", "https"):
                break
            if not self._allowed(here):
                return Answer(address, "refused")
            code, onward, _ = self._send("HEAD", here)
            if code in _ASK_AGAIN:
                code, onward, _ = self._send("GET", here)
            if onward is None:
                return _verdict(address, code, moved_to)
            here = urldefrag(urljoin(here, onward)).url
            for_good = for_good and code in _PERMANENT
            if for_good:  # what comes after a temporary redirect may be another page tomorrow
                moved_to = here
        return Answer(address, "unreachable", code)

    def _send(self, method: str, address: str, most: int = 0) -> tuple[int, str | None, bytes]:
        """Send one request when its host may be asked again; return status, redirect and at most `most` bytes."""
        host = self._host(address)
        with host.asking:
            time.sleep(max(0.0, host.last + host.pause - time.monotonic()))
            try:
                with host.session.request(
                    method, address, allow_redirects=False, stream=True, timeout=self.timeout
                ) as response:
                    body = response.raw.read(most, decode_content=True) if most else b""
                    return response.status_code, host.session.get_redirect_target(response), body
            finally:
                host.last = time.monotonic()

    def _host(self, address: str) -> _Host:
        name = host_of(address)
        with self._lock:
            if name not in self._hosts:
                self._hosts[name] = _connect(self.pause)
            return self._hosts[name]

    # ------------------------------------------------------------ robots.txt

    def _allowed(self, address: str) -> bool:
        host = self._host(address)
        with host.reading:
            if host.robots is None:
                host.robots = self._robots(urljoin(address, "/robots.txt"))
                asked = float(host.robots.crawl_delay("medfm") or 0)
                host.pause = max(host.pause, min(asked, _LONGEST_WAIT))
        return host.robots.can_fetch("medfm", address)

    def _robots(self, address: str) -> RobotFileParser:
        """Read a robots.txt; one that cannot be had allows everything."""
        from urllib3.exceptions import HTTPError

        rules = RobotFileParser()
        text = ""
        try:
            for _ in range(REDIRECTS + 1):
                code, onward, body = self._send("GET", address, _ROBOTS_BYTES)
                if onward is None:
                    text = body.decode("utf-8-sig", "replace") if code == 200 else ""
                    break
                address = urljoin(address, onward)
        except (OSError, ValueError, HTTPError):
            pass
        rules.parse(text.splitlines())
        return rules


def _verdict(address: str, code: int, moved_to: str | None) -> Answer:
    if code < 400:
        return Answer(address, "moved" if moved_to else "ok", code, moved_to)
    if code in _GONE:
        return Answer(address, "gone", code)
    return Answer(address, "refused" if code < 500 else "unreachable", code)


def _connect(pause: float) -> _Host:
    """Return a host with a session of one connection whose retries keep the host's pause and its Retry-After."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import MaxRetryError
    from urllib3.util import Retry

    class Patient(Retry):
        """Waits the pause, then twice and four times as long, and never less than the server asks for."""

        def sleep(self, response: BaseHTTPResponse | None = None) -> None:
            wait = min(host.pause * 2 ** (len(self.history) - 1), _LONGEST_WAIT)
            time.sleep(max(wait, (self.get_retry_after(response) or 0) if response else 0))

        def increment(self, method=None, url=None, response=None, error=None, _pool=None, _stacktrace=None):  # type: ignore[no-untyped-def]  # as in urllib3
            if response is not None and (self.get_retry_after(response) or 0) > _LONGEST_WAIT:
                raise MaxRetryError(_pool, url)  # the answer stands as it is
            return super().increment(method, url, response, error, _pool, _stacktrace)

    session = requests.Session()
    host = _Host(session, pause)
    retries = Patient(total=RETRIES, status_forcelist=_BUSY, raise_on_status=False)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1, pool_block=True, max_retries=retries))
    session.headers["User-Agent"] = USER_AGENT
    session.auth = _no_password
    return host


def _no_password(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no password: without this, requests would take the user's own from .netrc."""
    return request
