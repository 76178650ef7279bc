"""A program of Azure AI agents: files, a vector store, runs with a function, streamed and not. Prints the results."""

import io
import json
import os
import sys
import time

from azure.ai.agents import AgentsClient
from azure.ai.agents.models import FilePurpose, FunctionTool, ToolOutput
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError


class Key:
    def get_token(self, *scopes, **options):
        return AccessToken(os.environ["OPENAI_API_KEY"], int(time.time()) + 3600)


def weather(city: str) -> str:
    """Returns the weather.

    :param city: The city.
    """
    return json.dumps({"weather": f"sun in {city}"})


endpoint, certificate = sys.argv[1:]
client = AgentsClient(endpoint=endpoint, credential=Key(), connection_verify=certificate)
tool = FunctionTool({weather})
agent = client.create_agent(model="gpt-4o", name="a", instructions="Be brief.", tools=tool.definitions)
agent = client.update_agent(agent.id, name="b")
thread = client.threads.create()
client.messages.create(thread_id=thread.id, role="user", content="Hi")
run = client.runs.create(thread_id=thread.id, agent_id=agent.id)
while run.status in ("queued", "in_progress"):
    time.sleep(0.05)
    run = client.runs.get(thread_id=thread.id, run_id=run.id)
waited = str(run.status)
calls = run.required_action.submit_tool_outputs.tool_calls
outputs = [ToolOutput(tool_call_id=call.id, output=tool.execute(call)) for call in calls]
run = client.runs.submit_tool_outputs(thread_id=thread.id, run_id=run.id, tool_outputs=outputs)
while run.status in ("queued", "in_progress"):
    time.sleep(0.05)
    run = client.runs.get(thread_id=thread.id, run_id=run.id)
with client.runs.stream(thread_id=thread.id, agent_id=agent.id) as stream:
    events = [str(event[0]) for event in stream]
file = client.files.upload(file=io.BytesIO(b"Tides"), filename="tides.txt", purpose=FilePurpose.AGENTS)
content = b"".join(client.files.get_content(file.id))
store = client.vector_stores.create(file_ids=[file.id], name="s")
listed = [one.id for one in client.vector_store_files.list(store.id)]
batch = client.vector_store_file_batches.create(store.id, file_ids=[file.id])
try:
    client.threads.get("thread_none")
except HttpResponseError as error:
    missing = [error.status_code, error.error.message if error.error else error.message]
client.threads.delete(thread.id)
print(
    json.dumps(
        {
            "agents": [one.name for one in client.list_agents()],
            "waited": waited,
            "status": run.status,
            "events": events,
            "content": content.decode(),
            "listed": listed == [file.id],
            "batch": batch.vector_store_id == store.id,
            "missing": missing,
        }
    )
)
