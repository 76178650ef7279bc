"""A fork of a thread, as an SDK's user asks for what the SDK does not know, and a run on it."""

import json
import time

import openai
from openai import OpenAI

client = OpenAI()
beta = {"OpenAI-Beta": f"assistants=v{1 if openai.__version__ == '1.20.0' else 2}"}
assistant = client.beta.assistants.create(model="gpt-4o")
thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])


def answered(thread_id: str, question: str) -> str:
    client.beta.threads.messages.create(thread_id, role="user", content=question)
    run = client.beta.threads.runs.create(thread_id, assistant_id=assistant.id)
    while run.status in ("queued", "in_progress"):
        time.sleep(0.05)
        run = client.beta.threads.runs.retrieve(run.id, thread_id=thread_id)
    return run.status


def texts(thread_id: str) -> list:
    return [one.content[0].text.value for one in client.beta.threads.messages.list(thread_id, order="asc")]


statuses = [answered(thread.id, "How are you?")]
fork = client.post(
    f"/threads/{thread.id}/fork", cast_to=type(thread), body={"metadata": {"k": "v"}}, options={"headers": beta}
)
copied = texts(fork.id)
[run] = client.beta.threads.runs.list(fork.id)
[step] = client.beta.threads.runs.steps.list(run.id, thread_id=fork.id)
statuses.append(answered(fork.id, "And now?"))
print(
    json.dumps(
        {
            "version": openai.__version__,
            "kind": [fork.object, type(fork).__name__, fork.metadata],
            "equal": copied == texts(thread.id),
            "objects": [run.object, run.status, step.object, step.status],
            "statuses": statuses,
            "last": texts(fork.id)[-2:],
        }
    )
)
