"""Makes the sandbox's Python, which environment.py describes: `python -m service.sandbox.install`.

The interpreter is a copy of the one that runs this, without parts that a model's code cannot use (Tk, tests, pip). The
packages are installed by uv, or by pip if there is no uv, with the lock's hashes. Everything is made in a folder with
another name, tried, and renamed at the end, so two installs at the same time do no harm, and a failed one leaves
nothing.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from service.sandbox.environment import INSTALL, Environment, NoEnvironment, environment_in, lock_text

# Parts of Python's library that need a screen, are for building, or are tests.
LEFT_OUT = (
    "__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip",
    "lib2to3", "config-*", "sitecustomize.py", "EXTERNALLY-MANAGED", "*.a", "_tkinter*",
)  # fmt: skip
# Modules that are imported once, to check the copy and to make the list of fonts.
TRIED = (
    "import ssl, sqlite3, zlib, lzma, bz2, ctypes, IPython, numpy, pandas, scipy.stats, sklearn, sympy, openpyxl, "
    "PIL, docx, pptx, pypdf, pypdfium2, lxml, selectolax.lexbor, charset_normalizer, seaborn, matplotlib.pyplot"
)
_PIP_TIMEOUT_S = 1800.0
_TRY_TIMEOUT_S = 300.0
# Far longer than an install takes.
_STALE_S = 24 * 3600.0


def install(folder: Path | None = None, uv: str | None = None) -> Environment:
    """Returns the environment, and makes it if it is missing. Raises NoEnvironment with the reason in one line."""
    made = environment_in(folder)
    if made.complete.exists():
        return made
    if sys.platform != "linux":
        raise NoEnvironment("the sandbox needs Linux")
    try:
        made.folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _sweep(made.folder.parent)
        new = Environment(Path(tempfile.mkdtemp(prefix=f".{made.folder.name}.", dir=made.folder.parent)))
    except OSError as error:
        raise NoEnvironment(f"cannot write to {made.folder.parent}: {error.strerror}") from None
    try:
        _copy_python(new)
        _add_packages(new, uv)
        _try(new)
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


def _add_packages(new: Environment, uv: str | None) -> None:
    lock = new.folder / "packages.lock"
    lock.write_text(lock_text())
    uv = uv or shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--python", sys.executable, "--compile-bytecode"]
    else:
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--target", str(new.packages), "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    _run([*command, "-r", str(lock)], os.environ | {"UV_PYTHON_DOWNLOADS": "never"}, "pip or uv", _PIP_TIMEOUT_S)


def _try(new: Environment) -> None:
    new.fonts.mkdir()
    alone = {"PATH": os.defpath, "PYTHONPATH": str(new.packages), "MPLCONFIGDIR": str(new.fonts), "MPLBACKEND": "agg"}
    alone["LD_LIBRARY_PATH"] = str(new.python / "lib")
    _run([str(new.interpreter), "-s", "-P", "-c", TRIED], alone, "the copied Python", _TRY_TIMEOUT_S)


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
    """Prints the folder, for scripts/setup.sh and the server. A failure is exit code 1 with its reason in one line.

    UV names the uv to use. With --where the folder is only printed.
    """
    named = os.environ.get("EVERTHREAD_SANDBOX_DIR")
    folder = Path(named) if named else None
    try:
        made_here = sys.argv[1:] != ["--where"]
        environment = install(folder, os.environ.get("UV") or None) if made_here else environment_in(folder)
    except NoEnvironment as error:
        sys.stderr.write(f"everthread: {error}\nWithout it code_interpreter is off. Again with {INSTALL}\n")
        sys.exit(1)
    sys.stdout.write(f"{environment.folder}\n")


if __name__ == "__main__":
    main()
