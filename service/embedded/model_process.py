"""The process that serves the embedded model: `python -m service.embedded.model_process`.

It reads its settings as one line of JSON from stdin, so that no process list shows the key, and writes its address as
one line of JSON to stdout. It ends when stdin ends, which happens at the latest when its parent ends. The output of
llama.cpp goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any


def _parameters(settings: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.api_keys = [settings["key"]]
    params.n_ctx = settings["context"]
    params.n_parallel = settings["slots"]
    params.kv_unified = True  # the slots share the context, so a long thread can use the free context of other slots
    params.cache_ram_mib = settings["cache_mib"]  # the default is 8 GiB
    params.cpuparams.n_threads = settings["threads"]
    # At the API's default temperature of 1, 1 answer of 16 by this small model loops until the context is full. With
    # these settings none did, and an answer that rambles ends within seconds.
    params.n_predict = settings["longest_answer"]
    params.sampling.min_p = 0.1
    params.sampling.penalty_repeat = 1.1
    params.chat_template = settings["chat_template"]
    # If the last message of a prompt is the assistant's, llama.cpp would continue that message and not give a new
    # answer, and it would reject a prompt that ends in two such messages. Consecutive runs without a message between
    # them have such prompts.
    params.prefill_assistant = False
    params.verbosity = 1  # errors only: with a line for every request the log would grow without bound
    params.ui = False
    params.endpoint_slots = False  # it would expose the prompts of other requests
    return params


def main() -> None:
    """Serves until stdin ends."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # llama.cpp writes some of its log to stdout
    settings = json.loads(sys.stdin.readline())
    import xllamacpp

    server = xllamacpp.Server(_parameters(settings))
    if settings["uid"] is not None:
        # Everything is loaded, and the code that reads strangers' prompts needs no privileges from here on.
        with contextlib.suppress(OSError):  # a container may not have this id
            os.setgroups([])
            os.setgid(settings["uid"])
            os.setuid(settings["uid"])
    print(json.dumps({"address": server.listening_address}), file=answer, flush=True)
    sys.stdin.read()
    os._exit(0)  # a normal exit would wait for the server's threads, which wait for clients


if __name__ == "__main__":
    main()
