// In a process of its own: here nobody lends the libraries of the terminal UI.
import assert from "node:assert/strict";
import { test } from "node:test";
import { open, row } from "../testing/tui-host.js";

test("without the libraries the panel is left out, and `/delegations` is there", async (t) => {
  const { host, daemon, start } = await open(t);
  daemon.answers.set("/v1/delegations", () => ({ body: { delegations: [row("calm-red-elk", "complete")], more: 0 } }));
  daemon.answers.set("/v1/delegations/calm-red-elk", () => ({ body: row("calm-red-elk", "complete") }));
  daemon.answers.set("/v1/delegations/calm-red-elk/text", () => ({ body: { text: "all of it" } }));
  await start();
  const { body } = await daemon.until(() => daemon.asked("/v1/panel").at(0));
  assert.deepEqual(body.missing, ["sidebar panel (solid-js and @opentui are not offered to plugins)"]);
  assert.deepEqual(host.slots, {});
  host.type("delegations");
  await host.until(({ shown }) => shown);
  host.choose("calm-red-elk");
  await host.until(({ shown }) => shown.options?.[0].title === "Read");
  host.choose("Read");
  await host.until(({ shown }) => shown.kind === "alert");
  assert.equal(host.shown.message, "all of it");
});
