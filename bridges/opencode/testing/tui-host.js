// OpenCode's terminal UI and Brigade's daemon as the panel sees them; they record what it does and wait by event.
import { EventEmitter, once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { createRoot, createSignal, screen } from "./host-libraries.js";

let loaded = 0;

/** The daemon: streams by session, and answers that tests replace. */
export class Daemon extends EventEmitter {
  requests = [];
  streams = [];
  rows = () => [];
  answers = new Map();

  constructor(folder) {
    super();
    this.setMaxListeners(0);
    this.socket = path.join(folder, "daemon.sock");
  }

  async start() {
    this.server = http.createServer((req, res) => this.#serve(req, res)).listen(this.socket);
    await once(this.server, "listening");
    return this;
  }

  async stop() {
    if (!this.server?.listening) return;
    const closed = once(this.server, "close");
    this.server.close();
    this.server.closeAllConnections();
    await closed;
    this.streams = [];
  }

  /** Resolves with what `look` returns as soon as that is truthy. */
  async until(look) {
    const signal = AbortSignal.timeout(10_000);
    for (;;) {
      const seen = look(this);
      if (seen) return seen;
      await once(this, "change", { signal }).catch(() => { throw new Error(`not seen: ${look}; asked ${JSON.stringify(this.requests)}`); });
    }
  }

  asked(target) {
    return this.requests.filter(({ path: asked }) => asked === target);
  }

  stream(session) {
    return this.until(() => this.streams.find((stream) => stream.session === session && !stream.closed));
  }

  async push(session, ...delegations) {
    const { res } = await this.stream(session);
    res.write(`: keep-alive\n\ndata: ${JSON.stringify({ type: "changed", delegations })}\n\n`);
  }

  async #serve(req, res) {
    const url = new URL(req.url, "http://daemon");
    const query = Object.fromEntries(url.searchParams);
    let text = "";
    for await (const chunk of req.setEncoding("utf8")) text += chunk;
    const request = { method: req.method, path: url.pathname, query, body: text ? JSON.parse(text) : null };
    this.requests.push(request);
    if (url.pathname === "/v1/watch") {
      res.writeHead(200, { "content-type": "text/event-stream" });
      const stream = { session: query.session, res, closed: false };
      res.on("close", () => { stream.closed = true; this.emit("change"); });
      res.write(`data: ${JSON.stringify({ type: "reset", delegations: this.rows(query.session), more: 0 })}\n\n`);
      this.streams.push(stream);
    } else {
      const { status = 200, body = null } = this.answers.get(url.pathname)?.(request) ?? { status: 404, body: { code: "not_found", message: "there is no such path" } };
      res.writeHead(status, { "content-type": "application/json" }).end(body === null ? undefined : JSON.stringify(body));
    }
    this.emit("change");
  }
}

/** The host: what a plugin may call, and what it did with it. */
export class Host extends EventEmitter {
  toasts = [];
  slots = {};
  commands = [];
  layers = [];
  shown = null; // what the dialog shows: a component's properties, or an element
  parents = new Map();
  renderer = new EventEmitter();

  constructor() {
    super();
    this.setMaxListeners(0);
    const [route, setRoute] = createSignal({ name: "home" });
    const show = (kind) => (fields) => ({ kind, ...fields });
    this.go = (session) => setRoute(session ? { name: "session", params: { sessionID: session } } : { name: "home" });
    this.listeners_ = new Map();
    this.api = {
      app: { version: "1.18.33" },
      route: { get current() { return route(); }, navigate: (name, { sessionID }) => this.go(sessionID) },
      state: { path: { directory: "/p" }, session: { get: (id) => ({ id, parentID: this.parents.get(id) }) } },
      theme: { current: new Proxy({}, { get: (_, name) => name }) },
      renderer: this.renderer,
      slots: { register: (plugin) => { Object.assign(this.slots, plugin.slots); return "s"; } },
      keymap: { registerLayer: (layer) => { this.layers.push(layer); this.commands.push(...(layer.commands ?? [])); return () => { this.layers.splice(this.layers.indexOf(layer), 1); }; } },
      event: { on: (type, run) => { this.listeners_.set(type, run); return () => {}; } },
      lifecycle: { onDispose: (run) => { this.leave = run; } },
      ui: {
        toast: (toast) => { this.toasts.push(toast); this.emit("change"); },
        DialogSelect: show("select"), DialogConfirm: show("confirm"), DialogAlert: show("alert"),
        dialog: {
          replace: (render, closed) => { this.closed?.(); this.closed = closed; this.shown = render(); this.emit("change"); },
          clear: () => { this.closed?.(); this.closed = this.shown = null; this.emit("change"); },
          setSize: (size) => { this.size = size; },
        },
      },
    };
  }

  async until(look) {
    const signal = AbortSignal.timeout(10_000);
    for (;;) {
      const seen = look(this);
      if (seen) return seen;
      await once(this, "change", { signal }).catch(() => { throw new Error(`not seen: ${look}; toasts ${JSON.stringify(this.toasts)}`); });
    }
  }

  /** Draws a slot; its element and how to take it away again. */
  draw(name, session) {
    return createRoot((unmount) => ({ element: this.slots[name](null, { session_id: session }), unmount }));
  }

  type(slash) {
    return this.commands.find(({ slashName }) => slashName === slash).run();
  }

  /** Chooses an option of the list that is shown. */
  choose(title) {
    const option = this.shown.options.find((one) => one.title.includes(title));
    if (!option) throw new Error(`no ${title} among ${this.shown.options.map((one) => one.title)}`);
    option.onSelect();
  }

  event(type, properties) {
    this.listeners_.get(type)?.({ type, properties });
  }
}

/** A fresh panel in a fresh host, with its daemon; `change` makes the host another. */
export async function open(t, { daemon = true, change = () => {} } = {}) {
  const folder = mkdtempSync(path.join(os.tmpdir(), "brg"));
  process.env.BRIGADE_RUNTIME_DIR = folder;
  const fake = new Daemon(folder);
  if (daemon) await fake.start();
  const host = new Host();
  change(host.api);
  const plugin = (await import(`../tui.js?${++loaded}`)).default;
  t.after(async () => {
    await host.leave?.();
    await fake.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  return { host, daemon: fake, plugin, start: () => plugin.tui(host.api) };
}

/** Waits until something that is drawn is as wanted. */
export async function seen(wanted) {
  const signal = AbortSignal.timeout(10_000);
  while (!wanted()) await once(screen, "change", { signal }).catch(() => { throw new Error(`not drawn: ${wanted}`); });
}

/** A delegation as the daemon tells of it. */
export function row(id, state, fields = {}) {
  const over = !["registered", "running"].includes(state);
  const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
  return {
    id, project: "p", session: "ses_root", state, phase: over ? "ended" : state === "registered" ? "queued" : "working", agent: "explore",
    title: `About ${id}`, summary: "All of it.", unread: false, attempt: 1, registered_at: ago(100), started_at: state === "registered" ? null : ago(90),
    ended_at: over ? ago(60) : null, reason: over && state !== "complete" ? `why ${state}` : null, artifact: null, predecessor: false,
    progress: { tool_calls: 2, last_tool: "grep", tokens_in: 0, tokens_out: 0, cost: 0, heard_at: null, refused: 0, last_line: null }, ...fields,
  };
}
