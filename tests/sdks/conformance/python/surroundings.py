"""Features around assistants: chat completions that are passed through, Azure's client, raw responses, headers."""

import os

from openai import AzureOpenAI
from runs import begun, said


def chat(ctx):
    asked = {"model": ctx.model, "messages": [{"role": "user", "content": "Hi"}]}
    whole = ctx.client.chat.completions.create(**asked)
    pieces = [
        chunk.choices[0].delta.content
        for chunk in ctx.client.chat.completions.create(**asked, stream=True)
        if chunk.choices and chunk.choices[0].delta.content
    ]
    return {
        "whole": whole.choices[0].message.content,
        "usage": whole.usage.total_tokens,
        "pieces": pieces,
        "models": [model.id for model in ctx.client.models.list()],
    }


def azure(ctx):
    client = AzureOpenAI(
        azure_endpoint=ctx.client.base_url.__str__().removesuffix("/v1/"),
        api_version="2024-02-15-preview" if ctx.v1 else "2024-05-01-preview",
        api_key=os.environ["OPENAI_API_KEY"],
    )
    ctx.client = client
    assistant, thread = begun(ctx)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        streamed = "".join(stream.text_deltas)
    asked = {"model": ctx.model, "messages": [{"role": "user", "content": "Hi"}]}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    return {"status": run.status, "streamed": streamed, "stored": said(client, thread)[0][1], "chat": whole}


def raw_responses(ctx):
    raw = ctx.client.beta.threads.with_raw_response.create(metadata={"a": "b"})
    thread = raw.parse()
    return {
        "status": raw.status_code,
        "parsed": [thread.object, thread.metadata],
        "request id": raw.headers["x-request-id"].startswith("req_"),
        "version": raw.headers["openai-version"],
        "time": int(raw.headers["openai-processing-ms"]) > 0,
        "type": raw.headers["content-type"].partition(";")[0],
    }


def organization(ctx):
    client = ctx.client.with_options(organization="org-ours")
    raw = client.beta.threads.with_raw_response.create()
    return {"echoed": raw.headers["openai-organization"]}
