from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from medfm.catalog.addresses import addresses
from medfm.catalog.store import Catalog
from medfm.cli import main
from medfm.errors import InputError, MissingExtraError, SourceError
from medfm.runtime import links
from medfm.runtime.links import Answer, Entry, Ledger

from .servers import Site, serving

pytest.importorskip("requests", reason="run: pip install 'medfm[links]'")

PROXIES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test contact anything but 127.0.0.1."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("MEDFM_OFFLINE", raising=False)
    look_up = socket.getaddrinfo

    def guarded(host, *rest, **more):
        assert host == "127.0.0.1", f"a test asked for {host}"
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", guarded)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site(files={"/a": b"a", "/b": b"b", "/c": b"c"})) as site:
        yield site


def ask(*asked: str, **options) -> dict[str, Answer]:
    """Ask without pauses and return the answers by address."""
    return {a.address: a for batch in links.ask(asked, **({"pause": 0.0} | options)) for a in batch}


def one(site: Site, path: str = "/a", **options) -> Answer:
    return ask(site.address + path, **options)[site.address + path]


def requested(site: Site) -> list[str]:
    """What was requested besides robots.txt."""
    return [f"{method} {path}" for method, path in site.requests if path != "/robots.txt"]


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


# ---------------------------------------------------------------- one address


def test_a_page_that_is_there_is_ok_and_its_body_is_not_asked_for(site: Site) -> None:
    assert one(site) == Answer(site.address + "/a", "ok", 200)
    assert requested(site) == ["HEAD /a"]
    assert site.agents == {"medfm (link check)"}


@pytest.mark.parametrize("code", [301, 308])
def test_a_permanent_redirect_is_moved_and_names_the_new_address(site: Site, code: int) -> None:
    site.status["/old"] = code
    site.headers["/old"] = {"Location": "/a"}
    assert one(site, "/old") == Answer(site.address + "/old", "moved", 200, site.address + "/a")


@pytest.mark.parametrize("code", [302, 303, 307])
def test_a_temporary_redirect_is_ok(site: Site, code: int) -> None:
    site.status["/old"] = code
    site.headers["/old"] = {"Location": "/a"}
    assert one(site, "/old") == Answer(site.address + "/old", "ok", 200)


def test_what_comes_after_a_temporary_redirect_is_no_new_address(site: Site) -> None:
    site.status |= {"/1": 301, "/2": 302, "/3": 301}
    site.headers |= {"/1": {"Location": "/2"}, "/2": {"Location": "/3"}, "/3": {"Location": "/a"}}
    assert one(site, "/1").moved_to == site.address + "/2"
    assert one(site, "/2").status == "ok"


def test_redirects_end(site: Site) -> None:
    site.status["/round"] = 301
    site.headers["/round"] = {"Location": "/round"}
    assert one(site, "/round") == Answer(site.address + "/round", "unreachable", 301)
    assert len(requested(site)) == links.REDIRECTS + 1


def test_a_redirect_to_something_else_than_http_is_not_followed(site: Site) -> None:
    site.status["/old"] = 301
    site.headers["/old"] = {"Location": "file:///etc/passwd"}
    assert one(site, "/old").status == "unreachable"


def test_a_redirect_that_ends_nowhere_is_gone_not_moved(site: Site) -> None:
    site.status["/old"] = 301
    site.headers["/old"] = {"Location": "/nowhere"}
    assert one(site, "/old") == Answer(site.address + "/old", "gone", 404)


@pytest.mark.parametrize("code", [404, 410])
def test_gone_is_said_only_after_a_get(site: Site, code: int) -> None:
    site.status["/x"] = code
    assert one(site, "/x") == Answer(site.address + "/x", "gone", code)
    assert requested(site) == ["HEAD /x", "GET /x"]


@pytest.mark.parametrize("code", [403, 404, 405, 501])
def test_a_refused_head_is_followed_by_get(site: Site, code: int) -> None:
    site.no_head["/a"] = code
    assert one(site) == Answer(site.address + "/a", "ok", 200)
    assert requested(site) == ["HEAD /a", "GET /a"]


@pytest.mark.parametrize("code", [401, 403, 429, 451])
def test_a_refusal_is_neither_ok_nor_gone(site: Site, code: int) -> None:
    site.status["/x"] = code
    assert one(site, "/x") == Answer(site.address + "/x", "refused", code)


def test_an_error_of_the_server_is_tried_again(site: Site) -> None:
    site.once["/a"] = [500, 503]
    assert one(site).status == "ok"
    assert requested(site) == ["HEAD /a"] * 3


def test_tries_end(site: Site) -> None:
    site.status["/a"] = 500
    assert one(site) == Answer(site.address + "/a", "unreachable", 500)
    assert requested(site) == ["HEAD /a"] * (links.RETRIES + 1)


def test_tries_wait_longer_and_longer(site: Site) -> None:
    site.status["/a"] = 500
    one(site, pause=0.1)
    first, *_, last = site.times[1:]
    assert last - first >= 0.1 + 0.2 + 0.4


def test_retry_after_is_respected(site: Site) -> None:
    site.once["/a"] = [429]
    site.headers["/a"] = {"Retry-After": "1"}
    assert one(site).status == "ok"
    assert site.times[-1] - site.times[-2] >= 0.99


def test_a_server_that_asks_for_an_hour_is_left_for_another_run(site: Site) -> None:
    site.status["/a"] = 429
    site.headers["/a"] = {"Retry-After": "3600"}
    assert one(site) == Answer(site.address + "/a", "refused", 429)
    assert requested(site) == ["HEAD /a"]


def test_a_host_that_is_not_there_is_unreachable(site: Site) -> None:
    silent = closed_port() + "/a"
    found = ask(silent, site.address + "/a")
    assert found[silent] == Answer(silent, "unreachable")
    assert found[site.address + "/a"].status == "ok"


def test_a_host_that_does_not_answer_in_time_is_unreachable(site: Site) -> None:
    site.seconds = 0.5
    assert one(site, timeout=0.05).status == "unreachable"


@pytest.mark.parametrize("address", ["http://", "http://[::1", "http://127.0.0.1:port/", "http://\u2100.example/"])
def test_what_is_no_address_is_unreachable(address: str) -> None:
    assert ask(address)[address].status == "unreachable"


def test_no_password_is_sent(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    host = links._connect(0.0)
    import requests

    prepared = host.session.prepare_request(requests.Request("GET", site.address))
    assert "Authorization" not in prepared.headers


# ---------------------------------------------------------------- hosts


def test_robots_are_respected(site: Site) -> None:
    site.files["/robots.txt"] = b"User-agent: *\nDisallow: /private\n"
    site.files["/private/a"] = b"a"
    assert one(site, "/private/a") == Answer(site.address + "/private/a", "refused")
    assert requested(site) == []
    assert one(site).status == "ok"


def test_a_redirect_to_what_robots_forbid_is_not_followed(site: Site) -> None:
    site.files["/robots.txt"] = b"User-agent: medfm\nDisallow: /b\n"
    site.status["/old"] = 302
    site.headers["/old"] = {"Location": "/b"}
    assert one(site, "/old").status == "refused"
    assert requested(site) == ["HEAD /old"]


@pytest.mark.parametrize("code", [403, 404, 500])
def test_robots_that_cannot_be_had_allow(site: Site, code: int) -> None:
    site.status["/robots.txt"] = code
    assert one(site).status == "ok"


def test_robots_are_read_once_a_host(site: Site) -> None:
    ask(*(site.address + path for path in ("/a", "/b", "/c")))
    assert site.requests.count(("GET", "/robots.txt")) == 1


def test_a_crawl_delay_lengthens_the_pause(site: Site) -> None:
    site.files["/robots.txt"] = b"User-agent: *\nCrawl-delay: 1\n"
    one(site)
    assert site.times[1] - site.times[0] >= 0.99


def test_requests_to_one_host_are_apart(site: Site) -> None:
    ask(*(site.address + path for path in ("/a", "/b", "/c")), pause=0.2)
    assert all(after - before >= 0.19 for before, after in zip(site.times, site.times[1:], strict=False))


def test_a_host_is_asked_by_one_at_a_time_and_hosts_are_asked_together() -> None:
    with ExitStack() as stack:
        paths = [f"/{i}" for i in range(6)]
        sites = [stack.enter_context(serving(Site(files=dict.fromkeys(paths, b"x"), seconds=0.05))) for _ in range(3)]
        for path in paths:  # every other request ends at the first site, wherever it began
            sites[1].status[path] = 302
            sites[1].headers[path] = {"Location": sites[0].address + path}
        begun = time.monotonic()
        found = ask(*(site.address + path for site in sites for path in paths), hosts=3)
        took = time.monotonic() - begun
        asked = [len(site.requests) for site in sites]
        assert {answer.status for answer in found.values()} == {"ok"}
        assert [site.most_at_once for site in sites] == [1, 1, 1]
        assert asked == [13, 7, 7]
        assert took < 0.05 * sum(asked)


def test_the_pause_holds_for_redirects_from_other_hosts_too() -> None:
    paths = [f"/{i}" for i in range(4)]
    with serving(Site(files=dict.fromkeys(paths, b"x"))) as goal, serving(Site()) as other:
        for path in paths:
            other.status[path] = 302
            other.headers[path] = {"Location": goal.address + path}
        ask(*(site.address + path for site in (goal, other) for path in paths), pause=0.1)
        assert len(goal.times) == 9
        assert all(after - before >= 0.09 for before, after in zip(goal.times, goal.times[1:], strict=False))


def test_without_requests_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'medfm\[links\]'"):
        ask("http://127.0.0.1/")


# ---------------------------------------------------------------- the ledger


def test_the_ledger_keeps_what_was(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "links.json")
    seen = Entry(first_seen=LONG_AGO, last_ok=LONG_AGO, last_checked=LONG_AGO, status="ok", code=200)
    ledger.entries = {"http://a/": seen}
    ledger.note([Answer("http://a/", "gone", 404)])
    ledger.note([Answer("http://a/", "unreachable")])
    ledger.write()
    entry = Ledger(ledger.path).entries["http://a/"]
    assert (entry.first_seen, entry.last_ok, entry.status, entry.code) == (LONG_AGO, LONG_AGO, "unreachable", None)
    assert entry.failures == 2
    assert entry.last_checked is not None
    assert entry.last_checked > LONG_AGO
    ledger.note([Answer("http://a/", "moved", 200, "http://b/")])
    entry = ledger.entries["http://a/"]
    assert (entry.failures, entry.moved_to, entry.last_ok) == (0, "http://b/", entry.last_checked)


def test_never_asked_comes_first_then_the_oldest_and_fresh_ones_are_left_out(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "links.json")
    now = datetime.now(UTC)
    for name, days in (("fresh", 3), ("old", 40), ("older", 50)):
        then = now - timedelta(days=days)
        ledger.entries[name] = Entry(first_seen=then, last_checked=then, status="ok")
    ledger.see(["seen"])
    assert ledger.due(["fresh", "old", "older", "seen", "new"], timedelta(days=30)) == ["seen", "new", "older", "old"]
    assert ledger.due(["fresh", "old"], timedelta(0)) == ["old", "fresh"]


def test_an_interrupted_run_is_taken_up(site: Site, tmp_path: Path) -> None:
    asked = [site.address + path for path in ("/a", "/b", "/c")]
    ledger = Ledger(tmp_path / "links.json")
    run = links.check(ledger, asked, hosts=1, pause=0.2)
    (first,) = next(run)
    run.close()
    again = Ledger(ledger.path)
    rest = again.due(asked, timedelta(days=30))
    assert rest == [address for address in asked if address != first.address]
    site.requests.clear()
    assert {a.address for batch in links.check(again, rest, pause=0.0) for a in batch} == set(rest)
    assert Ledger(ledger.path).due(asked, timedelta(days=30)) == []
    assert f"HEAD {first.address.removeprefix(site.address)}" not in requested(site)


def test_a_killed_run_loses_nothing(site: Site, tmp_path: Path) -> None:
    paths = [f"/{i}" for i in range(20)]
    site.files |= dict.fromkeys(paths, b"x")
    site.seconds = 0.05
    asked = [site.address + path for path in paths]
    path = tmp_path / "links.json"
    code = f"""
        from pathlib import Path
        from medfm.runtime.links import Ledger, check
        for batch in check(Ledger(Path({str(path)!r})), {asked!r}, pause=0.0):
            print(*(answer.address for answer in batch), flush=True)
    """
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(3)]
        process.send_signal(signal.SIGKILL)
    ledger = Ledger(path)
    assert set(ledger.entries) == set(asked)
    assert all(ledger.entries[address].status == "ok" for address in told)
    rest = ledger.due(asked, timedelta(days=30))
    assert 0 < len(rest) <= 17
    assert not set(rest) & set(told)


def test_a_write_that_fails_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "links.json")
    ledger.note([Answer("http://a/", "ok", 200)])
    ledger.write()
    before = ledger.path.read_bytes()
    ledger.note([Answer("http://b/", "ok", 200)])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SourceError, match="no space left"):
        ledger.write()
    assert ledger.path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["links.json"]


def test_a_ledger_that_cannot_be_written_is_found_before_anybody_is_asked(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        list(links.check(Ledger(tmp_path / "nowhere" / "links.json"), [site.address + "/a"]))
    assert site.requests == []


@pytest.mark.parametrize("text", ["", "[]", '{"http://a/": {"status": "fine"}}', '{"a": '])
def test_a_file_that_is_no_ledger_is_refused_and_kept(text: str, tmp_path: Path) -> None:
    path = tmp_path / "links.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no ledger"):
        Ledger(path)
    assert path.read_text() == text


# ---------------------------------------------------------------- the catalog and the command


def test_every_address_is_listed_with_all_its_places(small_catalog: Path) -> None:
    path = small_catalog / "catalog" / "models" / "base-encoder.yaml"
    path.write_text(path.read_text().replace("example.org/card", "example.org/base#card"))
    found = addresses(Catalog.load(small_catalog))
    assert list(found) == sorted(found)
    assert found["https://example.org/base"] == ["base-encoder: links.code", "base-encoder: sources.card.url"]
    assert found["https://example.org/terms"] == ["base-encoder: license.terms.weights"]
    assert found["https://doi.org/10.1000/base"] == ["roe2024base: paper"]
    assert found["https://arxiv.org/abs/2501.00001"] == ["roe2025child: paper"]


@pytest.fixture
def run(site: Site, small_catalog: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `medfm links` on a catalog whose addresses all lead to the local server."""
    for path in (small_catalog / "catalog").rglob("*.yaml"):
        path.write_text(path.read_text().replace("https://example.org", site.address))
    bibliography = small_catalog / "survey" / "references.bib"
    text = bibliography.read_text().replace("doi = {10.1000", f"url = {{{site.address}")
    bibliography.write_text(text.replace("eprint = {", f"url = {{{site.address}/"))
    monkeypatch.setenv("MEDFM_CONTENT", str(small_catalog))
    used = addresses(Catalog.load(small_catalog))
    assert {address.rpartition("/")[0] for address in used} == {site.address}
    site.files |= {address.removeprefix(site.address): b"x" for address in used}

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["links", "--pause", "0", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_the_command_keeps_a_ledger_and_exits_0_when_all_is_well(run, site: Site, small_catalog: Path) -> None:
    code, out, err = run()
    assert (code, out) == (0, "")
    ledger = json.loads((small_catalog / "catalog" / "links.json").read_text())
    assert {entry["status"] for entry in ledger.values()} == {"ok"}
    assert f"{len(ledger)} asked, {len(ledger)} in all: {len(ledger)} ok" in err
    asked = len(site.requests)
    assert run()[2].startswith("0 asked")
    assert len(site.requests) == asked
    assert main(["check"]) == 0  # the ledger beside the records is no record


def test_the_command_exits_1_as_long_as_something_is_gone(run, site: Site) -> None:
    del site.files["/terms"]
    code, out, _ = run()
    assert code == 1
    assert "base-encoder: license.terms.weights" in out
    assert run()[0] == 1
    site.files["/terms"] = b"x"
    assert run("--older-than", "0")[0] == 0


def test_results_come_as_json_and_csv(run, site: Site) -> None:
    site.status["/base"] = 301
    site.headers["/base"] = {"Location": "/a"}
    rows = json.loads(run("--json")[1])
    row = next(row for row in rows if row["address"] == site.address + "/base")
    assert (row["status"], row["moved_to"]) == ("moved", site.address + "/a")
    assert "base-encoder: links.code" in row["used_by"]
    table = list(csv.DictReader(io.StringIO(run("--csv")[1])))
    assert [r["address"] for r in table] == [r["address"] for r in rows]


def test_the_limit_is_kept_and_the_next_run_asks_the_rest(run, site: Site, tmp_path: Path) -> None:
    ledger = str(tmp_path / "mine.json")
    first = json.loads(run("--limit", "2", "--ledger", ledger, "--json")[1])
    assert len(first) == len(requested(site)) == 2
    rest = json.loads(run("--dry-run", "--ledger", ledger, "--json")[1])
    assert not {row["address"] for row in first} & {row["address"] for row in rest}
    run("--ledger", ledger)
    assert len(requested(site)) == len(set(requested(site))) == 2 + len(rest)


def test_a_dry_run_opens_no_socket_and_writes_nothing(
    run, site: Site, small_catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    code, out, err = run("--dry-run")
    assert code == 0
    assert site.address + "/terms" in out
    assert "would be asked" in err
    assert site.requests == []
    assert not (small_catalog / "catalog" / "links.json").exists()


def test_only_asks_one_host(run, small_catalog: Path) -> None:
    path = small_catalog / "catalog" / "models" / "child-encoder.yaml"
    path.write_text(path.read_text() + 'links: {demo: "https://elsewhere.example/"}\n')
    asked = json.loads(run("--only", "127.0.0.1", "--json")[1])
    assert asked
    assert all("127.0.0.1" in row["address"] for row in asked)
    code, _, err = run("--only", "elsewere.example")
    assert code == 2
    assert "did you mean elsewhere.example?" in err


@pytest.mark.parametrize(
    "arguments",
    [("--limit", "0"), ("--hosts", "0"), ("--pause", "-1"), ("--older-than", "nan"), ("--limt", "3"), ("more",)],
)
def test_bad_use_exits_2(arguments: tuple[str, ...], run, site: Site) -> None:
    assert run(*arguments)[0] == 2
    assert site.requests == []


def test_offline_mode_holds(run, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFM_OFFLINE", "1")
    code, _, err = run()
    assert code == 2
    assert "offline mode is on" in err
    assert site.requests == []
    assert run("--dry-run")[0] == 0
