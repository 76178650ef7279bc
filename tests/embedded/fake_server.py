"""`python -m tests.embedded.fake_server …`: the real command line with a server that only reports its arguments.

The tests that use it check the start and the stop of everything around the server.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable

import asyncpg
from aiohttp import ClientSession, web

from service.errors import StartupError
from service.settings import Settings


async def serve(
    settings: Settings,
    *,
    database_url: str,
    owner_url: str | None,
    api_key: str,
    model_base_url: str,
    model_api_key: str | None,
    embedded_model: bool,
    ready: Callable[[str], None],
    on_console: Callable[[str], None],
) -> None:
    """Replaces `service.app.server.serve`; it has the routes /about and /ask for the tests."""
    import asyncio

    async def about(request: web.Request) -> web.Response:
        connection = await asyncpg.connect(owner_url or database_url)
        try:
            await connection.execute("create table if not exists starts (at timestamptz default now())")
            await connection.execute("insert into starts default values")
            starts = await connection.fetchval("select count(*) from starts")
        finally:
            await connection.close()
        settled = {"starts": starts, "database_url": database_url, "data_dir": str(settings.data_dir)}
        return web.Response(text=json.dumps({**settled, "embedded_model": embedded_model, "model": model_base_url}))

    async def ask(request: web.Request) -> web.Response:
        body = {"model": "any", "messages": [{"role": "user", "content": "Say hi"}], "max_tokens": 4}
        headers = {"Authorization": f"Bearer {model_api_key}"}
        url = f"{model_base_url}/chat/completions"
        async with ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            return web.Response(text=await answer.text(), status=answer.status)

    app = web.Application()
    app.add_routes([web.get("/v1/about", about), web.get("/v1/ask", ask)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        try:
            await site.start()
        except OSError as error:
            raise StartupError(str(error)) from None
        ready(f"http://{settings.host}:{runner.addresses[0][1]}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    fake = types.ModuleType("service.app.server")
    fake.serve = serve  # type: ignore[attr-defined]
    sys.modules["service.app.server"] = fake
    from service.cli.main import main

    main()
