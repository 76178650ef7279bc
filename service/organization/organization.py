"""The operations on projects and their keys, for HTTP. Every event is one of the project that it concerns.

The default project has no stream and no row: it exists from the start, and keeps its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from events import event_log
from events.api_key import AUDIT_SCOPES, ModifyKey, RevokeKey, Scope
from events.envelope import Origin
from events.errors import NotFound, Rejection
from events.ids import IdSource
from events.installation import INSTALLATION_ID, INSTALLATION_PROJECT
from events.project import DEFAULT_PROJECT, CreateProject, RenameProject
from events.streams import KEY, PROJECT
from projections import keys, projects
from projections.keys import ListedKey
from projections.projects import Project
from projections.rows import Page
from service.access.keys import make_key
from service.writer import Writer
from sql.connection import Connection

# The name of the default project.
DEFAULT_NAME = "default"
# Names that stand for something else where a project is named.
_TAKEN = (DEFAULT_NAME, "all", DEFAULT_PROJECT, INSTALLATION_PROJECT)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key. `secret` is the key itself, which is stored nowhere."""

    key: ListedKey
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """The limits of a key. One that is None does not apply."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_runs: int | None = None


class Organization:
    """The projects of the installation, and their keys."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def create_project(self, origin: Origin, name: str, *, ids: IdSource) -> Project:
        """Creates a project. Raises Rejection if another project has the name."""
        project_id = ids.new("proj")
        if await self._writer.find_repeat(PROJECT, replace(origin, project_id=project_id), project_id) is None:
            await self._write_name(origin, project_id, CreateProject(name))
        return await self.get_project(project_id)

    async def rename_project(self, origin: Origin, project_id: str, name: str) -> Project:
        """Gives a project another name. Raises NotFound, and Rejection if another project has the name."""
        project = await self.get_project(project_id)
        if project_id == DEFAULT_PROJECT:
            raise Rejection("The default project keeps its name.", param="name", code="invalid_value")
        if project.name != name:
            await self._write_name(origin, project_id, RenameProject(name))
        return await self.get_project(project_id)

    async def get_project(self, project_id: str) -> Project:
        """Returns the project. Raises NotFound."""
        async with self._writer.pool.acquire() as db:
            return await _get_project(db, project_id)

    async def list_projects(self, *, after: str | None, limit: int) -> Page[Project]:
        """Returns up to `limit` projects, the default one first, then the oldest. Raises NotFound for `after`."""
        async with self._writer.pool.acquire() as db:
            first = [await _get_project(db, DEFAULT_PROJECT)] if after is None else []
            position = None if after == DEFAULT_PROJECT else after
            found, more = await projects.page(db, after=position, limit=limit)
        listed = [*first, *found]
        return Page(listed[:limit], more or len(listed) > limit)

    async def create_key(
        self, origin: Origin, project_id: str, name: str, scope: Scope, limits: KeyLimits, *, ids: IdSource
    ) -> NewKey:
        """Creates a key of the project. Raises NotFound if the project does not exist.

        A repeated request (service.idempotency) is refused with Rejection, since the key itself is stored nowhere.
        """
        key_id, origin = ids.new("key"), replace(origin, project_id=project_id)
        if await self._writer.find_repeat(KEY, origin, key_id) is not None:
            message = (
                f"An earlier request with this Idempotency-Key has created the key {key_id}, and its answer showed the"
                " key. Revoke it and create another one if that answer was lost."
            )
            raise Rejection(message, code="key_already_shown")
        if project_id == INSTALLATION_PROJECT:
            if scope not in AUDIT_SCOPES:
                message = f"Only keys with the scope {' or '.join(AUDIT_SCOPES)} are for all projects."
                raise Rejection(message, param="scope", code="invalid_value")
        else:
            await self.get_project(project_id)
        secret, command = make_key(
            name,
            scope,
            requests_per_minute=limits.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute,
            max_runs=limits.max_runs,
        )
        await self._writer.write(KEY, origin, key_id, command)
        return NewKey(await self.get_key(project_id, key_id), secret)

    async def modify_key(
        self, origin: Origin, project_id: str, key_id: str, changes: Mapping[str, str | int | None]
    ) -> ListedKey:
        """Changes the name and the limits that `changes` names. Raises NotFound if the key is revoked or missing."""

        async def merge(db: Connection) -> ModifyKey:
            """Returns the command from the key as it is at the version at which the command is decided."""
            key = await keys.get(db, project_id, key_id)
            fields = ("name", "requests_per_minute", "tokens_per_minute", "max_runs")
            values = {name: changes.get(name, getattr(key, name)) for name in fields}
            return ModifyKey(**values)

        await self._writer.write(KEY, replace(origin, project_id=project_id), key_id, merge)
        return await self.get_key(project_id, key_id)

    async def revoke_key(self, origin: Origin, project_id: str, key_id: str) -> None:
        """Revokes the key; every process refuses it within a second. Raises NotFound if it is revoked or missing."""
        await self.get_key(project_id, key_id)
        await self._writer.write(KEY, replace(origin, project_id=project_id), key_id, RevokeKey())

    async def get_key(self, project_id: str, key_id: str) -> ListedKey:
        """Returns a key of the project. Raises NotFound if it is revoked or missing."""
        async with self._writer.pool.acquire() as db:
            return await keys.get(db, project_id, key_id)

    async def list_keys(self, project_id: str, *, after: str | None, limit: int, has_revoked: bool) -> Page[ListedKey]:
        """Returns up to `limit` keys of the project, the oldest first. Raises NotFound."""
        async with self._writer.pool.acquire() as db:
            if project_id != INSTALLATION_PROJECT:
                await _get_project(db, project_id)
            found, more = await keys.page(db, project_id, after=after, limit=limit, has_revoked=has_revoked)
        return Page(found, more)

    async def _write_name(self, origin: Origin, project_id: str, command: CreateProject | RenameProject) -> None:
        """Carries out the command. Raises Rejection if another project has its name.

        The name is looked up in the transaction of the append, behind a lock, so two requests cannot give the same one.
        """
        name = command.name

        async def require_free(db: Connection) -> None:
            await projects.lock_names(db)
            if name in _TAKEN or any(found.id != project_id for found in await projects.find(db, name)):
                raise Rejection(f"There is a project '{name}' already.", param="name", code="invalid_value")

        origin = replace(origin, project_id=project_id)
        await self._writer.write(PROJECT, origin, project_id, command, guard=require_free)


async def _get_project(db: Connection, project_id: str) -> Project:
    if project_id != DEFAULT_PROJECT:
        return await projects.get(db, project_id)
    for first in await event_log.read(db, INSTALLATION_ID, limit=1):
        return Project(DEFAULT_PROJECT, DEFAULT_NAME, first.at)
    raise NotFound("project", project_id)
