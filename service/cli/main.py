"""The command `everthread`."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from service.cli import (
    audit,
    backup,
    encryption,
    export,
    fork,
    import_export,
    imports,
    keys,
    logs,
    migrate,
    prove,
    prove_erasure,
    rebuild,
    reindex,
    replay,
    rerun,
    retention,
    runs,
    sandbox,
    show,
    threads,
    usage,
    verify,
    webhooks,
)
from service.cli.progress import StartProgress
from service.cli.start import ServerInfo, launch
from service.cli.stop_signals import run_loop, run_until_signal
from service.embedded.data_dir import StoredKey
from service.errors import CommandError, StartupError
from service.settings import Settings
from sql.seals import ContentErased

app = typer.Typer(
    name="everthread", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
)
app.add_typer(audit.audit, name="audit")
app.add_typer(encryption.encryption, name="encryption")
app.add_typer(keys.keys, name="keys")
app.add_typer(keys.projects, name="projects")
app.add_typer(retention.retention, name="retention")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(webhooks.webhooks, name="webhooks")
app.add_typer(threads.threads, name="threads")
app.add_typer(runs.runs, name="runs")
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(export.export)
app.command()(fork.fork)
app.command()(reindex.reindex)
app.command("import")(import_export.import_export)
app.command()(imports.import_openai)
app.command()(imports.import_azure)
app.command()(migrate.migrate)
app.command()(prove.prove)
app.command()(prove_erasure.prove_erasure)
app.command()(rebuild.rebuild)
app.command()(replay.replay)
app.command()(rerun.rerun)
app.command()(show.show)
app.command()(usage.usage)
app.command()(verify.verify)

_EXAMPLE = (
    "from openai import OpenAI; c = OpenAI(); "
    "a = c.beta.assistants.create(model='gpt-4o', instructions='You are a poet.'); "
    "t = {'messages': [{'role': 'user', 'content': 'Hello!'}]}; "
    "r = c.beta.threads.create_and_run_poll(assistant_id=a.id, thread=t); "
    "print(c.beta.threads.messages.list(r.thread_id).data[0].content[0].text.value)"
)

_PROVISIONING = (
    "  Code      code_interpreter is being set up in the background, once for each version (half a minute or more,\n"
    "            0.8 GB, then 1.9 GB for more packages); runs that need it wait for the first part"
)


@app.callback()
def everthread() -> None:
    """Everthread: a self-hosted server for the Assistants API."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen at (default 127.0.0.1)")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port, 0 for a free one (default 8000)")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the database, the API key and files")] = None,
    model_base_url: Annotated[str | None, typer.Option(help="An OpenAI-compatible model server")] = None,
    models: Annotated[Path | None, typer.Option(help="TOML file that maps model names to upstreams")] = None,
    max_runs: Annotated[int | None, typer.Option(help="Runs at once (default 64)")] = None,
    run_expires_s: Annotated[int | None, typer.Option(help="Seconds until a run expires (default 600)")] = None,
    beta: Annotated[str | None, typer.Option(help="strict or lenient on the OpenAI-Beta header")] = None,
    workers: Annotated[str | None, typer.Option(help="Processes that serve, or auto for the cores (default 1)")] = None,
    restored: Annotated[str | None, typer.Option(help="The reason, after a restore of the database")] = None,
) -> None:
    """Serve the API. Every option is also an environment variable: --data-dir is EVERTHREAD_DATA_DIR, and so on."""
    settings = Settings.load(
        host=host,
        port=port,
        data_dir=data_dir,
        model_base_url=model_base_url,
        models=models,
        max_runs=max_runs,
        run_expires_s=run_expires_s,
        beta=beta,
        workers=workers,
        restored=restored,
    )
    console = Console()
    logs.configure(settings.log_level)
    run_loop(_serve(settings, console))


async def _serve(settings: Settings, console: Console) -> None:
    """Serves until SIGINT or SIGTERM (see `run_until_signal`)."""
    with StartProgress(console) as progress:

        def announce(server: ServerInfo) -> None:
            progress.stop()
            _print_ready(console, server)

        work = launch(settings, progress, announce)
        if await run_until_signal(work, lambda: console.print("Stopping …")):
            console.print("Stopped.")


def describe_key(stored: StoredKey | None, *, is_terminal: bool) -> tuple[str, str]:
    """Returns the API key for a person and for a shell, or, if it is not to be shown, the way to it.

    The key is shown only by the start that made it, on a terminal: other output is often kept in logs.
    """
    if stored is None:
        return "that of EVERTHREAD_API_KEY", '"$EVERTHREAD_API_KEY"'
    if stored.is_new and is_terminal:
        return stored.key, stored.key
    return f"in the file {stored.file}", f'"$(cat {shlex.quote(str(stored.file))})"'


def _print_ready(console: Console, server: ServerInfo) -> None:
    key, key_in_shell = describe_key(server.api_key, is_terminal=console.file.isatty())
    lines = (
        "",
        "[bold green]Everthread is ready.[/]",
        f"  Base URL  {escape(server.base_url)}",
        f"  API key   {escape(key)}",
        f"  Model     {escape(server.model)}",
        *([f"  Console   {escape(server.console_url)}"] if server.console_url is not None else []),
        *([_PROVISIONING] if server.is_provisioning_sandbox else []),
        "",
        "Try it from another shell, where the openai package is installed:",
        "",
        f"export OPENAI_BASE_URL={escape(server.base_url)}",
        f"export OPENAI_API_KEY={escape(key_in_shell)}",
        f'python -c "{escape(_EXAMPLE)}"',
        "",
        "[dim]Ctrl-C stops it.[/]",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the command line. An expected failure prints one line and ends with exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (StartupError, CommandError, ContentErased) as error:
        Console(stderr=True).print(f"[red]everthread:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
