// An agent that asks for a sum, at the MCP server of its node: argv is its URL. It is a client as it is by default, which
// speaks the revision of 2025. Prints the answer, what it receives after a call that it has given up, and leaves an inbox
// behind.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const client = new Client({ name: "asker", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
// Results are checked against the schemas that are listed.
const { tools } = await client.listTools();
console.log("tools", tools.length);

async function call(name, args) {
  const result = await client.callTool({ name, arguments: args });
  if (result.isError) throw new Error(result.content[0].text);
  return result.structuredContent;
}

const { answer } = await call("request", { topic: "sums", payload: "6 * 7" });
console.log("answer", answer.payload);

// It says that it has given up, and leaves the connection as it is, on which the answer comes that nobody waits for.
const { inbox } = await call("subscribe", { topics: ["late"] });
const late = new Promise((resolve) => (client.onerror = resolve));
const waiting = client.callTool({ name: "receive", arguments: { inbox, wait_seconds: 60 } }, { timeout: 200 });
const gaveUp = await waiting.catch((error) => error.code);
console.log("gave up", gaveUp, (await late).message);
await call("publish", { topic: "late", payload: "kept" });
const { messages } = await call("receive", { inbox });
console.log("received", messages[0].payload);

await call("subscribe", { topics: ["sums"], agent: "asker" });
console.log("subscribed");
