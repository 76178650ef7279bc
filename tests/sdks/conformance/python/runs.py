"""Runs that a program polls, by hand and with the SDK's helpers."""

import json
import time

import openai
from objects import WEATHER

OVER = ("completed", "failed", "cancelled", "expired", "incomplete", "requires_action")


def begun(ctx, **settings):
    """Creates an assistant, and a thread with a question."""
    assistant = ctx.client.beta.assistants.create(model=ctx.model, instructions="Be brief.", **settings)
    return assistant, ctx.client.beta.threads.create(messages=[{"role": "user", "content": "Well?"}])


def said(client, thread):
    return [[one.role, one.content[0].text.value] for one in client.beta.threads.messages.list(thread.id)]


def tokens(usage):
    return [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens]


def run_by_hand(ctx):
    client = ctx.client
    assistant, thread = begun(ctx)
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    first = run.status
    while run.status in ("queued", "in_progress"):
        time.sleep(0.02)
        run = client.beta.threads.runs.retrieve(thread_id=thread.id, run_id=run.id)
    step = client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id).data[0]
    again = client.beta.threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=run.id)
    message = client.beta.threads.messages.list(thread.id).data[0]
    changed = client.beta.threads.runs.update(run.id, thread_id=thread.id, metadata={"seen": "yes"})
    return {
        "first": first,
        "status": run.status,
        "model": run.model == ctx.model,
        "said": said(client, thread),
        "usage": tokens(run.usage),
        "step": [step.type, step.status, step.step_details.message_creation.message_id == message.id, again == step],
        "of": [message.run_id == run.id, message.assistant_id == assistant.id, run.assistant_id == assistant.id],
        "changed": changed.metadata,
        "listed": [one.id == run.id for one in client.beta.threads.runs.list(thread.id)],
    }


def run_polled(ctx):
    assistant, thread = begun(ctx)
    run = ctx.client.beta.threads.runs.create_and_poll(
        thread_id=thread.id,
        assistant_id=assistant.id,
        additional_instructions="Say please.",
        temperature=0.5,
        metadata={"a": "b"},
        poll_interval_ms=20,
    )
    polled = ctx.client.beta.threads.runs.poll(run.id, thread_id=thread.id)
    return {
        "status": run.status,
        "said": said(ctx.client, thread),
        "settings": [run.instructions, run.temperature, run.metadata],
        "polled": polled.status,
    }


def thread_and_run_polled(ctx):
    assistant, _ = begun(ctx)
    run = ctx.client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "Together"}]},
        poll_interval_ms=20,
    )
    return {"status": run.status, "said": said(ctx.client, ctx.client.beta.threads.retrieve(run.thread_id))}


def functions_polled(ctx):
    client = ctx.client
    assistant, thread = begun(ctx, tools=[WEATHER])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    calls = run.required_action.submit_tool_outputs.tool_calls
    asked = [[call.type, call.function.name, json.loads(call.function.arguments)["city"]] for call in calls]
    first = run.status
    try:
        client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": calls[0].id, "output": "rain"}]
        )
        partial = "taken"
    except openai.BadRequestError:
        partial = "refused"
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=thread.id,
        tool_outputs=[{"tool_call_id": call.id, "output": "sun"} for call in calls],
        poll_interval_ms=20,
    )
    steps = client.beta.threads.runs.steps.list(thread_id=thread.id, run_id=run.id, order="asc").data
    return {
        "first": first,
        "asked": asked,
        "partial": partial,
        "status": run.status,
        "answer": said(client, thread)[0][1],
        "steps": [[step.type, step.status] for step in steps],
        "outputs": [call.function.output for call in steps[0].step_details.tool_calls],
        "action": run.required_action,
    }


def cancelled(ctx):
    client = ctx.client
    assistant, thread = begun(ctx)
    run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
    try:
        client.beta.threads.messages.create(thread.id, role="user", content="Hurry")
        locked = "no"
    except openai.BadRequestError as error:
        locked = error.body["message"] == f"Can't add messages to {thread.id} while a run {run.id} is active."
    first = client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    run = client.beta.threads.runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20)
    client.beta.threads.messages.create(thread.id, role="user", content="Never mind")
    return {"first": first.status, "status": run.status, "locked": locked, "error": run.last_error}


def failed(ctx):
    assistant, thread = begun(ctx)
    run = ctx.client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20
    )
    return {"status": run.status, "code": run.last_error.code, "real cause": "prompt is odd" in run.last_error.message}


def cut_short(ctx):
    assistant, thread = begun(ctx)
    runs = ctx.client.beta.threads.runs
    run = runs.create(thread_id=thread.id, assistant_id=assistant.id)
    while run.status not in OVER:
        time.sleep(0.02)
        run = runs.retrieve(run.id, thread_id=thread.id)
    return {"status": run.status, "said": said(ctx.client, thread)[0][1]}


def settings_echoed(ctx):
    assistant, thread = begun(ctx, tools=[WEATHER])
    runs = ctx.client.beta.threads.runs
    run = runs.create(
        thread_id=thread.id,
        assistant_id=assistant.id,
        instructions="Only this.",
        max_prompt_tokens=1000,
        max_completion_tokens=500,
        truncation_strategy={"type": "last_messages", "last_messages": 3},
        tool_choice="none",
        response_format={"type": "json_object"},
        tools=[{"type": "function", "function": {"name": "other"}}],
    )
    runs.poll(run.id, thread_id=thread.id, poll_interval_ms=20)
    return {
        "instructions": run.instructions,
        "limits": [run.max_prompt_tokens, run.max_completion_tokens],
        "truncation": [run.truncation_strategy.type, run.truncation_strategy.last_messages],
        "choice": run.tool_choice,
        "format": run.response_format.type,
        "tools": [tool.function.name for tool in run.tools],
    }


def steps_included(ctx):
    client = ctx.client
    assistant, thread = begun(ctx)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20)
    include = ["step_details.tool_calls[*].file_search.results[*].content"]
    page = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, include=include)
    step = client.beta.threads.runs.steps.retrieve(page.data[0].id, thread_id=thread.id, run_id=run.id, include=include)
    try:
        client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, include=["everything"])
        unknown = "taken"
    except openai.BadRequestError:
        unknown = "refused"
    return {"listed": [one.type for one in page.data], "same": step == page.data[0], "unknown": unknown}
