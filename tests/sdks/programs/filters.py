"""Threads and assistants found by their metadata, as an SDK's user asks for what the SDK does not know."""

import json
import time

import openai
from openai import OpenAI
from openai.pagination import SyncCursorPage

client = OpenAI()
beta = {"OpenAI-Beta": f"assistants=v{1 if openai.__version__ == '1.20.0' else 2}"}
hour_ago = int(time.time()) - 3600
threads = [client.beta.threads.create(metadata={"user": user}) for user in ("ann", "bob", "ann")]
mine = client.beta.assistants.create(model="gpt-4o", metadata={"team": "support"})
client.beta.assistants.create(model="gpt-4o")

asked = {"metadata": {"team": "support"}, "created_at": {"gte": hour_ago}}
assistants = [one.id for one in client.beta.assistants.list(extra_query=asked)]

query = {"metadata": {"user": "ann"}, "created_at": {"gte": hour_ago}, "limit": 1}
kind = type(threads[0])
page = client.get_api_list(
    "/threads", page=SyncCursorPage[kind], model=kind, options={"params": query, "headers": beta}
)
print(
    json.dumps(
        {
            "version": openai.__version__,
            "assistants": assistants == [mine.id],
            "threads": [one.id == of.id for one, of in zip(page, (threads[2], threads[0]), strict=True)],
        }
    )
)
