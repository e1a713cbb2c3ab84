import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, toolContext } from "../testing/support.js";

const sent = (daemon) => daemon.ofType("event").map(({ event }) => event);
const activities = (daemon) => daemon.ofType("session").map(({ activity }) => activity);
const status = (type, sessionID = "ses_root") => ["session.status", { sessionID, status: { type } }];
const tool = (state, sessionID = "ses_root", more = {}) =>
  ["message.part.updated", { sessionID, part: { id: "prt_t", sessionID, type: "tool", callID: "call", tool: "bash", state: { status: state, ...more } } }];

async function watching(t) {
  const set = await connected(t);
  set.daemon.push({ type: "watch", sessions: ["ses_child"] });
  await set.daemon.settled();
  return set;
}

test("deltas of one part are joined, and their order with everything else is kept", async (t) => {
  const { daemon, event } = await watching(t);
  const delta = (partID, delta) => event("message.part.delta", { sessionID: "ses_child", messageID: "m", partID, field: "text", delta });
  for (const text of ["a", "b", "c"]) delta("p1", text);
  delta("p2", "x");
  delta("p1", "d");
  event("session.idle", { sessionID: "ses_child" });
  await daemon.settled();
  assert.deepEqual(sent(daemon).map(({ type, properties }) => properties.delta ?? type), ["abc", "x", "d", "session.idle"]);
});

test("a hundred thousand deltas make few messages and lose nothing", async (t) => {
  const { daemon, event } = await watching(t);
  for (let n = 0; n < 100_000; n++) event("message.part.delta", { sessionID: "ses_child", messageID: "m", partID: "p", field: "text", delta: "ab" });
  await daemon.settled();
  const deltas = sent(daemon).map(({ properties }) => properties.delta);
  assert.equal(deltas.join("").length, 200_000);
  assert.ok(deltas.length < 100, `${deltas.length} messages`);
});

test("a delta that waits goes out without anything else to push it", async (t) => {
  const { daemon, event } = await watching(t);
  event("message.part.delta", { sessionID: "ses_child", messageID: "m", partID: "p", field: "text", delta: "lone" });
  await daemon.message("event");
});

test("of a child's tools each state is told once, of its texts beginning and end", async (t) => {
  const { daemon, event } = await watching(t);
  const text = (text, end) => event("message.part.updated", { sessionID: "ses_child", part: { id: "prt_x", type: "text", text, time: { start: 1, end } } });
  text("");
  text("half");
  text("whole", 2);
  for (const state of ["pending", "running", "running", "completed"]) event(...tool(state, "ses_child", { output: "y".repeat(9000) }));
  event("session.diff", { sessionID: "ses_child", diff: [] });
  event("permission.asked", { id: "per_1", sessionID: "ses_child", permission: "read" });
  await daemon.settled();
  const parts = sent(daemon).map(({ type, properties }) => properties.part?.state?.status ?? properties.part?.text ?? type);
  assert.deepEqual(parts, ["", "whole", "pending", "running", "completed", "permission.asked"]);
  assert.equal(sent(daemon)[4].properties.part.state.output.length, 2000);
});

test("children that are not watched, or not any more, are not forwarded", async (t) => {
  const { daemon, event } = await watching(t);
  event("session.created", { sessionID: "ses_other", info: { id: "ses_other", parentID: "ses_root" } });
  event(...status("busy", "ses_other"));
  daemon.push({ type: "unwatch", sessions: ["ses_child"] });
  await daemon.settled();
  event(...status("busy", "ses_child"));
  await daemon.settled();
  assert.deepEqual(sent(daemon), []);
  assert.deepEqual(activities(daemon), []);
});

test("a root session's activity is told when it changes", async (t) => {
  const { daemon, event } = await connected(t);
  for (const change of [status("busy"), status("busy"), tool("pending"), tool("running"), tool("completed"), status("retry"), status("idle"), ["session.idle", { sessionID: "ses_root" }]])
    event(...change);
  await daemon.settled();
  assert.deepEqual(activities(daemon), ["streaming", "tool", "streaming", "idle"]);
});

test("what a disposed directory's sessions were doing is over", async (t) => {
  const { daemon, event, hooks, open } = await connected(t);
  await open("/q");
  event(...status("busy"));
  await daemon.message("session");
  await hooks.dispose();
  daemon.stream.destroy();
  await daemon.until(({ registrations }) => registrations.length === 2);
  assert.deepEqual(daemon.registrations[1].sessions.map(({ activity }) => activity), ["idle"]);
});

test("a session merely seen idle is not owned", async (t) => {
  const { daemon, event } = await connected(t);
  event(...status("idle"));
  await daemon.settled();
  assert.deepEqual(activities(daemon), []);
});

test("the parentage of a busy session that no event told is asked for", async (t) => {
  const { daemon, event, host } = await connected(t);
  host.session("ses_old");
  host.session("ses_task", "ses_old");
  event(...status("busy", "ses_task"));
  event(...status("busy", "ses_old"));
  const { session } = await daemon.message("session");
  assert.equal(session, "ses_old");
  await daemon.settled();
  assert.equal(daemon.ofType("session").length, 1);
});

test("of a delegating parent each message is told at its creation and its end", async (t) => {
  const { daemon, hooks, event } = await connected(t);
  const message = (role, id, completed, more = {}) => event("message.updated",
    { sessionID: "ses_root", info: { id, role, sessionID: "ses_root", time: { created: 1, completed }, agent: "build", ...more } });
  message("user", "msg_before");
  await hooks.tool.delegate.execute({}, toolContext());
  message("user", "msg_before", undefined, { summary: { diffs: [] } });
  message("user", "msg_u", undefined, { model: { providerID: "a", modelID: "b" } });
  message("user", "msg_u", undefined, { summary: { diffs: ["large"] } });
  message("assistant", "msg_a");
  message("assistant", "msg_a", undefined, { finish: "stop" });
  message("assistant", "msg_a", 2, { finish: "stop" });
  event("session.compacted", { sessionID: "ses_root" });
  await daemon.settled();
  assert.deepEqual(sent(daemon).map(({ properties: { info } }) => info && [info.id, info.finish, info.model?.modelID]),
    [["msg_u", undefined, "b"], ["msg_a", undefined, undefined], ["msg_a", "stop", undefined], undefined]);
});

test("a notice that the host has stored is told", async (t) => {
  const { daemon, event } = await connected(t);
  const part = { id: "prt_n", type: "text", synthetic: true, text: "<task-notification>\n…" };
  event("message.part.updated", { sessionID: "ses_root", part });
  event("message.part.updated", { sessionID: "ses_root", part: { ...part, text: "something else" } });
  await daemon.settled();
  assert.deepEqual(sent(daemon).map(({ properties }) => properties.part), [part]);
});

test("calls are made on the in-process server with its own credentials, and answered", async (t) => {
  const { daemon, host } = await connected(t);
  let authorization;
  host.respond = async ({ path }, request) => {
    if (path === "/broken") throw new Error("no route");
    authorization = request.headers.get("authorization");
    if (path === "/text") return new Response("plain", { status: 500 });
    return path === "/session" ? Response.json({ id: "ses_new" }) : undefined;
  };
  const call = (id, path, body) => daemon.push({ type: "call", id, method: body ? "POST" : "GET", path, directory: "/tmp/ä b&c", body, timeout_ms: 5000 });
  call(1, "/session", { title: "x" });
  call(2, "/text?limit=1");
  call(3, "/broken");
  const reply = (id) => daemon.until(() => daemon.messages.find((message) => message.id === id), `answer ${id}`);
  assert.deepEqual(await reply(1), { type: "reply", id: 1, status: 200, body: { id: "ses_new" } });
  assert.deepEqual(await reply(2), { type: "reply", id: 2, status: 500, body: null });
  assert.deepEqual(await reply(3), { type: "failed", id: 3, error: "no route" });
  assert.equal(authorization, "Basic x");
  const asked = host.requests.find(({ path }) => path === "/session");
  assert.deepEqual([asked.query.get("directory"), asked.body], ["/tmp/ä b&c", '{"title":"x"}']);
  assert.equal(host.requests.find(({ path }) => path === "/text").query.get("limit"), "1");
});

test("a call that hangs is given up in time", async (t) => {
  const { daemon, host } = await connected(t);
  host.respond = () => new Promise(() => {});
  daemon.push({ type: "call", id: 7, method: "GET", path: "/hang", directory: "/p", timeout_ms: 20 });
  assert.equal((await daemon.message("failed")).error, "no answer within 20 ms");
});

test("a call that a suspended host finds when it wakes is not made any more", async (t) => {
  const { daemon, host } = await connected(t);
  const call = (id, sent_ms) => daemon.push({ type: "call", id, method: "POST", path: `/made/${id}`, directory: "/p", timeout_ms: 30_000, sent_ms });
  call(1, Date.now() - 31_000);
  call(2, Date.now());
  await daemon.message("reply", ({ id }) => id === 2);
  assert.match((await daemon.message("failed", ({ id }) => id === 1)).error, /suspended/);
  assert.deepEqual(host.requests.map(({ path }) => path).filter((asked) => asked.startsWith("/made/")), ["/made/2"]);
});

test("a million deltas wait as one message while the daemon takes its time", { timeout: 30_000 }, async (t) => {
  const { daemon, event } = await connected(t);
  daemon.push({ type: "watch", sessions: ["ses_c"] });
  await daemon.settled();
  let release;
  const busy = new Promise((resolve) => { release = resolve; });
  daemon.onUp = async () => (await busy, { status: 204 });
  const delta = (text) => event("message.part.delta", { sessionID: "ses_c", partID: "prt_1", field: "text", delta: text });
  delta("first ");
  await daemon.message("event");
  for (let n = 0; n < 1_000_000; n++) delta("x");
  release();
  const told = await daemon.until(() => {
    const deltas = daemon.ofType("event").map(({ event: { properties } }) => properties.delta);
    return deltas.join("").length === 1_000_006 && deltas;
  });
  assert.equal(told.length, 2);
});

test("of a whole text that is longer than anybody is shown, the beginning is told", { timeout: 30_000 }, async (t) => {
  const { daemon, event } = await connected(t);
  daemon.push({ type: "watch", sessions: ["ses_c"] });
  await daemon.settled();
  const part = { id: "prt_1", type: "text", sessionID: "ses_c", text: "x".repeat(9e6), time: { start: 1, end: 2 } };
  event("message.part.updated", { sessionID: "ses_c", part });
  const told = await daemon.message("event");
  assert.equal(told.event.properties.part.text.length, 8e6);
  assert.equal(part.text.length, 9e6);
});

test("an answer of the host that is larger than the daemon takes is a failure of that request alone", { timeout: 30_000 }, async (t) => {
  const { daemon, host } = await connected(t);
  host.respond = async ({ path }) => (path === "/large" ? new Response(`"${"x".repeat(2e8)}"`) : undefined);
  daemon.push({ type: "call", id: 1, method: "GET", path: "/large", directory: "/p", timeout_ms: 20_000 });
  const reply = await daemon.message("reply", ({ id }) => id === 1);
  assert.equal(reply.status, 413);
  assert.match(reply.body.message, /larger than 200 MB/);
});
