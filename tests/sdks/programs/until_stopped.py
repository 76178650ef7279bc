"""Uses the API from several threads until its input ends, and prints what failed: an official client with its default
retries, while the server is restarted."""

import faulthandler
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

client = OpenAI()
stopped = threading.Event()
assistant = client.beta.assistants.create(model="gpt-4o", instructions="Be short.")


def use(streams):
    done, wrong = 0, []
    while not stopped.is_set():
        try:
            thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
            if streams:
                with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as stream:
                    stream.until_done()
                    status = stream.current_run.status
            else:
                run = client.beta.threads.runs.create_and_poll(
                    thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=50
                )
                status = run.status
            said = client.beta.threads.messages.list(thread.id).data
            if status != "completed" or len(said) != 2:
                wrong.append(f"{'stream' if streams else 'poll'}: {status}, {len(said)} messages")
            done += 1
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{type(error).__name__}: {error}")
    return done, wrong


with ThreadPoolExecutor() as pool:
    uses = [pool.submit(use, streams) for streams in (False, True, False, True)]
    print("started", flush=True)
    sys.stdin.read()
    stopped.set()
    faulthandler.dump_traceback_later(40)
    results = [each.result() for each in uses]
print(json.dumps({"done": sum(done for done, _ in results), "wrong": [one for _, wrong in results for one in wrong]}))
