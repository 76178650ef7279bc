"""Administration of projects and keys, by the same Writer as the server. The actor is `cli:user@host`.

The database is the one that the settings name. If they name none, it is the embedded Postgres of the data directory:
that of a running server is reached over its socket; if no server runs, Postgres is started until the command ends.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path

from events import event_log
from events.actors import CommandLineActor
from events.api_key import AUDIT_SCOPES, RevokeKey, Scope
from events.envelope import Origin
from events.ids import IdSource
from events.installation import INSTALLATION_PROJECT, AuditRead, RecordActs
from events.project import DEFAULT_PROJECT
from events.streams import KEY, THREAD
from projections import keys, projects
from projections.projects import Project
from service.access.keys import make_key
from service.audit.acts import write_installation
from service.database import Pool, connect, open_pool
from service.embedded.data_dir import DataDir, default_data_dir
from service.embedded.postgres import DatabaseUrls, EmbeddedPostgres
from service.embedded.postgres_roles import SERVICE_ROLE
from service.errors import CommandError, StartupError
from service.feed import Feed
from service.migrations import check_migrated, prepare_database
from service.organization.organization import DEFAULT_NAME, Organization
from service.secrets.encryption import prepare_encryption, read_keys
from service.secrets.key_source import EncryptionKeySource
from service.secrets.stream_keys import StreamKeys
from service.settings import Settings
from service.system import RandomIds, SystemClock
from service.writer import Writer
from sql.connection import Connection

# Stands for the whole installation if it is given as the project of a key. Only keys for the audit can have it.
ALL_PROJECTS = "all"


@asynccontextmanager
async def open_writer(settings: Settings) -> AsyncIterator[Writer]:
    """Yields a writer over the database. Raises StartupError if there is no connection, CommandError if no database."""
    source = _key_source(settings)
    async with AsyncExitStack() as stack:
        if settings.database_url is not None:
            url = owner_url = settings.database_url.get_secret_value()
            keys = await read_keys(source)
            await prepare_database(url)
        else:
            embedded = await _embedded_urls(settings, stack)
            url, owner_url = embedded.service, embedded.owner
            keys = await read_keys(source)
            await prepare_database(owner_url, service_role=SERVICE_ROLE)
        # As the first server would: this command may be the first process that writes.
        db = await connect(owner_url)
        try:
            await prepare_encryption(db, source, keys, wants_encryption=settings.encryption == "on")
        finally:
            await db.close()
        pool = await open_pool(url)
        stack.callback(pool.terminate)
        yield Writer(pool, Feed(), clock=SystemClock(), ids=RandomIds())


@cache
def actor() -> CommandLineActor:
    """Returns the person at the command line: their account on this machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in containers
        user = str(os.getuid())
    return CommandLineActor(f"{user}@{socket.gethostname()}")


async def record_deleted_read(pool: Pool, thread_id: str, command: str) -> None:
    """Records that a person reads what was deleted from a thread. Call it before anything is shown.

    Records nothing if there is no such thread.
    """
    async with pool.acquire() as db:
        head = await event_log.head(db, thread_id, THREAD)
    if head.project_id is None:
        return
    act = AuditRead(project_id=head.project_id, path=f"everthread {command} {thread_id} --deleted", count=1)
    writer = Writer(pool, Feed(), clock=SystemClock(), ids=RandomIds())
    await write_installation(writer, Origin(INSTALLATION_PROJECT, actor()), RecordActs((act,)))


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[str]:
    """Yields the URL of the database for the service's role, as it is: nothing is migrated.

    Raises StartupError if it cannot be reached or is not migrated, and CommandError if there is none.
    """
    async with AsyncExitStack() as stack:
        given = settings.database_url
        url = given.get_secret_value() if given is not None else (await _embedded_urls(settings, stack)).service
        await check_migrated(url)
        await read_keys(_key_source(settings))
        await _check_keys(url)
        yield url


def _key_source(settings: Settings) -> EncryptionKeySource:
    return settings.encryption_keys((settings.data_dir or default_data_dir()).expanduser().absolute())


async def _check_keys(url: str) -> None:
    """Raises KeyMissing if the database is encrypted and its key is missing."""
    db = await connect(url)
    try:
        await StreamKeys().check(db)
    finally:
        await db.close()


@asynccontextmanager
async def open_owner_connection(
    settings: Settings,
) -> AsyncIterator[tuple[Connection, EncryptionKeySource, list[bytes]]]:
    """Yields a connection of the owner of the tables, and the source of the key-encryption keys with its keys.

    Raises as `open_database`.
    """
    async with AsyncExitStack() as stack:
        given = settings.database_url
        url = given.get_secret_value() if given is not None else (await _embedded_urls(settings, stack)).owner
        await check_migrated(url)
        source = _key_source(settings)
        keys = await read_keys(source)
        await _check_keys(url)
        db = await connect(url)
        stack.push_async_callback(db.close)
        yield db, source, keys


@asynccontextmanager
async def open_owner_url(settings: Settings) -> AsyncIterator[str]:
    """Yields the URL of the database for the owner of its tables. Raises as `open_database`."""
    async with AsyncExitStack() as stack:
        given = settings.database_url
        url = given.get_secret_value() if given is not None else (await _embedded_urls(settings, stack)).owner
        await check_migrated(url)
        yield url


async def create_project(writer: Writer, name: str, *, ids: IdSource) -> str:
    """Creates a project and returns its id. Raises Rejection if another project has the name."""
    return (await Organization(writer).create_project(Origin(DEFAULT_PROJECT, actor()), name, ids=ids)).id


async def create_key(
    writer: Writer,
    project: str,
    name: str,
    scope: Scope,
    *,
    ids: IdSource,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    max_runs: int | None = None,
) -> tuple[str, str]:
    """Creates a key of the project with that id or name, and returns (key id, key).

    `project` "all" stands for the whole installation. Raises CommandError if there is no such project, or several, or
    if the scope is not for all.
    """
    if project == ALL_PROJECTS:
        if scope not in AUDIT_SCOPES:
            raise CommandError(f"--project all: only keys with the scope {' or '.join(AUDIT_SCOPES)} are for all.")
        project_id = INSTALLATION_PROJECT
    else:
        project_id = await project_id_of(writer.pool, project)
    key_id = ids.new("key")
    key, command = make_key(
        name,
        scope,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        max_runs=max_runs,
    )
    await writer.write(KEY, Origin(project_id, actor()), key_id, command)
    return key_id, key


async def revoke_key(writer: Writer, key_id: str) -> bool:
    """Revokes a key. Returns False if it was revoked before. Raises NotFound if there is no such key."""
    async with writer.pool.acquire() as db:
        project_id = await keys.project_of(db, key_id)
    return bool((await writer.write(KEY, Origin(project_id, actor()), key_id, RevokeKey())).recorded)


async def project_id_of(pool: Pool, named: str) -> str:
    """Returns the id of the project with that id or name. Raises CommandError if there is none, or several."""
    if named in (DEFAULT_PROJECT, DEFAULT_NAME):
        return DEFAULT_PROJECT
    found = await _find_projects(pool, named)
    if not found:
        raise CommandError(f"There is no project '{named}': see everthread projects list.")
    if len(found) > 1:
        raise CommandError(f"Several projects are named '{named}': give the id.")
    return found[0].id


async def _find_projects(pool: Pool, named: str) -> list[Project]:
    async with pool.acquire() as db:
        return await projects.find(db, named)


async def _embedded_urls(settings: Settings, stack: AsyncExitStack) -> DatabaseUrls:
    """Returns the URLs of the data directory's Postgres, which is started here if no server runs it."""
    path = (settings.data_dir or default_data_dir()).expanduser().absolute()
    if not EmbeddedPostgres(path).exists:
        raise CommandError(
            f"There is no database in {path} yet: start the server once (everthread serve), name its --data-dir, or set"
            " EVERTHREAD_DATABASE_URL."
        )
    try:
        data_dir = DataDir.acquire(path)
    except StartupError:
        return _running_urls(path)
    stack.callback(data_dir.release)
    postgres = EmbeddedPostgres(path)
    stack.push_async_callback(postgres.stop)
    await postgres.start()
    return postgres.urls


def _running_urls(path: Path) -> DatabaseUrls:
    urls = EmbeddedPostgres(path).running_urls()
    if urls is None:
        raise CommandError(f"A server in {path} is starting or stopping. Please try again.")
    return urls
