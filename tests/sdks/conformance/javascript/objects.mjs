// Assistants, threads and messages: made, read, changed, listed page by page, deleted.

import { isDeepStrictEqual } from "node:util";

export const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    description: "Tells the weather",
    parameters: { type: "object", properties: { city: { type: "string" } } },
  },
};

export async function gone({ openai }, asked) {
  try {
    await asked;
    return false;
  } catch (error) {
    return error instanceof openai.NotFoundError;
  }
}

export async function all(pages, enough = Infinity) {
  const found = [];
  for await (const one of pages) {
    found.push(one);
    if (found.length === enough) break;
  }
  return found;
}

export const same = isDeepStrictEqual;

export async function assistants(ctx) {
  const { assistants } = ctx.client.beta;
  const made = await assistants.create({
    model: ctx.model,
    name: "Tutor",
    instructions: "Be kind.",
    tools: [WEATHER],
    metadata: { team: "a", old: "1" },
  });
  const read = await assistants.retrieve(made.id);
  const changed = await assistants.update(made.id, { name: "Guide", description: "Knows", metadata: { team: "b" } });
  const [newest] = (await assistants.list({ limit: 1 })).data;
  const deleted = await ctx.calls.deleteAssistant(made.id);
  return {
    made: [made.object, made.name, made.description, made.instructions, made.metadata],
    tool: [made.tools[0].type, made.tools[0].function.name, made.tools[0].function.parameters],
    same: same(read, made),
    changed: [changed.name, changed.description, changed.instructions, changed.metadata],
    newest: newest.id === made.id,
    deleted: [deleted.object, deleted.deleted, deleted.id === made.id],
    gone: await gone(ctx, assistants.retrieve(made.id)),
  };
}

export async function assistants_paged(ctx) {
  const { assistants } = ctx.client.beta;
  const made = [];
  for (let n = 0; n < 5; n++) made.push((await assistants.create({ model: ctx.model, name: `Number ${n}` })).id);
  const newestFirst = await all(assistants.list({ limit: 2 }), 5);
  const after = await assistants.list({ order: "asc", after: made[0], limit: 3 });
  const before = await assistants.list({ order: "desc", after: made[4], before: made[1] });
  const following = await after.getNextPage();
  return {
    "newest first": same(newestFirst.map((one) => one.id), [...made].reverse()),
    after: after.data.map((one) => one.name),
    more: after.hasNextPage(),
    following: following.data.map((one) => one.name),
    between: before.data.map((one) => one.name),
  };
}

export async function threads(ctx) {
  const { threads } = ctx.client.beta;
  const empty = await threads.create();
  const made = await threads.create({
    messages: [
      { role: "user", content: "Hello" },
      { role: "user", content: "Again" },
    ],
    metadata: { user: "7" },
  });
  const read = await threads.retrieve(made.id);
  const changed = await threads.update(made.id, { metadata: { user: "8" } });
  const deleted = await ctx.calls.deleteThread(made.id);
  await ctx.calls.deleteThread(empty.id);
  return {
    made: [made.object, made.metadata],
    same: read.id === made.id && read.created_at === made.created_at,
    changed: changed.metadata,
    deleted: [deleted.object, deleted.deleted],
    gone: await gone(ctx, threads.retrieve(made.id)),
    "gone with it": await gone(ctx, threads.messages.list(made.id)),
  };
}

export async function messages(ctx) {
  const { threads } = ctx.client.beta;
  const thread = await threads.create();
  const asked = { role: "user", content: "What is 1 + 1?", metadata: { n: "1" } };
  const made = await threads.messages.create(thread.id, asked);
  const read = await ctx.calls.message(thread.id, made.id);
  const changed = await ctx.calls.changeMessage(thread.id, made.id, { metadata: { n: "2" } });
  const other = await threads.create();
  return {
    made: [made.object, made.role, made.content[0].type, made.content[0].text.value, made.metadata],
    annotations: made.content[0].text.annotations,
    of: [made.thread_id === thread.id, made.run_id, made.assistant_id],
    same: same(read.content, made.content),
    changed: changed.metadata,
    listed: (await all(threads.messages.list(thread.id))).map((one) => one.id === made.id),
    elsewhere: await gone(ctx, ctx.calls.message(other.id, made.id)),
  };
}

export async function messages_paged(ctx) {
  const { threads } = ctx.client.beta;
  const texts = [..."0123456"].map((n) => `Number ${n}`);
  const thread = await threads.create({ messages: texts.map((content) => ({ role: "user", content })) });
  const page = await threads.messages.list(thread.id, { limit: 3 });
  let pages = 0;
  for await (const _ of page.iterPages()) pages++;
  const textOf = (one) => one.content[0].text.value;
  const allOf = async (query) => (await all(threads.messages.list(thread.id, { limit: 3, ...query }))).map(textOf);
  return {
    page: page.data.map(textOf),
    pages,
    "newest first": same(await allOf(), [...texts].reverse()),
    "oldest first": same(await allOf({ order: "asc" }), texts),
  };
}

export async function message_deleted(ctx) {
  const { threads } = ctx.client.beta;
  const thread = await threads.create({ messages: [{ role: "user", content: "Oops" }] });
  const [message] = (await threads.messages.list(thread.id)).data;
  const deleted = await threads.messages.delete(message.id, { thread_id: thread.id });
  return {
    deleted: [deleted.object, deleted.deleted, deleted.id === message.id],
    left: (await threads.messages.list(thread.id)).data.length,
  };
}

export async function message_parts(ctx) {
  const { threads } = ctx.client.beta;
  const content = [
    { type: "text", text: "What is this?" },
    { type: "image_url", image_url: { url: "https://example.com/cat.png", detail: "low" } },
  ];
  const thread = await threads.create();
  const message = await threads.messages.create(thread.id, { role: "user", content });
  await threads.messages.create(thread.id, { role: "assistant", content: "A dog?" });
  const [text, image] = message.content;
  return {
    parts: [text.text.value, image.image_url.url, image.image_url.detail],
    roles: (await all(threads.messages.list(thread.id, { order: "asc" }))).map((one) => one.role),
  };
}
