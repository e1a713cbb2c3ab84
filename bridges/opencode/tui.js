// Brigade's panel inside OpenCode's terminal UI: the session's delegations in the sidebar, `/delegations`, and a toast where
// nothing else shows an end. All it knows comes from the daemon, which it never starts; it throws nothing into the host.
import { createHash } from "node:crypto";
import { lstatSync } from "node:fs";
import http from "node:http";
import path from "node:path";

const VERSION = "0.1.0";
const env = process.env;
const [WIDTH, ACTIVE_ROWS, UNREAD_ROWS, RECENT_ROWS, STREAMS] = [36, 6, 4, 3, 8];
const [FIRST_WAIT, LONGEST_WAIT, SILENCE, NOTICE_WAIT, GATHER] = [250, 15_000, 90_000, 5000, 300]; // milliseconds
const READABLE = 200_000; // characters of a result that are shown
const ENDS = { complete: ["✓", "success"], error: ["✗", "error"], cancelled: ["−", "textMuted"], timeout: ["⌛", "warning"] };
const VARIANTS = { complete: "success", error: "error", cancelled: "info", timeout: "warning" };
const AWAY = "Brigade's daemon does not answer. `brigade doctor` tells what is wrong.";

const later = (ms, run) => { const timer = setTimeout(run, ms); timer.unref?.(); return timer; };
const ended = ({ state }) => state in ENDS;
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
/** Text of a model on one line, without anything that a terminal would obey; lines are kept where asked for. */
const clean = (text, lines = false) => {
  const safe = String(text ?? "").replace(/\r\n/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
  return lines ? safe : safe.replace(/\s+/g, " ").trim();
};
const wide = (text) => globalThis.Bun?.stringWidth?.(text) ?? text.length;
/** As much of a text as has room, with a sign that there is more. */
function fit(text, room) {
  if (wide(text) <= room) return text;
  let kept = "";
  for (const letter of text) if (wide(kept + letter) < room) kept += letter; else break;
  return room > 0 ? `${kept.trimEnd()}…` : "";
}
/** How long ago, in one unit, as the command line has it. */
function age(then, now = Date.now()) {
  const seconds = Math.max(0, Math.floor((now - Date.parse(then)) / 1000));
  if (seconds < 60) return `${seconds}s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)}m` : seconds < 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}
const signOf = ({ state }) => ENDS[state] ?? (state === "running" ? ["●", "primary"] : ["○", "textMuted"]);
/** What it does now, or what came of it. */
function doing(row) {
  const { last_line: line, last_tool: tool, tool_calls: calls } = row.progress ?? {};
  if (ended(row)) return row.state === "complete" ? "" : row.reason ?? row.state;
  if (row.state === "registered" || row.phase !== "working") return row.phase;
  return line || (tool ? `${tool}, ${count(calls, "tool call")}` : row.phase);
}
/** Running first, then what is unread, then the last few; and the figures of all. */
function arrange(rows) {
  const newest = (a, b) => Date.parse(b.ended_at) - Date.parse(a.ended_at);
  const active = rows.filter((row) => !ended(row)).sort((a, b) => Date.parse(a.registered_at) - Date.parse(b.registered_at));
  const unread = rows.filter((row) => ended(row) && row.unread).sort(newest);
  const recent = rows.filter((row) => ended(row) && !row.unread).sort(newest);
  const running = active.filter(({ state }) => state === "running").length;
  const figures = [[running, "running"], [active.length - running, "queued"], [unread.length, "unread"]];
  const shown = [...active.slice(0, ACTIVE_ROWS), ...unread.slice(0, UNREAD_ROWS), ...recent.slice(0, RECENT_ROWS)];
  const words = figures.filter(([number]) => number).map(([number, word]) => `${number} ${word}`).join(" · ");
  return { shown, words, busy: active.length > 0, more: rows.length - shown.length };
}
/** The panel's lines, each of pieces `[text, colour, bold]`, with the delegation that it is about. */
function draw({ rows, more, alive }, now = Date.now()) {
  const all = arrange([...rows.values()]);
  const lines = [{ pieces: [["Delegations", "text", true]] }];
  if (all.words) lines.push({ pieces: [[fit(all.words, WIDTH), "textMuted"]] });
  if (!alive && all.busy) lines.push({ pieces: [["no word from Brigade's daemon", "warning"]] });
  for (const row of all.shown) {
    const [sign, colour] = signOf(row);
    const time = ` ${age(row.ended_at ?? row.started_at ?? row.registered_at, now)}`;
    const name = fit(clean(row.title), WIDTH - 2 - wide(time));
    const room = " ".repeat(Math.max(0, WIDTH - 2 - wide(name) - wide(time)));
    lines.push({ row, pieces: [[`${sign} `, colour], [name, ended(row) && !row.unread ? "textMuted" : "text", row.unread], [room + time, "textMuted"]] });
    if (ended(row) && !row.unread) continue;
    const details = [clean(row.agent), row.unread ? "unread" : "", clean(doing(row))].filter(Boolean).join(" · ");
    lines.push({ row, pieces: [[`  ${fit(details, WIDTH - 2)}`, "textMuted"]] });
  }
  if (all.more + more > 0) lines.push({ pieces: [[`${all.more + more} more: /delegations`, "textMuted"]] });
  return lines;
}

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
const query = (fields) => new URLSearchParams(Object.entries(fields).filter(([, value]) => value)).toString();
/** Asks the daemon; resolves with the answer's body, rejects with the daemon's words. */
function ask(target, body) {
  return new Promise((resolve, reject) => {
    const text = body && JSON.stringify(body);
    const headers = text ? { "content-type": "application/json", "content-length": Buffer.byteLength(text) } : {};
    const sent = http.request({ socketPath: socketPath(), path: target, method: text ? "POST" : "GET", headers, agent: false, timeout: 15_000 }, (res) => {
      let said = "";
      res.setEncoding("utf8").on("data", (chunk) => { said += chunk; }).on("error", () => reject(new Error(AWAY))).on("end", () => {
        let answer;
        try { answer = said && JSON.parse(said); } catch { answer = null; }
        if (res.statusCode < 300) return resolve(answer);
        reject(new Error([answer?.message ?? `Brigade's daemon answered ${res.statusCode}.`, answer?.hint].filter(Boolean).join(" ")));
      });
    });
    sent.on("timeout", () => sent.destroy()).on("error", () => reject(new Error(AWAY)));
    sent.end(text);
  });
}

/** The delegations of one root session, kept up to date as long as it is open. */
class Watch {
  constructor(session, { changed, over, joined }) {
    Object.assign(this, { session, rows: new Map(), more: 0, alive: false, began: Date.now(), open: true, changed, over, joined });
    this.keep(FIRST_WAIT);
  }
  keep(wait) {
    if (!this.open) return;
    let heard = false;
    const again = () => { // whatever ends the stream, the next comes later and later, until one works
      if (this.request !== request) return;
      this.request = null;
      if (this.alive) { this.alive = false; this.changed(); }
      this.timer = later(heard ? FIRST_WAIT : wait, () => this.keep(heard ? FIRST_WAIT : Math.min(LONGEST_WAIT, wait * 2)));
    };
    let request;
    try {
      request = http.get({ socketPath: socketPath(), path: `/v1/watch?${query({ session: this.session, limit: "200" })}`, agent: false, timeout: SILENCE }, (res) => {
        if (res.statusCode !== 200) return request.destroy(), again();
        let rest = "";
        res.setEncoding("utf8").on("data", (chunk) => {
          const lines = (rest + chunk).split("\n");
          rest = lines.pop();
          for (const line of lines) if (line.startsWith("data:")) { heard = true; this.take(line.slice(5)); }
        }).on("error", again).on("end", again).on("close", again);
      });
    } catch { request = null; } // no socket can be ours: looked at again later
    this.request = request;
    request?.on("socket", (socket) => socket.unref?.()).on("timeout", () => { request.destroy(); again(); }).on("error", again);
    if (!request) again();
  }
  take(text) {
    let message;
    try { message = JSON.parse(text); } catch { return; } // one line that is none of ours costs nothing else
    if (!this.open || !Array.isArray(message?.delegations)) return;
    const before = this.rows;
    if (message.type === "reset") {
      Object.assign(this, { rows: new Map(), more: message.more ?? 0 });
      if (!this.alive) { this.alive = true; this.joined(); }
    } else if (message.type !== "changed") return;
    for (const row of message.delegations) {
      const known = before.get(row.id);
      this.rows.set(row.id, row);
      if (ended(row) && (known ? !ended(known) : Date.parse(row.ended_at) >= this.began)) this.over(row);
    }
    this.changed();
  }
  close() {
    this.open = false;
    clearTimeout(this.timer);
    this.request?.destroy();
  }
}

/** What the person sees of it, in one host. */
async function tui(api) {
  const missing = []; // what this host lacks: the daemon is told, the person is spared
  const part = (name, run) => { try { return run(); } catch (error) { missing.push(`${name} (${clean(error?.message)})`); return null; } };
  const quietly = (run) => (...given) => { try { return run(...given); } catch { return undefined; } }; // the host's UI goes on as it is
  // By their names as they stand: the host puts its own in their place while it loads this file.
  const libraries = await Promise.all([import("solid-js"), import("@opentui/solid"), import("@opentui/core")]).catch(() => null);
  const [solid, view, core] = libraries ?? [];
  const [version, bump] = solid ? solid.createSignal(0, { equals: false }) : [() => 0, () => {}];
  const watches = new Map(); // root session → Watch, the one looked at last at the end
  const notices = new Set(); // delegations whose notice has come into a session here
  const ordered = new Set(); // those that were cancelled here: the person knows
  let [panels, focused, reported, telling, ticking, gone] = [0, null, null, [], null, false];

  const directory = () => api.state?.path?.directory;
  const inView = () => (api.route?.current?.name === "session" ? api.route.current.params?.sessionID ?? null : null);
  const rootOf = (session) => {
    for (let [id, steps] = [session, 0]; ; steps += 1) {
      const parent = api.state?.session?.get?.(id)?.parentID;
      if (!parent || steps > 20) return id;
      id = parent;
    }
  };
  const toast = (variant, message, title = "Brigade") => quietly(() => api.ui.toast({ variant, title, message: clean(message), duration: 6000 }))();
  const failed = (error) => toast("error", error?.message ?? AWAY);

  // What ended is told once, and together with what ended in the same moment.
  const tell = (row) => {
    if (telling.push(row) > 1) return;
    later(GATHER, () => {
      const rows = telling.splice(0);
      if (gone) return;
      if (rows.length > 1) return toast("info", rows.map(({ title, state }) => `${fit(clean(title), 40)}: ${state}`).join(", "), `${rows.length} delegations ended`);
      const why = row.state === "complete" ? row.summary : row.reason;
      toast(VARIANTS[row.state], [`${fit(clean(row.title), 60)} (${clean(row.agent)})`, fit(clean(why), 160)].filter(Boolean).join(": "), `Delegation: ${row.state}`);
    });
  };
  const over = (row) => {
    if (ordered.delete(row.id)) return;
    if (inView() !== row.session) return tell(row);
    // In view: the sidebar shows it, or its notice does as soon as the session takes it.
    if (panels === 0) later(NOTICE_WAIT, () => { if (!notices.has(row.id) && !gone) tell(row); });
  };
  const tick = () => { // ages move on while somebody sees them
    ticking = null;
    if (gone || panels === 0) return;
    bump(0);
    const busy = [...watches.values()].some(({ rows }) => [...rows.values()].some((row) => !ended(row)));
    ticking = later(busy ? 1000 : 30_000, tick);
  };
  const report = (always) => {
    const session = inView();
    const said = { pid: process.pid, session: session && rootOf(session), focused };
    const text = JSON.stringify(said);
    if (gone || (!always && text === reported)) return;
    reported = text;
    ask("/v1/terminal", said).catch(() => {}); // an older daemon does not ask for it; one that is away is told when it is back
  };
  /** For `brigade doctor`. */
  const introduce = (wait = 1000) => {
    ask("/v1/panel", { pid: process.pid, version: VERSION, host: api.app?.version ?? null, missing }).catch((error) => {
      if (error.message === AWAY && !gone) later(wait, () => introduce(Math.min(60_000, wait * 2)));
    });
  };
  const follow = (session) => {
    const root = rootOf(session);
    const watch = watches.get(root) ?? new Watch(root, { changed: () => { bump(0); if (panels && !ticking) tick(); }, over: quietly(over), joined: () => { report(true); introduce(); } });
    watches.delete(root);
    watches.set(root, watch);
    for (const [old, unused] of watches) if (watches.size > STREAMS) { unused.close(); watches.delete(old); }
    return watch;
  };

  // Dialogs.
  const dialog = (render, closed) => api.ui.dialog.replace(quietly(render), quietly(() => closed?.()));
  const choose = (title, options, placeholder) => {
    dialog(() => api.ui.DialogSelect({ title, options, ...(placeholder ? { placeholder } : {}) }));
    api.ui.dialog.setSize?.("large");
  };
  const list = async () => {
    const session = inView();
    const root = session && rootOf(session);
    const { delegations } = await ask(`/v1/delegations?${query({ directory: directory(), limit: "300" })}`);
    if (!delegations.length) return toast("info", "Nothing has been delegated in this project yet.");
    const own = (row) => Boolean(root) && row.session === root;
    const rows = delegations.slice().sort((a, b) => own(b) - own(a) || ended(a) - ended(b));
    choose("Delegations", rows.map((row) => ({
      title: `${signOf(row)[0]} ${fit(clean(row.title), 42)}`, value: row.id, category: own(row) ? "This session" : "This project",
      description: [row.state, row.unread ? "unread" : "", clean(row.agent)].filter(Boolean).join(" · "),
      footer: age(row.ended_at ?? row.started_at ?? row.registered_at), onSelect: () => act(row).catch(failed),
    })), "Search delegations");
  };
  const act = async ({ id }) => {
    const row = await ask(`/v1/delegations/${id}?${query({ directory: directory() })}`);
    const options = [];
    const offer = (title, description, run) => options.push({ title, value: title, description, onSelect: () => Promise.resolve().then(run).catch(failed) });
    if (row.child) offer("Open", "go to its session", () => jump(row.child));
    offer("Read", ended(row) ? "the result" : "what it has written so far", () => read(row));
    if (!ended(row)) offer("Cancel", "stop it; what it has written is kept", () => confirm(row));
    offer("Back", "to the list", list);
    choose(`${fit(clean(row.title), 50)} · ${row.state}`, options);
  };
  const jump = (session) => { api.ui.dialog.clear(); api.route.navigate("session", { sessionID: session }); };
  const confirm = (row) => dialog(() => api.ui.DialogConfirm({
    title: "Cancel this delegation?", message: `${clean(row.title)} (${clean(row.agent)}). What it has written is kept.`,
    onConfirm: () => cancel(row).catch(failed), onCancel: () => act(row).catch(failed),
  }));
  const cancel = async ({ id }) => {
    ordered.add(id);
    try {
      const { results: [result] } = await ask("/v1/cancel", { ids: [id], directory: directory() });
      if (!result.ordered) ordered.delete(id);
      toast(result.ordered ? "success" : "warning", `${id}: ${result.message}`);
    } catch (error) { ordered.delete(id); throw error; }
  };
  const read = async ({ id, title, state, artifact }) => {
    const { text } = await ask(`/v1/delegations/${id}/text?${query({ directory: directory() })}`);
    const cut = text.length > READABLE ? `\n\n… the rest is in ${artifact ?? `brigade read ${id}`}` : "";
    const shown = clean(text, true).slice(0, READABLE) + cut || "Nothing has been written yet.";
    if (!view) return dialog(() => api.ui.DialogAlert({ title: clean(title), message: shown }));
    let keys = null; // the session behind the dialog would take these for its own
    const pager = () => {
      const theme = api.theme.current;
      const page = make("scrollbox", { height: Math.max(5, Math.floor((api.renderer?.height ?? 40) * 0.5)), focused: true },
        [make("text", { content: shown, fg: theme.text, wrapMode: "word" })]);
      const steps = { pagedown: 0.9, space: 0.9, pageup: -0.9, home: -1e6, end: 1e6 };
      keys ??= part("paging", () => api.keymap.registerLayer({
        priority: 1000,
        commands: Object.entries(steps).map(([key, by]) => ({ name: `brigade.read.${key}`, hidden: true, run: quietly(() => page.scrollBy(by, "viewport")) })),
        bindings: Object.keys(steps).map((key) => ({ key, cmd: `brigade.read.${key}` })),
      }));
      const head = make("text", { content: `${fit(clean(title), 60)} · ${state} · ${id}`, fg: theme.textMuted, wrapMode: "none" });
      return make("box", { paddingLeft: 2, paddingRight: 2, paddingBottom: 1, gap: 1, flexDirection: "column" },
        [head, page, make("text", { content: "↑ ↓ page up, page down   esc to close", fg: theme.textMuted })]);
    };
    dialog(pager, () => { keys?.(); keys = null; });
    api.ui.dialog.setSize?.("xlarge");
  };
  const make = (kind, fields, children = []) => {
    const element = view.createElement(kind);
    for (const [name, value] of Object.entries(fields)) view.setProp(element, name, value);
    for (const child of children) view.insert(element, child);
    return element;
  };

  const panel = (session) => {
    const element = view.createElement("text");
    let lines = [];
    view.setProp(element, "wrapMode", "none");
    view.setProp(element, "onMouseUp", quietly((event) => {
      const row = lines[event.y - element.y]?.row;
      if (row) act(row).catch(failed);
    }));
    panels += 1;
    solid.onCleanup(() => { panels -= 1; bump(0); });
    const watch = solid.createMemo(() => follow(session()));
    view.effect(quietly(() => {
      version();
      const theme = api.theme.current;
      lines = watch().rows.size ? draw(watch()) : [];
      const piece = ([text, colour, bold]) => core.fg(theme[colour])(bold ? core.bold(text) : text);
      const pieces = lines.flatMap(({ pieces }, at) => [...pieces.filter(([text]) => text).map(piece), ...(at + 1 < lines.length ? [core.fg(theme.text)("\n")] : [])]);
      view.setProp(element, "visible", lines.length > 0);
      element.content = new core.StyledText(pieces);
    }));
    later(0, () => { bump(0); if (!ticking) tick(); });
    return element;
  };

  /** Where the sidebar has no room, the figures alone. */
  const figures = (session) => {
    const watch = solid.createMemo(() => follow(session()));
    const element = make("text", { wrapMode: "none" });
    view.effect(quietly(() => {
      version();
      const { words } = arrange([...watch().rows.values()]);
      const shown = panels === 0 && words !== "";
      for (const [name, value] of Object.entries({ visible: shown, content: shown ? words : "", fg: api.theme.current.textMuted })) view.setProp(element, name, value);
    }));
    return element;
  };

  if (!libraries) missing.push("sidebar panel (solid-js and @opentui are not offered to plugins)");
  else part("sidebar panel", () => {
    const slot = (draws) => (_, given) => {
      try { return draws(() => given.session_id); } catch (error) { missing.push(`sidebar panel (${clean(error?.message)})`); introduce(); return null; }
    };
    api.slots.register({ order: 150, slots: { sidebar_content: slot(panel), session_prompt_right: slot(figures) } });
  });
  part("/delegations", () => {
    const run = () => { list().catch(failed); };
    const about = { title: "Delegations", category: "Brigade" };
    if (api.keymap?.registerLayer)
      api.keymap.registerLayer({ commands: [{ ...about, namespace: "palette", name: "brigade.delegations", desc: "what was delegated: open, read, cancel", slashName: "delegations", run }], bindings: [] });
    else api.command.register(() => [{ ...about, value: "brigade.delegations", slash: { name: "delegations" }, onSelect: run }]);
  });
  if (typeof api.ui?.toast !== "function") missing.push("toasts");
  part("notices", () => api.event.on("message.part.updated", quietly(({ properties }) => {
    const [, id] = /<task-id>([^<]+)<\/task-id>/.exec(properties?.part?.text ?? "") ?? [];
    if (id && notices.add(id).size > 500) notices.delete(notices.values().next().value);
  })));
  part("focus", () => {
    const to = (value) => quietly(() => { focused = value; report(); });
    for (const [name, value] of [["focus", true], ["blur", false]]) api.renderer.on(name, to(value));
  });
  if (solid) solid.createRoot((dispose) => {
    part("leaving", () => api.lifecycle.onDispose(() => { gone = true; dispose(); for (const watch of watches.values()) watch.close(); clearTimeout(ticking); }));
    solid.createEffect(quietly(() => { const session = inView(); if (session) follow(session); report(); }));
  });
  else report();
  introduce();
}
export default { id: "brigade-tui", tui };
export { age, arrange, clean, draw, fit, socketPath };
