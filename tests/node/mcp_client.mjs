// Listens at an MCP server: argv is its URL, then URIs. Prints `listens` with the URL, `read` with each URI that it then reads,
// since it may have changed meanwhile, and `told` with each that it is told of. Given several URLs, with commas between, it goes
// on at the next one when its stream ends.

import { setTimeout } from "node:timers/promises";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [urls, ...resourceSubscriptions] = process.argv.slice(2);

async function listen(url) {
  const client = new Client({ name: "listener", version: "1" }, { versionNegotiation: { mode: "auto" } });
  client.setNotificationHandler("notifications/resources/updated", ({ params }) => console.log(`told ${params.uri}`));
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  const listening = await client.listen({ resourceSubscriptions });
  console.log(`listens ${url}`);
  for (const uri of resourceSubscriptions) {
    await client.readResource({ uri });
    console.log(`read ${uri}`);
  }
  console.log(await listening.closed);
  await client.close();
}

const all = urls.split(",");
if (all.length === 1) await listen(urls);
for (let turn = 0; all.length > 1; turn++) {
  const url = all[turn % all.length];
  await listen(url).catch((error) => console.error(url, error));
  await setTimeout(50);
}
