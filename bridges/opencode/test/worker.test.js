// Inside a server of Brigade's own: it serves children and nobody else.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { watch } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { connected, program, setUp } from "../testing/support.js";

// Alone for long it ends its process, which here is the test's.
const worker = { env: { BRIGADE_WORKER: "server-1", BRIGADE_LINGER_MS: "600000" }, argv: ["bun", "opencode", "serve"] };

test("a worker registers as one and offers its model nothing", async (t) => {
  const { daemon, hooks } = await connected(t, worker);
  assert.equal(daemon.registrations[0].host.mode, "worker");
  assert.deepEqual(Object.keys(hooks).sort(), ["dispose", "event", "shell.env", "tool.execute.before"]);
});

test("a worker forwards its children and holds their shells to their rules", async (t) => {
  const { daemon, hooks, event } = await connected(t, worker);
  daemon.push({ type: "watch", sessions: ["ses_child"], shell: [{ pattern: "^git diff.*$", allow: true }] });
  await daemon.settled();
  event("session.idle", { sessionID: "ses_child" });
  await daemon.message("event", ({ event }) => event.type === "session.idle");
  const run = (command) => hooks["tool.execute.before"]({ tool: "bash", sessionID: "ses_child" }, { args: { command } });
  await run("git diff HEAD");
  await assert.rejects(run("rm x"), /not among those/);
});

test("the shells of watched children are marked, and no others", async (t) => {
  const { daemon, hooks } = await connected(t);
  daemon.push({ type: "watch", sessions: ["ses_child"] });
  await daemon.settled();
  const env = async (sessionID) => {
    const output = { env: {} };
    await hooks["shell.env"]({ sessionID, cwd: "/p" }, output);
    return output.env;
  };
  assert.deepEqual(await env("ses_child"), { BRIGADE_SESSION: "ses_child", BRIGADE_HOST: String(process.pid) });
  assert.deepEqual(await env("ses_root"), {});
});

/** For good: a bridge that is left over for a moment after its test must not end the tests themselves. */
const killed = new EventEmitter();
process.kill = (...args) => killed.emit("kill", ...args);

/** A worker without a daemon, whose sessions are as given; what it is asked and whom it ends. */
async function orphan(t, statuses) {
  const ended = new Promise((resolve) => killed.once("kill", (...args) => resolve(args)));
  const set = await setUp(t, { ...worker, env: { ...worker.env, BRIGADE_LINGER_MS: "1" }, daemon: false });
  const asked = new EventTarget();
  let count = 0;
  set.host.respond = async ({ path }) => {
    if (path !== "/session/status") return undefined;
    count += 1;
    asked.dispatchEvent(new Event("status"));
    return Response.json(statuses(count));
  };
  return { ...set, ended, asked };
}

test("a worker that has lost its daemon for good ends once nothing is busy in it", async (t) => {
  const { open, ended } = await orphan(t, (count) => (count < 3 ? { ses_child: { type: "busy" } } : {}));
  await open();
  assert.deepEqual(await ended, [process.pid, "SIGTERM"]);
});

test("a worker in which something is busy stays, and finds its daemon again", async (t) => {
  const { open, asked, daemon, ended } = await orphan(t, () => ({ ses_child: { type: "busy" } }));
  const twice = once(asked, "status").then(() => once(asked, "status"));
  await open();
  await twice;
  await daemon.start();
  await daemon.until(({ stream }) => stream, "stream");
  assert.equal(await Promise.race([ended, "alive"]), "alive");
});

test("a daemon that a worker has started is not marked as a server", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  t.after(() => rmSync(folder, { recursive: true }));
  const asked = path.join(folder, "asked");
  const bin = program(folder, `env > ${asked}.new; mv ${asked}.new ${asked}; exit 1`);
  const env = { ...worker.env, OPENCODE_SERVER_PASSWORD: "p", OTHER: "stays", BRIGADE_BIN: bin };
  const { open } = await setUp(t, { ...worker, env, daemon: false });
  const started = (async () => { for await (const { filename } of watch(folder, { signal: t.signal })) if (filename === "asked") return; })();
  await open();
  await started;
  const told = readFileSync(asked, "utf8");
  assert.doesNotMatch(told, /BRIGADE_WORKER|BRIGADE_LINGER_MS|OPENCODE_SERVER_PASSWORD/);
  assert.match(told, /^OTHER=stays$/m);
});

/** A confined worker has a folder of its own for temporary files, and snapshots turned off. */
const theirs = { TMPDIR: os.tmpdir(), OPENCODE_CONFIG_CONTENT: null };
const own = { ...worker.env, TMPDIR: "/nowhere", OPENCODE_CONFIG_CONTENT: "{}", BRIGADE_CONFINED: JSON.stringify(theirs) };

test("a confined worker tells the surroundings that the person has", async (t) => {
  const { daemon } = await connected(t, { ...worker, env: own });
  const { env } = daemon.registrations[0].host;
  assert.equal(env.TMPDIR, os.tmpdir());
  assert.equal("OPENCODE_CONFIG_CONTENT" in env, false);
});

test("a confined worker starts no daemon, and finds the next one", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  t.after(() => rmSync(folder, { recursive: true }));
  const env = { ...own, BRIGADE_BIN: program(folder, `touch ${folder}/started`) };
  const { open, daemon } = await setUp(t, { ...worker, env, daemon: false });
  await open();
  await daemon.start();
  await daemon.until(({ stream }) => stream, "stream");
  assert.equal(existsSync(path.join(folder, "started")), false);
});
