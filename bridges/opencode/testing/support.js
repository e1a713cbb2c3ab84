// A daemon and a host that exist for the tests only: they record what the bridge does and wait by event.
import { EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";

/** The daemon's side of the wire. */
export class FakeDaemon {
  registrations = [];
  batches = [];
  calls = [];
  stream = null;
  /** Replaceable answers: `(body) => {status, body}`; null breaks the connection off. */
  onRegister = () => ({ status: 200, body: { connection: `c${this.registrations.length}`, version: "1" } });
  onUp = () => ({ status: 204 });
  onTool = () => ({ status: 200, body: { title: "t", output: "o" } });
  #changed = new EventEmitter().setMaxListeners(0);

  constructor(folder) {
    this.socket = path.join(folder, "daemon.sock");
  }

  async start() {
    this.server = http.createServer((req, res) => this.#serve(req, res));
    this.server.listen(this.socket);
    await once(this.server, "listening");
    return this;
  }

  async stop() {
    if (!this.server) return;
    const closed = once(this.server, "close");
    this.server.close();
    this.server.closeAllConnections();
    await closed;
    this.server = this.stream = null;
  }

  get messages() {
    return this.batches.flatMap(({ messages }) => messages);
  }

  ofType(type) {
    return this.messages.filter((message) => message.type === type);
  }

  push(message) {
    this.stream.write(`: keep-alive\n\ndata: ${JSON.stringify(message)}\n\n`);
  }

  /** Resolves with what `look` returns as soon as that is truthy. */
  async until(look, what = String(look)) {
    const signal = AbortSignal.timeout(10_000);
    for (;;) {
      const seen = look(this);
      if (seen) return seen;
      await once(this.#changed, "change", { signal }).catch(() => {
        throw new Error(`not seen: ${what}; heard ${JSON.stringify(this.messages)}`);
      });
    }
  }

  message(type, matches = () => true) {
    return this.until(() => this.ofType(type).find(matches), `message ${type}`);
  }

  /** Everything sent so far has arrived once the answer to this has. */
  async settled() {
    const before = this.ofType("pong").length;
    this.push({ type: "ping" });
    await this.until(() => this.ofType("pong").length > before, "pong");
  }

  async #serve(req, res) {
    if (req.url.endsWith("/stream")) {
      res.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      this.stream = res;
      return this.#changed.emit("change");
    }
    let text = "";
    for await (const chunk of req.setEncoding("utf8")) text += chunk;
    const body = JSON.parse(text);
    let answer;
    if (req.url === "/v1/bridge/register") {
      this.registrations.push(body);
      answer = this.onRegister(body);
    } else if (req.url.endsWith("/up")) {
      const answering = this.onUp(body);
      this.batches.push({ url: req.url, ...body });
      this.#changed.emit("change");
      answer = await answering;
    } else {
      const call = { url: req.url, body, closed: once(res, "close") };
      this.calls.push(call);
      this.#changed.emit("change");
      answer = await this.onTool(body, req.url);
    }
    this.#changed.emit("change");
    if (!answer) return req.socket.destroy();
    res.writeHead(answer.status, { "content-type": "application/json" });
    res.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
  }
}

/** The host: sessions by ID, and what was asked of its in-process server. */
export class FakeHost {
  sessions = new Map();
  requests = [];
  respond = async () => undefined;

  context(directory) {
    const fetch = async (request) => {
      const url = new URL(request.url);
      const asked = { method: request.method, path: url.pathname, query: url.searchParams, body: await request.text() };
      this.requests.push(asked);
      const own = await this.respond(asked, request);
      if (own) return own;
      if (url.pathname === "/global/health") return Response.json({ healthy: true, version: "1.18.33" });
      const session = this.sessions.get(url.pathname.replace("/session/", ""));
      return session ? Response.json(session) : Response.json({ name: "NotFoundError" }, { status: 404 });
    };
    const config = { baseUrl: "http://localhost:4096", headers: new Headers({ authorization: "Basic x" }), fetch };
    return { directory, worktree: directory, client: { _client: { getConfig: () => config } } };
  }

  session(id, parentID) {
    this.sessions.set(id, { id, ...(parentID ? { parentID } : {}) });
    return id;
  }
}

let loaded = 0;
const kept = { ...process.env };

/** A fresh bridge in a fresh environment, its daemon and its host; all of it ends with the test. */
export async function setUp(t, { daemon = true, env = {}, argv = ["bun", "/x/cli/tui/worker.js"], copies = 1 } = {}) {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  const [environment, args] = [process.env, process.argv];
  process.env = { ...kept, BRIGADE_RUNTIME_DIR: folder, BRIGADE_BIN: path.join(folder, "absent"), ...env };
  process.argv = argv;
  // Each test is a process of its own to the bridge.
  delete globalThis[Symbol.for("brigade.bridge")];
  const load = async () => (await import(`../bridge.js?${++loaded}`)).default;
  const bridge = await load();
  const second = copies > 1 ? await load() : null;
  [process.env, process.argv] = [environment, args];
  const fake = new FakeDaemon(folder);
  if (daemon) await fake.start();
  const host = new FakeHost();
  const opened = [];
  // The bridge holds nothing that keeps a process alive; a test that waits for it must do so itself.
  const alive = setInterval(() => {}, 60_000);
  const open = async (directory = "/p", from = bridge) => {
    const hooks = await from.server(host.context(directory));
    opened.push(hooks);
    return hooks;
  };
  t.after(async () => {
    for (const hooks of opened) await hooks.dispose?.();
    clearInterval(alive);
    await fake.stop();
    rmSync(folder, { recursive: true });
  });
  return { bridge, second, daemon: fake, host, open, folder };
}

/** A bridge that is connected, with one root session `ses_root` that the host knows. */
export async function connected(t, options) {
  const set = await setUp(t, options);
  const hooks = await set.open();
  await set.daemon.until(({ stream }) => stream, "stream");
  set.host.session("ses_root");
  const event = (type, properties) => hooks.event({ event: { type, properties } });
  event("session.created", { sessionID: "ses_root", info: { id: "ses_root" } });
  return { ...set, hooks, event };
}

export const toolContext = (abort = new AbortController().signal, sessionID = "ses_root") =>
  ({ sessionID, messageID: "msg_1", agent: "build", abort });

/** A program that can be given as BRIGADE_BIN. */
export function program(folder, script) {
  const file = path.join(folder, "brigade");
  writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return file;
}
