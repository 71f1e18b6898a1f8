"""The site in a real browser, built from the real catalog as `make site` builds it.

Chromium is taken from the machine: playwright's own download of a browser is not needed.
"""

from __future__ import annotations

import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from medfm import Catalog, content
from medfm.catalog.records import Model
from medfm.catalog.select import facets_of
from medfm.publishing.pages import write

REPOSITORY = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not Path(CHROMIUM).exists(), reason="there is no Chromium; install it with: apt-get install chromium"
    ),
]

sync_api = pytest.importorskip("playwright.sync_api", reason="run: pip install 'medfm[test]'")


class Watched:
    """A page of the browser with everything that must not happen on it."""

    def __init__(self, browser: sync_api.Browser, base: str, **options: object) -> None:
        self.base, self.errors, self.requests = base, [], []
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: str) -> sync_api.Page:
        self.page.goto(self.base + path)
        return self.page

    def leave(self) -> None:
        """Close the page, and hold it to the rules: nothing on the console, nothing asked of another host."""
        self.page.close()
        assert self.requests
        assert not [url for url in self.requests if not url.startswith((self.base, "data:", "blob:"))]
        assert not self.errors


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load()


@pytest.fixture(scope="module")
def built(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered site; a warning of the renderer is an error."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(REPOSITORY / "site" / "mkdocs.yml", site)
    shutil.copytree(REPOSITORY / "site" / "overrides", site / "overrides", dirs_exist_ok=True)
    # the chapters of the medfm that is tested, which may be an installed wheel, and the looks of this repository
    root = tmp_path_factory.mktemp("root")
    (root / "survey").symlink_to(content.root() / "survey")
    (root / "site").symlink_to(REPOSITORY / "site")
    write(catalog, root, site / "pages")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--config-file",
        str(site / "mkdocs.yml"),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr + result.stdout
    return site / "build"


@pytest.fixture(scope="module")
def server(built: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(built))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def site(browser: sync_api.Browser, server: str) -> Iterator[Watched]:
    watched = Watched(browser, server, viewport={"width": 1280, "height": 860})
    yield watched
    watched.leave()


def model_with_alias(catalog: Catalog) -> tuple[Model, str]:
    """A model and a name of it that its own name does not contain."""
    for model in catalog.models.values():
        for alias in model.aliases:
            if re.fullmatch(r"[A-Za-z][\w -]{5,}", alias) and alias.lower() not in model.name.lower():
                return model, alias
    raise AssertionError("no model in the catalog has an alias")


def search_until(page: sync_api.Page, words: str, target: str) -> list[str]:
    """Type words into the search until a page is among the hits; return the pages of all hits, best first."""
    page.get_by_role("textbox", name="Search").click()
    page.keyboard.type(words)
    page.wait_for_selector(f'.md-search-result__link[href*="{target}"]', state="attached")
    links = page.query_selector_all(".md-search-result__link")
    # a page and its sections are hits of their own, and the address repeats the words to mark them
    pages = [urlsplit(str(link.get_attribute("href"))).path for link in links]
    return list(dict.fromkeys(pages))


def shown_rows(page: sync_api.Page) -> list[str]:
    return [row.inner_text() for row in page.query_selector_all(".mt tbody tr") if row.is_visible()]


def test_search_finds_a_model_by_its_alias(site: Watched, catalog: Catalog) -> None:
    model, alias = model_with_alias(catalog)
    target = f"models/{model.id}.html"
    hits = search_until(site.open("index.html"), alias, target)
    assert any(hit.endswith(target) for hit in hits[:3]), (alias, hits)


def test_search_works_from_files_with_no_server(browser: sync_api.Browser, built: Path, catalog: Catalog) -> None:
    model, alias = model_with_alias(catalog)
    files = Watched(browser, built.as_uri() + "/")
    target = f"models/{model.id}.html"
    hits = search_until(files.open("index.html"), alias, target)
    assert any(hit.endswith(target) for hit in hits[:3]), (alias, hits)
    files.leave()


def test_a_filter_filters_and_the_address_keeps_it(site: Watched, catalog: Catalog) -> None:
    expected = {
        model.id for model in catalog.models.values() if "radiology" in facets_of(model, catalog.taxonomy)["modality"]
    }
    assert 0 < len(expected) < len(catalog.models)
    page = site.open("models/index.html")
    assert len(shown_rows(page)) == len(catalog.models)
    page.locator('.mt-menu[data-facet="modality"] summary').click()
    page.locator('.mt-menu[data-facet="modality"] input[value="radiology"]').check()
    assert len(shown_rows(page)) == len(expected)
    assert parse_qs(urlsplit(page.url).query) == {"modality": ["radiology"]}
    links = {str(a.get_attribute("href")) for a in page.query_selector_all(".mt tbody td:first-child a")}
    assert links == {f"{id}.html" for id in expected}
    assert page.locator(".mt-status").inner_text() == f"{len(expected)} of {len(catalog.models)} models"


def test_an_address_brings_a_view_back(site: Watched, catalog: Catalog) -> None:
    wanted = [
        model
        for model in catalog.models.values()
        if model.release and model.release.status == "open" and model.parameters is not None
    ]
    assert len(wanted) > 2
    page = site.open("models/?status=open&sort=-parameters&columns=name,parameters")
    assert {
        cell.inner_text().split("\n")[0].rstrip(" ↕↓")
        for cell in page.query_selector_all(".mt th")
        if cell.is_visible()
    } == {
        "Model",
        "Parameters",
    }
    largest = max(wanted, key=lambda model: model.parameters or 0)
    assert largest.name in shown_rows(page)[0]
    assert page.locator('.mt-menu[data-facet="status"] input[value="open"]').is_checked()
    page.get_by_role("button", name="Clear all").click()
    assert len(shown_rows(page)) == len(catalog.models)
    assert "status" not in page.url


def test_words_filter_by_what_the_table_does_not_show(site: Watched, catalog: Catalog) -> None:
    model, alias = model_with_alias(catalog)
    page = site.open("models/index.html")
    page.locator(".mt-query").fill(alias)
    rows = shown_rows(page)
    assert any(model.name in row for row in rows)
    assert len(rows) < len(catalog.models)


def test_headers_sort_with_the_keyboard_and_say_so(site: Watched, catalog: Catalog) -> None:
    page = site.open("models/index.html")
    header = page.locator(".mt th", has_text="Year")
    header.locator("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    newest = max(model.release.year for model in catalog.models.values() if model.release)
    assert str(newest) in shown_rows(page)[0]
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    oldest = min(model.release.year for model in catalog.models.values() if model.release)
    assert str(oldest) in shown_rows(page)[0]


def test_a_narrow_screen_shows_every_page_without_sideways_scrolling(
    browser: sync_api.Browser, server: str, catalog: Catalog
) -> None:
    narrow = Watched(browser, server, viewport={"width": 400, "height": 800})
    first = next(iter(catalog.models))
    for path in (
        "index.html",
        "models/index.html",
        f"models/{first}.html",
        "results/index.html",
        "timeline.html",
        "taxonomy.html",
    ):
        page = narrow.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, path
    narrow.leave()


def test_without_scripts_the_table_is_a_plain_table(browser: sync_api.Browser, server: str, catalog: Catalog) -> None:
    plain = Watched(browser, server, java_script_enabled=False)
    page = plain.open("models/index.html")
    assert page.locator(".medfm-table tbody tr").count() == len(catalog.models)
    plain.leave()


def test_formulas_are_drawn_by_the_browser(site: Watched, catalog: Catalog) -> None:
    metric = next(metric for metric in catalog.metrics.values() if metric.definition and r"\frac" in metric.definition)
    page = site.open(f"metrics/{metric.id}.html")
    box = page.locator(".formula mfrac").first.bounding_box()
    assert box
    assert box["height"] > 20  # a fraction is higher than a line


def test_no_page_shows_an_error_or_asks_another_host(site: Watched, built: Path) -> None:
    pages = sorted(path.relative_to(built).as_posix() for path in built.rglob("*.html"))
    top = [page for page in pages if page.count("/") == 0 or page.endswith("/index.html")]
    records = [
        next(page for page in pages if page.startswith(f"{folder}/")) for folder in ("models", "datasets", "metrics")
    ]
    for path in top + records:
        site.open(path)


def test_every_local_link_and_file_of_the_built_site_exists(built: Path) -> None:
    known = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()}
    anchors = {name: _Addresses(built / name) for name in known if name.endswith(".html") and name != "404.html"}
    checked = 0
    for name, page in anchors.items():
        assert not page.loaded_from_elsewhere, name
        for address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = name
            if parts.path:
                target = os.path.normpath(str(Path(name).parent / unquote(parts.path)))
                target = (
                    os.path.normpath(f"{target}/index.html") if parts.path.endswith("/") or target == "." else target
                )
            assert target in known, (name, address)
            if parts.fragment and target in anchors:
                assert unquote(parts.fragment) in anchors[target].ids, (name, address)
            checked += 1
    assert checked > 1000


class _Addresses(HTMLParser):
    """What a page links to, what it loads, and which anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: set[str] = {"", "__codelineno"}
        self.loaded_from_elsewhere: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        loaded = values.get("src") or (values.get("href") if tag == "link" else None)
        if loaded and "//" in loaded:
            self.loaded_from_elsewhere.append(loaded)
        address = values.get("href") or values.get("src")
        if address:
            self.addresses.append(address)
