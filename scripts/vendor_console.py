"""Refreshes the libraries of the console: static/vendor/ in `service/console/`, and its manifest.

    scripts/vendor_console

It packs each package with npm, takes the files that the console needs, rewrites their imports to relative paths, and
records versions, licences and hashes. The manifest names the versions; change one there, and run this again.
tests/console/test_static_files.py compares the files with the manifest.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "service/console/static/vendor"
MANIFEST = VENDOR / "manifest.json"
PACK_TIMEOUT_S = 120
# An import of a module by its name, as these files write it: from"lit-html", import"@lit/reactive-element".
_IMPORT = re.compile(r"""(?P<head>\b(?:from|import)\s*)(?P<quote>["'])(?P<name>[@a-z][^"'\n]*)(?P=quote)""")
_SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=\S+\n?\Z")
_HLJS = ("bash", "css", "diff", "javascript", "json", "markdown", "python", "sql", "typescript", "xml", "yaml")
# KaTeX's sheet names each font in three formats. Every browser that runs the console reads woff2.
_OLD_FONTS = re.compile(r",url\(fonts/[^)]*\.(?:woff|ttf)\) format\(\"(?:woff|truetype)\"\)")


@dataclass(frozen=True, slots=True)
class Package:
    """A package of npm. `files` are globs in it; they keep their paths below `folder`, without `strip`."""

    name: str
    folder: str
    files: tuple[str, ...]
    strip: str = ""


PACKAGES = (
    Package("@lit/reactive-element", "reactive-element", ("reactive-element.js", "css-tag.js")),
    Package(
        "lit-html",
        "lit-html",
        (
            "lit-html.js",
            "is-server.js",
            "directive.js",
            "directive-helpers.js",
            "async-directive.js",
            *(f"directives/{name}.js" for name in ("class-map", "keyed", "live", "ref", "repeat")),
        ),
    ),
    Package("lit-element", "lit-element", ("lit-element.js",)),
    Package("lit", "lit", ("index.js",)),
    Package("uplot", "uplot", ("dist/uPlot.esm.js", "dist/uPlot.min.css"), strip="dist/"),
    Package(
        "@highlightjs/cdn-assets",
        "highlight",
        ("es/core.min.js", *(f"es/languages/{name}.min.js" for name in _HLJS)),
        strip="es/",
    ),
    Package("markdown-it", "markdown-it", ("dist/browser/markdown-it.esm.min.mjs",), strip="dist/browser/"),
    Package("dompurify", "dompurify", ("dist/purify.es.mjs",), strip="dist/"),
    Package("katex", "katex", ("dist/katex.min.js", "dist/katex.min.css", "dist/fonts/*.woff2"), strip="dist/"),
)
# The entry of each package that others import by its name.
ENTRIES = {
    "@lit/reactive-element": "reactive-element/reactive-element.js",
    "lit-html": "lit-html/lit-html.js",
    "lit-element": "lit-element/lit-element.js",
}


def main() -> None:
    """Writes all files, or ends with a message if a package cannot be had."""
    known = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {"packages": []}
    versions = {entry["name"]: entry["version"] for entry in known["packages"]}
    with tempfile.TemporaryDirectory() as folder:
        packages = [_vendor(package, versions.get(package.name), Path(folder)) for package in PACKAGES]
    MANIFEST.write_text(json.dumps({"packages": packages}, indent=2) + "\n")
    written = {file["path"] for entry in packages for file in entry["files"]} | {MANIFEST.name}
    for path in sorted(VENDOR.rglob("*")):
        if path.is_file() and path.relative_to(VENDOR).as_posix() not in written:
            path.unlink()


def _vendor(package: Package, version: str | None, folder: Path) -> dict[str, object]:
    """Writes the files of a package, and returns its entry of the manifest."""
    spec = f"{package.name}@{version or 'latest'}"
    command = ["npm", "pack", "--silent", "--json", spec]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PACK_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"everthread: {spec} cannot be had: {error}")
    packed = json.loads(done.stdout)
    packed = packed[0] if isinstance(packed, list) else next(iter(packed.values()))
    with tarfile.open(folder / packed["filename"]) as tarball:
        members = {name.partition("/")[2]: name for name in tarball.getnames()}

        def read(path: str) -> bytes:
            extracted = tarball.extractfile(members[path])
            assert extracted is not None
            return extracted.read()

        about = json.loads(read("package.json"))
        found = [path for path in sorted(members) for glob in package.files if fnmatchcase(path, glob)]
        files = [_write(f"{package.folder}/{path.removeprefix(package.strip)}", read(path)) for path in found]
        licence = next(path for path in sorted(members) if path.upper().startswith("LICENSE"))
        files.append(_write(f"{package.folder}/LICENSE.txt", read(licence)))
    return {
        "name": package.name,
        "version": about["version"],
        "license": about["license"],
        "integrity": packed["integrity"],
        "files": files,
    }


def _write(path: str, content: bytes) -> dict[str, str]:
    target = VENDOR / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix in (".js", ".mjs"):
        content = _rewrite(path, content.decode()).encode()
    elif target.suffix == ".css":
        content = _OLD_FONTS.sub("", content.decode()).encode()
    target.write_bytes(content)
    return {"path": path, "sha256": sha256(content).hexdigest()}


def _rewrite(path: str, text: str) -> str:
    """Makes the imports of other packages relative, and removes the name of the source map, which is not shipped."""

    def relative(match: re.Match[str]) -> str:
        name = match["name"]
        target = ENTRIES.get(name)
        if target is None:
            package = next((known for known in ENTRIES if name.startswith(f"{known}/")), None)
            if package is None:
                return match[0]
            target = f"{PurePosixPath(ENTRIES[package]).parent}/{name.removeprefix(f'{package}/')}"
        near = os.path.relpath(target, PurePosixPath(path).parent)
        return f"{match['head']}{match['quote']}{near if near.startswith('.') else f'./{near}'}{match['quote']}"

    return _SOURCE_MAP.sub("\n", _IMPORT.sub(relative, text))


if __name__ == "__main__":
    main()
