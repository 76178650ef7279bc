// A thread as a file: JSON with all its objects, or Markdown to read.

/** Saves the thread of a feed. `form` is "json" or "markdown". */
export function saveThread(feed, form) {
  const isJson = form === "json";
  const text = isJson ? toJson(feed) : toMarkdown(feed);
  saveFile(`${feed.threadId}.${isJson ? "json" : "md"}`, text, isJson ? "application/json" : "text/markdown");
}

/** Lets the browser save a text or a blob as a file. */
export function saveFile(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function toJson(feed) {
  const objects = {
    thread: feed.thread,
    messages: [...feed.messages.values()],
    runs: [...feed.runs.values()],
    steps: [...feed.steps.values()],
  };
  return JSON.stringify(objects, null, 2);
}

function toMarkdown(feed) {
  const parts = [`# ${feed.threadId}`];
  for (const message of feed.messages.values()) {
    const texts = message.content.map((part) => part.text?.value ?? part.refusal ?? `[${part.type}]`);
    parts.push(`## ${message.role}, ${new Date(message.created_at * 1000).toISOString()}`, ...texts);
  }
  return `${parts.join("\n\n")}\n`;
}
