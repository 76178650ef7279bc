"""`everthread sandbox`: what code_interpreter runs in, made and tried from the command line."""

from __future__ import annotations

import asyncio

import typer
from rich.console import Console

from service.cli import logs
from service.errors import CommandError
from service.settings import Settings

app = typer.Typer(no_args_is_help=True, help="What code_interpreter runs in.", rich_markup_mode=None)


@app.command()
def install() -> None:
    """Make the sandbox's Python, where it is not there yet: a copy of this one with packages of its own (800 MB)."""
    from service.sandbox.environment import NoEnvironment
    from service.sandbox.install import install as make

    try:
        environment = make(Settings.load().sandbox_dir)
    except NoEnvironment as error:
        raise CommandError(str(error)) from None
    Console().print(str(environment.folder), highlight=False, soft_wrap=True)


@app.command()
def check() -> None:
    """Try whether code can be confined on this machine, as the server does at its start."""
    from service.sandbox.base import SandboxUnavailable
    from service.sandbox.probe import Confinement

    logs.configure("error")
    confinement = Confinement(Settings.load().sandbox_dir)
    try:
        jail = asyncio.run(confinement.confined())
    except SandboxUnavailable as error:
        raise CommandError(f"there is no sandbox here: {error}") from None
    bounds = ", ".join(sorted(jail.cgroups.controllers)) or "none: the limits hold for each process alone"
    Console().print(f"The sandbox works. Control groups: {bounds}", highlight=False, soft_wrap=True)
