"""The Assistants guide's own program, as people wrote it. Runs with PyPI openai 1.20.0 (v1) and 3.54.0 (v2) alike.

It knows nothing of Everthread: base URL and key come from OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import json
import time

from openai import OpenAI

client = OpenAI()

assistant = client.beta.assistants.create(
    name="Math Tutor",
    instructions="You are a personal math tutor.",
    model="gpt-4-turbo-preview",
)
thread = client.beta.threads.create()
client.beta.threads.messages.create(
    thread_id=thread.id,
    role="user",
    content="I need to solve the equation `3x + 11 = 14`. Can you help me?",
)
run = client.beta.threads.runs.create(
    thread_id=thread.id,
    assistant_id=assistant.id,
    instructions="Please address the user as Jane Doe.",
)
first_status = run.status
while run.status in ("queued", "in_progress"):
    time.sleep(0.05)
    run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)

messages = client.beta.threads.messages.list(thread_id=thread.id)
steps = client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id)
deleted = [
    client.beta.assistants.delete(assistant.id).deleted,
    client.beta.threads.delete(thread.id).deleted,
]
print(
    json.dumps(
        {
            "first_status": first_status,
            "status": run.status,
            "model": run.model,
            "instructions": run.instructions,
            "usage": run.usage.to_dict() if hasattr(run.usage, "to_dict") else run.usage.dict(),
            "messages": [[message.role, message.content[0].text.value] for message in messages.data],
            "steps": [[step.type, step.status] for step in steps.data],
            "deleted": deleted,
        }
    )
)
