// A replica of an MCP server: argv is a port of loopback, and where a node is. Says `serves` when it does.

import { createServer } from "node:http";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { createMcpHandler, McpServer, ResourceTemplate } from "@modelcontextprotocol/server";
import { TidingsBus } from "./tidings-bus.js";

const [port, servers] = process.argv.slice(2);

function weather() {
  const capabilities = { resources: { subscribe: true } };
  const server = new McpServer({ name: "weather", version: "1" }, { capabilities });
  const template = new ResourceTemplate("weather://{city}", { list: undefined });
  server.registerResource("weather", template, {}, (uri) => ({ contents: [{ uri: uri.href, text: "sunny" }] }));
  return server;
}

const bus = await TidingsBus.connect("weather", { servers, reconnectTimeWait: 100 });
const handler = bus.serve(createMcpHandler(weather, { bus }));
createServer(toNodeHandler(handler)).listen(Number(port), "127.0.0.1", () => console.log("serves"));
