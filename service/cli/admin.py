"""What the command line does to the database: through the same Writer as everybody, with actor `cli`.

The database is the one of the settings, else that of the data directory: where a live server has it, its Postgres is
asked over its socket; where none runs, Postgres is started for the moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from events.api_key import RevokeKey, Scope
from events.envelope import Origin
from events.ids import new_id
from events.project import DEFAULT_PROJECT, CreateProject
from events.streams import KEY, PROJECT
from projections import keys, projects
from projections.projects import Project
from service.access.keys import make_key
from service.database import Pool, open_pool
from service.embedded.data_dir import DataDir, default_data_dir
from service.embedded.postgres import EmbeddedPostgres
from service.errors import CommandError, StartupError
from service.feed import Feed
from service.settings import Settings
from service.writer import Writer

ACTOR = "cli"
# The default project's name, which no other may take.
DEFAULT_NAME = "default"


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Writer]:
    """A writer over the database while the context lasts. Raises StartupError, CommandError."""
    async with AsyncExitStack() as stack:
        url = settings.database_url.get_secret_value() if settings.database_url is not None else None
        pool = await open_pool(url or await _embedded(settings, stack))
        stack.callback(pool.terminate)
        yield Writer(pool, Feed())


async def create_project(writer: Writer, name: str) -> str:
    """The new project's id. Raises CommandError for a name that is taken."""
    if name == DEFAULT_NAME or await _found(writer.pool, name):
        raise CommandError(f"There is a project '{name}' already.")
    project_id = new_id("proj")
    await writer.write(PROJECT, Origin(project_id, ACTOR), project_id, CreateProject(name))
    return project_id


async def create_key(
    writer: Writer,
    project: str,
    name: str,
    scope: Scope,
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    max_runs: int | None = None,
) -> tuple[str, str]:
    """(id, key) of a new key of the project of that id or name. Raises CommandError where there is none."""
    project_id = await project_id_of(writer.pool, project)
    key_id = new_id("key")
    key, command = make_key(
        name,
        scope,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_runs=max_runs,
    )
    await writer.write(KEY, Origin(project_id, ACTOR), key_id, command)
    return key_id, key


async def revoke_key(writer: Writer, key_id: str) -> bool:
    """Whether it was good until now. Raises NotFound."""
    async with writer.pool.acquire() as db:
        project_id = await keys.project_of(db, key_id)
    return bool((await writer.write(KEY, Origin(project_id, ACTOR), key_id, RevokeKey())).recorded)


async def project_id_of(pool: Pool, named: str) -> str:
    """The id of the project of that id or name. Raises CommandError where it is not exactly one."""
    if named in (DEFAULT_PROJECT, DEFAULT_NAME):
        return DEFAULT_PROJECT
    found = await _found(pool, named)
    if not found:
        raise CommandError(f"There is no project '{named}': see everthread projects list.")
    if len(found) > 1:
        raise CommandError(f"Several projects are named '{named}': give the id.")
    return found[0].id


async def _found(pool: Pool, named: str) -> list[Project]:
    async with pool.acquire() as db:
        return await projects.find(db, named)


async def _embedded(settings: Settings, stack: AsyncExitStack) -> str:
    """The URL of the data directory's own Postgres, which is started here where no server has it."""
    path = (settings.data_dir or default_data_dir()).expanduser().absolute()
    if not EmbeddedPostgres(path).exists:
        raise CommandError(
            f"There is no database in {path} yet: start the server once (everthread serve), name its --data-dir, or set"
            " EVERTHREAD_DATABASE_URL."
        )
    try:
        held = DataDir.acquire(path)
    except StartupError:
        return _of_live_server(path)
    stack.callback(held.release)
    postgres = EmbeddedPostgres(path)
    stack.push_async_callback(postgres.stop)
    return await postgres.start()


def _of_live_server(path: Path) -> str:
    url = EmbeddedPostgres(path).running_url()
    if url is None:
        raise CommandError(f"Somebody is starting or stopping a server in {path}. Please try again.")
    return url
