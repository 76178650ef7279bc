"""Runs that are streamed: event handlers, iterators, and the helpers that open streams."""

import asyncio

from objects import WEATHER
from openai import AssistantEventHandler, AsyncAssistantEventHandler, AsyncOpenAI
from runs import begun, said


class Watcher(AssistantEventHandler):
    """The guide's handler with every other callback. It records the events that arrive."""

    def __init__(self):
        super().__init__()
        self.events, self.text, self.snapshot, self.calls, self.done = [], "", "", [], []

    def on_event(self, event):
        # The number of deltas depends on the model.
        if self.events[-1:] != [event.event]:
            self.events.append(event.event)

    def on_text_delta(self, delta, snapshot):
        self.text += delta.value or ""
        self.snapshot = snapshot.value

    def on_text_created(self, text):
        self.done.append("text created")

    def on_text_done(self, text):
        self.done.append(f"text done: {text.value}")

    def on_message_created(self, message):
        self.done.append("message created")

    def on_message_done(self, message):
        self.done.append(f"message {message.status}")

    def on_run_step_created(self, run_step):
        self.done.append("step created")

    def on_run_step_done(self, run_step):
        self.done.append(f"step {run_step.status}")

    def on_tool_call_created(self, tool_call):
        self.calls.append({"type": tool_call.type, "arguments": ""})

    def on_tool_call_delta(self, delta, snapshot):
        self.calls[-1]["arguments"] += (delta.function and delta.function.arguments) or ""

    def on_tool_call_done(self, tool_call):
        self.calls[-1]["name"] = tool_call.function.name

    def on_end(self):
        self.done.append("end")


def watched(opened):
    with opened as stream:
        stream.until_done()
    return stream


def run_streamed(ctx):
    assistant, thread = begun(ctx)
    stream = watched(
        ctx.client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=Watcher())
    )
    [message] = stream.get_final_messages()
    [step] = stream.get_final_run_steps()
    return {
        "events": stream.events,
        "text": stream.text,
        "snapshot": stream.snapshot,
        "done": stream.done,
        "final": [stream.get_final_run().status, message.content[0].text.value, step.type, stream.current_run.status],
        "stored": said(ctx.client, thread)[0][1],
    }


def text_deltas(ctx):
    assistant, thread = begun(ctx)
    with ctx.client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
        return {"pieces": list(stream.text_deltas)}


def older_stream_helper(ctx):
    assistant, thread = begun(ctx)
    stream = watched(
        ctx.client.beta.threads.runs.create_and_stream(
            thread_id=thread.id, assistant_id=assistant.id, event_handler=Watcher()
        )
    )
    return {"text": stream.text, "status": stream.get_final_run().status}


def stream_without_helper(ctx):
    assistant, thread = begun(ctx)
    events, text = [], ""
    for event in ctx.client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True):
        if event.event == "thread.message.delta":
            text += event.data.delta.content[0].text.value
        elif not events or events[-1] != event.event:
            events.append(event.event)
    return {"text": text, "first": events[0], "last": events[-1]}


def thread_and_run_streamed(ctx):
    assistant, _ = begun(ctx)
    stream = watched(
        ctx.client.beta.threads.create_and_run_stream(
            assistant_id=assistant.id,
            thread={"messages": [{"role": "user", "content": "Together"}]},
            event_handler=Watcher(),
        )
    )
    return {"events": stream.events[:4], "text": stream.text}


def functions_streamed(ctx):
    client = ctx.client
    assistant, thread = begun(ctx, tools=[WEATHER])
    first = watched(
        client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=Watcher())
    )
    run = first.current_run
    calls = run.required_action.submit_tool_outputs.tool_calls
    second = watched(
        client.beta.threads.runs.submit_tool_outputs_stream(
            thread_id=thread.id,
            run_id=run.id,
            tool_outputs=[{"tool_call_id": call.id, "output": "sun"} for call in calls],
            event_handler=Watcher(),
        )
    )
    return {
        "first": first.events,
        "calls": first.calls,
        "asked": [[call.function.name, call.function.arguments] for call in calls],
        "second": second.events,
        "text": second.text,
        "status": second.get_final_run().status,
    }


def failure_streamed(ctx):
    assistant, thread = begun(ctx)
    stream = watched(
        ctx.client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id, event_handler=Watcher())
    )
    run = stream.current_run
    return {"last": stream.events[-1], "status": run.status, "code": run.last_error.code}


class AsyncWatcher(AsyncAssistantEventHandler):
    def __init__(self):
        super().__init__()
        self.text = ""

    async def on_text_delta(self, delta, snapshot):
        self.text += delta.value or ""


async def _streamed(ctx):
    async with AsyncOpenAI() as client:
        assistant = await client.beta.assistants.create(model=ctx.model, instructions="Be brief.")
        thread = await client.beta.threads.create(messages=[{"role": "user", "content": "Well?"}])
        opened = client.beta.threads.runs.stream(
            thread_id=thread.id, assistant_id=assistant.id, event_handler=AsyncWatcher()
        )
        async with opened as stream:
            await stream.until_done()
        run = await client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=20
        )
        messages = [one.role async for one in client.beta.threads.messages.list(thread.id, limit=1)]
        return {"text": stream.text, "status": run.status, "messages": messages}


def asynchronous(ctx):
    return asyncio.run(_streamed(ctx))
