"""The roles of the embedded Postgres, and who may connect as them.

`everthread_owner` is a superuser and owns the tables; only migrations use it. `everthread` is the role of the service
and no superuser: `sql/queries/roles.sql` lists its rights. There are no passwords. Postgres asks the kernel for the
account at the other end of the socket (peer authentication), and the map in pg_ident.conf lets root and the account of
the service use both roles.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import asyncpg

import sql

OWNER_ROLE = "everthread_owner"
SERVICE_ROLE = "everthread"
DATABASE = "everthread"
_ANY_DATABASE = "postgres"
_MAP = "everthread"
_TIMEOUT_S = 5.0

_SQL = sql.queries("roles")


def write_access_files(cluster: Path, uid: int | None) -> None:
    """Writes pg_hba.conf and pg_ident.conf of the cluster, which belong to `uid` or else to this process's user.

    If this process's user has no account (in some containers), Postgres cannot know it by name. Then the permissions of
    the socket's folder alone keep others out. Raises OSError.
    """
    try:
        accounts = sorted({"root", pwd.getpwuid(os.geteuid()).pw_name})
        method = f"peer map={_MAP}"
    except KeyError:
        accounts, method = [], "trust"
    hba = f"local all all {method}\nlocal replication all {method}\n"
    ident = "".join(f"{_MAP} {account} {role}\n" for account in accounts for role in (OWNER_ROLE, SERVICE_ROLE))
    note = "# Written at each start of the server.\n"
    for name, text in (("pg_hba.conf", hba), ("pg_ident.conf", ident)):
        new = cluster / f"{name}.new"
        new.write_text(note + text)
        new.chmod(0o600)
        if uid is not None:
            os.chown(new, uid, uid)
        new.replace(cluster / name)


async def prepare_roles(socket_dir: Path) -> None:
    """Creates the roles and the database if they are missing. Raises the errors of the connection and the database.

    In a cluster of version 0.2.0 or older, `everthread` is the superuser that created it. It keeps everything that it
    owns and becomes `everthread_owner`.
    """
    try:
        db = await _connect(socket_dir, OWNER_ROLE)
    except asyncpg.InvalidAuthorizationSpecificationError:
        await _rename_superuser(socket_dir)
        db = await _connect(socket_dir, OWNER_ROLE)
    try:
        if not await db.fetchval(_SQL["role_exists"], SERVICE_ROLE):
            await db.execute(_SQL["create_service_role"])
        if not await db.fetchval(_SQL["database_exists"], DATABASE):
            await db.execute(_SQL["create_database"])
    finally:
        await db.close(timeout=_TIMEOUT_S)


async def _rename_superuser(socket_dir: Path) -> None:
    """Renames the superuser `everthread`, in one transaction."""
    db = await _connect(socket_dir, SERVICE_ROLE)
    try:
        async with db.transaction():
            await db.execute(_SQL["create_upgrade_role"])
            await db.execute(_SQL["become_upgrade_role"])
            await db.execute(_SQL["rename_superuser"])
            await db.execute(_SQL["end_upgrade_role"])
            await db.execute(_SQL["drop_upgrade_role"])
    finally:
        await db.close(timeout=_TIMEOUT_S)


async def _connect(socket_dir: Path, role: str) -> asyncpg.Connection[asyncpg.Record]:
    return await asyncpg.connect(
        host=str(socket_dir), user=role, database=_ANY_DATABASE, timeout=_TIMEOUT_S, command_timeout=60.0
    )
