// An MCP server over stdio with one tool; what it is called with goes to the file named by the
// first argument.
import { appendFileSync } from "node:fs";
import { createInterface } from "node:readline";

const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === "initialize") {
    const { protocolVersion } = params;
    const serverInfo = { name: "shouter", version: "1.0.0" };
    send({ id, result: { protocolVersion, capabilities: { tools: {} }, serverInfo } });
  } else if (method === "tools/list") {
    const inputSchema = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };
    send({ id, result: { tools: [{ name: "shout", description: "Answers in upper case", inputSchema }] } });
  } else if (method === "tools/call") {
    appendFileSync(process.argv[2], `${JSON.stringify(params.arguments)}\n`);
    send({ id, result: { content: [{ type: "text", text: params.arguments.text.toUpperCase() }] } });
  } else if (id !== undefined) {
    send({ id, result: {} });
  }
});
