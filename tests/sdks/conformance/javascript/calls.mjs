// The calls that changed their form: until npm 4 every id of the path stood in order, since then all but the last are
// named; `del` became `delete`, `retrieveContent` became `content`. Everything else is the same in both.

export const older = (client) => {
  const { assistants, threads } = client.beta;
  return {
    deleteAssistant: (id) => assistants.del(id),
    deleteThread: (id) => threads.del(id),
    message: (thread, id) => threads.messages.retrieve(thread, id),
    changeMessage: (thread, id, body) => threads.messages.update(thread, id, body),
    run: (thread, id) => threads.runs.retrieve(thread, id),
    changeRun: (thread, id, body) => threads.runs.update(thread, id, body),
    pollRun: (thread, id, options) => threads.runs.poll(thread, id, options),
    cancelRun: (thread, id) => threads.runs.cancel(thread, id),
    submit: (thread, id, body) => threads.runs.submitToolOutputs(thread, id, body),
    submitAndPoll: (thread, id, body, options) => threads.runs.submitToolOutputsAndPoll(thread, id, body, options),
    submitAndStream: (thread, id, body) => threads.runs.submitToolOutputsStream(thread, id, body),
    steps: (thread, run, query) => threads.runs.steps.list(thread, run, query),
    step: (thread, run, id, query) => threads.runs.steps.retrieve(thread, run, id, query),
    deleteFile: (id) => client.files.del(id),
  };
};

export const newer = (client) => {
  const { assistants, threads } = client.beta;
  return {
    deleteAssistant: (id) => assistants.delete(id),
    deleteThread: (id) => threads.delete(id),
    message: (thread_id, id) => threads.messages.retrieve(id, { thread_id }),
    changeMessage: (thread_id, id, body) => threads.messages.update(id, { thread_id, ...body }),
    run: (thread_id, id) => threads.runs.retrieve(id, { thread_id }),
    changeRun: (thread_id, id, body) => threads.runs.update(id, { thread_id, ...body }),
    pollRun: (thread_id, id, options) => threads.runs.poll(id, { thread_id }, options),
    cancelRun: (thread_id, id) => threads.runs.cancel(id, { thread_id }),
    submit: (thread_id, id, body) => threads.runs.submitToolOutputs(id, { thread_id, ...body }),
    submitAndPoll: (thread_id, id, body, options) =>
      threads.runs.submitToolOutputsAndPoll(id, { thread_id, ...body }, options),
    submitAndStream: (thread_id, id, body) => threads.runs.submitToolOutputsStream(id, { thread_id, ...body }),
    steps: (thread_id, run, query) => threads.runs.steps.list(run, { thread_id, ...query }),
    step: (thread_id, run_id, id, query) => threads.runs.steps.retrieve(id, { thread_id, run_id, ...query }),
    deleteFile: (id) => client.files.delete(id),
  };
};
