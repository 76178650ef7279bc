"""The guide's programs for code_interpreter: the math tutor that runs code, and a CSV analysed, plotted, downloaded.

Runs with PyPI openai 1.20.0 (v1) and 3.54.0 (v2) alike, each with its own way to name files.
"""

import io
import json
import time

import openai
from openai import OpenAI

client = OpenAI()
old = openai.__version__.startswith("1.")
said = {}


def finished(thread, assistant):
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    while run.status in ("queued", "in_progress"):
        time.sleep(0.1)
        run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
    return run


assistant = client.beta.assistants.create(
    name="Math Tutor",
    instructions="You are a personal math tutor. Write and run code to answer math questions.",
    tools=[{"type": "code_interpreter"}],
    model="gpt-4-turbo-preview",
)
thread = client.beta.threads.create()
client.beta.threads.messages.create(
    thread_id=thread.id, role="user", content="I need to solve the equation `3x + 11 = 14`. Can you help me?"
)
run = finished(thread, assistant)
steps = client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id, order="asc").data
said["status"] = run.status
said["steps"] = [step.type for step in steps]
call = steps[0].step_details.tool_calls[0]
said["call"] = [call.type, call.code_interpreter.input, [output.logs for output in call.code_interpreter.outputs]]
said["answer"] = client.beta.threads.messages.list(thread_id=thread.id).data[0].content[0].text.value

csv = io.BytesIO(b"month,sales\n1,10\n2,30\n3,20\n")
file = client.files.create(file=("sales.csv", csv), purpose="assistants")
named = {"file_ids": [file.id]}
if not old:
    named = {"tool_resources": {"code_interpreter": {"file_ids": [file.id]}}}
analyst = client.beta.assistants.create(model="gpt-4o", tools=[{"type": "code_interpreter"}], **named)
thread = client.beta.threads.create(messages=[{"role": "user", "content": "Plot the sales and sum them up."}])
said["analysed"] = finished(thread, analyst).status
message = client.beta.threads.messages.list(thread_id=thread.id).data[0]
image, text = message.content
said["chart"] = client.files.content(image.image_file.file_id).read()[:4].hex()
annotation = text.text.annotations[0]
said["annotation"] = [annotation.type, annotation.text]
said["totals"] = client.files.content(annotation.file_path.file_id).read().decode()
made = message.file_ids if old else [one.file_id for one in message.attachments]
said["attached"] = made == [annotation.file_path.file_id]
print(json.dumps(said))
