"""LangGraph's Python client, unmodified, against a Holdpoint server: python client.py ADDRESS"""

import asyncio
import sys

import httpx
from langgraph_sdk import get_client

ORDER = {"order_id": "py-1", "amount_cents": 4200}


def done(step: str) -> None:
    print(f"ok {step}", flush=True)


async def refused(expected: int, awaitable) -> str:
    """The request must be refused with this status; gives what it says."""
    try:
        result = await awaitable
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == expected, f"{error.response.status_code}: {error.response.text}"
        return error.response.text
    except Exception as error:  # the client's own exceptions carry the response
        status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
        assert status == expected, f"{type(error).__name__} {status}: {error}"
        return str(error)
    raise AssertionError(f"was not refused with {expected}: {result}")


async def interrupted_thread(client, order: str):
    """A refund that waits for its approval."""
    thread = await client.threads.create()
    result = await client.runs.wait(thread["thread_id"], "refund", input={**ORDER, "order_id": order})
    [question] = result["__interrupt__"]
    return thread["thread_id"], question["id"]


async def assistants(client) -> None:
    found = await client.assistants.search()
    names = sorted(assistant["graph_id"] for assistant in found)
    assert names == ["counter", "refund"], names
    assistant = next(assistant for assistant in found if assistant["graph_id"] == "refund")
    again = await client.assistants.get(assistant["assistant_id"])
    assert again["name"] == "refund"
    graph = await client.assistants.get_graph("refund")
    assert {"__start__", "approval_gate", "__end__"} <= {node["id"] for node in graph["nodes"]}, graph
    schemas = await client.assistants.get_schemas(assistant["assistant_id"])
    assert "amount_cents" in schemas["state_schema"]["properties"], schemas
    done("assistants: search, get, graph, schemas")


async def approve(client) -> None:
    thread = await client.threads.create(metadata={"customer": "ana"})
    identifier = thread["thread_id"]
    assert thread["status"] == "idle" and thread["values"] is None
    events = []
    async for part in client.runs.stream(
        identifier, "refund", input=ORDER, stream_mode=["values", "updates"], multitask_strategy="reject"
    ):
        events.append(part)
    assert events[0].event == "metadata" and events[0].data["run_id"]
    assert any(part.event == "updates" and "prepare_refund" in part.data for part in events), events
    [question] = [part for part in events if part.event == "values"][-1].data["__interrupt__"]
    assert len(question["id"]) == 32
    done("runs.stream: metadata, updates, values, and the question")

    thread = await client.threads.get(identifier)
    assert thread["status"] == "interrupted", thread
    assert thread["metadata"]["graph_id"] == "refund" and thread["metadata"]["customer"] == "ana"
    [[shown]] = thread["interrupts"].values()
    assert shown["id"] == question["id"]
    state = await client.threads.get_state(identifier)
    assert state["next"] == ["approval_gate"] and state["tasks"][0]["interrupts"][0]["id"] == question["id"]
    waiting = await client.threads.search(status="interrupted", metadata={"graph_id": "refund"})
    assert identifier in [found["thread_id"] for found in waiting]
    done("threads.get, get_state and search show the waiting question")

    await refused(409, client.runs.wait(identifier, "refund", input=ORDER, multitask_strategy="reject"))
    await refused(409, client.runs.wait(identifier, "refund", command={"resume": {"0" * 32: {"approved": True}}}))
    await refused(422, client.runs.wait(identifier, "refund", command={"resume": {question["id"]: {"approved": "perhaps"}}}))
    assert (await client.threads.get(identifier))["status"] == "interrupted"
    done("new input, a wrong id and a wrong answer are refused, and the question still waits")

    result = await client.runs.wait(identifier, "refund", command={"resume": {question["id"]: {"approved": True}}})
    assert result["status"] == "approved" and result["receipt"], result
    await refused(409, client.runs.wait(identifier, "refund", command={"resume": {question["id"]: {"approved": False}}}))
    assert (await client.threads.get(identifier))["status"] == "idle"
    done("resume by id: paid once, and the second answer is refused")

    history = await client.threads.get_history(identifier, limit=20)
    assert history[0]["next"] == [] and history[-1]["next"] == ["__start__"], [entry["next"] for entry in history]
    before = next(entry for entry in history if entry["next"] == ["approval_gate"])
    runs = await client.runs.list(identifier)
    assert [run["status"] for run in runs] == ["success"] * len(runs) and len(runs) >= 2, runs
    done("history, and the list of runs")

    forked = await client.threads.update_state(
        identifier, {"amount_cents": 100}, as_node="prepare_refund", checkpoint_id=before["checkpoint"]["checkpoint_id"]
    )
    assert forked["checkpoint"]["checkpoint_id"]
    result = await client.runs.wait(identifier, "refund", input=None)
    [second] = result["__interrupt__"]
    assert second["id"] != question["id"]
    result = await client.runs.wait(identifier, "refund", command={"resume": {"approved": False}})
    assert result["status"] == "rejected", result
    done("fork with another amount asks anew; a bare answer rejects it")


async def strict(client) -> None:
    identifier, question = await interrupted_thread(client, "py-2")
    answers = [client.runs.wait(identifier, "refund", command={"resume": {"approved": True}}) for _ in range(2)]
    results = await asyncio.gather(*answers, return_exceptions=True)
    won = [result for result in results if isinstance(result, dict)]
    assert len(won) == 1 and won[0]["status"] == "approved", results
    info = await client.http.get("/info")
    assert info["flags"]["strict_resume"] is True, info
    done("of two answers at once, one wins and the other is told")


async def dismiss(client) -> None:
    identifier, _ = await interrupted_thread(client, "py-3")
    await client.threads.update_state(identifier, None, as_node="__end__")
    thread = await client.threads.get(identifier)
    assert thread["status"] == "idle", thread
    copied = await client.http.post(f"/threads/{identifier}/copy", json=None)
    assert copied["thread_id"] != identifier
    await client.threads.delete(identifier)
    await refused(404, client.threads.get(identifier))
    done("dismiss as Agent Inbox does, copy, delete")


async def cancel(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread, "counter", input={"until": 1_000_000})
    while (await client.runs.get(thread, run["run_id"]))["status"] == "pending":
        await asyncio.sleep(0.02)
    await refused(409, client.runs.wait(thread, "counter", input={"until": 1}, multitask_strategy="reject"))
    await client.runs.cancel(thread, run["run_id"], wait=True)
    assert (await client.runs.get(thread, run["run_id"]))["status"] == "interrupted"
    stopped = await client.threads.get(thread)
    assert stopped["status"] == "interrupted" and not any(stopped["interrupts"].values()), stopped
    done("cancel: the run is interrupted, nothing waits for a person")


async def reconnect(client) -> None:
    thread = (await client.threads.create())["thread_id"]
    seen, last, run = [], None, None
    async for part in client.runs.stream(
        thread, "counter", input={"until": 200}, stream_mode="values", stream_resumable=True, on_disconnect="continue"
    ):
        if part.event == "metadata":
            run = part.data["run_id"]
        if part.event == "values":
            seen.append(part.data.get("count", 0))
            last = part.id
            if len(seen) == 20:
                break
    assert run and last, (run, last)
    async for part in client.runs.join_stream(thread, run, last_event_id=last):
        if part.event == "values":
            seen.append(part.data.get("count", 0))
    assert seen == sorted(seen) and seen[-1] == 200 and len(set(seen)) == len(seen), seen[-5:]
    assert seen[1:] == list(range(seen[1], 201)), "an event was lost"
    done("a stream that broke goes on where it broke, with no event lost or twice")


async def thread_stream(client) -> None:
    async with client.threads.stream(assistant_id="refund") as thread:
        await thread.run.start(input={**ORDER, "order_id": "py-4"})
        while not thread.interrupts:
            await asyncio.sleep(0.02)
        [waiting] = thread.interrupts
        await thread.run.respond({"approved": True}, interrupt_id=waiting["interrupt_id"])
        values = await thread.output
        assert values["status"] == "approved", values
    done("threads.stream: run.start, input.requested, input.respond, output")


async def stateless(client) -> None:
    result = await client.runs.wait(None, "counter", input={"until": 3})
    assert result["count"] == 3, result
    done("a run without a thread")


async def main(address: str) -> None:
    client = get_client(url=address, api_key=None)
    for part in (assistants, approve, strict, dismiss, cancel, reconnect, thread_stream, stateless):
        await part(client)
    print("all of it", flush=True)


asyncio.run(main(sys.argv[1]))
