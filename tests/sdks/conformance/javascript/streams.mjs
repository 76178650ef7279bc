// Runs watched as they go: listeners, iterators and the helpers that open streams.

import { WEATHER } from "./objects.mjs";
import { begun, said } from "./runs.mjs";

/** Listens as the guide's program does, and to everything else; resolves once the stream has ended. */
async function watched(stream) {
  const seen = { stream, events: [], text: "", snapshot: "", calls: [], done: [] };
  stream
    .on("event", ({ event }) => {
      // Deltas come as often as the model speaks.
      if (seen.events.at(-1) !== event) seen.events.push(event);
    })
    .on("textDelta", (delta, snapshot) => {
      seen.text += delta.value ?? "";
      seen.snapshot = snapshot.value;
    })
    .on("textCreated", () => seen.done.push("text created"))
    .on("textDone", (text) => seen.done.push(`text done: ${text.value}`))
    .on("messageCreated", () => seen.done.push("message created"))
    .on("messageDone", (message) => seen.done.push(`message ${message.status}`))
    .on("runStepCreated", () => seen.done.push("step created"))
    .on("runStepDone", (step) => seen.done.push(`step ${step.status}`))
    .on("toolCallCreated", (call) => seen.calls.push({ type: call.type, arguments: "" }))
    .on("toolCallDelta", (delta) => {
      seen.calls.at(-1).arguments += delta.function?.arguments ?? "";
    })
    .on("toolCallDone", (call) => {
      seen.calls.at(-1).name = call.function.name;
    })
    .on("end", () => seen.done.push("end"));
  await stream.done();
  return seen;
}

export async function run_streamed(ctx) {
  const { assistant, thread } = await begun(ctx);
  const seen = await watched(ctx.client.beta.threads.runs.stream(thread.id, { assistant_id: assistant.id }));
  const [message] = await seen.stream.finalMessages();
  const [step] = await seen.stream.finalRunSteps();
  const run = await seen.stream.finalRun();
  return {
    events: seen.events,
    text: seen.text,
    snapshot: seen.snapshot,
    done: seen.done,
    final: [run.status, message.content[0].text.value, step.type, seen.stream.currentRun().status],
    stored: (await said(ctx, thread.id))[0][1],
  };
}

export async function text_deltas(ctx) {
  const { assistant, thread } = await begun(ctx);
  const pieces = [];
  for await (const event of ctx.client.beta.threads.runs.stream(thread.id, { assistant_id: assistant.id })) {
    if (event.event === "thread.message.delta") pieces.push(event.data.delta.content[0].text.value);
  }
  return { pieces };
}

export async function older_stream_helper(ctx) {
  const { assistant, thread } = await begun(ctx);
  const seen = await watched(ctx.client.beta.threads.runs.createAndStream(thread.id, { assistant_id: assistant.id }));
  return { text: seen.text, status: (await seen.stream.finalRun()).status };
}

export async function stream_without_helper(ctx) {
  const { assistant, thread } = await begun(ctx);
  const asked = { assistant_id: assistant.id, stream: true };
  const events = [];
  let text = "";
  for await (const event of await ctx.client.beta.threads.runs.create(thread.id, asked)) {
    if (event.event === "thread.message.delta") text += event.data.delta.content[0].text.value;
    else if (events.at(-1) !== event.event) events.push(event.event);
  }
  return { text, first: events[0], last: events.at(-1) };
}

export async function thread_and_run_streamed(ctx) {
  const { assistant } = await begun(ctx);
  const thread = { messages: [{ role: "user", content: "Together" }] };
  const seen = await watched(ctx.client.beta.threads.createAndRunStream({ assistant_id: assistant.id, thread }));
  return { events: seen.events.slice(0, 4), text: seen.text };
}

export async function functions_streamed(ctx) {
  const { assistant, thread } = await begun(ctx, { tools: [WEATHER] });
  const first = await watched(ctx.client.beta.threads.runs.stream(thread.id, { assistant_id: assistant.id }));
  const run = first.stream.currentRun();
  const calls = run.required_action.submit_tool_outputs.tool_calls;
  const tool_outputs = calls.map((call) => ({ tool_call_id: call.id, output: "sun" }));
  const second = await watched(ctx.calls.submitAndStream(thread.id, run.id, { tool_outputs }));
  return {
    first: first.events,
    calls: first.calls,
    asked: calls.map((call) => [call.function.name, call.function.arguments]),
    second: second.events,
    text: second.text,
    status: (await second.stream.finalRun()).status,
  };
}

export async function failure_streamed(ctx) {
  const { assistant, thread } = await begun(ctx);
  const seen = await watched(ctx.client.beta.threads.runs.stream(thread.id, { assistant_id: assistant.id }));
  const run = seen.stream.currentRun();
  return { last: seen.events.at(-1), status: run.status, code: run.last_error.code };
}
