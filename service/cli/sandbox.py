"""The commands `everthread sandbox`: install and check the sandbox that code_interpreter runs in."""

from __future__ import annotations

import asyncio

import typer
from rich.console import Console

from service.cli import logs
from service.errors import CommandError
from service.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The sandbox of code_interpreter: install, check.", rich_markup_mode=None)


@app.command()
def install() -> None:
    """Install the sandbox's Python if it is missing: a copy of this one with the packages of EVERTHREAD_CODE_PACKAGES.

    The set `small` takes 0.8 GB of disk, `full` 1.9 GB.
    """
    from service.sandbox.environment import NoEnvironment
    from service.sandbox.install import install as make

    settings = Settings.load()
    try:
        environment = make(settings.sandbox_dir, packages=settings.code_package_set)
    except NoEnvironment as error:
        raise CommandError(str(error)) from None
    Console().print(str(environment.folder), highlight=False, soft_wrap=True)


@app.command()
def check() -> None:
    """Check whether this machine can run the sandbox, as the server does when it starts."""
    from service.sandbox.base import SandboxUnavailable
    from service.sandbox.probe import SandboxProbe

    logs.configure("error")
    settings = Settings.load()
    probe = SandboxProbe(settings.sandbox_dir, packages=settings.code_package_set)
    try:
        launcher = asyncio.run(probe.launcher())
    except SandboxUnavailable as error:
        raise CommandError(f"there is no sandbox here: {error}") from None
    bounds = ", ".join(sorted(launcher.cgroups.controllers)) or "none; limits apply to each process alone"
    packages = ", ".join(launcher.environment.package_names())
    text = f"The sandbox works. Control groups: {bounds}. Packages: {packages}"
    Console().print(text, highlight=False, soft_wrap=True)
