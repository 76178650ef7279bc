"""The SDK's helpers for files; for uploads, or v1's files of assistants and messages, in versions that have them."""

import io
import json

import openai
from openai import OpenAI

client = OpenAI()
content = "Grüße, 世界\n".encode() * 1000
said = {"version": openai.__version__}

file = client.files.create(file=("Grüße.txt", io.BytesIO(content)), purpose="assistants")
said["created"] = [file.object, file.filename, file.purpose, file.bytes, file.status]
said["processed"] = client.files.wait_for_processing(file.id).id == file.id
said["listed"] = [one.id == file.id for one in client.files.list(purpose="assistants")]
said["content"] = client.files.content(file.id).read() == content

if openai.__version__.startswith("1."):
    assistant = client.beta.assistants.create(model="gpt-4o", tools=[{"type": "retrieval"}], file_ids=[file.id])
    other = client.files.create(file=("other.txt", b"other"), purpose="assistants")
    made = client.beta.assistants.files.create(assistant.id, file_id=other.id)
    said["assistant"] = [
        made.object,
        [one.id == other.id for one in client.beta.assistants.files.list(assistant.id)],
        client.beta.assistants.files.retrieve(file.id, assistant_id=assistant.id).assistant_id == assistant.id,
        client.beta.assistants.files.delete(file.id, assistant_id=assistant.id).object,
        client.beta.assistants.retrieve(assistant.id).file_ids == [other.id],
    ]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi", "file_ids": [file.id]}])
    [message] = client.beta.threads.messages.list(thread.id).data
    [linked] = client.beta.threads.messages.files.list(message.id, thread_id=thread.id).data
    said["message"] = [message.file_ids == [file.id], linked.object, linked.id == file.id]
else:
    expiring = client.files.create(
        file=b"soon gone", purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    said["expires"] = expiring.expires_at - expiring.created_at
    upload = client.uploads.upload_file_chunked(
        file=content, filename="big.txt", bytes=len(content), mime_type="text/plain", purpose="batch", part_size=5000
    )
    said["upload"] = [upload.status, upload.file.filename, client.files.content(upload.file.id).read() == content]
    assistant = client.beta.assistants.create(
        model="gpt-4o",
        tools=[{"type": "code_interpreter"}],
        tool_resources={"code_interpreter": {"file_ids": [file.id]}},
    )
    said["assistant"] = assistant.tool_resources.code_interpreter.file_ids == [file.id]
    attachments = [{"file_id": file.id, "tools": [{"type": "code_interpreter"}]}]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi", "attachments": attachments}])
    said["message"] = thread.tool_resources.code_interpreter.file_ids == [file.id]

said["deleted"] = client.files.delete(file.id).deleted
try:
    client.files.retrieve(file.id)
except openai.NotFoundError as error:
    said["gone"] = error.body["message"] == f"No such File object: {file.id}"
print(json.dumps(said))
