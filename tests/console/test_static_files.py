"""The files of the console: the page, its policy, its libraries, and the house's rules for scripts."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from service.console.static_files import load_static_files
from tests.client import Client
from tests.console.browser_requests import browser_of

STATIC = Path(__file__).resolve().parents[2] / "service/console/static"
VENDOR = STATIC / "vendor"
MAX_LINES = 300
OURS = sorted(path for path in STATIC.rglob("*") if path.is_file() and VENDOR not in path.parents)
SCRIPTS = [path for path in OURS if path.suffix == ".js"]
_IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["']([^"']+)["']""")


async def test_a_browser_is_led_to_the_console(client: Client) -> None:
    async with browser_of(client) as browser:
        status, _, headers = await browser.answer("GET", "/", headers={"Accept": "text/html,*/*;q=0.8"})
        assert (status, headers["Location"]) == (302, "/console")
        assert await browser.status("GET", "/", headers={"Accept": "*/*"}) == 401


async def test_every_view_is_the_page_with_a_strict_policy(client: Client) -> None:
    async with browser_of(client) as browser:
        for path in ("/console", "/console/threads/thread_1/runs/run_1", "/console/any"):
            status, body, headers = await browser.answer("GET", path, headers={})
            assert status == 200
            assert b"<et-app>" in body
            policy = headers["Content-Security-Policy"]
            assert "unsafe" not in policy
            assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(
                policy.split("; ")
            )
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["X-Content-Type-Options"] == "nosniff"


async def test_files_have_etags_and_are_kept_for_good_under_their_version(client: Client) -> None:
    files = load_static_files()
    path = f"/console/assets/{files.version}/app/main.js"
    async with browser_of(client) as browser:
        status, body, headers = await browser.answer("GET", path, headers={})
        assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert body == (STATIC / "app/main.js").read_bytes()
        assert "immutable" in headers["Cache-Control"]
        again = await browser.status("GET", path, headers={"If-None-Match": headers["ETag"]})
        assert again == 304
        _, _, old = await browser.answer("GET", "/console/assets/old/app/main.js", headers={})
        assert old["Cache-Control"] == "no-cache"
        assert await browser.status("GET", "/console/assets/x/app/none.js", headers={}) == 404


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.relative_to(STATIC).as_posix())
def test_a_file_of_ours_keeps_the_house_rules(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    assert not re.search(r"""\bstyle=["']""", text), "the policy blocks style attributes"
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), "nothing is loaded from elsewhere"
    assert text.count('define("et-') <= 1, "one component a file"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|unsafeHTML", text)


@pytest.mark.parametrize("path", sorted(STATIC.rglob("*.*js")), ids=lambda path: path.relative_to(STATIC).as_posix())
def test_imports_are_relative_and_lead_to_files(path: Path) -> None:
    for name in _IMPORT.findall(path.read_text()):
        if VENDOR in path.parents and not name.startswith("."):
            continue  # texts of minified code that look like imports; the next test knows the real ones
        assert name.startswith("."), name
        assert (path.parent / name).resolve().is_file(), name


def test_the_libraries_are_those_of_the_manifest() -> None:
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    known = {file["path"]: file["sha256"] for package in manifest["packages"] for file in package["files"]}
    found = {path.relative_to(VENDOR).as_posix(): path for path in VENDOR.rglob("*") if path.is_file()}
    assert set(found) - {"manifest.json"} == set(known)
    for path, digest in known.items():
        assert sha256(found[path].read_bytes()).hexdigest() == digest, path
    for package in manifest["packages"]:
        assert package["version"]
        assert package["license"] in {"BSD-3-Clause", "MIT", "(MPL-2.0 OR Apache-2.0)"}
        assert any(file["path"].endswith("LICENSE.txt") for file in package["files"])
    for path in found.values():
        if path.suffix in (".js", ".mjs"):
            assert not re.search(r"""(?:^|[;}])\s*(?:import|export)[^;"']*from\s*["'](?!\.)""", path.read_text())
        elif path.suffix == ".css":
            assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", path.read_text())
