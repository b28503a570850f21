// The inbox in a real browser: node inbox.mjs ADDRESS BROWSER SCREENSHOTS

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

const [address, executablePath, screenshots] = process.argv.slice(2);
mkdirSync(screenshots, { recursive: true });
const done = (step) => console.log(`ok ${step}`);

async function api(path, body) {
  const response = await fetch(address + path, {
    method: body === undefined ? "GET" : "POST",
    headers: { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  assert.ok(response.ok, `${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

async function thread(graph, input) {
  const { thread_id } = await api("/threads", {});
  const result = await api(`/threads/${thread_id}/runs/wait`, { assistant_id: graph, input });
  return { id: thread_id, question: result.__interrupt__?.[0]?.id, result };
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
const page = await context.newPage();
const outside = [];
page.on("request", (request) => {
  if (!request.url().startsWith(address)) outside.push(request.url());
});
page.on("dialog", (dialog) => assert.fail(`a script of a payload ran: ${dialog.message()}`));

async function open(path) {
  const response = await page.goto(address + path);
  assert.equal(response.status(), 200, `${path}: ${response.status()}`);
}
/** Sends a form and waits until its answer's page is there. */
const sent = (page, action) => Promise.all([page.waitForNavigation({ waitUntil: "load" }), action()]);
const shot = (name) => page.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true });
const body = () => page.locator("main").innerText();

/** Loads a page again until it says something, at most for a while. */
async function until(path, words) {
  const begun = Date.now();
  for (;;) {
    await open(path);
    const text = await body();
    if (words.test(text)) return text;
    assert.ok(Date.now() - begun < 20_000, `${path} never said ${words}: ${text}`);
  }
}

// A pending refund is seen, approved, finishes, and is refused the second time.
{
  const refund = await thread("refund", { order_id: "inbox-1", amount_cents: 50000 });
  await open("/inbox");
  await sent(page, () => page.locator(`a[href="/inbox/approvals/${refund.question}"]`).click());
  assert.match(await body(), /What is asked/);
  assert.match(await body(), /commit_refund, which may use payments/);
  await shot("approval");
  const second = await context.newPage();
  await second.goto(`${address}/inbox/approvals/${refund.question}`);
  await sent(page, () => page.getByRole("button", { name: "Accept", exact: true }).click());
  assert.match(await until(`/inbox/approvals/${refund.question}`, /approved/), /Decided/);
  const finished = await until(`/inbox/threads/${refund.id}`, /idle of graph refund/);
  assert.match(finished, /approved/);
  assert.match(finished, /completed/);
  assert.equal(await page.locator("svg.graph .ran").count(), 3, "the path that was taken");
  await shot("thread");
  await sent(second, () => second.getByRole("button", { name: "Reject" }).click());
  assert.match(await second.locator("main").innerText(), /That was not done/);
  assert.match(await second.locator("main").innerText(), /approved|answered/);
  done("a refund is seen, approved and finished, and a second decision is refused");
}

// One expires.
{
  const expiring = await thread("expiring", {});
  await until(`/inbox/approvals/${expiring.question}`, /expired/);
  const text = await until(`/inbox/threads/${expiring.id}`, /idle of graph expiring/);
  assert.match(text, /verdict\s+expired/);
  done("a question that nobody answered expires, and its node sees that");
}

// One is in doubt, and a person settles it.
{
  const doubtful = await thread("doubtful", { order: "inbox-2" });
  await until("/inbox/doubt", /pay-inbox-2/);
  await shot("doubt");
  await page.getByLabel("How do you know?").fill("the receiver's books have it");
  await page.getByLabel(/what the receiver answered/).fill('{"status":200,"headers":{},"body":{"receipt":"r-7"}}');
  await sent(page, () => page.getByRole("button", { name: "It happened" }).click());
  assert.match(await body(), /Nothing is in doubt/);
  await until(`/inbox/threads/${doubtful.id}`, /idle of graph doubtful/);
  assert.match(await body(), /r-7/);
  done("a doubt is settled by a person's word");
}

// One is forked with another amount, and nothing is paid.
{
  const refund = await thread("refund", { order_id: "inbox-3", amount_cents: 700 });
  await open(`/inbox/threads/${refund.id}`);
  const before = await page.locator("pre").innerText();
  await page.locator("#checkpoint").selectOption({ index: 0 });
  await page.getByLabel(/Changes/).fill('{"amount_cents": 100}');
  await sent(page, () => page.getByRole("button", { name: "Run the branch" }).click());
  const tree = await page.locator("pre").innerText();
  assert.ok(tree.split("\n").length > before.split("\n").length, tree);
  assert.match(await body(), /amount_cents\s+100/);
  done("a branch with another amount");
}

// What others wrote is shown, never run, and what does not show is marked.
{
  const hostile = await thread("hostile", {});
  await open(`/inbox/approvals/${hostile.question}`);
  assert.match(await body(), /<script>alert\(1\)<\/script>/);
  assert.match(await body(), /U\+202E/);
  assert.match(await body(), /characters that do not show/);
  assert.equal(await page.locator("mark.mixed").count(), 1);
  await shot("hostile");
  done("markup is text, hidden and look-alike characters are marked");
}

// By keyboard alone, in the dark, on a narrow screen.
{
  const refund = await thread("refund", { order_id: "inbox-4", amount_cents: 900 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 380, height: 800 });
  await open(`/inbox/approvals/${refund.question}`);
  await shot("narrow");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  assert.equal(wide, false, "nothing sticks out on a narrow screen");
  for (let presses = 0; presses < 40; presses += 1) {
    await page.keyboard.press("Tab");
    if ((await page.evaluate(() => document.activeElement?.textContent)) === "Reject") break;
  }
  await sent(page, () => page.keyboard.press("Enter"));
  await until(`/inbox/threads/${refund.id}`, /idle of graph refund/);
  assert.match(await body(), /rejected/);
  done("by keyboard, dark and narrow");
}

await open("/inbox/audit");
assert.match(await body(), /question\.decided/);
done("the audit trail shows the decisions");

assert.deepEqual(outside, [], "nothing is loaded from outside");
await browser.close();
console.log("all of it");
