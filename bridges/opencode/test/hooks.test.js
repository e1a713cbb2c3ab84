import assert from "node:assert/strict";
import { test } from "node:test";
import { connected } from "../testing/support.js";

const PARTS = [{ id: "prt_1", sessionID: "ses_root", type: "text", text: "<task-notification>", synthetic: true }];
const offer = (lease = 4) => ({ type: "offer", session: "ses_root", lease, parts: PARTS });
async function write(hooks, parts = [{ type: "text", text: "hi" }], sessionID = "ses_root") {
  await hooks["chat.message"]({ sessionID, agent: "plan" }, { message: { id: "msg_7", agent: "plan" }, parts });
  return parts;
}
const system = (hooks, sessionID, text = "You are opencode") => {
  const output = { system: [text] };
  hooks["experimental.chat.system.transform"]({ sessionID, model: {} }, output);
  return output.system;
};
const user = (id, part = {}) => ({ info: { id, role: "user", sessionID: "ses_root", agent: "build", model: { providerID: "a", modelID: "b" } }, parts: [{ type: "text", text: id, ...part }] });
const assistant = (id, more = {}) => ({ info: { id, role: "assistant", sessionID: "ses_root", ...more }, parts: [] });
const compacted = () => [user("msg_c", { type: "compaction", auto: true }), assistant("msg_s", { summary: true, finish: "stop" }), user("msg_u"), assistant("msg_a"), user("msg_n", { synthetic: true })];
const show = (hooks, messages) => { hooks["experimental.chat.messages.transform"]({}, { messages }); return messages; };

test("an offered notice rides on the person's next message, once", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push(offer());
  await daemon.settled();
  assert.deepEqual((await write(hooks)).at(-1), { ...PARTS[0], messageID: "msg_7" });
  assert.deepEqual(await daemon.message("taken"), { type: "taken", session: "ses_root", lease: 4, message: "msg_7" });
  assert.equal((await write(hooks)).length, 1);
  const { agent, activity } = await daemon.message("session");
  assert.deepEqual([agent, activity], ["plan", "streaming"]);
});

test("it does not ride on what Brigade or a plugin wrote, nor into a child", async (t) => {
  const { daemon, hooks, host } = await connected(t);
  host.session("ses_child", "ses_root");
  daemon.push(offer());
  await daemon.settled();
  assert.equal((await write(hooks, [{ type: "text", text: "n", synthetic: true }, { type: "text", text: "l", ignored: true }])).length, 2);
  assert.equal((await write(hooks, undefined, "ses_child")).length, 1);
  await daemon.settled();
  assert.equal(daemon.ofType("taken").length + daemon.ofType("session").length, 0);
});

test("a withdrawn offer is released and never used", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push(offer());
  daemon.push({ type: "withdraw", session: "ses_root", lease: 4 });
  await daemon.message("released");
  assert.equal((await write(hooks)).length, 1);
});

test("what was taken already is not released", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push(offer());
  await daemon.settled();
  await write(hooks);
  // Withdrawn before the bridge knows that its confirmation has arrived.
  daemon.push({ type: "withdraw", session: "ses_root", lease: 4 });
  await daemon.message("taken");
  await daemon.settled();
  assert.equal(daemon.ofType("released").length, 0);
});

test("a new registration tells the leases that are held, and gives unused ones back", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push(offer());
  await daemon.settled();
  await daemon.stop();
  await daemon.start();
  await daemon.until(({ registrations, stream }) => registrations.length === 2 && stream);
  assert.deepEqual(daemon.registrations[1].leases, [{ session: "ses_root", lease: 4, message: null }]);
  assert.equal((await write(hooks)).length, 1);
});

test("a notice taken while the daemon was away is told at the registration", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push(offer());
  await daemon.settled();
  await daemon.stop();
  assert.equal((await write(hooks)).length, 2);
  await daemon.start();
  await daemon.until(({ registrations }) => registrations.length === 2);
  assert.deepEqual(daemon.registrations[1].leases, [{ session: "ses_root", lease: 4, message: "msg_7" }]);
});

test("the rules are shown to root sessions only, and to no hidden agent", async (t) => {
  const { hooks, event } = await connected(t);
  event("session.created", { sessionID: "ses_child", info: { id: "ses_child", parentID: "ses_root" } });
  assert.match(system(hooks, "ses_root")[1], /delegat/);
  assert.equal(system(hooks, "ses_child").length, 1);
  assert.equal(system(hooks, "ses_unknown").length, 1);
  assert.equal(system(hooks, "ses_root", "You are a title generator. …").length, 1);
});

test("task is refused for the agents of the guard, in root sessions, while connected", async (t) => {
  const { daemon, hooks, event } = await connected(t);
  event("session.created", { sessionID: "ses_child", info: { id: "ses_child", parentID: "ses_root" } });
  const task = async (sessionID, args, tool = "task") => hooks["tool.execute.before"]({ tool, sessionID, callID: "c" }, { args });
  await task("ses_root", { subagent_type: "explore" });
  daemon.push({ type: "guard", directory: "/p", agents: ["explore"], guidance: "Use delegate with agent {agent}." });
  await daemon.settled();
  await assert.rejects(task("ses_root", { subagent_type: "explore" }), { message: "Use delegate with agent explore." });
  await task("ses_root", { subagent_type: "general" });
  await task("ses_child", { subagent_type: "explore" });
  await task("ses_root", { subagent_type: "explore", command: undefined });
  await task("ses_root", undefined);
  await task("ses_root", { subagent_type: "explore" }, "bash");
  daemon.onRegister = () => ({ status: 503, body: { code: "store", message: "no" } });
  const { stream } = daemon;
  daemon.stream = null;
  stream.destroy();
  await daemon.until(({ registrations }) => registrations.length === 2);
  await task("ses_root", { subagent_type: "explore" });
});

test("under `opencode run` the guard is off", async (t) => {
  const { daemon, hooks } = await connected(t, { argv: ["bun", "/x/index.js", "--print-logs", "run", "hi"] });
  assert.equal(daemon.registrations[0].host.mode, "run");
  daemon.push({ type: "guard", directory: "/p", agents: ["explore"], guidance: "no" });
  await daemon.settled();
  await hooks["tool.execute.before"]({ tool: "task", sessionID: "ses_root" }, { args: { subagent_type: "explore" } });
});

test("after a compaction the ledger stands last at each step, told once a turn", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push({ type: "ledger", session: "ses_root", step: "<delegation-ledger>", summary: "long" });
  await daemon.settled();
  assert.equal(show(hooks, [user("msg_u")]).length, 1);
  const messages = show(hooks, compacted());
  assert.deepEqual(messages.length, 6);
  const { info, parts } = messages.at(-1);
  assert.deepEqual([info.role, info.sessionID, info.agent, info.model.modelID, parts[0].text, parts[0].synthetic], ["user", "ses_root", "build", "b", "<delegation-ledger>", true]);
  show(hooks, compacted());
  await daemon.settled();
  assert.deepEqual(daemon.ofType("ledger_shown"), [{ type: "ledger_shown", session: "ses_root", turn: "msg_u" }]);
  daemon.push({ type: "ledger", session: "ses_root", step: null, summary: null });
  await daemon.settled();
  assert.equal(show(hooks, compacted()).length, 5);
});

test("the summarising request has the ledger from its own hook alone", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push({ type: "ledger", session: "ses_root", step: "step", summary: "summary" });
  await daemon.settled();
  const output = { context: [] };
  hooks["experimental.session.compacting"]({ sessionID: "ses_root" }, output);
  assert.deepEqual(output.context, ["summary"]);
  assert.equal(show(hooks, compacted()).length, 5);
  system(hooks, "ses_root", "You are a context summarization agent");
  assert.equal(show(hooks, compacted()).length, 6);
});

test("a summarising request of an empty history leaves no trace", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push({ type: "ledger", session: "ses_root", step: "step", summary: "summary" });
  await daemon.settled();
  hooks["experimental.session.compacting"]({ sessionID: "ses_root" }, { context: [] });
  show(hooks, []);
  system(hooks, "ses_root", "You are a context summarization agent");
  assert.equal(show(hooks, compacted()).length, 6);
});

test("a message that starts no turn leaves its session idle again", { timeout: 20_000 }, async (t) => {
  const { daemon, hooks } = await connected(t);
  await write(hooks);
  await daemon.message("session", ({ activity }) => activity === "idle");
});
