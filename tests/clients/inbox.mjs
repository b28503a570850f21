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

// Much is at stake: two people, an edit that shows what it changes, and what is typed instead of a click.
{
  const risky = await thread("risky", {});
  const person = async (name) => {
    const own = await browser.newContext({
      colorScheme: "dark",
      viewport: { width: 380, height: 800 },
      extraHTTPHeaders: { "x-holdpoint-actor": name },
      javaScriptEnabled: false,
    });
    const tab = await own.newPage();
    return { tab, text: () => tab.locator("main").innerText() };
  };
  const [ana, ben] = [await person("ana"), await person("ben")];
  await ana.tab.goto(`${address}/inbox?show=all`);
  assert.match(await ana.text(), /a large one\s+high risk/);
  assert.match(await ana.text(), /1 h 5\d min left/);
  await sent(ana.tab, () => ana.tab.locator(`a[href="/inbox/approvals/${risky.question}"]`).click());
  await ana.tab.getByText("Change it, or answer with something else").click();
  await ana.tab.getByLabel(/changed request/).fill('{"approved": true, "args": {"title": "a large one", "amount_cents": 880000, "to": "acme"}}');
  await sent(ana.tab, () => ana.tab.getByRole("button", { name: "Accept as changed" }).click());
  assert.match(await ana.text(), /has to be typed/, "a click does not go ahead");
  await ana.tab.goto(`${address}/inbox/approvals/${risky.question}`);
  await ana.tab.getByText("Change it, or answer with something else").click();
  await ana.tab.getByLabel(/changed request/).fill('{"approved": true, "args": {"title": "a large one", "amount_cents": 880000, "to": "acme"}}');
  await ana.tab.getByLabel("Type it here to go ahead").fill("990000");
  await sent(ana.tab, () => ana.tab.getByRole("button", { name: "Accept as changed" }).click());
  assert.match(await ana.text(), /1 of 2 to go ahead/);

  await ben.tab.goto(`${address}/inbox/approvals/${risky.question}`);
  assert.match(await ben.text(), /What was changed by ana/);
  const diff = await ben.tab.locator("table.diff tbody tr").allInnerTexts();
  assert.equal(diff.length, 1, `${diff}`);
  assert.match(diff[0], /amount_cents\s+990000\s+880000/);
  assert.equal(await ben.tab.locator("details", { hasText: "Break glass" }).count(), 1, "ben is an administrator here");
  await ben.tab.screenshot({ path: `${screenshots}/risky.png`, fullPage: true });
  const wide = await ben.tab.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  assert.equal(wide, false, "nothing sticks out on a narrow screen");
  // By keyboard: what is typed, then the button.
  await ben.tab.getByLabel("Type it here to go ahead").focus();
  await ben.tab.keyboard.type("880000");
  const accept = ben.tab.getByRole("button", { name: "Accept", exact: true });
  assert.equal(await accept.getAttribute("accesskey"), null);
  await accept.focus();
  await sent(ben.tab, () => ben.tab.keyboard.press("Enter"));
  const decided = await ben.text();
  assert.match(decided, /Decided\s+edited by ben/);
  assert.match(decided, /voted, verdict: edit[\s\S]*decided, verdict: edit/, "its history");
  await ben.tab.goto(`${address}/inbox?show=decided`);
  assert.match(await ben.text(), /a large one[\s\S]*edited[\s\S]*ben/);
  await Promise.all([ana.tab.context().close(), ben.tab.context().close()]);
  done("two people, what was changed, and what has to be typed, without script");
}

// Whoever dismisses a question withdraws it.
{
  const refund = await thread("refund", { order_id: "inbox-5", amount_cents: 100 });
  await api(`/threads/${refund.id}/state`, { values: null, as_node: "__end__" });
  await open("/inbox?show=cancelled");
  assert.equal(await page.locator(`a[href="/inbox/approvals/${refund.question}"]`).count(), 1);
  await open(`/inbox/approvals/${refund.question}`);
  assert.match(await body(), /nobody is to answer any more/);
  done("a cancelled question is found, and says who cancelled it");
}

await open("/inbox/audit");
assert.match(await body(), /question\.decided/);
done("the audit trail shows the decisions");

assert.deepEqual(outside, [], "nothing is loaded from outside");
await browser.close();
console.log("all of it");
