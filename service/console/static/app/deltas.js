// Adds the deltas of a stream to messages and steps. Pure: each returns a new object.

/** Returns the message with the pieces of `delta` added. */
export function applyMessageDelta(message, delta) {
  const content = [...message.content];
  for (const { index, ...piece } of delta.content ?? []) {
    const before = content[index];
    if (piece.type === "text") {
      const text = before?.text ?? { value: "", annotations: [] };
      const annotations = [...text.annotations, ...(piece.text?.annotations ?? [])];
      content[index] = { type: "text", text: { value: text.value + (piece.text?.value ?? ""), annotations } };
    } else if (piece.type === "refusal") {
      content[index] = { type: "refusal", refusal: (before?.refusal ?? "") + (piece.refusal ?? "") };
    } else {
      content[index] = piece;
    }
  }
  return { ...message, content: content.filter(Boolean) };
}

/** Returns the step with the pieces of `delta` added. */
export function applyStepDelta(step, delta) {
  const details = delta.step_details;
  if (details?.type !== "tool_calls") return step;
  const calls = [...(step.step_details.tool_calls ?? [])];
  for (const { index, ...piece } of details.tool_calls ?? []) calls[index] = addCall(calls[index], piece);
  return { ...step, step_details: { ...step.step_details, tool_calls: calls.filter(Boolean) } };
}

function addCall(before, piece) {
  if (!before) return piece;
  const call = { ...before };
  if (piece.function) {
    const known = before.function ?? {};
    call.function = { ...known, ...piece.function, arguments: (known.arguments ?? "") + (piece.function.arguments ?? "") };
    call.function.name = piece.function.name ?? known.name;
  }
  if (piece.code_interpreter) {
    const known = before.code_interpreter ?? { input: "", outputs: [] };
    const outputs = [...(known.outputs ?? []), ...(piece.code_interpreter.outputs ?? [])];
    call.code_interpreter = { input: (known.input ?? "") + (piece.code_interpreter.input ?? ""), outputs };
  }
  if (piece.file_search) call.file_search = { ...before.file_search, ...piece.file_search };
  return call;
}
