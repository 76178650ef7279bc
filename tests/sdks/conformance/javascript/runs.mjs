// Runs that a program waits for by polling, by hand and by the SDK's helpers.

import { setTimeout as pause } from "node:timers/promises";

import { all, same, WEATHER } from "./objects.mjs";

const POLL = { pollIntervalMs: 20 };
const UNDERWAY = ["queued", "in_progress"];

/** An assistant, and a thread with a question. */
export async function begun(ctx, settings = {}) {
  const { assistants, threads } = ctx.client.beta;
  const assistant = await assistants.create({ model: ctx.model, instructions: "Be brief.", ...settings });
  return { assistant, thread: await threads.create({ messages: [{ role: "user", content: "Well?" }] }) };
}

export async function said(ctx, thread_id) {
  const messages = await all(ctx.client.beta.threads.messages.list(thread_id));
  return messages.map((one) => [one.role, one.content[0].text.value]);
}

async function refused({ openai }, asked) {
  try {
    await asked;
    return "taken";
  } catch (error) {
    return error instanceof openai.BadRequestError ? "refused" : error.stack;
  }
}

export async function run_by_hand(ctx) {
  const { threads } = ctx.client.beta;
  const { assistant, thread } = await begun(ctx);
  let run = await threads.runs.create(thread.id, { assistant_id: assistant.id });
  const first = run.status;
  while (UNDERWAY.includes(run.status)) {
    await pause(20);
    run = await ctx.calls.run(thread.id, run.id);
  }
  const [step] = (await ctx.calls.steps(thread.id, run.id)).data;
  const again = await ctx.calls.step(thread.id, run.id, step.id);
  const [message] = (await threads.messages.list(thread.id)).data;
  const changed = await ctx.calls.changeRun(thread.id, run.id, { metadata: { seen: "yes" } });
  const { prompt_tokens, completion_tokens, total_tokens } = run.usage;
  return {
    first,
    status: run.status,
    model: run.model === ctx.model,
    said: await said(ctx, thread.id),
    usage: [prompt_tokens, completion_tokens, total_tokens],
    step: [step.type, step.status, step.step_details.message_creation.message_id === message.id, same(again, step)],
    of: [message.run_id === run.id, message.assistant_id === assistant.id, run.assistant_id === assistant.id],
    changed: changed.metadata,
    listed: (await all(threads.runs.list(thread.id))).map((one) => one.id === run.id),
  };
}

export async function run_polled(ctx) {
  const { assistant, thread } = await begun(ctx);
  const asked = {
    assistant_id: assistant.id,
    additional_instructions: "Say please.",
    temperature: 0.5,
    metadata: { a: "b" },
  };
  const run = await ctx.client.beta.threads.runs.createAndPoll(thread.id, asked, POLL);
  const polled = await ctx.calls.pollRun(thread.id, run.id);
  return {
    status: run.status,
    said: await said(ctx, thread.id),
    settings: [run.instructions, run.temperature, run.metadata],
    polled: polled.status,
  };
}

export async function thread_and_run_polled(ctx) {
  const { assistant } = await begun(ctx);
  const thread = { messages: [{ role: "user", content: "Together" }] };
  const run = await ctx.client.beta.threads.createAndRunPoll({ assistant_id: assistant.id, thread }, POLL);
  return { status: run.status, said: await said(ctx, run.thread_id) };
}

export async function functions_polled(ctx) {
  const { runs } = ctx.client.beta.threads;
  const { assistant, thread } = await begun(ctx, { tools: [WEATHER] });
  let run = await runs.createAndPoll(thread.id, { assistant_id: assistant.id }, POLL);
  const calls = run.required_action.submit_tool_outputs.tool_calls;
  const first = run.status;
  const tool_outputs = calls.map((call) => ({ tool_call_id: call.id, output: "sun" }));
  const partial = await refused(ctx, ctx.calls.submit(thread.id, run.id, { tool_outputs: tool_outputs.slice(0, 1) }));
  run = await ctx.calls.submitAndPoll(thread.id, run.id, { tool_outputs }, POLL);
  const steps = await all(ctx.calls.steps(thread.id, run.id, { order: "asc" }));
  return {
    first,
    asked: calls.map((call) => [call.type, call.function.name, JSON.parse(call.function.arguments).city]),
    partial,
    status: run.status,
    answer: (await said(ctx, thread.id))[0][1],
    steps: steps.map((step) => [step.type, step.status]),
    outputs: steps[0].step_details.tool_calls.map((call) => call.function.output),
    action: run.required_action,
  };
}

export async function cancelled(ctx) {
  const { threads } = ctx.client.beta;
  const { assistant, thread } = await begun(ctx);
  let run = await threads.runs.create(thread.id, { assistant_id: assistant.id });
  let locked = "no";
  try {
    await threads.messages.create(thread.id, { role: "user", content: "Hurry" });
  } catch (error) {
    const message = `Can't add messages to ${thread.id} while a run ${run.id} is active.`;
    locked = error instanceof ctx.openai.BadRequestError && error.error.message === message;
  }
  const first = await ctx.calls.cancelRun(thread.id, run.id);
  run = await ctx.calls.pollRun(thread.id, run.id, POLL);
  await threads.messages.create(thread.id, { role: "user", content: "Never mind" });
  return { first: first.status, status: run.status, locked, error: run.last_error };
}

export async function failed(ctx) {
  const { assistant, thread } = await begun(ctx);
  const run = await ctx.client.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id }, POLL);
  const { code, message } = run.last_error;
  return { status: run.status, code, "real cause": message.includes("prompt is odd") };
}

export async function cut_short(ctx) {
  const { assistant, thread } = await begun(ctx);
  let run = await ctx.client.beta.threads.runs.create(thread.id, { assistant_id: assistant.id });
  while (UNDERWAY.includes(run.status)) {
    await pause(20);
    run = await ctx.calls.run(thread.id, run.id);
  }
  return { status: run.status, said: (await said(ctx, thread.id))[0][1] };
}

export async function settings_echoed(ctx) {
  const { runs } = ctx.client.beta.threads;
  const { assistant, thread } = await begun(ctx, { tools: [WEATHER] });
  const run = await runs.create(thread.id, {
    assistant_id: assistant.id,
    instructions: "Only this.",
    max_prompt_tokens: 1000,
    max_completion_tokens: 500,
    truncation_strategy: { type: "last_messages", last_messages: 3 },
    tool_choice: "none",
    response_format: { type: "json_object" },
    tools: [{ type: "function", function: { name: "other" } }],
  });
  await ctx.calls.pollRun(thread.id, run.id, POLL);
  return {
    instructions: run.instructions,
    limits: [run.max_prompt_tokens, run.max_completion_tokens],
    truncation: [run.truncation_strategy.type, run.truncation_strategy.last_messages],
    choice: run.tool_choice,
    format: run.response_format.type,
    tools: run.tools.map((tool) => tool.function.name),
  };
}

export async function steps_included(ctx) {
  const { assistant, thread } = await begun(ctx);
  const run = await ctx.client.beta.threads.runs.createAndPoll(thread.id, { assistant_id: assistant.id }, POLL);
  const include = ["step_details.tool_calls[*].file_search.results[*].content"];
  const page = await ctx.calls.steps(thread.id, run.id, { include });
  const step = await ctx.calls.step(thread.id, run.id, page.data[0].id, { include });
  return {
    listed: page.data.map((one) => one.type),
    same: same(step, page.data[0]),
    unknown: await refused(ctx, ctx.calls.steps(thread.id, run.id, { include: ["everything"] })),
  };
}
