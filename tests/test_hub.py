from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from medfm.catalog.records import Model
from medfm.catalog.weights import HubOrigin, WeightFile
from medfm.runtime import hub as hub_files
from medfm.runtime.loading import find, load

from .servers import Site, hub_file, serving

DATA = bytes(range(256)) * 4096
SHA = hashlib.sha256(DATA).hexdigest()
LARGE = DATA * 24  # the hub's client hands over 10 MB at a time
REVISION = "0123456789abcdef0123456789abcdef01234567"
PLACE = f"/example/toy/resolve/{REVISION}/model.safetensors"
TOKEN = "hf_" + "MarkerThatNobodyMaySee"
GATE = "the weights of Toy are gated: accept the terms at https://example.org/terms, then run: hf auth login"


def hub(data: bytes = DATA, *, path: str = "model.safetensors", size: int | None = None) -> HubOrigin:
    file = WeightFile(path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=size or len(data))
    return HubOrigin(repository="example/toy", revision=REVISION, files={"weights": file})


def site_with(data: bytes = DATA, *, etag: str = "", **faults: object) -> Site:
    site = Site(**faults)  # type: ignore[arg-type]
    hub_file(site, "example/toy", REVISION, "model.safetensors", data, etag=etag)
    return site


class Machine:
    """A user's machine: a cache of medfm's, a cache of the hub's client, a token, and an endpoint.

    Every fetch is a process of its own: the hub's client reads its settings when it is imported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = ""
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "MEDFM_"))}
        self.environment |= {
            "MEDFM_CACHE": str(folder / "cache"),
            "HF_HOME": str(folder / "hub"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": TOKEN,
        }

    def start(self, site: Site | None, code: str) -> subprocess.Popen[str]:
        endpoint = {"HF_ENDPOINT": site.address} if site else {}
        return subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(code)],
            env=self.environment | endpoint,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, site: Site | None, code: str) -> str:
        process = self.start(site, code)
        out, err = process.communicate(timeout=120)
        self.output += out + err
        assert process.returncode == 0, err[-3000:]
        return out

    def fetch(
        self, site: Site | None, origin: HubOrigin | None = None, before: str = "", **options: object
    ) -> dict[str, str]:
        answer: dict[str, str] = json.loads(
            self.run(site, fetching(origin or hub(), before, **options)).splitlines()[-1]
        )
        return answer

    def leftovers(self) -> list[str]:
        """Files in medfm's cache that no finished fetch leaves."""
        files = (self.folder / "cache").rglob("*")
        return [p.name for p in files if p.is_file() and p.suffix not in (".verified", ".lock", ".safetensors")]


def fetching(origin: HubOrigin, before: str = "", **options: object) -> str:
    """Return a program that fetches and prints what came of it."""
    return textwrap.dedent(before) + textwrap.dedent(f"""
        import json, logging
        logging.basicConfig(level=logging.INFO)
        from medfm.catalog.weights import HubOrigin
        from medfm.errors import MedfmError
        from medfm.runtime import sources
        origin = HubOrigin.model_validate_json({origin.model_dump_json()!r})
        try:
            found = sources.fetch(origin, progress=False, **{options!r})
            print(json.dumps({{"path": str(found["weights"]), "size": found["weights"].stat().st_size}}))
        except MedfmError as error:
            print(json.dumps({{"error": type(error).__name__, "text": str(error)}}))
    """)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# ---------------------------------------------------------------- what goes well


def test_a_file_is_fetched_by_commit_verified_and_never_asked_for_again(machine: Machine) -> None:
    with serving(site_with()) as site:
        first = machine.fetch(site)
        assert Path(first["path"]).read_bytes() == DATA
        assert site.requests == [("HEAD", PLACE), ("GET", PLACE)]
        assert machine.fetch(site) == first
        assert machine.fetch(site, offline=True) == first
        assert len(site.requests) == 2
    assert machine.leftovers() == []


def test_the_clients_own_cache_is_used_where_it_verifies(machine: Machine) -> None:
    client = f"import huggingface_hub as h; print(h.hf_hub_download('example/toy', 'model.safetensors', revision='{REVISION}'))"
    with serving(site_with()) as site:
        theirs = machine.run(site, client).strip()
        asked = len(site.requests)
        assert machine.fetch(site)["path"] == theirs
        assert machine.fetch(site, offline=True)["path"] == theirs
        assert len(site.requests) == asked


def test_a_damaged_blob_of_the_clients_cache_is_removed_and_fetched_anew(machine: Machine) -> None:
    client = f"import huggingface_hub as h; print(h.hf_hub_download('example/toy', 'model.safetensors', revision='{REVISION}'))"
    with serving(site_with(b"y" * len(DATA), etag=SHA)) as site:
        theirs = Path(machine.run(site, client).strip())
        blob = theirs.resolve()
        assert blob.read_bytes() == b"y" * len(DATA)
        site.files[PLACE] = DATA
        assert Path(machine.fetch(site)["path"]).read_bytes() == DATA
    assert not blob.exists()
    assert not theirs.is_symlink()


def test_a_snapshot_that_links_elsewhere_is_neither_used_nor_removed(machine: Machine, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"a file of the user's")
    snapshot = tmp_path / "hub" / "hub" / "models--example--toy" / "snapshots" / REVISION / "model.safetensors"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(mine)
    with serving(site_with()) as site:
        assert Path(machine.fetch(site)["path"]).read_bytes() == DATA
    assert mine.read_bytes() == b"a file of the user's"


def test_a_token_is_sent_to_the_hub_and_to_nobody_that_it_redirects_to(machine: Machine) -> None:
    with serving(Site(files={"/signed": DATA})) as other, serving(site_with(status={PLACE: 302})) as site:
        elsewhere = other.address.replace("127.0.0.1", "localhost")
        site.headers[PLACE] |= {
            "Location": f"{elsewhere}/signed?Signature=5ec7e7",
            "X-Linked-Etag": f'"{SHA}"',
            "X-Linked-Size": str(len(DATA)),
        }
        assert Path(machine.fetch(site)["path"]).read_bytes() == DATA
    assert site.authorizations == [(PLACE, f"Bearer {TOKEN}")]
    assert other.requests == [("GET", "/signed")]
    assert other.authorizations == []


def test_two_processes_share_one_download(machine: Machine) -> None:
    with serving(site_with(LARGE, seconds=0.3)) as site:
        program = fetching(hub(LARGE))
        both = [machine.start(site, program) for _ in range(2)]
        answers = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in both]
    assert answers[0] == answers[1]
    assert answers[0]["size"] == len(LARGE)
    assert [method for method, _ in site.requests] == ["HEAD", "GET"]
    assert machine.leftovers() == []


# ---------------------------------------------------------------- what breaks off


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_taken_up_again(ranges: bool, machine: Machine) -> None:
    with serving(site_with(LARGE, cut={PLACE: 1}, ranges=ranges)) as site:
        assert Path(machine.fetch(site, hub(LARGE))["path"]).read_bytes() == LARGE
    (asked,) = {text for _, text in site.asked_ranges}
    assert int(asked.removeprefix("bytes=").removesuffix("-")) > 0
    assert machine.leftovers() == []


def test_what_came_before_a_failure_is_not_fetched_twice(machine: Machine) -> None:
    with serving(site_with(LARGE, cut={PLACE: 1}, once={PLACE: [None, None, 500]}, ranges=True)) as site:
        assert machine.fetch(site, hub(LARGE))["error"] == "SourceError"
        (part,) = (machine.folder / "cache").rglob("*.part")
        assert 0 < part.stat().st_size < len(LARGE)
        site.asked_ranges.clear()
        begun = part.stat().st_size
        assert Path(machine.fetch(site, hub(LARGE))["path"]).read_bytes() == LARGE
    assert site.asked_ranges == [(PLACE, f"bytes={begun}-")]
    assert not part.exists()


def test_a_beginning_that_does_not_belong_to_the_rest_is_forgotten(machine: Machine) -> None:
    with serving(site_with(ranges=True)) as site:
        part = machine.folder / "cache" / "files" / SHA / "model.safetensors.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"!" * 1000)
        assert Path(machine.fetch(site)["path"]).read_bytes() == DATA
        assert len(site.asked_ranges) == 1
    assert not part.exists()


# ---------------------------------------------------------------- what is refused


def test_wrong_bytes_behind_a_right_etag_are_refused_and_forgotten(machine: Machine) -> None:
    with serving(site_with(b"y" * len(DATA), etag=SHA)) as site:
        assert machine.fetch(site)["error"] == "IntegrityError"
        assert list((machine.folder / "cache" / "files").rglob("*.*")) == []
        assert not list((machine.folder / "hub").rglob("*model*"))
        site.files[PLACE] = DATA
        assert Path(machine.fetch(site)["path"]).read_bytes() == DATA


REFUSALS = {
    "gated, nobody logged in": (401, "GatedRepo", "GateError", "accept its terms"),
    "gated, terms not accepted": (403, "GatedRepo", "GateError", "hf auth login"),
    "no such file": (404, "EntryNotFound", "SourceError", "has no file model.safetensors"),
    "no such commit": (404, "RevisionNotFound", "SourceError", f"no revision {REVISION}"),
    "no such repository, to who is logged in": (404, "RepoNotFound", "SourceError", "no repository example/toy"),
    "no such repository": (401, "RepoNotFound", "SourceError", "no repository example/toy, or it is private"),
    "refused without a reason": (403, "", "GateError", "access refused (403)"),
    "out of order": (500, "", "SourceError", "500"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_each_refusal_has_its_error(name: str, machine: Machine) -> None:
    status, code, error, text = REFUSALS[name]
    headers = {PLACE: {"X-Error-Code": code, "X-Repo-Commit": REVISION} if code else {}}
    with serving(Site(status={PLACE: status}, headers=headers)) as site:
        answer = machine.fetch(site)
    assert answer["error"] == error
    assert text in answer["text"]
    assert TOKEN not in machine.output


def test_a_hub_that_is_not_there_is_said(machine: Machine) -> None:
    with serving(Site()) as site:
        pass
    assert "cannot be reached" in machine.fetch(site)["text"]


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"X-Repo-Commit": "f" * 40}, "answered with commit ffff"),
        ({"ETag": ""}, "comes from no hub"),
        ({"X-Linked-Size": "17"}, "has 17 bytes at the hub"),
    ],
)
def test_an_answer_that_does_not_fit_the_record_is_refused_before_the_download(
    headers: dict[str, str], text: str, machine: Machine
) -> None:
    with serving(site_with()) as site:
        site.headers[PLACE] |= headers
        site.headers[PLACE] = {name: value for name, value in site.headers[PLACE].items() if value}
        assert text in machine.fetch(site)["text"]
    assert [method for method, _ in site.requests] == ["HEAD"]


def test_a_server_that_never_ends_is_cut_off(machine: Machine) -> None:
    with serving(site_with(DATA * 8)) as site:
        site.headers[PLACE]["X-Linked-Size"] = str(len(DATA))
        assert "larger than the record says" in machine.fetch(site)["text"]
    assert list((machine.folder / "cache" / "files").rglob("*.*")) == []


@pytest.mark.parametrize("path", ["../../x", "/etc/passwd", "a/../../x", "C:/x", "a\x00b", "a\\..\\x", "a//b", "."])
def test_a_path_that_leads_out_of_the_repository_is_refused(path: str, machine: Machine) -> None:
    answer = machine.fetch(None, hub(path=path), before=NO_SOCKETS)
    assert answer["error"] == "SourceError"
    assert "is no path of a file inside a repository" in answer["text"]


# ---------------------------------------------------------------- gates, tokens, offline

NO_SOCKETS = """
    import socket
    class Refused(socket.socket):
        def __init__(*_, **__):
            raise SystemExit("a socket was opened")
    socket.socket = Refused
    socket.getaddrinfo = Refused
"""


def test_a_gate_is_told_before_anything_is_asked_for(machine: Machine) -> None:
    machine.environment.pop("HF_TOKEN")
    answer = machine.fetch(None, before=NO_SOCKETS, gate=GATE)
    assert answer["error"] == "GateError"
    assert answer["text"].startswith(GATE)


def test_who_is_logged_in_is_told_of_the_gate_and_goes_on(machine: Machine) -> None:
    with serving(site_with()) as site:
        assert machine.fetch(site, gate=GATE)["size"] == len(DATA)
    assert machine.output.count(GATE) == 1


def test_a_refusal_at_a_gate_names_what_to_do(machine: Machine) -> None:
    headers = {PLACE: {"X-Error-Code": "GatedRepo"}}
    with serving(Site(status={PLACE: 403}, headers=headers)) as site:
        assert machine.fetch(site, gate=GATE) == {"error": "GateError", "text": GATE}


@pytest.mark.parametrize("setting", ["HF_HUB_OFFLINE", "MEDFM_OFFLINE", "offline=True"])
def test_offline_never_opens_a_socket(setting: str, machine: Machine) -> None:
    options = {}
    if setting == "offline=True":
        options["offline"] = True
    else:
        machine.environment[setting] = "1"
    answer = machine.fetch(None, before=NO_SOCKETS, **options)
    assert answer["error"] == "SourceError"
    assert "offline mode is on" in answer["text"]
    with serving(site_with()) as site:
        online = Machine(machine.folder)
        there = online.fetch(site)
    assert machine.fetch(None, before=NO_SOCKETS, **options) == there


def test_a_token_reaches_no_output_no_log_and_no_file(machine: Machine) -> None:
    faults: list[Site] = [
        Site(status={PLACE: status}, headers={PLACE: {"X-Error-Code": code, "X-Error-Message": f"bad token {TOKEN}"}})
        for status, code in [
            (401, "GatedRepo"),
            (403, "GatedRepo"),
            (401, "RepoNotFound"),
            (404, "EntryNotFound"),
            (500, ""),
        ]
    ]
    faults += [
        site_with(b"y" * len(DATA), etag=SHA),
        site_with(cut={PLACE: 1}, once={PLACE: [None, None, 500]}),
        site_with(status={PLACE: 418}),
        site_with(),
    ]
    for fault in faults:
        with serving(fault) as site:
            machine.fetch(site, gate=GATE)
        assert fault.authorizations  # it was sent, so it could have leaked
    assert "GateError" in machine.output
    assert TOKEN not in machine.output
    for path in machine.folder.rglob("*"):
        assert TOKEN not in str(path)
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


# ---------------------------------------------------------------- gates of records


def gated(record: Model, **license: object) -> Model:
    """The record with another gate."""
    values = record.model_dump(mode="json", exclude_unset=True)
    values["license"] = values.get("license", {}) | license
    return Model.model_validate(values)


def test_a_records_gate_says_what_to_do_where_and_how_to_log_in() -> None:
    record = find("uni2-h")
    told = hub_files.gate(gated(record, gate="approval", terms={"gate": "https://example.org/ask"}))
    assert told is not None
    for part in (record.name, "ask for access", "https://example.org/ask", "hf auth login", "HF_TOKEN"):
        assert part in told
    assert "https://huggingface.co/MahmoodLab/UNI2-h" in str(hub_files.gate(gated(record, gate="form", terms={})))
    both = hub_files.gate(
        gated(record, gate="form", terms={"gate": "https://example.org/ask", "weights": "https://example.org/terms"})
    )
    assert "(terms: https://example.org/terms)" in str(both)
    assert hub_files.gate(gated(record, gate="none")) is None
    assert hub_files.gate(find("med-palm")) is None  # there are no weights to fetch


def test_loading_gated_weights_tells_of_the_gate_before_any_request(machine: Machine) -> None:
    machine.environment.pop("HF_TOKEN")
    said = machine.run(
        None,
        textwrap.dedent(NO_SOCKETS)
        + textwrap.dedent("""
            import medfm
            from medfm.errors import GateError
            try:
                medfm.load("uni2-h", accept_unpinned=True)
            except GateError as error:
                print(error)
        """),
    )
    assert "ask for access" in said
    assert "hf auth login" in said


@pytest.mark.network
def test_no_provenance_holds_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    run = load("sceptr", progress=False).embed([{"name": "a", "CDR3A": "CAGAGSQGNLIF"}])
    run.save(tmp_path / "vectors.csv")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 2  # the vectors, and where they come from
    assert not any(TOKEN.encode() in path.read_bytes() for path in written)
    assert TOKEN not in repr(run.provenance)
