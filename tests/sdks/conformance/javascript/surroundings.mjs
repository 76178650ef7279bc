// What lies around assistants: chat completions passed through, Azure's client, raw responses, headers.

import { begun, said } from "./runs.mjs";
import { all } from "./objects.mjs";

const MESSAGES = [{ role: "user", content: "Hi" }];

export async function chat(ctx) {
  const asked = { model: ctx.model, messages: MESSAGES };
  const whole = await ctx.client.chat.completions.create(asked);
  const pieces = [];
  for await (const chunk of await ctx.client.chat.completions.create({ ...asked, stream: true })) {
    const piece = chunk.choices[0]?.delta.content;
    if (piece) pieces.push(piece);
  }
  return {
    whole: whole.choices[0].message.content,
    usage: whole.usage.total_tokens,
    pieces,
    models: (await all(ctx.client.models.list())).map((model) => model.id),
  };
}

export async function azure(ctx) {
  const client = new ctx.openai.AzureOpenAI({
    endpoint: ctx.client.baseURL.replace(/\/v1\/?$/, ""),
    apiVersion: "2024-05-01-preview",
    apiKey: process.env.OPENAI_API_KEY,
    baseURL: null,
  });
  const ours = { ...ctx, client };
  const { assistant, thread } = await begun(ours);
  const { runs } = client.beta.threads;
  const run = await runs.createAndPoll(thread.id, { assistant_id: assistant.id }, { pollIntervalMs: 20 });
  let streamed = "";
  await runs
    .stream(thread.id, { assistant_id: assistant.id })
    .on("textDelta", (delta) => {
      streamed += delta.value;
    })
    .done();
  const whole = await client.chat.completions.create({ model: ctx.model, messages: MESSAGES });
  return {
    status: run.status,
    streamed,
    stored: (await said(ours, thread.id))[0][1],
    chat: whole.choices[0].message.content,
  };
}

export async function raw_responses(ctx) {
  const { data: thread, response } = await ctx.client.beta.threads.create({ metadata: { a: "b" } }).withResponse();
  return {
    status: response.status,
    parsed: [thread.object, thread.metadata],
    "request id": response.headers.get("x-request-id").startsWith("req_"),
    version: response.headers.get("openai-version"),
    time: Number(response.headers.get("openai-processing-ms")) > 0,
    type: response.headers.get("content-type").split(";")[0],
  };
}

export async function organization(ctx) {
  const client = new ctx.openai.OpenAI({ organization: "org-ours" });
  const response = await client.beta.threads.create().asResponse();
  return { echoed: response.headers.get("openai-organization") };
}
