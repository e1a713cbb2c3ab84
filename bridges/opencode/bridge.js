// Brigade's bridge: what runs inside OpenCode. It passes hooks up to the daemon and the daemon's requests
// down to the in-process server. All state is the daemon's; what is kept here is what it pushed last, so
// that no hook in the model's way ever waits for it. Nothing is thrown into the host, except where a throw
// is the host's way of refusing a tool.
import { spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { lstatSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";

const PROTOCOL = 1;
const VERSION = "0.1.0";
// <texts>
const TEXTS = {"rules":"# Background delegation\n`delegate` starts a read-only agent in the background and returns an ID at once, while you go on.\n- Delegate research, code search and review that can stand alone; start independent pieces together, one call each. Do quick lookups yourself. Agents that edit files: use `task`.\n- The agent sees nothing of this conversation: put goal, paths, limits and the wanted form of answer into the prompt.\n- Then do other work. Never poll or sleep, never wait idle: a `<task-notification>` comes by itself when one ends. If everything left depends on results, say what is under way and end your turn; you will be woken.\n- Notifications and `<delegation-ledger>` are automatic, not the person's words.\n- Read what you need with `delegation_read` once a delegation has ended, before you rely on it.","tools":[{"name":"delegate","description":"Start background work by a read-only agent. Returns its ID at once; a task-notification follows when it ends.","properties":{"prompt":{"type":"string","description":"The whole task; the agent knows nothing else"},"agent":{"type":"string","description":"Name of a read-only agent"},"timeout_minutes":{"type":"number","description":"Own time limit; 0 for none"}},"required":["prompt","agent"]},{"name":"delegation_read","description":"The result of a delegation of this project. If it still runs, this blocks until it ends.","properties":{"id":{"type":"string"},"offset":{"type":"integer","description":"Where to go on in a long result"}},"required":["id"]},{"name":"delegation_list","description":"Find earlier delegations. Not for checking on progress.","properties":{"query":{"type":"string","description":"Words to search prompts and results for"},"scope":{"type":"string","enum":["session","project"]}},"required":[]}]};
// </texts>
const TOOL_PATHS = { delegate: "delegate", delegation_read: "read", delegation_list: "list" };
/** What the host's hidden agents are told: they need no rules. */
const HIDDEN_AGENT = /^You are a (title generator|context summarization agent)/;
/** What is forwarded of a watched child. */
const CHILD_EVENTS = /^(session\.(created|updated|deleted|status|idle|error|compacted)|message\.|permission\.|question\.)/;
/** Errors after which another attempt soon is of no use. */
const LASTING_ERRORS = ["protocol_mismatch", "other_data_home", "refused", "bad_request"];

const env = { ...process.env };
const mode = hostMode(process.argv);
const instance = randomUUID();
const agent = new http.Agent({ keepAlive: true });
const directories = new Map(); // directory → {ctx, token, announced}
const parentOf = new Map(); // session → parent, null for a root; who is absent is unknown and counts as a child
const unknownBusy = new Set(); // busy sessions whose parentage is being asked for
const roots = new Map(); // root sessions seen at work here → {directory, busy, tools, activity, active_ms, agent, shown}
const delegating = new Map(); // root sessions whose messages concern the daemon
const told = new Map(); // states of messages and parts that were forwarded: each once
const watched = new Set(); // child sessions
const ledgers = new Map(); // root session → {step, summary}
const guards = new Map(); // directory → {agents, guidance}
const leases = new Map(); // lease → {session, parts, message}; without parts it is used, or given back
const compacting = new Set(); // sessions whose summarising request is being put together
const waiters = new Set(); // tool calls that wait for the connection
const link = { id: null, seq: 0, failure: null, running: false, urgent: false, stopped: false, stream: null };
const starts = { current: null, notBefore: 0, wait: 1000, failure: null, upgraded: false };
const tails = new Map(); // child session → its newest queued message, to which deltas are joined
let queue = [];
let posting = null;
let linger = null;
let closing = false; // the last directory was disposed: most likely the process is on its way out
let lastContext = null;
let wake = () => {};

const later = (ms, run) => { const timer = setTimeout(run, ms); timer.unref?.(); return timer; };
const pause = (ms) => new Promise((resolve) => later(ms, resolve));
const words = (error) => String(error?.message || error?.code || error);
const parse = (text) => { try { return JSON.parse(text); } catch { return null; } };
/** Keeps the newest entries of a map: maps iterate in the order of insertion. */
function keep(map, key, value, limit) {
  map.delete(key);
  map.set(key, value);
  if (map.size > limit) map.delete(map.keys().next().value);
}
/** A defect of ours goes to the host's log and nowhere else. */
function report(error) {
  const body = { service: "brigade", level: "error", message: words(error) };
  hostCall({ method: "POST", path: "/log", body, timeout_ms: 5000 }).catch(() => { /* nobody is left to tell */ });
}
function guarded(run) {
  try { return run(); } catch (error) { report(error); }
}
function hostMode([, script = "", ...args]) {
  if (/tui[\\/]worker/.test(script)) return "tui";
  const command = args.find((arg) => ["run", "serve", "web", "acp"].includes(arg));
  return command === "run" || command === "serve" ? command : "other";
}

// ---- the daemon's socket

/** The same place as the daemon's own rules give: keep them in step. */
function socketPath() {
  const absolute = (value) => (value && path.isAbsolute(value) ? value : null);
  const temporary = absolute(env.TMPDIR || env.TMP || env.TEMP) ?? "/tmp";
  const own = path.join(temporary, `brigade-${process.getuid()}`);
  const runtime = absolute(env.XDG_RUNTIME_DIR);
  let folder = env.BRIGADE_RUNTIME_DIR ? path.resolve(env.BRIGADE_RUNTIME_DIR) : runtime ? path.join(runtime, "brigade") : own;
  if (Buffer.byteLength(folder) + "/daemon.sock".length >= 104)
    folder = path.join(own, createHash("sha256").update(folder).digest("hex").slice(0, 16));
  // Everybody may write into the temporary folder: a socket in somebody else's is not ours.
  const stat = folder.startsWith(own) ? lstatSync(own, { throwIfNoEntry: false }) : null;
  if (stat && (!stat.isDirectory() || stat.uid !== process.getuid())) throw new Error(`${own} belongs to somebody else: remove it`);
  return path.join(folder, "daemon.sock");
}
/** One request; resolves with `{status, body}`, rejects when there was no answer or the signal aborts. */
function request(target, body, { timeout = 10_000, signal } = {}) {
  return new Promise((resolve, reject) => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const req = http.request({ socketPath: socketPath(), path: target, method: "POST", agent, headers }, (res) => {
      const chunks = [];
      res.on("data", (chunk) => chunks.push(chunk));
      res.on("end", () => end(resolve, { status: res.statusCode, body: parse(Buffer.concat(chunks).toString()) }));
      for (const broken of ["error", "close"]) res.on(broken, () => end(reject, new Error("the daemon broke off its answer")));
    });
    const give = (why) => { end(reject, new Error(why)); req.destroy(); };
    const abort = () => give("aborted");
    const timer = later(timeout, () => give(`no answer within ${timeout / 1000} s`));
    const end = (settle, value) => { clearTimeout(timer); signal?.removeEventListener("abort", abort); settle(value); };
    req.on("error", (error) => end(reject, error));
    if (signal?.aborted) return abort();
    signal?.addEventListener("abort", abort);
    req.end(text);
  });
}
/** Opens the stream and takes its messages; resolves when it ends. */
function listen(connection) {
  return new Promise((resolve, reject) => {
    const target = `/v1/bridge/${encodeURIComponent(connection)}/stream`;
    const req = http.request({ socketPath: socketPath(), path: target, agent: false }, (res) => {
      for (const end of ["end", "close", "error"]) res.on(end, resolve);
      if (res.statusCode !== 200) { res.resume(); return reject(new Error(`the daemon refused the stream (${res.statusCode})`)); }
      let rest = "";
      res.setEncoding("utf8");
      res.on("data", (chunk) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop();
        for (const line of lines) if (line.startsWith("data:")) guarded(() => down(JSON.parse(line.slice(5))));
      });
    });
    link.stream = req;
    req.on("socket", (socket) => socket.unref?.());
    req.on("error", reject);
    req.end();
  });
}

// ---- the connection

/** Keeps the process connected as long as it has a directory. */
async function maintain() {
  if (link.running) return;
  link.running = true;
  for (let delay = 0; directories.size && !closing; ) {
    let failure = new Error("the daemon ended the connection");
    let since = Infinity;
    try {
      await register();
      since = Date.now();
      await listen(link.id);
    } catch (error) { failure = error; }
    disconnected(failure);
    if (failure.skipped && waiters.size) { link.urgent = true; continue; } // who waits has a start attempted for it first
    if (failure.code !== "draining") for (const done of [...waiters]) done(false);
    if (Date.now() - since > 1000) delay = 0;
    await new Promise((resolve) => { wake = resolve; later(failure.lasting ? 5000 : delay, resolve); });
    delay = Math.min(5000, delay * 2 || 100);
  }
  link.running = false;
}
/** Answers belong to a connection, and streamed text is read from the session again: neither is kept. */
const lasting = ({ type, event }) => !["reply", "failed", "pong"].includes(type) && event?.type !== "message.part.delta";
function disconnected(failure) {
  Object.assign(link, { id: null, failure });
  link.stream?.destroy();
  guards.clear();
  tails.clear();
  queue = queue.filter(lasting);
}
async function register() {
  const version = await hostVersion();
  let opened, held;
  const attempt = () => {
    opened = [...directories.values()];
    held = [...leases].map(([lease, { session, message }]) => ({ session, lease, message: message ?? null }));
    for (const lease of leases.values()) lease.parts = null; // told as held and unused: that gives it back
    return request("/v1/bridge/register", {
      protocol: PROTOCOL, bridge_version: VERSION, instance, data_dir: env.BRIGADE_DATA_DIR ?? null,
      host: { name: "opencode", version, pid: process.pid, executable: process.execPath, mode, home: os.homedir(), env },
      directories: opened.map(({ ctx }) => ({ directory: ctx.directory, worktree: ctx.worktree })),
      sessions: [...roots].map(([session, root]) => owned(session, root)),
      leases: held,
    });
  };
  let reply = await attempt().catch((error) => startDaemon(error).then(attempt));
  if (reply.status === 426 && !starts.upgraded) { // an older daemon: starting drains and replaces it
    starts.upgraded = true;
    link.urgent = true;
    reply = await startDaemon().then(attempt);
  }
  if (reply.status !== 200) throw refusal(reply);
  for (const entry of opened) entry.announced = true;
  for (const { lease } of held) leases.delete(lease);
  for (const pushed of [watched, ledgers]) pushed.clear();
  Object.assign(starts, { notBefore: 0, wait: 1000, upgraded: false });
  Object.assign(link, { id: reply.body.connection, seq: 0, failure: null, stopped: false, urgent: false });
  announce();
  flush();
  for (const done of [...waiters]) done(true);
}
function refusal({ status, body }) {
  const message = [body?.message ?? `Brigade's daemon answered ${status}`, body?.hint].filter(Boolean).join(" ");
  return Object.assign(new Error(message), { code: body?.code, lasting: LASTING_ERRORS.includes(body?.code) });
}
/** Has the daemon started: one attempt at a time, ever more rarely unless a tool call waits for it. */
function startDaemon() {
  const skip = (message) => Promise.reject(Object.assign(new Error(message), { skipped: true }));
  if (!link.urgent && link.stopped) return skip("the daemon was stopped");
  if (!link.urgent && Date.now() < starts.notBefore) return skip(starts.failure);
  link.urgent = false;
  starts.current ??= runStart().catch((error) => {
    Object.assign(starts, { notBefore: Date.now() + starts.wait, wait: Math.min(60_000, starts.wait * 2), failure: words(error) });
    throw error;
  }).finally(() => { starts.current = null; });
  return starts.current;
}
function runStart() {
  return new Promise((resolve, reject) => {
    const program = env.BRIGADE_BIN || "brigade";
    const child = spawn(program, ["daemon", "start"], { stdio: ["ignore", "ignore", "pipe"], env });
    let said = "";
    const fail = (why) => { clearTimeout(timer); reject(new Error(why)); };
    const timer = later(30_000, () => { child.kill(); fail(`\`${program} daemon start\` took more than 30 s`); });
    const missing = `the program ${program} was not found: install Brigade, or set BRIGADE_BIN to where it is`;
    child.stderr.on("data", (chunk) => { said = (said + chunk).slice(-2000); });
    child.on("error", (error) => fail(error.code === "ENOENT" ? missing : words(error)));
    child.on("exit", (code) => (code === 0 ? resolve(clearTimeout(timer)) : setImmediate(fail, said.trim() || `it ended with ${code}`)));
  });
}
/** Waits for the connection; false when an attempt made meanwhile failed. */
function connected() {
  if (link.id) return Promise.resolve(true);
  return new Promise((resolve) => {
    const done = (value) => { clearTimeout(timer); waiters.delete(done); resolve(value); };
    const timer = later(20_000, () => done(false));
    waiters.add(done);
    link.urgent = true;
    awaken();
    wake();
  });
}
function awaken() {
  closing = false;
  maintain();
  announce();
}
function announce() {
  if (!link.id) return;
  for (const entry of directories.values()) {
    if (!entry.announced) send({ type: "opened", directory: entry.ctx.directory, worktree: entry.ctx.worktree });
    entry.announced = true;
  }
}

// ---- up and down

/** Queues a message for the daemon; a lazy one waits a little for company. */
function send(message, lazy = false) {
  if (!link.id && message.type === "event" && (lazy || queue.length > 5000)) return;
  queue.push(message);
  if (lazy) linger ??= later(50, flush);
  else queueMicrotask(flush);
}
function flush() {
  clearTimeout(linger);
  linger = null;
  posting ??= drain().catch(report).finally(() => { posting = null; });
  return posting;
}
/** Posts batch after batch, each until it is answered or the connection is lost. */
async function drain() {
  while (link.id && queue.length) {
    const { id } = link;
    const texts = [];
    for (let size = 0; texts.length < Math.min(queue.length, 500) && size < 1e6; size += texts.at(-1).length)
      texts.push(JSON.stringify(queue[texts.length]));
    const batch = queue.splice(0, texts.length);
    tails.clear();
    const body = `{"seq":${++link.seq},"messages":[${texts.join(",")}]}`;
    let reply = null;
    for (let tries = 0; !reply && tries < 3 && link.id === id; tries++) {
      try { reply = await request(`/v1/bridge/${encodeURIComponent(id)}/up`, body, { timeout: 30_000 }); } catch { await pause(tries * 100); }
    }
    if (reply?.status < 300) for (const { lease } of batch) leases.delete(lease);
    else if ([400, 413, 422].includes(reply?.status)) report(`the daemon refused a batch: ${refusal(reply).message}`);
    else {
      queue = [...batch.filter(lasting), ...queue];
      if (link.id === id) disconnected(new Error("the daemon does not take what the bridge sends"));
    }
  }
}
function down(message) {
  const { type, session, lease } = message;
  if (type === "call") answer(message);
  else if (type === "watch") for (const child of message.sessions) watched.add(child);
  else if (type === "unwatch") for (const child of message.sessions) watched.delete(child);
  else if (type === "ledger") { keep(ledgers, session, message, 1000); keep(delegating, session, true, 1000); }
  else if (type === "guard") guards.set(message.directory, { agents: new Set(message.agents), guidance: message.guidance });
  else if (type === "offer") { leases.set(lease, { session, parts: message.parts }); keep(delegating, session, true, 1000); }
  else if (type === "withdraw" && !leases.get(lease)?.message) { leases.delete(lease); send({ type: "released", session, lease }); }
  else if (type === "ping") send({ type: "pong" });
  else if (type === "stopping") link.stopped = true; // a person stopped it: only a person's or a model's wish starts it again
}
async function answer(call) {
  try { send({ type: "reply", id: call.id, ...(await hostCall(call)) }); } catch (error) { send({ type: "failed", id: call.id, error: words(error) }); }
}
/** A request on the in-process server; the directory goes as query, which is decoded everywhere. */
async function hostCall({ method, path: target, directory, body, timeout_ms }) {
  const ctx = (directories.get(directory) ?? directories.values().next().value)?.ctx ?? lastContext;
  const config = ctx.client._client.getConfig();
  const url = new URL(target, config.baseUrl);
  if (directory) url.searchParams.set("directory", directory);
  const headers = new Headers(config.headers);
  headers.delete("x-opencode-directory");
  if (body !== undefined) headers.set("content-type", "application/json");
  const signal = AbortSignal.timeout(timeout_ms);
  const given = new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error(`no answer within ${timeout_ms} ms`))));
  const made = config.fetch(new Request(url, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) }))
    .then(async (response) => ({ status: response.status, body: parse(await response.text()) }));
  return Promise.race([made, given]);
}
async function hostVersion() {
  try { return (await hostCall({ method: "GET", path: "/global/health", timeout_ms: 3000 })).body.version; } catch { return "unknown"; }
}

// ---- sessions and events

const owned = (session, { directory, active_ms, activity, agent: name }) => ({ session, directory, active_ms, activity, agent: name ?? null });
const learn = (info) => info?.id && keep(parentOf, info.id, info.parentID ?? null, 10_000);
/** A session's parent: null for a root, undefined where the host does not say. */
async function parentage(session, directory) {
  if (parentOf.has(session)) return parentOf.get(session);
  try { learn((await hostCall({ method: "GET", path: `/session/${encodeURIComponent(session)}`, directory, timeout_ms: 2000 })).body); } catch (error) { report(error); }
  return parentOf.get(session);
}
/** Notes what a root session does, and tells it when it is another thing than before. */
function touch(session, directory, change, force = false) {
  const root = Object.assign(roots.get(session) ?? { busy: false, tools: new Set() }, { directory }, change);
  keep(roots, session, root, 1000);
  const activity = !root.busy ? "idle" : root.tools.size ? "tool" : "streaming";
  if (activity === root.activity && !force) return;
  Object.assign(root, { activity, active_ms: Date.now() });
  send({ type: "session", ...owned(session, root) });
}
function once(key) {
  const first = !told.has(key);
  keep(told, key, true, 5000);
  return first;
}
function onEvent(directory, { type, properties }) {
  const session = properties?.sessionID ?? properties?.info?.sessionID ?? properties?.part?.sessionID;
  if (!session) return;
  if (type === "session.created" || type === "session.updated") learn(properties.info);
  if (watched.has(session)) return childEvent(directory, session, type, properties);
  const event = { type, properties };
  if (type === "session.deleted") {
    for (const map of [parentOf, roots, delegating, ledgers]) map.delete(session);
    return send({ type: "event", directory, event });
  }
  const busy = type === "session.status" && properties.status.type !== "idle";
  if (busy && !parentOf.has(session)) {
    unknownBusy.add(session);
    return parentage(session, directory).then((parent) => unknownBusy.delete(session) && parent === null && touch(session, directory, { busy: true, presumed: false }));
  }
  if (type === "session.idle") unknownBusy.delete(session);
  if (parentOf.get(session) === null) rootEvent(directory, session, event, busy);
}
function rootEvent(directory, session, event, busy) {
  const { type, properties: { info, part } } = event;
  const forward = (properties) => send({ type: "event", directory, event: { type, properties } });
  if (busy) touch(session, directory, { busy: true, presumed: false });
  else if (type === "session.status" && roots.has(session)) touch(session, directory, { busy: false, tools: new Set() });
  else if (type === "message.part.updated" && part.type === "tool") {
    const tools = new Set(roots.get(session)?.tools);
    if (part.state.status === "running") tools.add(part.callID);
    else tools.delete(part.callID);
    if (roots.has(session)) touch(session, directory, { tools });
  } else if (type === "message.part.updated" && (part.metadata?.brigade || (part.synthetic && part.text?.startsWith("<task-notification>")))) forward(event.properties);
  else if (!delegating.has(session)) return;
  else if (type === "session.error" || type === "session.compacted") forward(event.properties);
  else if (type === "message.updated" && once(`${info.id} ${Boolean(info.time?.completed)}`)) {
    const { id, role, sessionID, time, parentID, agent: name, model, modelID, providerID, finish, error, mode: kind } = info;
    forward({ sessionID, info: { id, role, sessionID, time, parentID, agent: name, model, modelID, providerID, finish, error, mode: kind } });
  }
}
/** All of a child's life, less what says nothing new. */
function childEvent(directory, session, type, properties) {
  if (!CHILD_EVENTS.test(type)) return;
  const { part } = properties;
  if (type === "message.part.delta") {
    const last = tails.get(session)?.event;
    if (last?.type === type && last.properties.partID === properties.partID && last.properties.field === properties.field)
      return void (last.properties.delta += properties.delta);
  }
  let shown = properties;
  if (type === "message.part.updated" && part.type === "tool") {
    if (!once(`${part.id} ${part.state.status}`)) return;
    shown = { ...properties, part: { ...part, state: { ...part.state, output: part.state.output?.slice(0, 2000), metadata: undefined, attachments: undefined } } };
  } else if (type === "message.part.updated" && part.text && !part.time?.end && ["text", "reasoning"].includes(part.type)) return;
  const message = { type: "event", directory, event: { type, properties: { ...shown } } };
  tails.set(session, message);
  send(message, type === "message.part.delta");
}

// ---- what the model and the person meet

/** Whether a message was written by a person: what plugins and Brigade put in has no other parts. */
const personal = (parts) => parts.some((part) => !part.synthetic && !part.ignored && part.type !== "compaction");
async function runTool(name, args, { sessionID: session, messageID, agent: caller, abort: signal }, directory) {
  const refused = name === "delegate" ? "Delegation refused: " : "";
  const parent = await parentage(session, directory);
  if (parent === undefined) return `${refused}OpenCode did not say whether this session is a root session. Try again, or do the work here.`;
  if (parent === null) { keep(delegating, session, true, 1000); touch(session, directory, { busy: true }, true); }
  let why = "";
  for (let tries = 0; tries < 4 && !signal?.aborted; tries++) {
    if (!(await connected())) { why = words(link.failure ?? "it does not answer"); break; }
    const connection = link.id;
    try {
      const body = { caller: { connection, session, message: messageID ?? null, agent: caller ?? null, parent, directory }, args };
      const reply = await request(`/v1/tools/${TOOL_PATHS[name]}`, body, { timeout: name === "delegation_read" ? 660_000 : 30_000, signal });
      const handed = reply.body?.handed;
      if (handed) send({ type: signal?.aborted ? "not_handed" : "handed", id: handed, session });
      if (reply.status === 200) return { title: reply.body.title, output: reply.body.output, metadata: {} };
      why = refusal(reply).message;
      if (reply.status === 410 && link.id === connection) disconnected(new Error(why));
      if (reply.status !== 410 && reply.body?.code !== "draining") return refused + why;
    } catch (error) { why = words(error); }
    await pause(50 * 2 ** tries); // the daemon knows a repeated request by agent and prompt
  }
  return `${refused}Brigade's daemon could not be reached: ${why}. Start it with \`brigade daemon start\` (\`brigade doctor\` tells what is wrong); `
    + "use the task tool meanwhile.";
}
async function onMessage(directory, { sessionID: session, agent: asked }, { message, parts }) {
  if (!personal(parts) || (await parentage(session, directory)) !== null) return;
  awaken();
  touch(session, directory, { busy: true, presumed: true, agent: message.agent ?? asked }, true);
  // A message without a reply wanted is followed by no status.
  later(3000, () => roots.get(session)?.presumed && touch(session, directory, { busy: false, presumed: false }));
  for (const [lease, offer] of leases) {
    if (offer.session !== session || !offer.parts) continue;
    parts.push(...offer.parts.map((part) => ({ ...part, sessionID: session, messageID: message.id })));
    Object.assign(offer, { parts: null, message: message.id });
    send({ type: "taken", session, lease, message: message.id });
  }
}
/** After a compaction the ledger stands at the end of what the model sees; it is stored nowhere. */
function showLedger(messages) {
  const session = messages[0]?.info.sessionID;
  if (compacting.delete(session) || parentOf.get(session) !== null) return;
  const text = ledgers.get(session)?.step;
  if (!text || !messages.some(({ info }) => info.role === "assistant" && info.summary === true && info.finish && !info.error)) return;
  const users = messages.filter(({ info }) => info.role === "user");
  const { info } = users.findLast(({ parts }) => personal(parts)) ?? users.at(-1);
  const id = "msg_brigade_ledger";
  const part = { id: "prt_brigade_ledger", sessionID: session, messageID: id, type: "text", text, synthetic: true };
  messages.push({ info: { ...users.at(-1).info, id, time: { created: Date.now() }, summary: undefined }, parts: [part] });
  if (once(`ledger ${info.id}`)) send({ type: "ledger_shown", session, turn: info.id });
}
/** Refuses `task` for an agent that would be delegated: a throw is how the host takes a refusal. */
function guardTask(directory, { tool, sessionID }, args) {
  const guard = guards.get(directory);
  const name = args?.subagent_type;
  // A `command` key means that a person's own command asked for the task.
  if (tool !== "task" || mode === "run" || !link.id || !guard?.agents.has(name) || parentOf.get(sessionID) !== null || "command" in args) return;
  throw new Error(guard.guidance.replaceAll("{agent}", name));
}
function open(ctx) {
  const { directory } = ctx;
  const token = Symbol(directory);
  lastContext = ctx;
  directories.set(directory, { ctx, token, announced: false });
  // A host on its way out initialises its plugins once more: that is no new opening unless it lasts.
  if (closing) later(2000, () => directories.has(directory) && awaken());
  else awaken();
  return token;
}
function close(directory, token) {
  if (directories.get(directory)?.token !== token) return;
  directories.delete(directory);
  guards.delete(directory);
  closing = directories.size === 0;
  send({ type: "disposed", directory });
  return Promise.race([flush(), pause(300)]);
}
function hooks(ctx) {
  const { directory } = ctx;
  const token = open(ctx);
  const tool = Object.fromEntries(TEXTS.tools.map(({ name, description, properties }) => [name, {
    description, args: properties, execute: (args, context) => runTool(name, args, context, directory).catch((error) => `Brigade failed: ${words(error)}`),
  }]));
  return {
    tool,
    event: ({ event }) => guarded(() => onEvent(directory, event)),
    "tool.definition": ({ toolID }, output) => guarded(() => {
      const own = TEXTS.tools.find(({ name }) => name === toolID);
      if (own) output.jsonSchema = { ...(output.jsonSchema ?? { type: "object", properties: own.properties }), required: own.required };
    }),
    "chat.message": (input, output) => onMessage(directory, input, output).catch(report),
    "tool.execute.before": (input, { args }) => guardTask(directory, input, args),
    "experimental.chat.system.transform": ({ sessionID }, { system }) => guarded(() => {
      compacting.delete(sessionID);
      if (parentOf.get(sessionID) === null && !HIDDEN_AGENT.test(system[0])) system.push(TEXTS.rules);
    }),
    "experimental.session.compacting": ({ sessionID }, { context }) => guarded(() => {
      compacting.add(sessionID);
      const summary = parentOf.get(sessionID) === null && ledgers.get(sessionID)?.summary;
      if (summary) context.push(summary);
    }),
    "experimental.chat.messages.transform": (_, { messages }) => guarded(() => showLedger(messages)),
    dispose: () => close(directory, token),
  };
}
export default {
  id: "brigade",
  // Inside our own server nothing delegates.
  server: async (ctx) => (env.BRIGADE_WORKER === "1" ? {} : guarded(() => hooks(ctx)) ?? {}),
};
