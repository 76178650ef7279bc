"""The SDK's helpers for vector stores: files, batches, polling, searching."""

import io
import json

import openai
from openai import OpenAI

client = OpenAI()
stores = client.vector_stores
said = {}


def named(name, text):
    return (name, io.BytesIO(text.encode()))


store = stores.create(name="Fruit", expires_after={"anchor": "last_active_at", "days": 7}, metadata={"k": "v"})
said["created"] = [store.object, store.name, store.status, store.file_counts.total, store.expires_after.days]

apples = stores.files.upload_and_poll(
    vector_store_id=store.id, file=named("apples.txt", "Apples are green or red."), attributes={"kind": "fruit"}
)
said["upload_and_poll"] = [apples.object, apples.status, apples.last_error, apples.attributes]
said["chunking"] = apples.chunking_strategy.static.max_chunk_size_tokens

pears = client.files.create(file=named("pears.txt", "Pears are green or yellow."), purpose="assistants")
added = stores.files.create_and_poll(
    pears.id,
    vector_store_id=store.id,
    chunking_strategy={"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}},
)
said["create_and_poll"] = [added.status, added.chunking_strategy.static.chunk_overlap_tokens]

batch = stores.file_batches.upload_and_poll(
    store.id, files=[named("oaks.txt", "Oaks are trees."), named("bad.pdf", "not a PDF")]
)
said["batch"] = [batch.object, batch.status, batch.file_counts.completed, batch.file_counts.failed]
said["failed"] = [
    file.last_error.code for file in stores.file_batches.list_files(batch.id, vector_store_id=store.id, filter="failed")
]

found = stores.search(store.id, query="green apples", max_num_results=3)
said["search"] = [found.data[0].filename, found.data[0].content[0].text, found.data[0].attributes]
kind = {"type": "eq", "key": "kind", "value": "fruit"}
said["filtered"] = [hit.filename for hit in stores.search(store.id, query=["green", "trees"], filters=kind)]
stores.files.update(pears.id, vector_store_id=store.id, attributes={"kind": "fruit", "year": 2024})
said["updated"] = sorted(hit.filename for hit in stores.search(store.id, query="green", filters=kind))
said["content"] = [part.text for part in stores.files.content(pears.id, vector_store_id=store.id)]

said["listed"] = sorted(file.status for file in stores.files.list(store.id, limit=2))
said["changed"] = stores.update(store.id, name=None, expires_after=None).name
said["removed"] = stores.files.delete(pears.id, vector_store_id=store.id).deleted
said["kept"] = client.files.retrieve(pears.id).filename
said["counts"] = stores.retrieve(store.id).file_counts.total

assistant = client.beta.assistants.create(
    model="gpt-4o",
    tools=[{"type": "file_search"}],
    tool_resources={"file_search": {"vector_stores": [{"file_ids": [pears.id]}]}},
)
[made] = assistant.tool_resources.file_search.vector_store_ids
said["helper"] = [file.id == pears.id for file in stores.files.list(made)]

said["deleted"] = stores.delete(store.id).deleted
try:
    stores.retrieve(store.id)
except openai.NotFoundError as error:
    said["gone"] = error.body["message"] == f"No vector store found with id '{store.id}'."
print(json.dumps(said))
