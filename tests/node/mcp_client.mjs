// Listens at an MCP server: argv is its URL, then URIs. Prints `listens`, and a line for whatever it is told.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, ...resourceSubscriptions] = process.argv.slice(2);
const client = new Client({ name: "listener", version: "1" }, { versionNegotiation: { mode: "auto" } });
client.setNotificationHandler("notifications/resources/updated", ({ params }) => console.log(`told ${params.uri}`));
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const listening = await client.listen({ resourceSubscriptions });
console.log("listens");
console.log(await listening.closed);
