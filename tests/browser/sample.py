"""The objects that screenshots and tests of the console show: assistants, threads, and runs of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from dataclasses import replace
from typing import Any

from tests.client import TERMINAL, Client
from tests.http.files import upload
from tests.scripted import Reply, ScriptedServer, calls, errors, says

PRICES = """\
[[models]]
match = ["gpt-4o"]
context_window = 128000

[[models.prices]]
input = 2.5
cached_input = 1.25
output = 10
"""

LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup_order",
        "description": "Finds an order by its number.",
        "parameters": {
            "type": "object",
            "properties": {
                "order_id": {"type": "string", "description": "The number on the invoice", "pattern": "^[A-Z]-[0-9]+$"},
                "include_history": {"type": "boolean", "default": False},
            },
            "required": ["order_id"],
            "additionalProperties": False,
        },
    },
}
REFUND = {
    "type": "function",
    "function": {
        "name": "issue_refund",
        "description": "Pays money back for an order. Ask the customer first.",
        "parameters": {
            "type": "object",
            "properties": {
                "order_id": {"type": "string"},
                "amount": {"type": "number", "minimum": 0.01},
                "reason": {"type": "string", "enum": ["late", "damaged", "duplicate"]},
            },
            "required": ["order_id", "amount", "reason"],
        },
    },
}
MARKDOWN = """\
Here is how the two plans compare for a team of twelve:

| Plan | Seats | Storage | Monthly |
|---|---:|---:|---:|
| Starter | 10 | 50 GB | $90 |
| **Team** | 25 | 500 GB | $180 |

The Team plan is the better fit, because Starter ends at ten seats. The break-even point follows from
$c(n) = 90 + 14\\,(n - 10)$, which reaches $180$ at $n \\approx 16.4$.

```python
def monthly_cost(seats: int) -> int:
    \"\"\"Returns the cheapest plan for a team, in dollars.\"\"\"
    starter = 90 + max(0, seats - 10) * 14
    return min(starter, 180)
```

1. Start with **Starter** while you are at ten people or fewer.
2. Move to **Team** before the eleventh joins.
"""
SUMMARY = """\
Order **A-1042** left the warehouse on Tuesday and is held at customs. The carrier expects delivery on **Friday,
4 December**.

- Paid: $248.00 by card
- Items: 2 of 2 dispatched
- Tracking: `1Z 999 AA1 01 2345 6784`

Would you like me to ask the carrier for a delivery window?
"""

GUIDE = """\
# The Aurora lamp

## Warranty

The lamp has a warranty of three years from the day of purchase. Keep the receipt: without it we cannot replace
the lamp.

## Broken glass

If the glass arrives broken, do not plug the lamp in. Take a picture, and ask the support desk for a refund or a new
lamp within fourteen days.

## Light bulbs

Use bulbs of at most 7 watts with an E27 socket.
"""


# The views of the console: their paths, with the sample's objects in braces.
VIEWS = {
    "overview": "/overview?range=hour",
    "playground": "/playground?thread={plans[id]}",
    "threads": "/threads",
    "thread": "/threads/{order[id]}",
    "run": "/threads/{order[id]}/runs/{completed[id]}",
    "run-events": "/threads/{order[id]}/runs/{completed[id]}?view=events",
    "replay": "/threads/{order[id]}/replay?at=9",
    "assistants": "/assistants",
    "assistant": "/assistants/{pricing[id]}?view=history",
    "files": "/files",
    "file": "/files/{file[id]}",
    "stores": "/stores",
    "store": "/stores/{store[id]}?query=How+long+is+the+warranty%3F",
    "audit": "/audit",
    "verification": "/audit?view=verification",
    "erasure": "/audit?view=erasure&stream={order[id]}",
    "keys": "/keys",
    "webhooks": "/webhooks",
    "health": "/health",
}


async def fill(client: Client, model: ScriptedServer) -> dict[str, Any]:
    """Makes the objects, and returns those that pages are opened for, by name."""
    support = await client.post(
        "/assistants",
        {
            "model": "gpt-4o",
            "name": "Support desk",
            "description": "Answers customers about orders and refunds.",
            "instructions": "You help customers of a shop. Look an order up before you speak about it. Be brief.",
            "tools": [LOOKUP, REFUND],
            "metadata": {"team": "support", "env": "production"},
        },
    )
    pricing = await client.post(
        "/assistants",
        {
            "model": "gpt-4o",
            "name": "Pricing advisor",
            "instructions": "You compare plans. Show a table, then give one recommendation.",
            "temperature": 0.2,
            "metadata": {"team": "sales"},
        },
    )
    await client.post(
        f"/assistants/{pricing['id']}",
        {"instructions": "You compare plans. Show a table first.\nThen give one recommendation and its reason."},
    )
    await client.post("/assistants", {"model": "gpt-4o-mini", "name": "Release notes", "metadata": {"team": "docs"}})

    order = await _thread(client, "Where is my order A-1042? It should have come on Monday.", customer="Ada Brandt")
    model.script(calls(("lookup_order", {"order_id": "A-1042", "include_history": True})))
    waiting = await _run(client, order, support, "requires_action")
    output = '{"status": "customs", "eta": "2026-12-04", "items": 2, "paid": 248.0}'
    model.script(says(SUMMARY))
    await client.post(
        f"/threads/{order['id']}/runs/{waiting['id']}/submit_tool_outputs",
        {"tool_outputs": [{"tool_call_id": _call_of(waiting), "output": output}]},
    )
    completed = await until(client, waiting, TERMINAL)

    plans = await _thread(client, "Which plan should a team of twelve take?", customer="Meridian GmbH", channel="email")
    model.script(says(MARKDOWN))
    advice = await _run(client, plans, pricing, "completed")

    refund = await _thread(client, "The lamp arrived broken. I want my money back.", customer="Jonas Weber")
    model.script(
        calls(
            ("issue_refund", {"order_id": "B-7731", "amount": 59.9, "reason": "damaged"}),
            text="I am sorry about the lamp. I will refund it now.",
        )
    )
    action = await _run(client, refund, support, "requires_action")

    broken = await _thread(client, "Summarise the attached contract.", customer="Lindqvist & Co")
    model.script(errors(401))
    failed = await _run(client, broken, pricing, "failed")
    guide = await upload(client, GUIDE.encode(), filename='filename="Lamp guide.md"')
    await upload(client, b"name,city\nAda Brandt,Oslo\n", purpose="user_data", filename='filename="customers.csv"')
    store = await client.post("/vector_stores", {"name": "Manuals", "file_ids": [guide["id"]]})
    await _indexed(client, store["id"])
    await client.post("/organization/projects", {"name": "Research"})
    for name, scope in (("ci", "full"), ("dashboard", "read")):
        body = {"name": name, "scope": scope, "requests_per_minute": 600}
        await client.post("/organization/projects/proj_default/api_keys", body)
    hook = {"url": "https://example.com/everthread", "events": ["thread.run.failed"], "description": "Pages the team"}
    await client.post("/webhook_endpoints", hook)
    for number, text in enumerate(("Hello", "Can I change my address?", "Do you ship to Norway?", "Thanks!")):
        thread = await _thread(client, text, customer=f"Customer {number + 1}", channel="chat")
        model.script(says(f"Of course. This is answer number {number + 1}, and it is short."))
        await _run(client, thread, support, "completed")
    return {
        "support": support,
        "pricing": pricing,
        "order": order,
        "completed": completed,
        "plans": plans,
        "advice": advice,
        "refund": refund,
        "action": action,
        "broken": broken,
        "failed": failed,
        "file": guide,
        "store": store,
    }


async def _indexed(client: Client, store_id: str) -> None:
    """Waits until all files of the store are indexed."""
    async with asyncio.timeout(60):
        while (await client.get(f"/vector_stores/{store_id}"))["file_counts"]["in_progress"]:
            await asyncio.sleep(0.05)


def paced(text: str, seconds: float) -> Reply:
    """Returns a reply of which one word comes every so many seconds."""
    return replace(says(text), pace_s=seconds)


async def _thread(client: Client, text: str, **metadata: str) -> Any:
    messages = [{"role": "user", "content": text}]
    return await client.post("/threads", {"messages": messages, "metadata": metadata})


async def run_to_end(client: Client, thread: Any, assistant: Any) -> Any:
    """Runs the assistant on the thread, and returns the run when it has ended."""
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    return await until(client, run, TERMINAL)


async def _run(client: Client, thread: Any, assistant: Any, status: str) -> Any:
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    return await until(client, run, (status,))


def _call_of(run: Any) -> str:
    id: str = run["required_action"]["submit_tool_outputs"]["tool_calls"][0]["id"]
    return id


async def until(client: Client, run: Any, statuses: Container[str]) -> Any:
    """Returns the run when it has one of the statuses."""
    async with asyncio.timeout(60):
        while run["status"] not in statuses:
            await asyncio.sleep(0.05)
            run = await client.get(f"/threads/{run['thread_id']}/runs/{run['id']}")
    return run
