"""Makes the sandbox's Python, which environment.py describes: `python -m service.sandbox.install`.

The interpreter is a copy of the one that runs this, without parts that a model's code cannot use (Tk, tests, pip). The
packages are installed by uv, by pip if there is no uv, or by the pip of a temporary venv if there is neither, with the
lock's hashes. Those of an own list are added to links of the files of its set, with the lock's versions as constraints.
Everything is made in a folder with another name, tried, and renamed at the end, so two installs at the same time do no
harm, and a failed one leaves nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from email.parser import HeaderParser
from importlib.util import find_spec
from pathlib import Path

from service.sandbox.environment import INSTALL, Environment, NoEnvironment, environment_in
from service.sandbox.inside.fonts import MATPLOTLIBRC, write_stamp
from service.sandbox.packages import SMALL, PackageSet, read_requirements

# Parts of Python's library that need a screen, are for building, or are tests.
LEFT_OUT = (
    "__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip",
    "lib2to3", "config-*", "sitecustomize.py", "EXTERNALLY-MANAGED", "*.a", "_tkinter*",
)  # fmt: skip
# The fonts that come with packages: below the folder of packages, the files that matplotlib gets (the others are its
# own), and all that are in the folder of fonts.
_ADDED_FONTS = "paperang_p2_fonts_cjk/fonts/*.ttc"
_MATPLOTLIB_FONTS = "matplotlib/mpl-data/fonts/ttf"
_FONTS = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "*.ttc")
_NLTK_DATA = "llama_index/core/_static/nltk_cache"
_PIP_INSTALL = ("-m", "pip", "install", "--disable-pip-version-check")
_PIP_TIMEOUT_S = 1800.0
_TRY_TIMEOUT_S = 600.0
# Far longer than an install takes.
_STALE_S = 24 * 3600.0


def install(folder: Path | None = None, uv: str | None = None, packages: PackageSet = SMALL) -> Environment:
    """Returns the environment of these packages, and makes it if it is missing.

    Raises NoEnvironment with the reason in one line.
    """
    made = environment_in(folder, packages)
    if made.complete.exists():
        return made
    if sys.platform != "linux":
        raise NoEnvironment("the sandbox needs Linux")
    base = install(folder, uv, packages.base) if packages.requirements else None
    try:
        made.folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _sweep(made.folder.parent)
        new = Environment(Path(tempfile.mkdtemp(prefix=f".{made.folder.name}.", dir=made.folder.parent)))
    except OSError as error:
        raise NoEnvironment(f"cannot write to {made.folder.parent}: {error.strerror}") from None
    try:
        if base is None:
            _copy_python(new)
            _add_packages(new, uv, packages)
            _drop_tests(new)
            _add_fonts(new)
            names = packages.package_names
        else:
            _link_base(base, new)
            names = [*base.package_names(), *_add_own(new, uv, packages)]
        _try(new, packages.modules)
        new.names.write_text("".join(f"{name}\n" for name in names))
        new.disk.mkdir()
        _make_readable(new.folder)
        new.complete.write_text(sys.version + "\n")
        new.complete.chmod(0o644)
        _put_in_place(new.folder, made)
    except (OSError, shutil.Error) as error:
        raise NoEnvironment(f"cannot make {made.folder}: {error}") from None
    finally:
        shutil.rmtree(new.folder, ignore_errors=True)
    return made


def _sweep(parent: Path) -> None:
    """Removes the remains of installs that were killed."""
    for left in parent.glob(".sandbox-*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_S:
                shutil.rmtree(left, ignore_errors=True)


def _copy_python(new: Environment) -> None:
    """Copies the interpreter and its library, in a layout in which it finds its library."""
    library = new.python / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    ignored = shutil.ignore_patterns(*LEFT_OUT)
    for kind in ("stdlib", "platstdlib"):
        source = Path(sysconfig.get_path(kind, vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
        shutil.copytree(source, library, ignore=ignored, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    for shared in _shared_libraries():
        shutil.copy(shared, new.python / "lib")
    new.interpreter.parent.mkdir()
    shutil.copy(Path(getattr(sys, "_base_executable", sys.executable)).resolve(), new.interpreter)
    new.interpreter.with_name("python").symlink_to("python3")


def _shared_libraries() -> Iterable[Path]:
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return ()
    names = {sysconfig.get_config_var("LDLIBRARY"), sysconfig.get_config_var("INSTSONAME")}
    library = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    return [library / name for name in names if name and (library / name).exists()]


def _add_packages(new: Environment, uv: str | None, packages: PackageSet) -> None:
    _install_lock(new.packages, new.folder / "packages.lock", packages.lock, uv)
    if packages.nltk_data_lock is not None:
        wheel = new.folder / "nltk"
        _install_lock(wheel, new.folder / "nltk-data.lock", packages.nltk_data_lock, uv)
        for data in (wheel / _NLTK_DATA).glob("*/*.zip"):
            kind = new.packages / "nltk_data" / data.parent.name
            kind.mkdir(parents=True, exist_ok=True)
            shutil.move(data, kind)
        shutil.rmtree(wheel)


def _drop_tests(new: Environment) -> None:
    """Removes the tests of packages, a sixth of their size. numpy.testing needs those of numpy."""
    for folder, names, _ in os.walk(new.packages):
        if "tests" in names and Path(folder).relative_to(new.packages).parts[:1] != ("numpy",):
            shutil.rmtree(Path(folder, "tests"))
            names.remove("tests")


def _install_lock(target: Path, lock: Path, text: str, uv: str | None) -> None:
    lock.write_text(text)
    _pip(target, uv, ["--no-deps", "--require-hashes", "-r", str(lock)])


def _pip(target: Path, uv: str | None, arguments: list[str]) -> None:
    """Installs wheels into the folder `target`. Raises NoEnvironment."""
    arguments = ["--target", str(target), "--only-binary", ":all:", *arguments]
    env = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    uv = uv or shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--python", sys.executable, "--compile-bytecode"]
        _run([*command, *arguments], env, "uv", _PIP_TIMEOUT_S)
    elif find_spec("pip"):
        _run([sys.executable, *_PIP_INSTALL, *arguments], env, "pip", _PIP_TIMEOUT_S)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _run([sys.executable, "-m", "venv", folder], env, "there is no uv and no pip, and venv", _PIP_TIMEOUT_S)
            _run([str(Path(folder, "bin", "python")), *_PIP_INSTALL, *arguments], env, "pip", _PIP_TIMEOUT_S)


def _add_fonts(new: Environment) -> None:
    """Gives matplotlib the fonts that come with packages, and copies those that documents may need to `fonts`."""
    beside = new.packages / _MATPLOTLIB_FONTS
    for font in new.packages.glob(_ADDED_FONTS):
        shutil.copy(font, beside)
    new.fonts.mkdir()
    for pattern in _FONTS:
        for font in beside.glob(pattern):
            _link_or_copy(str(font), str(new.fonts / font.name))


def _link_base(base: Environment, new: Environment) -> None:
    for part in ("python", "packages", "fonts"):
        shutil.copytree(base.folder / part, new.folder / part, symlinks=True, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # it belongs to another user, or the disk has no links
        shutil.copy2(source, target)


def _add_own(new: Environment, uv: str | None, packages: PackageSet) -> list[str]:
    """Installs the packages of the own list. Returns the names of all that are new, sorted."""
    before = _distribution_names(new.packages)
    for name, text in (("constraints.txt", packages.constraints), ("requirements.txt", packages.requirements)):
        (new.folder / name).write_text(text)
    wanted = ["-c", str(new.folder / "constraints.txt"), "-r", str(new.folder / "requirements.txt")]
    _pip(new.packages, uv, wanted)
    return sorted(_distribution_names(new.packages) - before, key=str.lower)


def _distribution_names(packages: Path) -> set[str]:
    metadata = packages.glob("*.dist-info/METADATA")
    return {HeaderParser().parsestr(file.read_text(errors="replace"))["Name"] for file in metadata}


def _try(new: Environment, modules: str) -> None:
    """Imports the modules with the copied Python, which makes matplotlib's list of fonts. Raises NoEnvironment."""
    new.matplotlib.mkdir()
    (new.matplotlib / "matplotlibrc").write_text(MATPLOTLIBRC)
    alone = {"PATH": os.defpath, "PYTHONPATH": str(new.packages), "MPLBACKEND": "agg", "HOME": str(new.folder)}
    alone |= {"MPLCONFIGDIR": str(new.matplotlib), "LD_LIBRARY_PATH": str(new.python / "lib")}
    write_stamp(str(new.matplotlib))
    _run([str(new.interpreter), "-s", "-P", "-c", f"import {modules}"], alone, "the copied Python", _TRY_TIMEOUT_S)


def _run(command: list[str], env: dict[str, str], who: str, timeout_s: float) -> None:
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=timeout_s, check=False, cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NoEnvironment(f"{who} took more than {timeout_s:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        reason = next((line for line in said if "error" in line.lower()), said[-1])
        raise NoEnvironment(f"{who} failed: {reason.strip()}")


def _make_readable(folder: Path) -> None:
    """Makes everything readable for all and writable for the owner only, whatever the umask is."""
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in folders + names):
            if not path.is_symlink():
                mode = path.stat().st_mode
                wanted = 0o755 if path.is_dir() or mode & stat.S_IXUSR else 0o644
                if stat.S_IMODE(mode) != wanted:
                    path.chmod(wanted)
    folder.chmod(0o755)


def _put_in_place(new: Path, made: Environment) -> None:
    try:
        new.rename(made.folder)
    except OSError:
        if not made.complete.exists():  # a broken folder is in the way
            shutil.rmtree(made.folder)
            new.rename(made.folder)


def main() -> None:
    """Makes the Python of one set and prints its folder, for scripts/setup.sh and the server. A failure is exit code 1
    with its reason in one line.

    The arguments are the name of the set, and the path of a requirements file if the set has one. UV names the uv to
    use. With --where the folder is only printed.
    """
    # A shell that starts the server in the background lets its children ignore SIGINT, by which the server stops this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    directory = os.environ.get("EVERTHREAD_SANDBOX_DIR")
    folder = Path(directory) if directory else None
    only_prints = "--where" in sys.argv
    name, *requirements = [argument for argument in sys.argv[1:] if argument not in ("--where", "")] or ["small"]
    try:
        own = read_requirements(Path(requirements[0]) if requirements else None)
        packages = PackageSet("full" if name == "full" else "small", own)
        uv = os.environ.get("UV") or None
        environment = environment_in(folder, packages) if only_prints else install(folder, uv, packages)
    except (NoEnvironment, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"everthread: {error}\nWithout it code_interpreter is off. Again with {INSTALL}\n")
        sys.exit(1)
    sys.stdout.write(f"{environment.folder}\n")


if __name__ == "__main__":
    main()
