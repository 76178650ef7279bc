// Errors: each status becomes the SDK's own class, with the API's message, param and code inside.

async function caught(asked) {
  try {
    await asked;
    return "no error";
  } catch (error) {
    return [error.constructor.name, error.status, error.type ?? error.error.type, error.param, error.code];
  }
}

export async function not_found(ctx) {
  const { assistants, threads } = ctx.client.beta;
  const thread = await threads.create();
  const message = await assistants.retrieve("asst_none").catch((error) => error.error.message);
  return {
    message,
    assistant: await caught(assistants.retrieve("asst_none")),
    run: await caught(ctx.calls.run(thread.id, "run_none")),
    "assistant of a run": await caught(threads.runs.create(thread.id, { assistant_id: "asst_none" })),
    file: await caught(ctx.client.files.retrieve("file-none")),
  };
}

export async function bad_request(ctx) {
  const { assistants, threads } = ctx.client.beta;
  const file = await ctx.openai.toFile(Buffer.from("x"), "x");
  return {
    value: await caught(assistants.list({ limit: 1000 })),
    type: await caught(threads.create({ metadata: "none" })),
    unknown: await caught(threads.create({ surprise: 1 })),
    missing: await caught(assistants.create({})),
    purpose: await caught(ctx.client.files.create({ file, purpose: "nothing" })),
  };
}

export async function wrong_key(ctx) {
  const client = new ctx.openai.OpenAI({ apiKey: "sk-wrong-key" });
  return { error: await caught(client.beta.threads.create()) };
}
