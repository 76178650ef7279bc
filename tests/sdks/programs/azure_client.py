"""A program for Azure, with its own client class: a run, and chat completions, streamed and not. Prints what came."""

import json
import os
import sys
import time

from openai import AzureOpenAI, NotFoundError

endpoint, version = sys.argv[1:]
client = AzureOpenAI(azure_endpoint=endpoint, api_version=version, api_key=os.environ["OPENAI_API_KEY"])
assistant = client.beta.assistants.create(model="my-deployment", instructions="Be brief.")
thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
while run.status in ("queued", "in_progress"):
    time.sleep(0.05)
    run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
message = client.beta.threads.messages.list(thread_id=thread.id).data[0]
asked = {"model": "my-deployment", "messages": [{"role": "user", "content": "Hi"}]}
whole = client.chat.completions.create(**asked)
pieces = [
    chunk.choices[0].delta.content or ""
    for chunk in client.chat.completions.create(**asked, stream=True)
    if chunk.choices
]
pinned = AzureOpenAI(
    azure_endpoint=endpoint, azure_deployment="pinned", api_version=version, api_key=os.environ["OPENAI_API_KEY"]
)
pinned.chat.completions.create(**asked)
try:
    client.beta.threads.retrieve("thread_none")
except NotFoundError as error:
    missing = error.body["message"]
print(
    json.dumps(
        {
            "status": run.status,
            "said": message.content[0].text.value,
            "whole": whole.choices[0].message.content,
            "streamed": "".join(pieces),
            "missing": missing,
            "assistant": json.loads(client.beta.assistants.with_raw_response.retrieve(assistant.id).text),
            "models": [model.id for model in client.models.list().data],
        }
    )
)
