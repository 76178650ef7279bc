"""The process that serves the embedded model: `python -m service.embedded.model_process`.

Its settings come as one line of JSON at stdin, so that the key shows in no process list; one line of JSON at stdout
says where it listens. It ends when stdin does, that is with its parent, however that ended. What llama.cpp writes goes
to stderr.
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
    params.kv_unified = True  # the slots share the context: one long thread may use what the others leave
    params.cache_ram_mib = settings["cache_mib"]  # its default is 8 GiB
    params.cpuparams.n_threads = settings["threads"]
    # So small a model, at the API's default temperature of 1, loops until its context is full in 1 answer of 16. With
    # these it did not, and what rambles all the same ends in seconds.
    params.n_predict = settings["longest_answer"]
    params.sampling.min_p = 0.1
    params.sampling.penalty_repeat = 1.1
    params.chat_template = settings["chat_template"]
    # Else it goes on with a prompt's last message where that is the assistant's, instead of answering anew, and refuses
    # a prompt that ends in two: runs in a row, with nothing said between them, ask so.
    params.prefill_assistant = False
    params.verbosity = 1  # errors: a line for every request would grow without bound
    params.ui = False
    params.endpoint_slots = False  # it would show what others ask
    return params


def main() -> None:
    """Serves until stdin ends."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # llama.cpp writes some of its log to stdout
    settings = json.loads(sys.stdin.readline())
    import xllamacpp

    server = xllamacpp.Server(_parameters(settings))
    if settings["uid"] is not None:
        # Everything is loaded; what reads the prompts of strangers needs no rights from here on.
        with contextlib.suppress(OSError):  # a container may know no user but root
            os.setgroups([])
            os.setgid(settings["uid"])
            os.setuid(settings["uid"])
    print(json.dumps({"address": server.listening_address}), file=answer, flush=True)
    sys.stdin.read()
    os._exit(0)  # the threads of the server would wait for their clients


if __name__ == "__main__":
    main()
