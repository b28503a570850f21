// LangGraph's JavaScript client, unmodified, against a Holdpoint server: node client.mjs ADDRESS

import assert from "node:assert/strict";
import { Client } from "@langchain/langgraph-sdk";

const client = new Client({ apiUrl: process.argv[2], apiKey: null, callerOptions: { maxRetries: 0 } });
const order = { order_id: "js-1", amount_cents: 4300 };
const done = (step) => console.log(`ok ${step}`);
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function refused(status, promise) {
  try {
    await promise;
  } catch (error) {
    assert.equal(error.status ?? error.response?.status, status, String(error));
    return String(error.message);
  }
  assert.fail(`was not refused with ${status}`);
}

async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

async function approve() {
  const thread = await client.threads.create();
  const id = thread.thread_id;
  let created;
  const parts = await collect(
    client.runs.stream(id, "refund", {
      input: order,
      streamMode: ["values", "updates"],
      onRunCreated: (run) => (created = run),
    }),
  );
  assert.equal(parts[0].event, "metadata");
  assert.equal(created.run_id, parts[0].data.run_id);
  const question = parts.filter((part) => part.event === "values").at(-1).data.__interrupt__[0];
  assert.match(question.id, /^[0-9a-f]{32}$/);
  done("runs.stream with onRunCreated, and the question");

  const waiting = await client.threads.search({ status: "interrupted", metadata: { graph_id: "refund" } });
  assert.ok(waiting.some((found) => found.thread_id === id));
  const state = await client.threads.getState(id);
  assert.deepEqual(state.next, ["approval_gate"]);
  assert.equal(state.tasks[0].interrupts[0].id, question.id);
  done("threads.search and getState show it");

  await refused(409, client.runs.wait(id, "refund", { input: order, multitaskStrategy: "reject" }));
  const result = await client.runs.wait(id, "refund", { command: { resume: { [question.id]: { approved: true } } } });
  assert.equal(result.status, "approved");
  await refused(409, client.runs.wait(id, "refund", { command: { resume: { [question.id]: { approved: true } } } }));
  done("resume by id: paid; the second answer is refused");

  const history = await client.threads.getHistory(id, { limit: 20 });
  assert.deepEqual(history[0].next, []);
  const before = history.find((entry) => entry.next[0] === "approval_gate");
  const replayed = await client.runs.wait(id, "refund", { input: null, checkpoint: before.checkpoint });
  assert.notEqual(replayed.__interrupt__[0].id, question.id);
  const rejected = await client.runs.wait(id, "refund", { command: { resume: { approved: false } } });
  assert.equal(rejected.status, "rejected");
  done("history, and a replay that asks anew");
}

async function cancel() {
  const { thread_id: id } = await client.threads.create();
  const run = await client.runs.create(id, "counter", { input: { until: 1_000_000 } });
  while ((await client.runs.get(id, run.run_id)).status === "pending") await pause(20);
  await client.runs.cancel(id, run.run_id, true);
  assert.equal((await client.runs.get(id, run.run_id)).status, "interrupted");
  done("cancel");
}

async function reconnect() {
  const { thread_id: id } = await client.threads.create();
  const controller = new AbortController();
  const seen = [];
  let last, run;
  try {
    for await (const part of client.runs.stream(id, "counter", {
      input: { until: 200 },
      streamMode: "values",
      streamResumable: true,
      onDisconnect: "continue",
      signal: controller.signal,
    })) {
      if (part.event === "metadata") run = part.data.run_id;
      if (part.event === "values") {
        seen.push(part.data.count ?? 0);
        last = part.id;
        if (seen.length === 20) break;
      }
    }
  } finally {
    controller.abort();
  }
  assert.ok(run && last);
  for await (const part of client.runs.joinStream(id, run, { lastEventId: last })) {
    if (part.event === "values") seen.push(part.data.count ?? 0);
  }
  assert.equal(seen.at(-1), 200);
  assert.equal(new Set(seen).size, seen.length, "an event came twice");
  assert.deepEqual(seen.slice(1), Array.from({ length: 201 - seen[1] }, (_, index) => seen[1] + index), "an event was lost");
  done("a stream that broke goes on where it broke");
}

async function queue() {
  const { thread_id: id } = await client.threads.create();
  const first = await client.runs.create(id, "counter", { input: { until: 300 } });
  const second = await client.runs.create(id, "counter", { input: { until: 400 } });
  await client.runs.join(id, second.run_id);
  const runs = await client.runs.list(id);
  assert.deepEqual(runs.map((run) => run.run_id), [second.run_id, first.run_id]);
  assert.ok(runs.every((run) => run.status === "success"), JSON.stringify(runs));
  done("two runs of one thread, in their turn");
}

async function agentInbox() {
  const { thread_id: id } = await client.threads.create();
  await client.runs.wait(id, "refund", { input: { ...order, order_id: "js-2" } });
  await client.threads.updateState(id, { values: null, asNode: "__end__" });
  assert.equal((await client.threads.get(id)).status, "idle");
  const parts = await collect(client.runs.stream(id, "refund", { input: { ...order, order_id: "js-3" }, streamMode: "events" }));
  assert.ok(parts.some((part) => part.data?.event === "on_chain_start" && part.data.metadata?.langgraph_node), "no event names a node");
  done("what Agent Inbox does: resolve, and events that name nodes");
}

for (const part of [approve, cancel, reconnect, queue, agentInbox]) await part();
console.log("all of it");
