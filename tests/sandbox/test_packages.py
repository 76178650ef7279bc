"""The packages, fonts and programs of the sandbox, and how one set of packages replaces another."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path

import pytest

from service.sandbox import install as install_module
from service.sandbox.base import FONTS, Limits, Sandbox, SandboxUnavailable
from service.sandbox.bubblewrap import SandboxLauncher
from service.sandbox.contents import notice
from service.sandbox.environment import Environment, environment_in
from service.sandbox.factory import LocalSandboxSource
from service.sandbox.inside import fonts
from service.sandbox.install import install
from service.sandbox.packages import SMALL, PackageSet
from service.sandbox.pool import WarmSandboxes
from service.sandbox.probe import SandboxProbe
from service.sandbox.provisioning import Provisioning
from tests.sandbox.calls import fetched, say

ROOT = Path(__file__).resolve().parents[2]
FULL = PackageSet("full")
LIMITS = Limits(wall_s=120.0)
# The packages that people use in such tools. Those of REPLACED are not inside; the document says why.
EXPECTED = """
    requests statsmodels tqdm pytz sqlalchemy chardet faker qrcode xlrd odfpy jinja2 pyarrow h5py docx2txt fpdf2
    markdown pypdf pypdf2 PyMuPDF pdfplumber opencv-python-headless scikit-image imageio pydub soundfile shapely
    geopandas folium plotly bokeh altair wordcloud nltk gensim xgboost lightgbm numba networkx rapidfuzz jieba
    arabic-reshaper python-bidi babel tabulate numpy pandas matplotlib scipy scikit-learn sympy seaborn pillow openpyxl
    python-docx python-pptx reportlab
"""
REPLACED = {
    "PyMuPDF": ("pdfplumber", "pypdfium2"), "jieba": ("jieba-py",), "odfpy": ("odfdo", "python-calamine"),
    "xgboost": ("xgboost-cpu",),
}  # fmt: skip


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that every user may enter, as the sandbox's user must."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def sandbox(launcher: SandboxLauncher) -> Sandbox:
    return await LocalSandboxSource(SandboxProbe(), LIMITS).open()


def test_every_expected_package_is_in_the_full_set_or_the_document_names_what_replaces_it() -> None:
    named = {name.lower() for name in FULL.package_names}
    document = (ROOT / "docs/code-interpreter.md").read_text()
    for package in EXPECTED.split():
        if package in REPLACED:
            assert f"| `{package}` |" in document
            assert named.issuperset(REPLACED[package])
        else:
            assert package.lower() in named


def test_the_small_set_is_part_of_the_full_one_in_the_same_versions() -> None:
    small, full = ({line.split(" ;")[0] for line in packages.constraints.splitlines()} for packages in (SMALL, FULL))
    assert small < full
    assert len(small) > 60
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^ ;]+", line) for line in full)
    assert set(SMALL.package_names) < set(FULL.package_names)


def test_no_package_has_a_licence_that_binds_programs_that_use_it(launcher: SandboxLauncher) -> None:
    document = (ROOT / "docs/code-interpreter.md").read_text()
    folders = {launcher.environment.packages, *filter(Path.exists, [environment_in(None, FULL).packages])}
    for metadata in (file for folder in folders for file in folder.glob("*.dist-info/METADATA")):
        package = HeaderParser().parsestr(metadata.read_text(errors="replace"))
        fields = ("License-Expression", "License", "Classifier")
        licences = " ".join(line.splitlines()[0] for field in fields for line in package.get_all(field, []) if line)
        if re.search(r"\b[AL]?GPL|General Public|Affero", licences):
            assert "AGPL" not in licences
            assert "Affero" not in licences
            assert "Lesser" in licences or "LGPL" in licences, package["Name"]
            assert f"`{package['Name']}`" in document, "the document names those under the LGPL"


def stand_in(folder: Path, packages: PackageSet, real: Environment, names: str) -> None:
    """Makes an environment out of links to a real one, with other names of packages."""
    made = environment_in(folder, packages)
    made.folder.mkdir(parents=True)
    for part in ("python", "packages", "matplotlib", "fonts", "disk"):
        (made.folder / part).symlink_to(real.folder / part)
    made.names.write_text(names)
    made.complete.write_text("")


# Calls `stand_in` for the set whose name is its last argument, after the file `full` exists if it is the full one.
MAKES = """
import sys, time
from pathlib import Path
from service.sandbox.environment import Environment
from service.sandbox.packages import PackageSet
from tests.sandbox.test_packages import stand_in
folder, real, name = Path(sys.argv[1]), Environment(Path(sys.argv[2])), sys.argv[3]
while name == "full" and not (folder / "full").exists():
    time.sleep(0.01)
if name == "full" and (folder / "full").read_text():
    sys.exit((folder / "full").read_text())
stand_in(folder, PackageSet(name), real, name)
"""


async def test_the_small_set_serves_while_the_full_one_is_made_which_new_sessions_then_have(
    launcher: SandboxLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    making = Provisioning(
        tmp_path, FULL, command=[sys.executable, "-c", MAKES, str(tmp_path), str(launcher.environment.folder)]
    )
    probe = SandboxProbe(tmp_path, making, FULL)
    warm = WarmSandboxes(LocalSandboxSource(probe, LIMITS), count=1)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(making.run())
        keeping = group.create_task(warm.run())
        session = await warm.open()  # waits for the small set
        assert (making.is_running, work.done(), session.is_outdated) == (False, False, False)
        assert (await say(session, "kept = 1\nimport socket; socket.socket()")).shown.startswith(notice(["small"]))
        while not warm.count:
            await asyncio.sleep(0.01)
        (tmp_path / "full").write_text("")
        await work
        assert making.failure is None
        newer = await warm.open()
        assert (session.is_outdated, newer.is_outdated) == (True, False)
        assert (await say(newer, "import socket; socket.socket()")).shown.startswith(notice(["full"]))
        assert (await say(session, "kept")).shown == "1\n"
        keeping.cancel()
    assert Provisioning(tmp_path, FULL)._missing_sets() == []


async def test_a_full_set_that_cannot_be_made_or_used_leaves_the_small_one(
    launcher: SandboxLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "full").write_text("everthread: no space")
    making = Provisioning(
        tmp_path, FULL, command=[sys.executable, "-c", MAKES, str(tmp_path), str(launcher.environment.folder)]
    )
    await making.run()
    assert (making.failure, making.is_running) == ("no space", False)
    probe = SandboxProbe(tmp_path, making, FULL)
    small = (await probe.launcher()).environment
    assert small.package_names() == ["small"]
    assert probe.unavailable_reason is None
    broken = environment_in(tmp_path, FULL)
    broken.folder.mkdir()
    broken.complete.write_text("")
    assert probe.is_outdated(small)
    assert (await probe.launcher()).environment == small
    assert not probe.is_outdated(small)
    with pytest.raises(SandboxUnavailable):
        await SandboxProbe(tmp_path, None, FULL).launcher()


def test_an_own_list_is_another_environment_on_top_of_its_set() -> None:
    own = PackageSet("full", "humanize")
    assert own.stages == [SMALL, FULL, own]
    assert PackageSet("small", "humanize").stages == [SMALL, PackageSet("small", "humanize")]
    assert len({environment_in(None, packages).folder for packages in own.stages}) == 3


def write_wheel(folder: Path) -> Path:
    """Writes a wheel with the module own_words, and returns its path."""
    wheel = folder / "own_words-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        about = "own_words-1.0.dist-info"
        file.writestr("own_words.py", "WORDS = 7\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: own-words\nVersion: 1.0\n")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", "")
    return wheel


@pytest.mark.slow
def test_packages_are_installed_without_uv_and_without_a_pip_of_this_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(install_module, "find_spec", lambda name: None)
    install_module._pip(tmp_path / "packages", None, ["--no-deps", str(write_wheel(tmp_path))])
    assert (tmp_path / "packages" / "own_words.py").exists()


@pytest.mark.slow
async def test_packages_of_an_own_list_are_inside_and_named(launcher: SandboxLauncher, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    packages = PackageSet("small", f"# ours\n{wheel}\n")
    stand_in(tmp_path, SMALL, launcher.environment, "numpy\n")
    made = await asyncio.to_thread(install, tmp_path, os.environ.get("UV"), packages)
    assert made.package_names() == ["numpy", "own-words"]
    probe = SandboxProbe(tmp_path, packages=packages)
    session = await LocalSandboxSource(probe, LIMITS).open()
    shown = (await say(session, "import own_words, pandas; print(own_words.WORDS)\n!pip install own-words")).shown
    assert shown.startswith("7\nRequirement already satisfied: own-words")
    assert not (launcher.environment.packages / "own_words.py").exists()


PLOT = """
import matplotlib.pyplot as plt, warnings
warnings.filterwarnings("always", "Glyph")
def draw(name):
    plt.title("中文 العربية 日本語 한국어"); plt.plot([1, 2]); plt.savefig(name); plt.close()
draw("a.pdf")
import seaborn; seaborn.set_theme(); draw("b.png")
plt.rcParams["font.sans-serif"] = ["SimHei"]; draw("c.png")
plt.style.use("default"); plt.rcParams["font.family"] = "serif"; draw("d.svg")
open("e.py", "w").write("import matplotlib.pyplot as p; p.title('中文 العربية'); p.savefig('e.png')")
import subprocess, sys; subprocess.run([sys.executable, "-W", "always::UserWarning", "e.py"]);
"""


async def test_plots_have_glyphs_for_chinese_japanese_korean_and_arabic(sandbox: Sandbox) -> None:
    said = await say(sandbox, PLOT)
    assert (said.shown, said.done.failed) == ("", False)
    assert {"a.pdf", "b.png", "c.png", "d.svg", "e.png"} <= {file.path for file in said.done.changed}
    shown = (await say(sandbox, "import pdfplumber; print(pdfplumber.open('a.pdf').pages[0].extract_text())")).shown
    assert all(text in shown for text in ("中文", "日本語", "한국어"))
    await sandbox.close()


PDF = f"""
from fpdf import FPDF
page = FPDF(); page.add_page(); page.add_font("CJK", fname="{FONTS}/wqy-microhei.ttc"); page.set_font("CJK")
page.cell(text="中文 한국어"); page.output("fpdf.pdf")
from reportlab.pdfgen import canvas
from reportlab.pdfbase import pdfmetrics, ttfonts
pdfmetrics.registerFont(ttfonts.TTFont("CJK", "{FONTS}/wqy-microhei.ttc"))
pdfmetrics.registerFont(ttfonts.TTFont("A", "{FONTS}/DejaVuSans.ttf"))
page = canvas.Canvas("lab.pdf"); page.setFont("CJK", 20); page.drawString(100, 700, "中文 한국어")
page.setFont("A", 20); page.drawString(100, 600, "ابجد"); page.save()
import pdfplumber; print(*(pdfplumber.open(name).pages[0].extract_text() for name in ("fpdf.pdf", "lab.pdf")))
"""


async def test_pdf_files_have_these_glyphs_too(sandbox: Sandbox) -> None:
    said = await say(sandbox, PDF)
    assert not said.done.failed, said.shown
    assert said.shown.count("中文 한국어") == 2
    assert (await fetched(sandbox, "lab.pdf")).startswith(b"%PDF")
    await sandbox.close()


def test_a_list_of_fonts_that_are_not_the_systems_any_more_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, folder = tmp_path / "system", tmp_path / "matplotlib"
    (system / "truetype").mkdir(parents=True)
    folder.mkdir()
    monkeypatch.setattr(fonts, "_SYSTEM", str(system))
    (folder / "fontlist-v1.json").write_text("{}")
    (folder / "matplotlibrc").write_text(fonts.MATPLOTLIBRC)
    fonts.write_stamp(str(folder))
    fonts.drop_stale_list(str(folder))
    assert (folder / "fontlist-v1.json").exists()
    (system / "truetype/new").mkdir()
    fonts.drop_stale_list(str(folder))
    assert sorted(file.name for file in folder.iterdir()) == ["matplotlibrc", "system-fonts.json"]


PROGRAMS = {
    "ffmpeg": "ffmpeg -v error -f lavfi -i testsrc=d=1:s=64x64 out.mp4 && wc -c <out.mp4",
    "pandoc": "printf '# Title' >in.md; pandoc in.md -o out.docx && wc -c <out.docx",
    "pdftotext": "pdftotext in.pdf - | grep words",
    "tesseract": "tesseract in.png - | grep words",
}
INPUTS = f"""
from PIL import Image, ImageDraw, ImageFont
image = Image.new("RGB", (300, 80), "white"); font = ImageFont.truetype("{FONTS}/DejaVuSans.ttf", 36)
ImageDraw.Draw(image).text((5, 5), "some words", font=font, fill="black"); image.save("in.png")
from reportlab.pdfgen import canvas
page = canvas.Canvas("in.pdf"); page.drawString(100, 700, "some words"); page.save()
"""


async def test_programs_that_the_system_has_work_inside(sandbox: Sandbox) -> None:
    await say(sandbox, INPUTS)
    for name, command in PROGRAMS.items():
        shown = (await say(sandbox, f"!which {name}")).shown
        assert bool(shown) == (shutil.which(name, path=os.defpath) is not None), name
        if shown:
            assert (await say(sandbox, f"!{command} 2>&1")).shown.strip(), name
    await sandbox.close()


async def test_output_that_cannot_be_shown_says_so(sandbox: Sandbox) -> None:
    said = await say(sandbox, "display({'application/vnd.plotly.v1+json': {}}, raw=True)")
    assert said.shown == "[This kind of output cannot be shown here: save it to a file.]\n"
    assert (await say(sandbox, "!pip install bs4 sklearn")).shown.count("already satisfied") == 2
    await sandbox.close()
