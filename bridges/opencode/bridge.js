// Brigade's bridge inside OpenCode: hooks go up to the daemon, its requests down to the in-process server. All state is the
// daemon's; what it pushed last is kept, so that no hook in the model's way waits. It throws only to refuse a tool.
import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { lstatSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const [PROTOCOL, VERSION] = [1, "0.1.0"];
// <texts>
const TEXTS = {"rules":"# Background delegation\n`delegate` starts an agent in the background and returns its ID at once.\n- Delegate research, review and self-contained changes; start independent pieces together, one call each. Do quick lookups and small edits yourself.\n- An agent that edits works in a copy of this tree: `delegation_apply` brings its changes here.\n- The agent sees nothing of this conversation: say goal, paths, limits and form of answer.\n- Never poll, sleep or wait idle: a `<task-notification>` comes by itself when one ends. If what is left depends on results, say what is under way and end your turn; you will be woken.\n- Notifications and `<delegation-ledger>` are automatic, not the person's words.\n- Read what you need with `delegation_read` before you rely on it.","tools":[{"name":"delegate","description":"Start background work; a task-notification follows when it ends.","properties":{"prompt":{"description":"The whole task","type":"string"},"agent":{"type":"string"},"from":{"description":"ID whose changes it starts with","type":"string"},"timeout_minutes":{"type":"number"}},"required":["prompt","agent"]},{"name":"delegation_read","description":"A delegation's result. Blocks until it has ended.","properties":{"id":{"type":"string"},"offset":{"type":"integer"}},"required":["id"]},{"name":"delegation_list","description":"Find earlier delegations; not for progress.","properties":{"query":{"type":"string"},"scope":{"enum":["session","project"],"type":"string"}},"required":[]},{"name":"delegation_cancel","description":"Stop a delegation; its text is kept.","properties":{"id":{"type":"string"}},"required":["id"]},{"name":"delegation_send","description":"Correct a running delegation, or go on with an ended one.","properties":{"id":{"type":"string"},"message":{"type":"string"}},"required":["id","message"]},{"name":"delegation_apply","description":"Bring a delegation's changes into this tree.","properties":{"id":{"type":"string"},"markers":{"type":"boolean"},"paths":{"items":{"type":"string"},"type":"array"}},"required":["id"]}]};
// </texts>
const HIDDEN_AGENT = /^You are a (title generator|context summarization agent)/; // it delegates nothing and needs no rules
const CHILD_EVENTS = /^(session\.(created|updated|deleted|status|idle|error|compacted)|message\.|permission\.|question\.)/;
const LASTING_ERRORS = ["protocol_mismatch", "other_data_home", "refused", "bad_request"]; // no use in trying again soon
const env = Object.fromEntries(Object.entries({ ...process.env, ...JSON.parse(process.env.BRIGADE_CONFINED || "{}") }).filter(([, value]) => value !== null)); // as the person has it
const { BRIGADE_WORKER: marked, BRIGADE_LINGER_MS: lingers, BRIGADE_CONFINED: confined, OPENCODE_SERVER_PASSWORD: _, ...plain } = env; // plain: for the daemon
const [worker, command] = [Boolean(marked), process.argv.slice(2).find((arg) => /^(run|serve|web|acp)$/.test(arg))]; // a worker (inside a server of Brigade's own) delegates nothing and tells its model nothing
const mode = worker ? "worker" : /tui[\\/]worker/.test(process.argv[1]) ? "tui" : command === "run" || command === "serve" ? command : "other";
const [instance, agent] = [randomUUID(), new http.Agent({ keepAlive: true })];
const claims = (globalThis[Symbol.for("brigade.bridge")] ??= new Map()); // directory → which of two installed bridges serves it
const directories = new Map(); // directory → {ctx, announced, opened}
const parentOf = new Map(); // session → parent, null for a root; who is absent is unknown and counts as a child
const roots = new Map(); // root sessions seen at work here → {directory, busy, presumed, tools, activity, active_ms, agent}
const delegating = new Map(); // root sessions whose messages concern the daemon
const told = new Map(); // states of messages, parts and ledgers that were forwarded: each once
const watched = new Map(); // child session → the rules of its shell, which hold without a connection too
const ledgers = new Map(); // root session → {step, summary}
const guards = new Map(); // directory → {agents, guidance}
const leases = new Map(); // lease → {session, parts, message}; without parts it is used, or given back
const compacting = new Set(); // sessions whose summarising request is being put together
const waiters = new Set(); // tool calls that wait for the connection
const tails = new Map(); // child session → its newest queued message, to which deltas are joined
const link = { id: null, alone: performance.now(), told: false, seq: 0, failure: null, running: false, stream: null, lost: null, wake() {} };
const starts = { current: null, wanted: false, stopped: false, upgraded: false, notBefore: 0, wait: 1000, failure: null };
let [queue, posting, linger, lastContext, closing] = [[], null, null, null, false]; // closing: the last directory was disposed, most likely the process is on its way out

const later = (ms, run) => setTimeout(run, ms).unref();
const pause = (ms) => new Promise((resolve) => later(ms, resolve));
const words = (error) => String(error?.message || error?.code || error);
const parse = (text) => { try { return JSON.parse(text); } catch { return null; } };
const guarded = (run) => { try { return run(); } catch (error) { report(error); } };
/** A defect goes to the host's log; where that can't be reached nobody is left to tell. */
const report = (error) => hostCall({ method: "POST", path: "/log", body: { service: "brigade", level: "error", message: words(error) }, timeout_ms: 5000 }).catch(() => {});
/** Keeps the newest entries of a map: maps iterate in the order of insertion. */
const keep = (map, key, value, limit = 1000) => { if (map.delete(key), map.set(key, value).size > limit) map.delete(map.keys().next().value); };
const once = (key) => { const first = !told.has(key); keep(told, key, true, 5000); return first; };
/** The daemon's socket, by the daemon's own rules: keep them in step. */
function socketPath() {
  const absolute = (value) => (value && path.isAbsolute(value) ? value : null);
  const own = path.join(absolute(env.TMPDIR || env.TMP || env.TEMP) ?? "/tmp", `brigade-${process.getuid()}`);
  const runtime = absolute(env.XDG_RUNTIME_DIR);
  let folder = env.BRIGADE_RUNTIME_DIR ? path.resolve(env.BRIGADE_RUNTIME_DIR) : runtime ? path.join(runtime, "brigade") : own;
  if (Buffer.byteLength(folder) + "/daemon.sock".length >= 104) // more than some system takes for a socket's name
    folder = path.join(own, createHash("sha256").update(folder).digest("hex").slice(0, 16));
  // Everybody may write into the temporary folder: a socket in somebody else's is not ours.
  const stat = folder.startsWith(own) ? lstatSync(own, { throwIfNoEntry: false }) : null;
  if (stat && (!stat.isDirectory() || stat.uid !== process.getuid())) throw new Error(`${own} belongs to somebody else: remove it`);
  return path.join(folder, "daemon.sock");
}
/** One request; resolves with `{status, body}`, rejects when there was no answer in time or a signal aborts. */
function request(target, body, { timeout = 10_000, signals = [] } = {}) {
  const [ended, chunks] = [AbortSignal.any([AbortSignal.timeout(timeout), ...signals.filter(Boolean)]), []];
  let giveUp; // by hand: a host that was suspended past the timeout would otherwise say nothing at all
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const sent = http.request({ socketPath: socketPath(), path: target, method: "POST", agent, headers }, (res) => {
      res.on("data", (chunk) => chunks.push(chunk)).on("end", () => resolve({ status: res.statusCode, body: parse(Buffer.concat(chunks).toString()) }));
      for (const broken of ["error", "close"]) res.on(broken, () => reject(new Error("the daemon broke off its answer")));
    }).on("error", reject);
    ended.addEventListener("abort", giveUp = () => { reject(ended.reason); sent.destroy(); });
    if (ended.aborted) giveUp(); else sent.end(body);
  }).finally(() => ended.removeEventListener("abort", giveUp));
}
/** Opens the stream and takes its messages; resolves when it ends. */
function listen(connection) {
  return new Promise((resolve, reject) => {
    link.stream = http.get({ socketPath: socketPath(), path: `/v1/bridge/${encodeURIComponent(connection)}/stream`, agent: false }, (res) => {
      if (res.statusCode !== 200) reject(new Error(`the daemon refused the stream (${res.statusCode})`));
      for (const end of ["end", "close", "error"]) res.on(end, resolve);
      let rest = "";
      res.setEncoding("utf8").on("data", (chunk) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop();
        for (const line of lines) if (line.startsWith("data:")) guarded(() => down(JSON.parse(line.slice(5))));
      });
    });
    link.stream.on("socket", (socket) => socket.unref?.()).on("error", reject);
  });
}
/** Keeps the process connected as long as it has a directory. */
async function maintain() {
  if (link.running) return;
  link.running = true;
  for (let delay = 0; worker || (directories.size && !closing); ) {
    let [failure, since] = [new Error("the daemon ended the connection"), Infinity];
    try { await register(); since = performance.now(); await listen(link.id); } catch (error) { failure = error; } finally { disconnected(failure); }
    if (failure.skipped && waiters.size) { starts.wanted = true; continue; } // who waits has a start attempted for it first
    if (failure.code !== "draining") settle(false);
    if (worker) await leaveIfOrphaned();
    if (performance.now() - since > 1000) delay = 0;
    await new Promise((resolve) => { link.wake = resolve; later(failure.lasting ? 5000 : delay, resolve); });
    delay = Math.min(5000, delay * 2 || 100);
  }
  link.running = false;
}
/** A server of Brigade's own outlives its daemon by as long as it is told to, and by what is busy in it, an hour at most. */
async function leaveIfOrphaned() {
  const [alone, linger] = [performance.now() - link.alone, Number(lingers) || 120_000];
  if (alone < linger) return;
  const asked = [...directories.keys()].map((directory) => hostCall({ method: "GET", path: "/session/status", directory, timeout_ms: 5000 }));
  const busy = await Promise.all(asked).then((all) => all.some(({ body }) => Object.keys(body ?? {}).length), () => true);
  if (!busy || alone > 3_600_000) process.kill(process.pid, "SIGTERM");
}
/** Answers belong to a connection, a registration tells directories and sessions as they then are, streamed text is read again. */
const outlives = ({ type, event }) => !["reply", "failed", "pong", "opened", "disposed", "session"].includes(type) && event?.type !== "message.part.delta";
function disconnected(failure) {
  const { lost, stream } = Object.assign(link, { alone: link.id ? performance.now() : link.alone, id: null, told: false, failure });
  later(1000, () => lost?.abort(failure)); // a host that was suspended may not hear that a request of its was broken off
  stream?.destroy(), guards.clear(), tails.clear();
}
async function register() {
  link.version ??= await hostCall({ method: "GET", path: "/global/health", timeout_ms: 3000 }).then(({ body }) => body.version, () => null);
  for (const lease of leases.values()) lease.parts = null; // what is told as held and unused is given back by that
  const attempt = () => (link.told = true, queue = queue.filter(outlives), request("/v1/bridge/register", JSON.stringify({
    protocol: PROTOCOL, bridge_version: VERSION, instance, data_dir: env.BRIGADE_DATA_DIR ?? null,
    host: { name: "opencode", version: link.version ?? "unknown", pid: process.pid, executable: process.execPath, mode, home: os.homedir(), env },
    directories: [...directories.values()].map(place), sessions: [...roots].map(owned),
    leases: [...leases].map(([lease, { session, message }]) => ({ session, lease, message: message ?? null })),
  })));
  let reply = await attempt().catch(() => startDaemon().then(attempt));
  if (reply.status === 426 && !starts.upgraded) { // an older daemon: starting drains and replaces it
    Object.assign(starts, { upgraded: true, wanted: true });
    reply = await startDaemon().then(attempt);
  }
  if (reply.status !== 200) throw refusal(reply);
  Object.assign(starts, { wanted: false, stopped: false, upgraded: false, notBefore: 0, wait: 1000 });
  Object.assign(link, { id: reply.body.connection, seq: 0, failure: null, lost: new AbortController() });
  ledgers.clear(), leases.clear(), announce(), flush(), settle(true);
}
function refusal({ status, body }) {
  const said = [body?.message ?? `Brigade's daemon answered ${status}`, body?.hint].filter(Boolean).join(" ");
  return Object.assign(new Error(said), { code: body?.code, lasting: LASTING_ERRORS.includes(body?.code) });
}
/** Has the daemon started: one attempt at a time, ever more rarely unless a tool call waits for it. */
async function startDaemon() {
  if (confined) throw new Error("the daemon is gone, and what a confined server starts would be confined with it: it is waited for");
  const held = starts.stopped ? "the daemon was stopped" : performance.now() < starts.notBefore ? starts.failure : null;
  if (held && !starts.wanted) throw Object.assign(new Error(held), { skipped: true });
  starts.wanted = false;
  const program = env.BRIGADE_BIN || "brigade";
  return (starts.current ??= promisify(execFile)(program, ["daemon", "start"], { env: plain, timeout: 30_000 }).catch((error) => {
    const missing = error.code === "ENOENT" && `the program ${program} was not found: install Brigade, or set BRIGADE_BIN`;
    const failure = missing || error.stderr?.trim() || words(error);
    Object.assign(starts, { notBefore: performance.now() + starts.wait, wait: Math.min(60_000, starts.wait * 2), failure });
    throw new Error(failure);
  }).finally(() => { starts.current = null; }));
}
/** Waits for the connection; no truth comes of it when an attempt made meanwhile failed. */
function connected() {
  if (link.id) return true;
  starts.wanted = true, awaken(), link.wake();
  return Promise.race([new Promise((resolve) => waiters.add(resolve)), pause(20_000)]);
}
const settle = (value) => { for (const done of waiters) done(value); waiters.clear(); };
const awaken = () => { closing = false; maintain().catch(report); announce(); };
const announce = () => { for (const entry of directories.values()) if (link.id && !entry.announced) send({ type: "opened", ...place(entry) }); };
const place = (entry) => { entry.announced = true; return { directory: entry.ctx.directory, worktree: entry.ctx.worktree, opened_ms: entry.opened }; };
/** Queues a message for the daemon, unless the next registration tells it anyway; a lazy one waits a little for company. */
function send(message, lazy = false) {
  if (!link.id && ((!link.told && !outlives(message)) || (message.type === "event" && (lazy || queue.length > 5000)))) return;
  queue.push(message);
  if (lazy) linger ??= later(50, flush); else queueMicrotask(flush);
}
const flush = () => (linger = void clearTimeout(linger), posting ??= drain().catch(report).finally(() => { posting = null; }));
/** Posts batch after batch, each until it is answered or the connection is lost. */
async function drain() {
  while (link.id && queue.length) {
    const [{ id, lost }, texts] = [link, []];
    for (let size = 0; texts.length < Math.min(queue.length, 500) && size < 1e6; size += texts.at(-1).length)
      texts.push(JSON.stringify(queue[texts.length]));
    const batch = queue.splice(0, texts.length);
    tails.clear();
    const body = `{"seq":${++link.seq},"messages":[${texts.join(",")}]}`;
    let reply = null;
    for (let tries = 0; !reply && tries < 3 && link.id === id; tries++)
      reply = await request(`/v1/bridge/${encodeURIComponent(id)}/up`, body, { timeout: 30_000, signals: [lost.signal] }).catch(() => pause(tries * 100));
    if (reply?.status < 300) for (const { lease } of batch) leases.delete(lease);
    else if ([400, 413, 422].includes(reply?.status)) report(`the daemon refused a batch: ${refusal(reply).message}`);
    else {
      queue = [...batch.filter(outlives), ...queue];
      if (link.id === id) disconnected(new Error("the daemon does not take what the bridge sends"));
    }
  }
}
function down(message) {
  const { type, id, session, lease } = message;
  if (["ledger", "offer"].includes(type)) keep(delegating, session, true);
  const [asked, answer] = [link.id, (reply) => link.id === asked && send(reply)]; // each connection has its own numbers
  const failed = (error) => answer({ type: "failed", id, error: words(error) });
  if (type === "call") hostCall(message).then((reply) => answer({ type: "reply", id, ...reply })).catch(failed);
  else if (type === "watch") for (const child of message.sessions) watched.set(child, message.open_shell ? null : (message.shell ?? []));
  else if (type === "unwatch") for (const child of message.sessions) watched.delete(child);
  else if (type === "ledger") keep(ledgers, session, message);
  else if (type === "guard") guards.set(message.directory, { agents: new Set(message.agents), guidance: message.guidance });
  else if (type === "offer") leases.set(lease, { session, parts: message.parts });
  else if (type === "withdraw" && !leases.get(lease)?.message) { leases.delete(lease); send({ type: "released", session, lease }); }
  else if (type === "ping") send({ type: "pong" });
  else if (type === "stopping") starts.stopped = true; // a person stopped it: only a tool call starts it again
}
/** A request on the in-process server; the directory goes into the query, which is decoded everywhere. */
async function hostCall({ method, path: target, directory, body, timeout_ms, sent_ms }) {
  if (Date.now() - sent_ms > timeout_ms) throw new Error("the host was suspended, and this is asked for anew");
  const config = ((directories.get(directory) ?? directories.values().next().value)?.ctx ?? lastContext).client._client.getConfig();
  const [url, headers, signal] = [new URL(target, config.baseUrl), new Headers(config.headers), AbortSignal.timeout(timeout_ms)];
  if (directory) url.searchParams.set("directory", directory);
  headers.delete("x-opencode-directory");
  if (body !== undefined) headers.set("content-type", "application/json");
  const made = config.fetch(new Request(url, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) }));
  const late = new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error(`no answer within ${timeout_ms} ms`))));
  return Promise.race([late, made.then(async (response) => [response.status, await response.text()]).then(([status, text]) => Buffer.byteLength(text) > 2e8 ? { status: 413, body: { message: "the host's answer is larger than 200 MB" } } : { status, body: parse(text) })]);
}
const owned = ([session, { directory, active_ms, activity, agent: name }]) => ({ session, directory, active_ms, activity, agent: name ?? null });
const learn = (info) => info?.id && keep(parentOf, info.id, info.parentID ?? null, 10_000);
/** A session's parent: null for a root, undefined where the host does not say. */
async function parentage(session, directory) {
  if (!parentOf.has(session))
    await hostCall({ method: "GET", path: `/session/${encodeURIComponent(session)}`, directory, timeout_ms: 2000 }).then(({ body }) => learn(body)).catch(report);
  return parentOf.get(session);
}
/** Notes what a root session does, and tells it when it is another thing than before. */
function touch(session, directory, change, force = false) {
  const root = Object.assign(roots.get(session) ?? { busy: false, tools: new Set() }, { directory }, change);
  keep(roots, session, root);
  const activity = !root.busy ? "idle" : root.tools.size ? "tool" : "streaming";
  if (activity === root.activity && !force) return;
  Object.assign(root, { activity, active_ms: Date.now() });
  send({ type: "session", ...owned([session, root]) });
}
function onEvent(directory, { type, properties }) {
  const session = properties?.sessionID ?? properties?.info?.sessionID ?? properties?.part?.sessionID;
  if (!session) return;
  const event = { type, properties };
  if (type === "session.created" || type === "session.updated") learn(properties.info);
  if (watched.has(session)) return childEvent(directory, session, event);
  if (type === "session.deleted") {
    for (const map of [parentOf, roots, delegating, ledgers]) map.delete(session);
    send({ type: "event", directory, event });
  } else if (parentOf.get(session) === null) rootEvent(directory, session, event);
  else if (type === "session.status" && !parentOf.has(session))
    parentage(session, directory).then((parent) => parent === null && guarded(() => rootEvent(directory, session, event)));
}
function rootEvent(directory, session, { type, properties }) {
  const [{ info, part, status }, root] = [properties, roots.get(session)];
  const forward = (sent) => send({ type: "event", directory, event: { type, properties: sent } });
  if (type === "session.status" && status.type !== "idle") touch(session, directory, { busy: true, presumed: false });
  else if (type === "session.status" && root) touch(session, directory, { busy: false, tools: new Set() });
  else if (type === "message.part.updated" && part.type === "tool") {
    root?.tools[part.state.status === "running" ? "add" : "delete"](part.callID);
    if (root) touch(session, directory, {});
  } else if (type === "message.part.updated" && part.synthetic && part.text?.startsWith("<task-notification>")) forward(properties);
  else if (type === "message.updated" && once(`${info.id} ${Boolean(info.time?.completed)}`) && delegating.has(session)) {
    const { summary, tokens, cost, path: where, ...rest } = info; // summaries hold diffs
    forward({ sessionID: session, info: rest });
  } else if (["session.error", "session.compacted"].includes(type) && delegating.has(session)) forward(properties);
}
/** All of a child's life, less what says nothing new. */
function childEvent(directory, session, { type, properties }) {
  if (!CHILD_EVENTS.test(type)) return;
  const { part, partID, field } = properties;
  const [last, sent] = [tails.get(session)?.event, { ...properties }];
  if (type === "message.part.delta") {
    if (last?.type === type && last.properties.partID === partID && last.properties.field === field) return void (last.properties.delta += properties.delta);
  } else if (type === "message.part.updated" && part.type === "tool") {
    if (!once(`${part.id} ${part.state.status}`)) return;
    sent.part = { ...part, state: { ...part.state, output: part.state.output?.slice(0, 2000), metadata: undefined, attachments: undefined } };
  } else if (type === "message.part.updated" && part.text && !part.time?.end && ["text", "reasoning"].includes(part.type)) return;
  if (part?.text?.length > 8e6) sent.part = { ...part, text: part.text.slice(0, 8e6) }; // more is not shown while it streams
  const message = { type: "event", directory, event: { type, properties: sent } };
  tails.set(session, message);
  send(message, type === "message.part.delta");
}
/** Whether a message is a person's: what Brigade and other plugins write has no other parts than these. */
const personal = (parts) => parts.some((part) => !part.synthetic && !part.ignored && part.type !== "compaction");
/** Has the host ask for these edits as its own tools do, where it can; rejects where they are not allowed, or the call is aborted. */
const askToEdit = async (files, diff, context) => Promise.race([
  context.ask?.({ permission: "edit", patterns: files, always: ["*"], metadata: { filepath: files.join(", ").slice(0, 200), diff } }),
  new Promise((_, reject) => context.abort?.addEventListener("abort", () => reject(new Error("The call was aborted.")))),
]);
async function runTool(name, args, context, directory) {
  const { sessionID: session, messageID, agent: caller, abort: signal } = context;
  const [call, refused, parent] = [randomUUID(), name === "delegate" ? "Delegation refused: " : "", await parentage(session, directory)];
  let [why, allowed, timeout] = ["", undefined, { delegation_read: 660_000, delegation_apply: 120_000 }[name] ?? 30_000]; // a read's waiting ends after 10 minutes
  if (parent === undefined) return `${refused}OpenCode did not say whether this session is a root session. Try again, or do the work here.`;
  if (parent === null) { keep(delegating, session, true); touch(session, directory, { busy: true }, true); }
  for (let tries = 0; tries < 4 && !signal?.aborted; tries++) {
    if (!(await connected())) { why = words(link.failure ?? "it does not answer"); break; }
    const { id: connection, lost } = link;
    try {
      const body = { caller: { connection, session, message: messageID ?? null, agent: caller ?? null, parent, directory }, args, allowed, call };
      const reply = await request(`/v1/tools/${name.replace("delegation_", "")}`, JSON.stringify(body), { timeout, signals: [signal, lost.signal] });
      const { asks, diff, handed } = reply.body ?? {};
      if (reply.status === 200 && asks?.length) {
        const denied = await askToEdit(asks, diff, context).then(() => null, words);
        if (denied) return `Nothing was written: these edits were not allowed. ${denied}`;
        [allowed, tries] = [asks, -1];
        continue;
      }
      if (handed) send({ type: signal?.aborted ? "not_handed" : "handed", id: handed, session });
      if (reply.status === 200) return { title: reply.body.title, output: reply.body.output, metadata: {} };
      why = refusal(reply).message;
      if (reply.status === 410 && link.id === connection) disconnected(new Error(why));
      if (reply.status !== 410 && reply.body?.code !== "draining") return refused + why;
    } catch (error) { why = words(error); if (/_(read|cancel)$/.test(name)) send({ type: "not_handed", id: String(args?.id), session }); } // its answer may be lost
    await pause(50 * 2 ** tries); // asking again is safe: the daemon knows a repeated call
  }
  if (name === "delegation_apply") send({ type: "not_handed", id: String(args?.id), session, call });
  return `${refused}Brigade's daemon could not be reached: ${why}. Start it with \`brigade daemon start\` (\`brigade doctor\` tells what is wrong); use the task tool meanwhile.`;
}
async function onMessage(directory, { sessionID: session, agent: asked }, { message, parts }) {
  if (!personal(parts) || (await parentage(session, directory)) !== null) return;
  awaken();
  touch(session, directory, { busy: true, presumed: true, agent: message.agent ?? asked }, true);
  later(3000, () => roots.get(session)?.presumed && touch(session, directory, { busy: false, presumed: false })); // no status follows where no answer is wanted
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
  const text = ledgers.get(session)?.step;
  if (compacting.delete(session) || !text || parentOf.get(session) !== null) return;
  if (!messages.some(({ info }) => info.role === "assistant" && info.summary === true && info.finish && !info.error)) return;
  const users = messages.filter(({ info }) => info.role === "user");
  const turn = (users.findLast(({ parts }) => personal(parts)) ?? users.at(-1)).info.id;
  const info = { ...users.at(-1).info, id: "msg_brigade_ledger", time: { created: Date.now() }, summary: undefined };
  messages.push({ info, parts: [{ id: "prt_brigade_ledger", sessionID: session, messageID: info.id, type: "text", text, synthetic: true }] });
  if (once(`ledger ${turn}`)) send({ type: "ledger_shown", session, turn });
}
/** Refuses `task` for an agent that would be delegated: a throw is how the host takes a refusal. */
function guardTask(directory, { tool, sessionID }, args) {
  const guard = mode !== "run" && guards.get(directory);
  if (tool !== "task" || !link.id || !guard || !guard.agents.has(args?.subagent_type) || parentOf.get(sessionID) !== null) return;
  if (!("command" in args)) /* with it, a person's own command asked for the task */ throw new Error(guard.guidance.replaceAll("{agent}", args.subagent_type));
}
/** A child's shell: one plain command that its own rules allow, whatever a person has approved for always. */
function guardShell({ tool, sessionID }, args) {
  if (tool !== "bash" || !watched.get(sessionID)) return; // null: its own rules alone hold it
  const command = String(args?.command ?? "").trim();
  const rule = watched.get(sessionID).findLast(({ pattern }) => new RegExp(pattern, "s").test(command));
  if (!rule?.allow || /[;&|<>`\n]|\$\(/.test(command)) throw new Error("This command is not among those that a background agent may run: one plain command that its rules allow, without chaining, redirection or substitution. Work without it.");
}
function close(directory, entry) {
  if (directories.get(directory) !== entry) return; // it was initialised anew meanwhile
  for (const map of [directories, guards, claims]) map.delete(directory);
  for (const root of roots.values()) if (root.directory === directory) Object.assign(root, { busy: false, tools: new Set(), activity: "idle" });
  closing = directories.size === 0;
  send({ type: "disposed", directory });
  return Promise.race([flush(), pause(300)]);
}
async function server(ctx) {
  const [{ directory }, entry] = [ctx, { ctx, announced: false, opened: Date.now() }];
  if ((claims.get(directory) ?? instance) !== instance) return {}; // no directory is served twice
  for (const [map, value] of [[directories, entry], [claims, instance]]) map.set(directory, value);
  lastContext = ctx; // a host on its way out initialises its plugins once more: that is no new opening unless it lasts
  if (closing) later(2000, () => directories.has(directory) && awaken()); else awaken();
  const childHooks = {
    event: ({ event }) => guarded(() => onEvent(directory, event)),
    "tool.execute.before": async (input, { args }) => { guardTask(directory, input, args); guardShell(input, args); },
    "shell.env": async ({ sessionID }, output) => { if (watched.has(sessionID)) Object.assign(output.env, { BRIGADE_SESSION: sessionID, BRIGADE_HOST: String(process.pid) }); }, // found by it should its host die
    dispose: () => close(directory, entry),
  };
  return worker ? childHooks : {
    ...childHooks,
    tool: Object.fromEntries(TEXTS.tools.map(({ name, description, properties }) => [name, {
      description, args: properties, execute: (args, context) => runTool(name, args, context, directory).catch((error) => `Brigade failed: ${words(error)}`),
    }])),
    "tool.definition": ({ toolID }, output) => guarded(() => {
      const own = TEXTS.tools.find(({ name }) => name === toolID);
      if (own) output.jsonSchema = { ...(output.jsonSchema ?? { type: "object", properties: own.properties }), required: own.required };
    }),
    "chat.message": (input, output) => onMessage(directory, input, output).catch(report),
    "experimental.chat.system.transform": ({ sessionID }, { system }) => guarded(() => {
      compacting.delete(sessionID);
      if (parentOf.get(sessionID) === null && !HIDDEN_AGENT.test(system[0])) system.push(TEXTS.rules);
    }),
    "experimental.chat.messages.transform": (_, { messages }) => guarded(() => showLedger(messages)),
    "experimental.session.compacting": ({ sessionID }, { context }) => guarded(() => {
      compacting.add(sessionID);
      if (parentOf.get(sessionID) === null && ledgers.get(sessionID)?.summary) context.push(ledgers.get(sessionID).summary);
    }),
  };
}
export default { id: "brigade", server };
