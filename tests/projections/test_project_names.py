"""Names of projects, which requests at the same time cannot give twice."""

from __future__ import annotations

import asyncio

from events.actors import CommandLineActor
from events.envelope import Origin
from events.errors import Rejection
from events.project import DEFAULT_PROJECT
from projections import projects
from service.database import Pool
from service.organization.organization import Organization
from sql.connection import Connection
from tests.clock import IDS
from tests.projections.helpers import writer

ORIGIN = Origin(DEFAULT_PROJECT, CommandLineActor())


async def names(db: Connection) -> list[str]:
    return sorted([project.name async for project in projects.list_projects(db)])


async def test_requests_at_the_same_time_give_a_name_once(pool: Pool, db: Connection) -> None:
    organizations = [Organization(writer(pool)) for _ in range(6)]
    made = await asyncio.gather(
        *(each.create_project(ORIGIN, "Research", ids=IDS) for each in organizations), return_exceptions=True
    )
    assert sum(isinstance(each, projects.Project) for each in made) == 1
    assert sum(isinstance(each, Rejection) for each in made) == 5
    others = [await each.create_project(ORIGIN, f"P{number}", ids=IDS) for number, each in enumerate(organizations)]
    renamed = await asyncio.gather(
        *(each.rename_project(ORIGIN, other.id, "Lab") for each, other in zip(organizations, others, strict=True)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Rejection) for each in renamed) == 5
    assert [name for name in await names(db) if not name.startswith("P")] == ["Lab", "Research"]
