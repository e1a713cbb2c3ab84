// As much of solid-js, @opentui/solid and @opentui/core as the panel uses: effects run at once, elements are plain objects.
import { EventEmitter } from "node:events";

/** Says `change` whenever an element is drawn anew. */
export const screen = new EventEmitter().setMaxListeners(0);
let current = null; // the effect that runs
let owner = []; // clean-ups of the root that is being made

export function createSignal(value) {
  const readers = new Set();
  const read = () => { if (current) readers.add(current); return value; };
  const write = (next) => { value = next; for (const reader of [...readers]) reader(); };
  return [read, write];
}
export function createEffect(run) {
  const again = () => {
    const before = current;
    current = again;
    try { run(); } finally { current = before; }
  };
  again();
}
export { createEffect as effect };
export function createMemo(compute) {
  const [read, write] = createSignal();
  createEffect(() => write(compute()));
  return read;
}
export function createRoot(run) {
  const [before, own] = [owner, []];
  owner = own;
  try { return run(() => own.splice(0).forEach((clean) => clean())); } finally { owner = before; }
}
export const onCleanup = (run) => owner.push(run);

const drawn = { set: (element, name, value) => { element[name] = value; screen.emit("change"); return true; } };
export const createElement = (kind) => new Proxy({ kind, children: [], y: 0, scrolled: [], scrollBy(...by) { this.scrolled.push(by); } }, drawn);
export const setProp = (element, name, value) => { element[name] = value; };
export const insert = (parent, child) => { parent.children.push(child); };

export class StyledText {
  constructor(pieces) { this.pieces = pieces; }
  toString() { return this.pieces.map(({ text }) => text).join(""); }
}
export const bold = (text) => ({ text, bold: true });
export const fg = (colour) => (piece) => (typeof piece === "string" ? { text: piece, fg: colour } : { ...piece, fg: colour });
