// Goes on at another node with nats.js: argv is the address of one node, then that of another.

import { connect } from "@nats-io/transport-node";

const client = await connect({
  servers: process.argv.slice(2),
  noRandomize: true,
  reconnectTimeWait: 100,
});
const subscription = client.subscribe("news", { max: 1 });
await client.flush();
console.log("subscribed at", client.getServer());

for await (const message of subscription) {
  console.log("got", message.string(), "at", client.getServer());
}
await client.drain();
