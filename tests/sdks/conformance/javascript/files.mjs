// Files, uploads, and where files are named: v1's file_ids and sub-resources, v2's tool_resources and attachments.

import { all, gone, same } from "./objects.mjs";

const CONTENT = Buffer.from("Grüße, 世界\n".repeat(1000));

const uploaded = ({ client, openai }, name, content) =>
  openai.toFile(content, name).then((file) => client.files.create({ file, purpose: "assistants" }));

const bytesOf = async ({ client }, id) => Buffer.from(await (await client.files.content(id)).arrayBuffer());

export async function files(ctx) {
  const { client } = ctx;
  const file = await uploaded(ctx, "Grüße.txt", CONTENT);
  const other = await uploaded(ctx, "other.txt", Buffer.from("other"));
  const read = await client.files.retrieve(file.id);
  const ready = await client.files.waitForProcessing(file.id);
  const listed = await all(client.files.list({ purpose: "assistants" }));
  const content = await bytesOf(ctx, file.id);
  const deleted = await ctx.calls.deleteFile(file.id);
  await ctx.calls.deleteFile(other.id);
  return {
    made: [file.object, file.filename, file.purpose, file.bytes],
    same: same(read, file),
    ready: ready.status,
    listed: listed.filter((one) => [file.id, other.id].includes(one.id)).length,
    content: content.equals(CONTENT),
    deleted: [deleted.object, deleted.deleted],
    gone: await gone(ctx, client.files.retrieve(file.id)),
  };
}

export async function uploads(ctx) {
  const { client, openai } = ctx;
  const asked = { mime_type: "text/plain", purpose: "assistants" };
  const upload = await client.uploads.create({ filename: "big.txt", bytes: CONTENT.length, ...asked });
  const half = CONTENT.length / 2;
  const part_ids = [];
  for (const piece of [CONTENT.subarray(0, half), CONTENT.subarray(half)]) {
    const data = await openai.toFile(piece, "part");
    part_ids.push((await client.uploads.parts.create(upload.id, { data })).id);
  }
  const done = await client.uploads.complete(upload.id, { part_ids });
  let dropped = await client.uploads.create({ filename: "b", bytes: 1, ...asked });
  dropped = await client.uploads.cancel(dropped.id);
  return {
    made: [upload.object, upload.status],
    done: [done.status, done.file.filename, done.file.bytes],
    content: (await bytesOf(ctx, done.file.id)).equals(CONTENT),
    dropped: dropped.status,
  };
}

export async function file_ids(ctx) {
  const { client } = ctx;
  const { assistants, threads } = client.beta;
  const file = await uploaded(ctx, "a.txt", Buffer.from("text"));
  const other = await uploaded(ctx, "b.txt", Buffer.from("text"));
  const asked = { model: ctx.model, tools: [{ type: "retrieval" }], file_ids: [file.id] };
  const assistant = await assistants.create(asked);
  const made = await assistants.files.create(assistant.id, { file_id: other.id });
  const listed = await all(assistants.files.list(assistant.id));
  const read = await assistants.files.retrieve(assistant.id, file.id);
  const deleted = await assistants.files.del(assistant.id, file.id);
  const left = (await assistants.retrieve(assistant.id)).file_ids;
  const survives = (await client.files.retrieve(file.id)).id === file.id;
  const thread = await threads.create({ messages: [{ role: "user", content: "Hi", file_ids: [file.id] }] });
  const [message] = (await threads.messages.list(thread.id)).data;
  const [link] = (await threads.messages.files.list(thread.id, message.id)).data;
  const again = await threads.messages.files.retrieve(thread.id, message.id, file.id);
  return {
    made: [made.object, made.assistant_id === assistant.id, same(assistant.file_ids, [file.id])],
    listed: [listed[0].id === other.id, listed[1].id === file.id],
    read: read.id === file.id,
    deleted: [deleted.object, deleted.deleted, same(left, [other.id]), survives],
    message: [same(message.file_ids, [file.id]), link.object, link.id === file.id, same(again, link)],
  };
}

export async function attachments(ctx) {
  const { assistants, threads } = ctx.client.beta;
  const file = await uploaded(ctx, "a.csv", Buffer.from("a,b\n1,2\n"));
  const code = { type: "code_interpreter" };
  const assistant = await assistants.create({
    model: ctx.model,
    tools: [code],
    tool_resources: { code_interpreter: { file_ids: [file.id] } },
  });
  let thread = await threads.create();
  const attachments = [{ file_id: file.id, tools: [code] }];
  const message = await threads.messages.create(thread.id, { role: "user", content: "Hi", attachments });
  thread = await threads.retrieve(thread.id);
  return {
    assistant: same(assistant.tool_resources.code_interpreter.file_ids, [file.id]),
    message: message.attachments.map((one) => [one.file_id === file.id, one.tools.map((tool) => tool.type)]),
    thread: same(thread.tool_resources.code_interpreter.file_ids, [file.id]),
  };
}
