// The next turn of a conversation as a program: Python with the official SDK, or curl. Keys are never part of it.

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Returns Python that sends `text` to the thread and streams the run. */
export function pythonSample({ base, threadId, assistantId, text, options }) {
  const extra = Object.entries(options).map(([name, value]) => `    ${name}=${JSON.stringify(value)},`);
  return [
    "import os",
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(base)}, api_key=os.environ["OPENAI_API_KEY"])`,
    ...(threadId ? [`thread_id = ${JSON.stringify(threadId)}`] : ["thread_id = client.beta.threads.create().id"]),
    `client.beta.threads.messages.create(thread_id, role="user", content=${JSON.stringify(text)})`,
    "with client.beta.threads.runs.stream(",
    "    thread_id=thread_id,",
    `    assistant_id=${JSON.stringify(assistantId)},`,
    ...extra,
    ") as stream:",
    "    for piece in stream.text_deltas:",
    '        print(piece, end="", flush=True)',
    "",
  ].join("\n");
}

/** Returns commands of curl that do the same. */
export function curlSample({ base, threadId, assistantId, text, options }) {
  const headers = `-H "Authorization: Bearer $OPENAI_API_KEY" -H "OpenAI-Beta: assistants=v2" -H "Content-Type: application/json"`;
  const message = { role: "user", content: text };
  if (!threadId) {
    const body = JSON.stringify({ assistant_id: assistantId, thread: { messages: [message] }, stream: true, ...options });
    return `curl -N ${base}/threads/runs ${headers} \\\n  -d ${quote(body)}\n`;
  }
  const path = `${base}/threads/${threadId}`;
  const run = JSON.stringify({ assistant_id: assistantId, stream: true, ...options });
  return `curl ${path}/messages ${headers} \\\n  -d ${quote(JSON.stringify(message))}\n\ncurl -N ${path}/runs ${headers} \\\n  -d ${quote(run)}\n`;
}
