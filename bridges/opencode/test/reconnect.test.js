// What crosses with a reconnection: answers of the old connection, changes during the registration.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { watch } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import test from "node:test";
import { connected, program, setUp } from "../testing/support.js";

test("an answer goes up only on the connection that asked for it", { timeout: 15_000 }, async (t) => {
  const { daemon, host } = await connected(t);
  let respond;
  const late = new Promise((resolve) => { respond = resolve; });
  const asked = new Promise((resolve) => {
    host.respond = async ({ path }) => (path === "/slow" ? (resolve(), late) : undefined);
  });
  daemon.push({ type: "call", id: 7, method: "GET", path: "/slow", directory: "/p", timeout_ms: 10_000 });
  await asked;
  const first = daemon.stream;
  first.end();
  await daemon.until(({ stream }) => stream !== first);
  respond(Response.json("late"));
  await daemon.settled();
  assert.deepEqual(daemon.ofType("reply").filter(({ id }) => id === 7), []);
});

test("what a session does while the bridge registers is told after it", { timeout: 15_000 }, async (t) => {
  const { daemon, host, event } = await connected(t);
  const session = host.session("ses_r");
  event("session.created", { sessionID: session, info: { id: session } });
  event("session.status", { sessionID: session, status: { type: "busy" } });
  await daemon.message("session", ({ activity }) => activity === "streaming");
  const register = daemon.onRegister;
  daemon.onRegister = (body) => {
    // Newer than what this registration tells.
    event("session.status", { sessionID: session, status: { type: "idle" } });
    return register(body);
  };
  daemon.stream.end();
  const told = await daemon.message("session", ({ activity }) => activity === "idle");
  assert.equal(daemon.registrations[1].sessions[0].activity, "streaming");
  assert.equal(told.session, session);
});

test("a clock that is moved back keeps nobody from starting the daemon again", { timeout: 15_000 }, async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  t.after(() => rmSync(folder, { recursive: true }));
  const starts = path.join(folder, "starts");
  const times = async (count) => {
    for await (const { filename } of watch(folder, { signal: t.signal }))
      if (filename === "starts" && readFileSync(starts, "utf8").split("\n").length > count) return;
  };
  const { open } = await setUp(t, { daemon: false, env: { BRIGADE_BIN: program(folder, `echo again >> ${starts}; exit 1`) } });
  const twice = times(3);
  await Promise.all([times(1), open()]);
  const now = Date.now();
  t.mock.method(Date, "now", () => now - 5 * 3_600_000);
  await twice;
});
