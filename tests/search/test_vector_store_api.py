"""Vector stores through the API: files are uploaded, parsed, embedded and found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.http.files import upload
from tests.http.stores import file_named, files_of, searched, settled
from tests.search.sample_documents import pdf

APPLES = "Apples keep for months in a cool cellar. " * 3
ENGINES = "A four-stroke engine has intake, compression, power and exhaust. " * 3


@pytest.mark.slow
async def test_health_reports_where_files_are_parsed(start_server: StartServer, tmp_path: Path) -> None:
    async with start_server(sandbox_dir=tmp_path / "nowhere") as client:
        health = await client.session.get(client.base_url.removesuffix("/v1") + "/healthz")
        assert health.status == 200
        status = (await health.json())["file_parsing"]
        assert status.startswith(
            "outside the sandbox, in a process that limits itself: the Python for the sandbox is not at"
        )


@pytest.mark.slow
async def test_files_are_found_by_their_content(start_server: StartServer) -> None:
    async with start_server(indexing=True) as client:
        apples, engines = await file_named(client, "a.txt", APPLES), await file_named(client, "b.md", ENGINES)
        report = await upload(client, pdf(["Rivers of Norway", "Trains in Japan"]), filename='filename="report.pdf"')
        broken = await file_named(client, "broken.pdf", "this is no PDF")
        store = await client.post("/vector_stores", {"file_ids": [apples, engines, report["id"], broken]})
        store = await settled(client, store["id"])
        counts = store["file_counts"]
        assert (counts["completed"], counts["failed"]) == (3, 1), await files_of(client, store["id"])
        errors = {id: file["last_error"] for id, file in (await files_of(client, store["id"])).items()}
        assert errors[broken]["code"] == "invalid_file"
        assert store["usage_bytes"] > len(APPLES) + len(ENGINES)
        [best, *_] = await searched(client, store["id"], "how do I store fruit over the winter?")
        assert best["file_id"] == apples
        [best, *_] = await searched(client, store["id"], "motor cycle phases", max_num_results=1)
        assert best["file_id"] == engines
        text = (await client.get(f"/vector_stores/{store['id']}/files/{apples}/content"))["data"][0]["text"]
        assert text.strip() in APPLES
        await client.delete(f"/files/{apples}")
        hits = await searched(client, store["id"], "how do I store fruit over the winter?")
        assert apples not in {hit["file_id"] for hit in hits}
