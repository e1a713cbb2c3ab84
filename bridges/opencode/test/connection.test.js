import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { watch, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { FakeDaemon, connected, program, setUp, toolContext } from "../testing/support.js";

test("registers the process, its directory and its environment", async (t) => {
  const before = Date.now();
  const { daemon } = await connected(t, { env: { SOME_KEY: "v", BRIGADE_DATA_DIR: "/d" } });
  const [body] = daemon.registrations;
  assert.equal(body.protocol, 1);
  assert.equal(body.data_dir, "/d");
  const [{ opened_ms, ...place }] = body.directories;
  assert.deepEqual(place, { directory: "/p", worktree: "/p" });
  assert.ok(opened_ms >= before && opened_ms <= Date.now());
  assert.deepEqual({ ...body.host, env: body.host.env.SOME_KEY },
    { name: "opencode", version: "1.18.33", pid: process.pid, executable: process.execPath, mode: "tui", home: os.homedir(), env: "v" });
});

test("a second directory and a second initialisation share the connection", async (t) => {
  const { daemon, open } = await connected(t);
  await open("/q");
  await open("/p");
  await daemon.message("opened", ({ directory }) => directory === "/q");
  await daemon.settled();
  assert.equal(daemon.registrations.length, 1);
});

test("disposing the first of two initialisations of a directory disposes nothing", async (t) => {
  const { daemon, hooks, open } = await connected(t);
  const second = await open("/p");
  await hooks.dispose();
  await daemon.settled();
  assert.equal(daemon.ofType("disposed").length, 0);
  await second.dispose();
  await daemon.message("disposed", ({ directory }) => directory === "/p");
});

test("of two installed bridges one serves a directory", async (t) => {
  const { daemon, second, open, hooks } = await connected(t, { copies: 2 });
  assert.deepEqual(await open("/p", second), {});
  assert.ok((await open("/q", second)).tool.delegate);
  await daemon.until(({ registrations }) => registrations.length === 2);
  assert.deepEqual(daemon.registrations[1].directories.map(({ directory }) => directory), ["/q"]);
  await hooks.dispose();
  assert.ok((await open("/p", second)).tool.delegate);
});

test("after the daemon went it registers again as the same instance, with the sessions it owns", async (t) => {
  const { daemon, event } = await connected(t);
  event("session.status", { sessionID: "ses_root", status: { type: "busy" } });
  await daemon.message("session");
  await daemon.stop();
  event("session.deleted", { sessionID: "ses_gone", info: { id: "ses_gone" } });
  await daemon.start();
  await daemon.until(({ registrations }) => registrations.length === 2);
  const [first, second] = daemon.registrations;
  assert.equal(second.instance, first.instance);
  assert.deepEqual(second.sessions.map(({ session, activity }) => [session, activity]), [["ses_root", "streaming"]]);
  await daemon.message("event", (message) => message.event.type === "session.deleted");
});

test("batches count up one at a time, and one without an answer is posted again as it was", async (t) => {
  const { daemon, event } = await connected(t);
  await daemon.settled();
  let breaks = 1;
  daemon.onUp = () => (breaks-- > 0 ? null : { status: 204 });
  for (const id of ["a", "b"]) event("session.deleted", { sessionID: id, info: { id } });
  await daemon.until(({ batches }) => batches.length >= 3);
  await daemon.settled();
  const last = daemon.batches.at(-1).seq;
  const [, lost, again] = daemon.batches;
  assert.deepEqual(again, lost);
  assert.deepEqual(lost.messages.map(({ event: { properties } }) => properties.sessionID), ["a", "b"]);
  assert.deepEqual(daemon.batches.map(({ seq }) => seq), [1, 2, 2, ...Array.from({ length: last - 2 }, (_, n) => n + 3)]);
});

test("a batch that a lost connection never answers does not hold up the next one", { timeout: 15_000 }, async (t) => {
  const { daemon, event } = await connected(t);
  await daemon.settled();
  daemon.onUp = () => (daemon.registrations.length > 1 ? { status: 204 } : new Promise(() => {}));
  event("session.deleted", { sessionID: "a", info: { id: "a" } });
  await daemon.until(({ batches }) => batches.some(({ messages }) => messages.some(({ event: sent }) => sent?.properties.sessionID === "a")));
  daemon.stream.end();
  await daemon.until(({ batches }) => batches.some(({ url, messages }) => url.includes("/c2/") && messages.some(({ event: sent }) => sent?.properties.sessionID === "a")));
});

test("an unknown connection is registered anew and loses no message", async (t) => {
  const { daemon, event } = await connected(t);
  daemon.onUp = () => ({ status: daemon.registrations.length > 1 ? 204 : 410, body: { code: "unknown_connection", message: "who?" } });
  event("session.deleted", { sessionID: "a", info: { id: "a" } });
  await daemon.until(({ batches }) => batches.some(({ url, messages }) => url.includes("/c2/") && messages.some(({ event: sent }) => sent?.properties.sessionID === "a")));
});

test("a batch that the daemon calls nonsense is dropped and reported, and later ones go on", async (t) => {
  const { daemon, event, host } = await connected(t);
  await daemon.settled();
  let refusals = 1;
  daemon.onUp = () => (refusals-- > 0 ? { status: 400, body: { code: "bad_request", message: "nonsense" } } : { status: 204 });
  event("session.deleted", { sessionID: "a", info: { id: "a" } });
  await daemon.message("event");
  await daemon.settled();
  assert.equal(daemon.registrations.length, 1);
  assert.ok(host.requests.some(({ path: asked, body }) => asked === "/log" && body.includes("nonsense")));
});

test("starts the daemon when there is none, and a call waits for it", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  t.after(() => rmSync(folder, { recursive: true }));
  const asked = path.join(folder, "asked");
  // The program waits, as the real one does, until the daemon is ready: until somebody writes into the pipe.
  execFileSync("mkfifo", [path.join(folder, "ready")]);
  const bin = program(folder, `echo "$@" > ${asked}.new; mv ${asked}.new ${asked}; read line < ${folder}/ready`);
  const { daemon, open, host } = await setUp(t, { daemon: false, env: { BRIGADE_BIN: bin } });
  host.session("ses_root");
  const started = (async () => { for await (const { filename } of watch(folder, { signal: t.signal })) if (filename === "asked") return; })();
  const hooks = await open();
  const answer = hooks.tool.delegation_list.execute({}, toolContext());
  await started;
  assert.equal(readFileSync(asked, "utf8"), "daemon start\n");
  await daemon.start();
  await writeFile(path.join(folder, "ready"), "ready\n");
  assert.equal((await answer).output, "o");
});

test("without a daemon the tools say why and what to do, and no hook fails", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  t.after(() => rmSync(folder, { recursive: true }));
  const bin = program(folder, "echo 'the store is newer than this program' >&2; exit 1");
  const { open, host } = await setUp(t, { daemon: false, env: { BRIGADE_BIN: bin } });
  host.session("ses_root");
  const hooks = await open();
  const text = await hooks.tool.delegate.execute({ prompt: "p", agent: "a" }, toolContext());
  assert.match(text, /^Delegation refused: .*the store is newer than this program.*brigade daemon start/);
  const parts = [{ type: "text", text: "hi" }];
  await hooks["chat.message"]({ sessionID: "ses_root" }, { message: { id: "msg_1" }, parts });
  await hooks["tool.execute.before"]({ tool: "task", sessionID: "ses_root" }, { args: { subagent_type: "explore" } });
  hooks["experimental.chat.messages.transform"]({}, { messages: [] });
  hooks.event({ event: { type: "session.status", properties: { sessionID: "ses_root", status: { type: "busy" } } } });
  hooks.event({ event: { type: "nonsense" } });
  assert.equal(parts.length, 1);
});

test("a missing program is named", async (t) => {
  const { open, host, folder } = await setUp(t, { daemon: false });
  host.session("ses_root");
  const hooks = await open();
  const text = await hooks.tool.delegation_read.execute({ id: "x" }, toolContext());
  assert.ok(text.includes(`the program ${path.join(folder, "absent")} was not found`), text);
});

test("an older daemon is replaced once, and a lasting refusal is told", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  t.after(() => rmSync(folder, { recursive: true }));
  const starts = path.join(folder, "starts");
  const { daemon, open, host } = await setUp(t, { env: { BRIGADE_BIN: program(folder, `echo "$@" >> ${starts}`) } });
  daemon.onRegister = () => ({ status: 426, body: { code: "protocol_mismatch", message: "the daemon speaks version 2", hint: "Update OpenCode's bridge." } });
  host.session("ses_root");
  const hooks = await open();
  const text = await hooks.tool.delegation_list.execute({}, toolContext());
  assert.match(text, /the daemon speaks version 2 Update OpenCode's bridge/);
  assert.equal(readFileSync(starts, "utf8"), "daemon start\n");
});

test("a second initialisation while shutting down starts no daemon", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  t.after(() => rmSync(folder, { recursive: true }));
  const starts = path.join(folder, "starts");
  const { daemon, hooks, open } = await connected(t, { env: { BRIGADE_BIN: program(folder, `echo "$@" >> ${starts}`) } });
  await hooks.dispose();
  await daemon.message("disposed");
  const again = await open();
  await daemon.settled();
  assert.equal(daemon.ofType("opened").length, 0);
  await daemon.stop();
  await again.dispose();
  assert.equal(existsSync(starts), false);
});

test("what was disposed while the daemon was away is told by the registration alone", async (t) => {
  const { daemon, hooks, open } = await connected(t);
  await open("/q");
  await daemon.message("opened");
  daemon.onRegister = () => ({ status: 503, body: { code: "store", message: "no" } });
  daemon.stream.destroy();
  await daemon.until(({ registrations }) => registrations.length === 2);
  await hooks.dispose();
  await open("/p");
  daemon.onRegister = () => ({ status: 200, body: { connection: "again", version: "1" } });
  daemon.stream = null;
  await daemon.until(({ stream }) => stream);
  assert.deepEqual(daemon.registrations.at(-1).directories.map(({ directory }) => directory).sort(), ["/p", "/q"]);
  await daemon.settled();
  assert.equal(daemon.ofType("disposed").length, 0);
});

test("a daemon that a person stopped is started again for a tool call only", async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  t.after(() => rmSync(folder, { recursive: true }));
  const starts = path.join(folder, "starts");
  const { daemon, hooks, event, host } = await connected(t, { env: { BRIGADE_BIN: program(folder, `echo "$@" >> ${starts}; echo no >&2; exit 1`) } });
  daemon.push({ type: "stopping" });
  await daemon.settled();
  await daemon.stop();
  const tried = host.requests.length;
  event("session.status", { sessionID: "ses_root", status: { type: "busy" } });
  await hooks["chat.message"]({ sessionID: "ses_root" }, { message: { id: "m" }, parts: [{ type: "text", text: "hi" }] });
  assert.equal(host.requests.length, tried);
  assert.equal(existsSync(starts), false);
  assert.match(await hooks.tool.delegate.execute({}, toolContext()), /could not be reached: no\./);
  assert.equal(readFileSync(starts, "utf8"), "daemon start\n");
});

test("a call after such an initialisation opens it at once", async (t) => {
  const { daemon, hooks, open } = await connected(t);
  await hooks.dispose();
  const again = await open();
  await again["chat.message"]({ sessionID: "ses_root" }, { message: { id: "msg_1" }, parts: [{ type: "text", text: "hi" }] });
  await daemon.message("opened", ({ directory }) => directory === "/p");
});

test("a runtime folder too long for a socket's name is replaced by one named after it", async (t) => {
  const long = path.join(os.tmpdir(), "x".repeat(110));
  const temporary = mkdtempSync(path.join(os.tmpdir(), "brg"));
  const folder = path.join(temporary, `brigade-${process.getuid()}`, createHash("sha256").update(long).digest("hex").slice(0, 16));
  mkdirSync(folder, { recursive: true });
  const daemon = await new FakeDaemon(folder).start();
  t.after(async () => { await daemon.stop(); rmSync(temporary, { recursive: true }); });
  const { open } = await setUp(t, { daemon: false, env: { BRIGADE_RUNTIME_DIR: long, TMPDIR: temporary } });
  await open();
  await daemon.until(({ registrations }) => registrations.length);
});
