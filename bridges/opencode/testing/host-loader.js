// Has the libraries that OpenCode lends to plugins of its terminal UI be found: those of the tests.
const LENT = ["solid-js", "@opentui/solid", "@opentui/core"];

export const resolve = (name, context, next) =>
  LENT.includes(name) ? { url: new URL("./host-libraries.js", import.meta.url).href, shortCircuit: true } : next(name, context);
