"""The guide's file search: with 1.20.0 retrieval over an assistant's file, with 3.54.0 a store, polled and streamed."""

import io
import json

import openai
from openai import AssistantEventHandler, OpenAI

client = OpenAI()
content = b"Summanus Ferdinand likes tacos. Filip Carola likes cake."
question = "What does Filip like to eat?"
said = {"version": openai.__version__}


def cited(message):
    text = message.content[0].text
    return [
        [one.text, text.value[one.start_index : one.end_index] == one.text, one.file_citation.file_id == file.id]
        for one in text.annotations
    ]


if openai.__version__.startswith("1."):
    file = client.files.create(file=("foods.txt", io.BytesIO(content)), purpose="assistants")
    assistant = client.beta.assistants.create(model="gpt-4", tools=[{"type": "retrieval"}], file_ids=[file.id])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": question}])
    with client.beta.threads.runs.create_and_stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        stream.until_done()
        run = stream.current_run
    said["status"] = run.status
    message = client.beta.threads.messages.list(thread.id).data[0]
    said["quotes"] = [one.file_citation.quote for one in message.content[0].text.annotations]
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    said["call"] = [steps[-1].step_details.tool_calls[0].type, steps[-1].step_details.tool_calls[0].retrieval]
else:
    store = client.vector_stores.create(name="Foods")
    uploaded = client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("foods.txt", io.BytesIO(content)), poll_interval_ms=50
    )
    file = client.files.retrieve(uploaded.id)
    said["indexed"] = uploaded.status
    found = client.vector_stores.search(store.id, query="Filip's food")
    said["found"] = [[one.filename, one.content[0].text == content.decode()] for one in found]
    assistant = client.beta.assistants.create(
        model="gpt-4o",
        tools=[{"type": "file_search"}],
        tool_resources={"file_search": {"vector_store_ids": [store.id]}},
    )
    thread = client.beta.threads.create(messages=[{"role": "user", "content": question}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50)
    said["status"] = run.status
    message = client.beta.threads.messages.list(thread.id, run_id=run.id).data[0]
    include = ["step_details.tool_calls[*].file_search.results[*].content"]
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, include=include).data
    [result] = steps[-1].step_details.tool_calls[0].file_search.results
    said["result"] = [result.file_name, 0 < result.score <= 1, result.content[0].text == content.decode()]

    class Handler(AssistantEventHandler):
        def __init__(self):
            super().__init__()
            self.texts = []

        def on_text_done(self, text):
            self.texts.append([text.value, len(text.annotations)])

    handler = Handler()
    with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=handler
    ) as stream:
        stream.until_done()
    said["streamed"] = handler.texts
said["cited"] = cited(message)
print(json.dumps(said))
