"""Errors: each status becomes the SDK's own class, with the API's message, param and code."""

import openai
from openai import OpenAI


def caught(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.body["type"], error.body["param"], error.code]
    return "no error"


def not_found(ctx):
    threads = ctx.client.beta.threads
    thread = threads.create()
    try:
        ctx.client.beta.assistants.retrieve("asst_none")
        message = None
    except openai.NotFoundError as error:
        message = error.body["message"]
    return {
        "message": message,
        "assistant": caught(ctx.client.beta.assistants.retrieve, "asst_none"),
        "run": caught(threads.runs.retrieve, "run_none", thread_id=thread.id),
        "assistant of a run": caught(threads.runs.create, thread_id=thread.id, assistant_id="asst_none"),
        "file": caught(ctx.client.files.retrieve, "file-none"),
    }


def bad_request(ctx):
    client = ctx.client
    return {
        "value": caught(client.beta.assistants.list, limit=1000),
        "type": caught(client.beta.threads.create, metadata="none"),
        "unknown": caught(client.beta.threads.create, extra_body={"surprise": 1}),
        "missing": caught(client.beta.assistants.create, model=openai.NOT_GIVEN),
        "purpose": caught(client.files.create, file=b"x", purpose="nothing"),
    }


def wrong_key(ctx):
    return {"error": caught(OpenAI(api_key="sk-wrong-key").beta.threads.create)}
