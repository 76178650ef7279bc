"""Files, uploads, and references to files: v1's file_ids and sub-resources, v2's tool_resources and attachments."""

import io

from objects import gone

CONTENT = "Grüße, 世界\n".encode() * 1000


def files(ctx):
    client = ctx.client
    file = client.files.create(file=("Grüße.txt", io.BytesIO(CONTENT)), purpose="assistants")
    other = client.files.create(file=("other.txt", b"other"), purpose="assistants")
    read = client.files.retrieve(file.id)
    ready = client.files.wait_for_processing(file.id)
    ours = [one.id for one in client.files.list(purpose="assistants") if one.id in (file.id, other.id)]
    content = client.files.content(file.id).read()
    deleted = client.files.delete(file.id)
    client.files.delete(other.id)
    return {
        "made": [file.object, file.filename, file.purpose, file.bytes],
        "same": read == file,
        "ready": ready.status,
        "listed": len(ours),
        "content": content == CONTENT,
        "deleted": [deleted.object, deleted.deleted],
        "gone": gone(client.files.retrieve, file.id),
    }


def uploads(ctx):
    client = ctx.client
    upload = client.uploads.create(filename="big.txt", bytes=len(CONTENT), mime_type="text/plain", purpose="assistants")
    half = len(CONTENT) // 2
    parts = [client.uploads.parts.create(upload.id, data=data).id for data in (CONTENT[:half], CONTENT[half:])]
    done = client.uploads.complete(upload.id, part_ids=parts)
    dropped = client.uploads.create(filename="b", bytes=1, mime_type="text/plain", purpose="assistants")
    dropped = client.uploads.cancel(dropped.id)
    return {
        "made": [upload.object, upload.status],
        "done": [done.status, done.file.filename, done.file.bytes],
        "content": client.files.content(done.file.id).read() == CONTENT,
        "dropped": dropped.status,
    }


def upload_in_chunks(ctx):
    upload = ctx.client.uploads.upload_file_chunked(
        file=CONTENT,
        filename="big.txt",
        bytes=len(CONTENT),
        mime_type="text/plain",
        purpose="assistants",
        part_size=5000,
    )
    return {"status": upload.status, "content": ctx.client.files.content(upload.file.id).read() == CONTENT}


def file_ids(ctx):
    client = ctx.client
    file, other = (client.files.create(file=(name, b"text"), purpose="assistants") for name in ("a.txt", "b.txt"))
    of_assistants = client.beta.assistants.files
    assistant = client.beta.assistants.create(model=ctx.model, tools=[{"type": "retrieval"}], file_ids=[file.id])
    made = of_assistants.create(assistant.id, file_id=other.id)
    listed = [one.id for one in of_assistants.list(assistant.id)]
    read = of_assistants.retrieve(file.id, assistant_id=assistant.id)
    deleted = of_assistants.delete(file.id, assistant_id=assistant.id)
    left = client.beta.assistants.retrieve(assistant.id).file_ids
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi", "file_ids": [file.id]}])
    message = client.beta.threads.messages.list(thread.id).data[0]
    link = client.beta.threads.messages.files.list(message.id, thread_id=thread.id).data[0]
    same = client.beta.threads.messages.files.retrieve(file.id, thread_id=thread.id, message_id=message.id)
    return {
        "made": [made.object, made.assistant_id == assistant.id, assistant.file_ids == [file.id]],
        "listed": [listed[0] == other.id, listed[1] == file.id],
        "read": read.id == file.id,
        "deleted": [deleted.object, deleted.deleted, left == [other.id], client.files.retrieve(file.id).id == file.id],
        "message": [message.file_ids == [file.id], link.object, link.id == file.id, same == link],
    }


def attachments(ctx):
    client = ctx.client
    file = client.files.create(file=("a.csv", b"a,b\n1,2\n"), purpose="assistants")
    code = {"type": "code_interpreter"}
    assistant = client.beta.assistants.create(
        model=ctx.model, tools=[code], tool_resources={"code_interpreter": {"file_ids": [file.id]}}
    )
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(
        thread.id, role="user", content="Hi", attachments=[{"file_id": file.id, "tools": [code]}]
    )
    thread = client.beta.threads.retrieve(thread.id)
    return {
        "assistant": assistant.tool_resources.code_interpreter.file_ids == [file.id],
        "message": [[one.file_id == file.id, [tool.type for tool in one.tools]] for one in message.attachments],
        "thread": thread.tool_resources.code_interpreter.file_ids == [file.id],
    }
