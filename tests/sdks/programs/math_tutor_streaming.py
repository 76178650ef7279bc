"""The guide's streaming program: an event handler over `runs.stream`, then a function call answered in a stream."""

import json

from openai import AssistantEventHandler, OpenAI

client = OpenAI()


class Handler(AssistantEventHandler):
    def __init__(self):
        super().__init__()
        self.seen = []
        self.text = ""

    def on_event(self, event):
        self.seen.append(event.event)

    def on_text_delta(self, delta, snapshot):
        self.text += delta.value


assistant = client.beta.assistants.create(
    name="Math Tutor",
    instructions="You are a personal math tutor.",
    model="gpt-4-turbo-preview",
    tools=[
        {
            "type": "function",
            "function": {
                "name": "solve",
                "description": "Solves an equation",
                "parameters": {"type": "object", "properties": {"equation": {"type": "string"}}},
            },
        }
    ],
)
thread = client.beta.threads.create(messages=[{"role": "user", "content": "Solve `3x + 11 = 14`."}])


def streamed(opened):
    with opened as stream:
        stream.until_done()
        return {"events": stream.seen, "text": stream.text, "run": stream.current_run}


if hasattr(client.beta.threads.runs, "stream"):
    open_run = client.beta.threads.runs.stream
else:
    open_run = client.beta.threads.runs.create_and_stream
first = streamed(open_run(thread_id=thread.id, assistant_id=assistant.id, event_handler=Handler()))
calls = first["run"].required_action.submit_tool_outputs.tool_calls
second = streamed(
    client.beta.threads.runs.submit_tool_outputs_stream(
        thread_id=thread.id,
        run_id=first["run"].id,
        tool_outputs=[{"tool_call_id": call.id, "output": "x = 1"} for call in calls],
        event_handler=Handler(),
    )
)
print(
    json.dumps(
        {
            "first": first["events"],
            "calls": [[call.function.name, call.function.arguments] for call in calls],
            "second": second["events"],
            "text": second["text"],
            "status": second["run"].status,
        }
    )
)
