import assert from "node:assert/strict";
import { register } from "node:module";
import { test } from "node:test";
import { open, row, seen } from "../testing/tui-host.js";

register("../testing/host-loader.js", import.meta.url);

const now = (fields) => ({ ...fields, ended_at: new Date().toISOString() });
const ROWS = [
  row("calm-red-elk", "running", { progress: { last_tool: "grep", tool_calls: 1, last_line: "three places so far" } }),
  row("dry-blue-fox", "running"),
  row("easy-pink-owl", "registered"),
  row("fair-gold-hen", "error", { unread: true, title: "Broken" }),
  row("gray-dim-cat", "complete", { unread: true }),
  row("high-tan-cow", "complete", { title: "Read already" }),
];

async function opened(t, { rows = ROWS, session = "ses_root", ...more } = {}) {
  const opened = await open(t, more);
  opened.daemon.rows = (of) => (of === "ses_root" ? rows : []);
  await opened.start();
  if (session) {
    opened.host.go(session);
    if (more.daemon !== false) await opened.daemon.stream("ses_root");
  }
  return opened;
}
/** The panel's lines once they are as wanted. */
async function lines(t, host, session, wanted) {
  const { element, unmount } = host.draw("sidebar_content", session);
  t.after(unmount);
  const drawn = () => String(element.content).split("\n");
  await seen(() => wanted(drawn(), element)).catch((error) => { throw new Error(`${error.message}; it shows\n${drawn().join("\n")}`); });
  return { drawn, element, unmount };
}

test("the panel: running first, then unread, then the last few", async (t) => {
  const { host } = await opened(t);
  const { drawn, element } = await lines(t, host, "ses_root", (drawn) => drawn.length > 5);
  assert.deepEqual(drawn().map((line) => line.replace(/ +/g, " ").trim()), [
    "Delegations",
    "2 running · 1 queued · 2 unread",
    "● About calm-red-elk 1m", "explore · three places so far",
    "● About dry-blue-fox 1m", "explore · grep, 2 tool calls",
    "○ About easy-pink-owl 1m", "explore · queued",
    "✗ Broken 1m", "explore · unread · why error",
    "✓ About gray-dim-cat 1m", "explore · unread",
    "✓ Read already 1m",
  ]);
  assert.ok(drawn().every((line) => line.length <= 36), drawn().join("\n"));
  assert.equal(element.visible, true);
});

test("the panel follows what changes, and is not there where nothing was delegated", async (t) => {
  const { host, daemon } = await opened(t, { rows: [] });
  const { element } = await lines(t, host, "ses_root", (_, element) => element.visible === false);
  await daemon.push("ses_root", row("new-red-ant", "running"));
  await lines(t, host, "ses_root", (drawn) => drawn.some((line) => line.includes("new-red-ant")));
  assert.equal(element.visible, true);
});

test("a child session shows its root's", async (t) => {
  const { host, daemon } = await open(t, {});
  daemon.rows = (of) => (of === "ses_root" ? ROWS : []);
  host.parents.set("ses_child", "ses_root");
  await (await import("../tui.js?child")).default.tui(host.api);
  host.go("ses_child");
  await lines(t, host, "ses_child", (drawn) => drawn[1]?.includes("2 running"));
  assert.deepEqual([...new Set(daemon.asked("/v1/watch").map(({ query }) => query.session))], ["ses_root"]);
});

test("what a model wrote stays text", async (t) => {
  const { host } = await opened(t, { rows: [row("calm-red-elk", "running", { title: "a\u001b[31mb\u202ec\nd" })] });
  const { drawn } = await lines(t, host, "ses_root", (drawn) => drawn.length > 2);
  assert.ok(drawn()[2].startsWith("● a\ufffd[31mb\ufffdc d"), drawn()[2]);
});

test("without the sidebar the figures stand at the prompt", async (t) => {
  const { host } = await opened(t);
  const { element } = host.draw("session_prompt_right", "ses_root");
  await lines(t, host, "ses_root", (drawn) => drawn.length > 5).then(({ unmount }) => {
    assert.equal(element.visible, false);
    unmount();
  });
  assert.equal(element.visible, true);
  assert.equal(element.content, "2 running · 1 queued · 2 unread");
});

test("an end is told where nothing else shows it: in another session, once", async (t) => {
  const { host, daemon } = await opened(t);
  host.go("ses_other");
  await daemon.push("ses_root", row("calm-red-elk", "complete", now({ unread: true })));
  await host.until(({ toasts }) => toasts.length === 1);
  assert.deepEqual(host.toasts[0], { variant: "success", title: "Delegation: complete", message: "About calm-red-elk (explore): All of it.", duration: 6000 });
  // Told again, and after a reconnection: not once more. What follows shows that nothing is on its way.
  await daemon.push("ses_root", row("calm-red-elk", "complete", now({ unread: true })));
  await daemon.push("ses_root", row("dry-blue-fox", "error", now()));
  await host.until(({ toasts }) => toasts.length === 2);
  assert.match(host.toasts[1].message, /dry-blue-fox.*why error/);
});

test("several ends at once are one toast", async (t) => {
  const { host, daemon } = await opened(t);
  host.go(null);
  await daemon.push("ses_root", row("calm-red-elk", "complete", now()), row("dry-blue-fox", "timeout", now()));
  await host.until(({ toasts }) => toasts.length === 1);
  assert.equal(host.toasts[0].title, "2 delegations ended");
});

test("in view, the sidebar or the notice tells it, and only else a toast", async (t) => {
  const { host, daemon } = await opened(t);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const settled = async (id, state) => {
    await daemon.push("ses_root", row(id, state, now()));
    await seen(() => element.content === wanted);
  };
  const { element, unmount } = host.draw("session_prompt_right", "ses_root");
  t.after(unmount);
  let wanted = "1 running · 1 queued · 2 unread";
  await settled("calm-red-elk", "complete");
  host.event("message.part.updated", { part: { type: "text", text: "<task-notification>\n<task-id>calm-red-elk</task-id>" } });
  t.mock.timers.tick(10_000);
  assert.deepEqual(host.toasts, [], "its notice is there");
  wanted = "1 queued · 2 unread";
  await settled("dry-blue-fox", "complete");
  t.mock.timers.tick(5000);
  t.mock.timers.tick(300);
  assert.equal(host.toasts.length, 1, "no notice came");
  const sidebar = host.draw("sidebar_content", "ses_root");
  t.after(sidebar.unmount);
  await daemon.push("ses_root", row("easy-pink-owl", "cancelled", now()));
  await seen(() => String(sidebar.element.content).includes("− About easy-pink"));
  t.mock.timers.tick(10_000);
  assert.equal(host.toasts.length, 1, "the sidebar shows it");
});

test("/delegations: this session's first; open jumps into the child", async (t) => {
  const { host, daemon } = await opened(t);
  const other = row("wild-tan-bee", "running", { session: "ses_other" });
  daemon.answers.set("/v1/delegations", () => ({ body: { delegations: [other, ...ROWS], more: 0 } }));
  daemon.answers.set("/v1/delegations/calm-red-elk", () => ({ body: { ...ROWS[0], child: "ses_child" } }));
  host.type("delegations");
  const { options } = await host.until(({ shown }) => shown);
  assert.deepEqual(daemon.asked("/v1/delegations")[0].query, { directory: "/p", limit: "300" });
  assert.deepEqual([options[0].title, options[0].category, options[0].description], ["● About calm-red-elk", "This session", "running · explore"]);
  assert.deepEqual([options.at(-1).value, options.at(-1).category], ["wild-tan-bee", "This project"]);
  host.choose("calm-red-elk");
  await host.until(({ shown }) => shown.options[0].title === "Open");
  assert.deepEqual(host.shown.options.map(({ title }) => title), ["Open", "Read", "Cancel", "Back"]);
  host.choose("Open");
  await host.until(({ shown }) => shown === null);
  assert.equal(host.api.route.current.params.sessionID, "ses_child");
});

test("cancelling asks first, says what the daemon says, and is not told once more", async (t) => {
  const { host, daemon } = await opened(t);
  daemon.answers.set("/v1/delegations", () => ({ body: { delegations: ROWS, more: 0 } }));
  daemon.answers.set("/v1/delegations/calm-red-elk", () => ({ body: { ...ROWS[0], child: null } }));
  daemon.answers.set("/v1/cancel", () => ({ body: { results: [{ id: "calm-red-elk", ordered: true, state: "running", message: "it is being stopped" }] } }));
  host.type("delegations");
  await host.until(({ shown }) => shown);
  host.choose("calm-red-elk");
  await host.until(({ shown }) => shown.options?.[0].title === "Read");
  host.choose("Cancel");
  await host.until(({ shown }) => shown.kind === "confirm");
  assert.equal(daemon.asked("/v1/cancel").length, 0);
  host.shown.onConfirm();
  await host.until(({ toasts }) => toasts.length === 1);
  assert.deepEqual(daemon.asked("/v1/cancel")[0].body, { ids: ["calm-red-elk"], directory: "/p" });
  assert.deepEqual(host.toasts[0], { variant: "success", title: "Brigade", message: "calm-red-elk: it is being stopped", duration: 6000 });
  host.go(null);
  await daemon.push("ses_root", row("calm-red-elk", "cancelled", now()));
  await daemon.push("ses_root", row("dry-blue-fox", "complete", now()));
  await host.until(({ toasts }) => toasts.length === 2);
  assert.match(host.toasts[1].message, /dry-blue-fox/);
});

test("a result is read in pages, whose keys are given back", async (t) => {
  const { host, daemon } = await opened(t);
  daemon.answers.set("/v1/delegations", () => ({ body: { delegations: ROWS, more: 0 } }));
  daemon.answers.set("/v1/delegations/gray-dim-cat", () => ({ body: { ...ROWS[4], child: null } }));
  daemon.answers.set("/v1/delegations/gray-dim-cat/text", () => ({ body: { id: "gray-dim-cat", state: "complete", text: "# Title\n\nall of it\u001b[2J" } }));
  host.type("delegations");
  await host.until(({ shown }) => shown);
  host.choose("gray-dim-cat");
  await host.until(({ shown }) => shown.options?.[0].title === "Read");
  assert.deepEqual(host.shown.options.map(({ title }) => title), ["Read", "Back"], "what has ended can't be cancelled");
  const before = host.layers.length;
  host.choose("Read");
  const { children } = await host.until(({ shown }) => shown.kind === "box" && shown);
  assert.equal(children[1].children[0].content, "# Title\n\nall of it\ufffd[2J");
  const { commands, bindings } = host.layers.at(-1);
  commands.find(({ name }) => name === bindings.find(({ key }) => key === "pagedown").cmd).run();
  assert.deepEqual(children[1].scrolled, [[0.9, "viewport"]]);
  host.api.ui.dialog.clear();
  assert.equal(host.layers.length, before);
});

test("what the daemon refuses is said in its words, and its absence too", async (t) => {
  const { host, daemon } = await opened(t);
  daemon.answers.set("/v1/delegations", () => ({ status: 503, body: { code: "store", message: "The store is full.", hint: "Make room." } }));
  host.type("delegations");
  await host.until(({ toasts }) => toasts.length === 1);
  assert.deepEqual([host.toasts[0].variant, host.toasts[0].message], ["error", "The store is full. Make room."]);
  await daemon.stop();
  host.type("delegations");
  await host.until(({ toasts }) => toasts.length === 2);
  assert.match(host.toasts[1].message, /does not answer.*brigade doctor/);
});

test("a daemon that comes back is told and shown again; what ended meanwhile is told once", async (t) => {
  const { host, daemon } = await opened(t);
  await lines(t, host, "ses_root", (drawn) => drawn.length > 5).then(({ unmount }) => unmount());
  host.go("ses_other");
  await daemon.stop();
  const before = daemon.asked("/v1/terminal").length;
  daemon.rows = (of) => (of === "ses_root" ? [row("calm-red-elk", "complete", now()), ...ROWS.slice(1)] : []);
  await daemon.start();
  await host.until(({ toasts }) => toasts.length === 1);
  assert.match(host.toasts[0].message, /calm-red-elk/);
  await daemon.until(() => daemon.asked("/v1/terminal").length > before);
});

test("while the daemon is away the panel says so where something ran", async (t) => {
  const { host, daemon } = await opened(t);
  const { drawn } = await lines(t, host, "ses_root", (drawn) => drawn.length > 5);
  await daemon.stop();
  await lines(t, host, "ses_root", (drawn) => drawn.includes("no word from Brigade's daemon"));
  assert.ok(drawn().length > 5, "what was known stays");
});

test("focus goes to the daemon as it changes, with the root of what is in view", async (t) => {
  const { host, daemon } = await opened(t);
  const told = () => daemon.asked("/v1/terminal").map(({ body }) => [body.session, body.focused]);
  await daemon.until(() => told().some(([session]) => session === "ses_root"));
  assert.deepEqual(told()[0], [null, null]);
  host.renderer.emit("focus");
  await daemon.until(() => told().some(([, focused]) => focused === true));
  host.renderer.emit("blur");
  await daemon.until(() => told().some(([, focused]) => focused === false));
  assert.equal(daemon.asked("/v1/terminal")[0].body.pid, process.pid);
  const [introduced] = await daemon.until(() => daemon.asked("/v1/panel").length && daemon.asked("/v1/panel"));
  assert.deepEqual(introduced.body, { pid: process.pid, version: "0.1.0", host: "1.18.33", missing: [] });
});

test("a daemon that comes later hears of the panel, in whatever session", async (t) => {
  const { daemon } = await opened(t, { daemon: false, session: null });
  await daemon.start();
  await daemon.until(() => daemon.asked("/v1/panel").length === 1);
});

test("leaving closes what is open", async (t) => {
  const { host, daemon } = await opened(t);
  await host.leave();
  await daemon.until(() => daemon.streams.every(({ closed }) => closed));
});

test("a host without some of it gets the rest", async (t) => {
  const { host, daemon } = await opened(t, {
    change: (api) => { delete api.slots; delete api.keymap; delete api.renderer; },
  });
  const { body } = await daemon.until(() => daemon.asked("/v1/panel").at(-1));
  assert.deepEqual(body.missing.map((one) => one.split(" (")[0]), ["sidebar panel", "/delegations", "focus"]);
  host.go("ses_other");
  await daemon.push("ses_root", row("calm-red-elk", "complete", now()));
  await host.until(({ toasts }) => toasts.length === 1);
});

test("an older host's commands are used where they are all there is", async (t) => {
  let given;
  const { host } = await opened(t, { session: null, change: (api) => { delete api.keymap; api.command = { register: (make) => { given = make(); } }; } });
  assert.deepEqual(given.map(({ slash }) => slash.name), ["delegations"]);
  given[0].onSelect();
  await host.until(({ toasts }) => toasts.length === 1);
});

test("an API of nothing at all harms nobody", async (t) => {
  const { daemon, plugin } = await open(t);
  await plugin.tui({});
  const { body } = await daemon.until(() => daemon.asked("/v1/panel").at(0));
  assert.deepEqual(body.missing.map((one) => one.split(" (")[0]), ["sidebar panel", "/delegations", "toasts", "notices", "focus", "leaving"]);
});
