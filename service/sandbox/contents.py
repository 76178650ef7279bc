"""The files of ours that a session's sandbox has in its folder of code: the runner, and the answers to attempts to use
the network or to install packages.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

# The main script of a session. It imports disk.py and fonts.py, which lie beside it.
RUNNER = "runner.py"
# The folders that come first among the modules and programs of the sandbox.
MODULES, PROGRAMS = "site", "bin"
NOTICE = "notice.txt"
# Programs that only report that there is no network. The sandbox may have some of them from the system.
REFUSING_PROGRAMS = (
    "apk", "apt", "apt-get", "aria2c", "brew", "conda", "curl", "dig", "dnf", "easy_install", "ftp", "host", "mamba",
    "micromamba", "nc", "ncat", "nmap", "npm", "npx", "nslookup", "ping", "pipenv", "pipx", "pixi", "pnpm", "poetry",
    "scp", "sftp", "ssh", "telnet", "traceroute", "uv", "uvx", "wget", "whois", "yarn", "yum",
)  # fmt: skip
_PIP = "#!/opt/python/bin/python3\nimport sys\nfrom pip import main\nsys.exit(main())\n"
# As `report` of network.py does.
_REPORT = f"""if [ "${{SANDBOX_OUTPUT:-}}" ] && [ "$SANDBOX_OUTPUT" != "$(readlink /proc/self/fd/2)" ]
then : >/tmp/.no-network; else cat /opt/code/{NOTICE} >&2; fi; exit 1"""
_REFUSE = f"#!/bin/sh\n{_REPORT}\n"
_SUDO = '#!/bin/sh\nexec "$@"\n'
# The system's git, except for its commands that need another repository over the network.
_GIT = f"""#!/bin/sh
case "$1 $*" in clone*://*|clone*@*|fetch*|pull*|push*|ls-remote*) {_REPORT};; esac
exec /usr/bin/git "$@"
"""
_MODULE_FILES = {
    "pip/__main__.py": "import sys\nfrom pip import main\nsys.exit(main())\n",
    "ensurepip/__init__.py": "from pip import __version__, main\n\n\ndef version():\n    return __version__\n\n\n"
    "def bootstrap(**_):\n    main(['download', 'pip'])\n",
    "ensurepip/__main__.py": "import sys\nfrom pip import main\nsys.exit(main(['download', 'pip']))\n",
    "pip/_internal/__init__.py": "from pip import main\n",
    "pip/_internal/cli/__init__.py": "",
    "pip/_internal/cli/main.py": "from pip import main\n",
}


def notice(packages: Sequence[str]) -> str:
    """Returns the line that code gets if it tries to use the network or to install a package."""
    return f"There is no network in this sandbox. Packages cannot be installed; these are: {', '.join(packages)}.\n"


def session_files(packages: Sequence[str]) -> dict[str, str]:
    """Returns the text of each file by its path below the folder of code. A text that begins with #! is a program."""
    read = _inside()
    found = {name: read[name] for name in (RUNNER, "disk.py", "fonts.py")} | {NOTICE: notice(packages)}
    found[f"{MODULES}/sitecustomize.py"] = read["network.py"]
    found[f"{MODULES}/pip/__init__.py"] = read["pip.py"]
    found |= {f"{MODULES}/{path}": text for path, text in _MODULE_FILES.items()}
    found |= {f"{PROGRAMS}/{name}": _PIP for name in ("pip", "pip3")}
    found |= {f"{PROGRAMS}/git": _GIT, f"{PROGRAMS}/sudo": _SUDO}
    return found | {f"{PROGRAMS}/{name}": _REFUSE for name in REFUSING_PROGRAMS}


@cache
def _inside() -> dict[str, str]:
    names = (RUNNER, "disk.py", "fonts.py", "network.py", "pip.py")
    return {name: files("service.sandbox.inside").joinpath(name).read_text() for name in names}
