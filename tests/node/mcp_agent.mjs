// An agent that asks for a sum, at the MCP server of its node: argv is its URL. It is a client as it is by default, which
// speaks the revision of 2025. Prints the answer, and leaves an inbox behind.

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
await call("subscribe", { topics: ["sums"], agent: "asker" });
console.log("subscribed");
