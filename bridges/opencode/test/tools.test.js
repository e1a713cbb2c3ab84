import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, toolContext } from "../testing/support.js";

const delegate = (hooks, context = toolContext()) => hooks.tool.delegate.execute({ prompt: "p", agent: "explore" }, context);

test("a call carries where it was made, and its answer is the model's", async (t) => {
  const { daemon, hooks } = await connected(t);
  const answer = await delegate(hooks);
  assert.deepEqual(answer, { title: "t", output: "o", metadata: {} });
  const [{ url, body: { call, ...body } }] = daemon.calls;
  assert.equal(url, "/v1/tools/delegate");
  assert.match(call, /^[0-9a-f-]{36}$/);
  assert.deepEqual(body, {
    caller: { connection: "c1", session: "ses_root", message: "msg_1", agent: "build", parent: null, directory: "/p" },
    args: { prompt: "p", agent: "explore" },
  });
});

test("a call in a child names its parent, read from the host where no event told it", async (t) => {
  const { daemon, hooks, host } = await connected(t);
  host.session("ses_child", "ses_root");
  await delegate(hooks, toolContext(undefined, "ses_child"));
  assert.equal(daemon.calls[0].body.caller.parent, "ses_root");
});

test("a session that the host does not know is taken for no root", async (t) => {
  const { daemon, hooks } = await connected(t);
  assert.match(await delegate(hooks, toolContext(undefined, "ses_odd")), /^Delegation refused: OpenCode did not say/);
  assert.equal(daemon.calls.length, 0);
});

test("a refusal by the daemon is the answer, with its hint", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.onTool = () => ({ status: 422, body: { code: "refused", message: "The disk is full.", hint: "Free some." } });
  assert.equal(await delegate(hooks), "Delegation refused: The disk is full. Free some.");
  assert.equal(await hooks.tool.delegation_read.execute({ id: "x" }, toolContext()), "The disk is full. Free some.");
});

test("an answer that breaks off is asked for again over the next connection", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.onTool = () => (daemon.calls.length === 1 ? null : { status: 200, body: { title: "t", output: "again" } });
  assert.equal((await delegate(hooks)).output, "again");
});

test("a call that a lost connection never answers is made again over the next one", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.onTool = () => (daemon.calls.length === 1 ? new Promise(() => {}) : { status: 200, body: { title: "t", output: "again" } });
  const answer = delegate(hooks);
  await daemon.until(({ calls }) => calls.length === 1);
  daemon.stream.end();
  assert.equal((await answer).output, "again");
});

test("a call over a connection that is not known any more registers anew", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.onTool = ({ caller }) => (caller.connection === "c1"
    ? { status: 410, body: { code: "unknown_connection", message: "who?" } } : { status: 200, body: { title: "t", output: "known" } });
  assert.equal((await delegate(hooks)).output, "known");
  assert.equal(daemon.registrations.length, 2);
});

test("a call waits for a daemon that is just being replaced", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.onTool = () => (daemon.calls.length === 1
    ? { status: 503, body: { code: "draining", message: "going" } } : { status: 200, body: { title: "t", output: "there" } });
  assert.equal((await delegate(hooks)).output, "there");
});

test("a result that was handed over is confirmed", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.onTool = () => ({ status: 200, body: { title: "t", output: "o", handed: "brave-amber-otter" } });
  await hooks.tool.delegation_read.execute({ id: "brave" }, toolContext());
  assert.deepEqual(await daemon.message("handed"), { type: "handed", id: "brave-amber-otter", session: "ses_root" });
});

test("aborting a waiting read closes its request and confirms nothing", async (t) => {
  const { daemon, hooks } = await connected(t);
  const abort = new AbortController();
  daemon.onTool = () => new Promise(() => {});
  const answer = hooks.tool.delegation_read.execute({ id: "x" }, toolContext(abort.signal));
  const call = await daemon.until(({ calls }) => calls[0]);
  abort.abort();
  await call.closed;
  await answer;
  await daemon.settled();
  assert.equal(daemon.ofType("handed").length, 0);
  assert.equal(daemon.calls.length, 1);
});

/** A daemon that wants to know whether `src/a.rs` may be edited before it writes. */
function writesOnceAllowed(daemon) {
  daemon.onTool = ({ allowed }) => ({ status: 200, body: allowed
    ? { title: "applied", output: "written", handed: "apply:7" } : { title: "asks", output: "not yet", asks: ["src/a.rs", "b.md"], diff: "+a" } });
}
const apply = (hooks, context) => hooks.tool.delegation_apply.execute({ id: "brave" }, context);

test("edits are asked for as the host's own tools ask, and written once they are allowed", async (t) => {
  const { daemon, hooks } = await connected(t);
  writesOnceAllowed(daemon);
  const asked = [];
  const context = { ...toolContext(), token: 1, async ask(input) { asked.push([this.token, input, daemon.calls.length]); } };
  assert.deepEqual(await apply(hooks, context), { title: "applied", output: "written", metadata: {} });
  const input = { permission: "edit", patterns: ["src/a.rs", "b.md"], always: ["*"], metadata: { filepath: "src/a.rs, b.md", diff: "+a" } };
  assert.deepEqual(asked, [[1, input, 1]]);
  assert.deepEqual(daemon.calls.map(({ url, body }) => [url, body.args, body.allowed]), [
    ["/v1/tools/apply", { id: "brave" }, undefined], ["/v1/tools/apply", { id: "brave" }, ["src/a.rs", "b.md"]],
  ]);
  assert.deepEqual(await daemon.message("handed"), { type: "handed", id: "apply:7", session: "ses_root" });
});

test("files that come to be written meanwhile are asked for, too", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.onTool = ({ allowed }) => ({ status: 200, body: allowed?.includes("c.md")
    ? { title: "applied", output: "written", handed: "apply:7" } : { title: "asks", output: "not yet", asks: allowed ? ["b.md", "c.md"] : ["b.md"] } });
  const asked = [];
  await apply(hooks, { ...toolContext(), async ask({ patterns }) { asked.push(patterns); } });
  assert.deepEqual(asked, [["b.md"], ["b.md", "c.md"]]);
});

test("an apply whose answer is lost is repeated as the same call, and given up once, for good", async (t) => {
  const { daemon, hooks } = await connected(t);
  let broken = 1;
  daemon.onTool = () => broken-- > 0 ? null : { status: 200, body: { title: "applied", output: "written", handed: "apply:7" } };
  assert.equal((await apply(hooks, toolContext())).output, "written");
  assert.equal(new Set(daemon.calls.map(({ body }) => body.call)).size, 1);
  assert.equal(daemon.calls.length, 2);
  assert.equal(daemon.ofType("not_handed").length, 0);
  broken = Infinity;
  assert.match(await apply(hooks, toolContext()), /could not be reached/);
  const { call } = daemon.calls.at(-1).body;
  assert.deepEqual(await daemon.message("not_handed"), { type: "not_handed", id: "brave", session: "ses_root", call });
});

test("what the person or the rules do not allow is not written, and the model hears why", async (t) => {
  const { daemon, hooks } = await connected(t);
  writesOnceAllowed(daemon);
  for (const ask of [async () => { throw new Error("Leave b.md alone."); }, () => { throw new Error("Leave b.md alone."); }]) {
    const answer = await apply(hooks, { ...toolContext(), ask });
    assert.equal(answer, "Nothing was written: these edits were not allowed. Leave b.md alone.");
  }
  assert.ok(daemon.calls.every(({ body }) => !body.allowed));
  await daemon.settled();
  assert.equal(daemon.ofType("handed").length, 0);
});

test("a host that can't ask lets edits pass", async (t) => {
  const { daemon, hooks } = await connected(t);
  writesOnceAllowed(daemon);
  assert.equal((await apply(hooks, toolContext())).output, "written");
});

test("a call that is aborted while the person is asked writes nothing", async (t) => {
  const { daemon, hooks } = await connected(t);
  writesOnceAllowed(daemon);
  const abort = new AbortController();
  let asked;
  const asking = new Promise((resolve) => { asked = resolve; });
  const answer = apply(hooks, { ...toolContext(abort.signal), ask: () => { asked(); return new Promise(() => {}); } });
  await asking;
  abort.abort();
  assert.match(await answer, /^Nothing was written/);
  assert.equal(daemon.calls.length, 1);
});

test("aborting an apply under way closes its request, which has it taken back", async (t) => {
  const { daemon, hooks } = await connected(t);
  const abort = new AbortController();
  daemon.onTool = () => new Promise(() => {});
  const answer = apply(hooks, toolContext(abort.signal));
  const call = await daemon.until(({ calls }) => calls[0]);
  abort.abort();
  await call.closed;
  await answer;
  await daemon.settled();
  assert.equal(daemon.calls.length, 1);
  assert.equal(daemon.ofType("handed").length, 0);
});

test("an apply that was aborted when its answer came was not handed over", async (t) => {
  const { daemon, hooks } = await connected(t);
  const abort = new AbortController();
  writesOnceAllowed(daemon);
  const context = { ...toolContext(abort.signal), ask: async () => {} };
  const answered = daemon.onTool;
  daemon.onTool = (body) => { if (body.allowed) queueMicrotask(() => abort.abort()); return answered(body); };
  await apply(hooks, context);
  await daemon.settled();
  assert.equal(daemon.ofType("handed").length, 0);
});

test("a tool call makes the process the session's owner", async (t) => {
  const { daemon, hooks } = await connected(t);
  await delegate(hooks);
  const { session, directory, activity } = await daemon.message("session");
  assert.deepEqual({ session, directory, activity }, { session: "ses_root", directory: "/p", activity: "streaming" });
});

test("only the arguments that are needed are required", async (t) => {
  const { hooks } = await connected(t);
  const required = (toolID) => {
    const output = { description: "", jsonSchema: { type: "object", properties: {}, required: ["prompt", "agent", "timeout_minutes"] } };
    hooks["tool.definition"]({ toolID }, output);
    return output.jsonSchema.required;
  };
  assert.deepEqual(required("delegate"), ["prompt", "agent"]);
  assert.deepEqual(required("delegation_list"), []);
  assert.equal(required("bash").length, 3);
});
