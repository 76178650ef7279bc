"""Assistants, threads and messages: created, read, modified, listed page by page, deleted."""

import openai

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def gone(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except openai.NotFoundError:
        return True
    return False


def assistants(ctx):
    client = ctx.client
    made = client.beta.assistants.create(
        model=ctx.model, name="Tutor", instructions="Be kind.", tools=[WEATHER], metadata={"team": "a", "old": "1"}
    )
    read = client.beta.assistants.retrieve(made.id)
    changed = client.beta.assistants.update(made.id, name="Guide", description="Knows", metadata={"team": "b"})
    newest = client.beta.assistants.list(limit=1).data[0]
    deleted = client.beta.assistants.delete(made.id)
    return {
        "made": [made.object, made.name, made.description, made.instructions, made.metadata],
        "tool": [made.tools[0].type, made.tools[0].function.name, made.tools[0].function.parameters],
        "same": read == made,
        "changed": [changed.name, changed.description, changed.instructions, changed.metadata],
        "newest": newest.id == made.id,
        "deleted": [deleted.object, deleted.deleted, deleted.id == made.id],
        "gone": gone(client.beta.assistants.retrieve, made.id),
    }


def assistants_paged(ctx):
    client = ctx.client
    made = [client.beta.assistants.create(model=ctx.model, name=f"Number {n}").id for n in range(5)]
    newest_first = []
    for assistant in client.beta.assistants.list(limit=2):
        newest_first.append(assistant.id)
        if len(newest_first) == 5:
            break
    after = client.beta.assistants.list(order="asc", after=made[0], limit=3)
    before = client.beta.assistants.list(order="desc", after=made[4], before=made[1])
    following = after.get_next_page()
    return {
        "newest first": newest_first == made[::-1],
        "after": [one.name for one in after.data],
        "more": after.has_next_page(),
        "following": [one.name for one in following.data],
        "between": [one.name for one in before.data],
    }


def threads(ctx):
    client = ctx.client
    empty = client.beta.threads.create()
    made = client.beta.threads.create(
        messages=[{"role": "user", "content": "Hello"}, {"role": "user", "content": "Again"}], metadata={"user": "7"}
    )
    read = client.beta.threads.retrieve(made.id)
    changed = client.beta.threads.update(made.id, metadata={"user": "8"})
    deleted = client.beta.threads.delete(made.id)
    client.beta.threads.delete(empty.id)
    return {
        "made": [made.object, made.metadata],
        "same": read.id == made.id and read.created_at == made.created_at,
        "changed": changed.metadata,
        "deleted": [deleted.object, deleted.deleted],
        "gone": gone(client.beta.threads.retrieve, made.id),
        "gone with it": gone(client.beta.threads.messages.list, made.id),
    }


def messages(ctx):
    client = ctx.client
    thread = client.beta.threads.create()
    made = client.beta.threads.messages.create(thread.id, role="user", content="What is 1 + 1?", metadata={"n": "1"})
    read = client.beta.threads.messages.retrieve(made.id, thread_id=thread.id)
    changed = client.beta.threads.messages.update(made.id, thread_id=thread.id, metadata={"n": "2"})
    other = client.beta.threads.create()
    return {
        "made": [made.object, made.role, made.content[0].type, made.content[0].text.value, made.metadata],
        "annotations": made.content[0].text.annotations,
        "of": [made.thread_id == thread.id, made.run_id, made.assistant_id],
        "same": read.content == made.content,
        "changed": changed.metadata,
        "listed": [one.id == made.id for one in client.beta.threads.messages.list(thread.id)],
        "elsewhere": gone(client.beta.threads.messages.retrieve, made.id, thread_id=other.id),
    }


def messages_paged(ctx):
    client = ctx.client
    texts = [f"Number {n}" for n in range(7)]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text} for text in texts])
    page = client.beta.threads.messages.list(thread.id, limit=3)

    def all_of(**query):
        return [one.content[0].text.value for one in client.beta.threads.messages.list(thread.id, limit=3, **query)]

    return {
        "page": [one.content[0].text.value for one in page.data],
        "pages": sum(1 for _ in page.iter_pages()),
        "newest first": all_of() == texts[::-1],
        "oldest first": all_of(order="asc") == texts,
    }


def message_deleted(ctx):
    client = ctx.client
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Oops"}])
    message = client.beta.threads.messages.list(thread.id).data[0]
    deleted = client.beta.threads.messages.delete(message.id, thread_id=thread.id)
    return {
        "deleted": [deleted.object, deleted.deleted, deleted.id == message.id],
        "left": len(client.beta.threads.messages.list(thread.id).data),
    }


def message_parts(ctx):
    client = ctx.client
    picture = "https://example.com/cat.png"
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
    ]
    thread = client.beta.threads.create()
    message = client.beta.threads.messages.create(thread.id, role="user", content=content)
    client.beta.threads.messages.create(thread.id, role="assistant", content="A dog?")
    text, image = message.content
    return {
        "parts": [text.text.value, image.image_url.url, image.image_url.detail],
        "roles": [one.role for one in client.beta.threads.messages.list(thread.id, order="asc")],
    }
