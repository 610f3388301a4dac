// What NATS promises its clients, with nats.js over three nodes: argv is their addresses.

import assert from "node:assert/strict";
import { connect, errors, headers } from "@nats-io/transport-node";

const COUNT = 200;
const PATIENCE = { timeout: 10_000 };

/** Waits until all nodes know of the client's subscriptions. */
async function everywhere(client) {
  const answer = await client.request("$TIDINGS.barrier", "5s", PATIENCE);
  assert.ok(answer.json().everywhere, answer.string());
}

/** Reads a subscription message by message. */
function reader(subscription) {
  const messages = subscription[Symbol.asyncIterator]();
  return async () => {
    const { value, done } = await messages.next();
    assert.ok(!done, `the subscription of ${subscription.getSubject()} has ended`);
    return value;
  };
}

async function publishAndSubscribe(here, there) {
  const subscriptions = [
    here.subscribe("news.sport"),
    there.subscribe("news.sport"),
    there.subscribe("news.*"),
    there.subscribe("news.>"),
  ];
  const limited = there.subscribe("limited", { max: 2 });
  await everywhere(here);
  await everywhere(there);

  for (let number = 0; number < COUNT; number++) {
    const h = headers();
    h.set("Number", `${number}`);
    h.append("Language", "JavaScript");
    h.append("Language", "TypeScript");
    here.publish("news.sport", "goal", { headers: h });
  }
  here.publish("news.sport.results");
  for (let number = 0; number < 3; number++) {
    here.publish("limited", `${number}`);
  }

  const readers = subscriptions.map(reader);
  for (const next of readers) {
    for (let number = 0; number < COUNT; number++) {
      const message = await next();
      assert.equal(message.subject, "news.sport");
      assert.equal(message.string(), "goal");
      assert.equal(message.headers.get("Number"), `${number}`);
      assert.deepEqual(message.headers.values("Language"), ["JavaScript", "TypeScript"]);
    }
  }
  const results = await readers[3]();
  assert.equal(results.subject, "news.sport.results");
  assert.equal(results.data.length, 0);
  assert.equal(results.headers, undefined);

  const got = [];
  for await (const message of limited) {
    got.push(message.string());
  }
  assert.deepEqual(got, ["0", "1"]);
  for (const subscription of subscriptions) {
    subscription.unsubscribe();
  }
}

async function queueGroup(here, workers) {
  const work = workers.map((worker) => worker.subscribe("jobs", { queue: "workers" }));
  const ends = workers.map((worker) => worker.subscribe("jobs.end", { max: 1 }));
  for (const worker of workers) {
    await everywhere(worker);
  }
  for (let number = 0; number < COUNT; number++) {
    here.publish("jobs", `${number}`);
  }
  here.publish("jobs.end");
  // What comes after the end of a publisher comes after all that it published before.
  for (const end of ends) {
    await reader(end)();
  }
  const done = [];
  for (const subscription of work) {
    await subscription.drain();
    const before = done.length;
    for await (const job of subscription) {
      done.push(Number(job.string()));
    }
    assert.ok(done.length > before, "the other one has got all jobs");
  }
  done.sort((a, b) => a - b);
  assert.deepEqual(done, [...Array(COUNT).keys()]);
}

async function requestAndReply(here, there) {
  there.subscribe("shout", {
    callback: (_, question) => question.respond(question.string().toUpperCase()),
  });
  await everywhere(there);
  const response = await here.request("shout", "hello", PATIENCE);
  assert.equal(response.string(), "HELLO");

  await assert.rejects(
    here.request("nobody.listens", "hello", PATIENCE),
    (error) => error instanceof errors.RequestError && error.isNoResponders(),
  );
}

async function drain(here, there) {
  const last = there.subscribe("last.words");
  const end = there.subscribe("last.words.end");
  await everywhere(there);
  for (let number = 0; number < 20; number++) {
    here.publish("last.words", `${number}`);
  }
  here.publish("last.words.end");
  await reader(end)();
  await there.drain();
  const read = [];
  for await (const message of last) {
    read.push(Number(message.string()));
  }
  assert.deepEqual(read, [...Array(20).keys()]);
  assert.ok(there.isClosed());
}

const nodes = process.argv.slice(2);
const clients = await Promise.all(nodes.map((servers) => connect({ servers, name: "node" })));
const [here, there, elsewhere] = clients;
await publishAndSubscribe(here, there);
await queueGroup(here, [there, elsewhere]);
await requestAndReply(here, there);
await drain(here, there);
await elsewhere.drain();
await here.drain();
console.log("all of it holds");
