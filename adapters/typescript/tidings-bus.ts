/**
 * Lets a client that listens at one replica of an MCP server hear of changes at all of them.
 *
 *     const bus = await TidingsBus.connect("weather", { servers: "127.0.0.1:4222" });
 *     const handler = bus.serve(createMcpHandler(factory, { bus }));
 *
 * For the MCP SDK (`@modelcontextprotocol/server` 2.4) and a Tidings node beside the server, with
 * `@nats-io/transport-node` 3.4. One file, to be read and copied. The convention, and what is promised, are in
 * docs/mcp.md.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import type { McpHttpHandler, ServerEvent, ServerEventBus } from "@modelcontextprotocol/server";
import { connect, type Msg, type NatsConnection, type NodeConnectionOptions } from "@nats-io/transport-node";

/** How long what was told is not told again: a burst is told at once, and once more when it is over. */
const PAUSE_MS = 20;
/** How often the nodes are asked what was missed, if messages are lost all the time. */
const RECALLS_PAUSE_MS = 1_000;
/** How often they are asked in any case. A node that is away for two of these may have taken changes with it. */
const TICK_MS = 30_000;
/** What was published so long ago may be lost when the node is killed, and is published again at the next one. */
const REPUBLISHED_MS = 10_000;
/** How long a change that was overtaken may still be under way. */
const OVERTAKEN_MS = 200;
/** How long to wait until all nodes know this replica. */
const BARRIER_MS = 10_000;

const SUFFIXES = {
  tools_list_changed: "tools.list_changed",
  prompts_list_changed: "prompts.list_changed",
  resources_list_changed: "resources.list_changed",
  resource_updated: "resources.updated",
} as const;
type Kind = keyof typeof SUFFIXES;
const KINDS = new Map(Object.entries(SUFFIXES).map(([kind, suffix]) => [suffix as string, kind as Kind]));
const LOSS = "loss";

/** What the node says of changes. */
interface Answer {
  changes: { topic: string; params: unknown }[];
  all: boolean;
  known: Record<string, number>;
  missing: boolean;
  silent: boolean;
  error?: string;
}

/** Once it is connected, all live nodes know this replica, so nothing is missed. */
export class TidingsBus implements ServerEventBus {
  /** Who listens, and for which resources. */
  readonly #listeners = new Map<(event: ServerEvent) => void, Set<string>>();
  /** The resources that the request which is being served asks to listen for. */
  readonly #asked = new AsyncLocalStorage<Set<string>>();
  /** What was told not long ago, and whether it is to be told again when its pause is over. */
  readonly #resting = new Map<string, boolean>();
  /** Up to which number all changes are known, by the run of the node that gave it; -1 if that is not waited for. */
  #known: Record<string, number> = {};
  /** The nodes on which something was published that nobody can know. */
  readonly #suspects = new Set<string>();
  readonly #published = new Map<string, { event: ServerEvent; at: number }>();
  #missingTicks = 0;
  #recalling = false;
  #again = false;
  #tick?: NodeJS.Timeout;
  readonly #prefix: string;
  readonly #client: NatsConnection;

  private constructor(server: string, client: NatsConnection) {
    this.#prefix = `mcp.${server}.`;
    this.#client = client;
  }

  /** The name that all replicas of the server have, and options of the connection to its node. */
  static async connect(server: string, options: NodeConnectionOptions = {}): Promise<TidingsBus> {
    const client = await connect({ name: `mcp/${server}`, maxReconnectAttempts: -1, ...options });
    const bus = new TidingsBus(server, client);
    client.subscribe(`${bus.#prefix}>`, { callback: (error, message) => bus.#heard(error, message) });
    client.subscribe("$TIDINGS.gaps", { callback: (error, message) => (error ? bus.#suspect() : bus.#lost(message)) });
    void bus.#follow();
    try {
      await bus.#everywhere();
      const answer = await bus.#ask();
      if (answer.error) throw new Error(`the node does not say what has changed: ${answer.error}`);
      bus.#known = answer.known;
    } catch (error) {
      await client.close();
      throw error;
    }
    bus.#tick = setInterval(() => (bus.#missingTicks++, bus.#suspect()), TICK_MS).unref();
    return bus;
  }

  /** Knows which resources clients listen for, so that those can be told of after a loss. */
  serve(handler: McpHttpHandler): McpHttpHandler {
    const fetch: McpHttpHandler["fetch"] = async (request, options) => {
      const is = (request.headers.get("mcp-method") ?? "") === "subscriptions/listen";
      if (!is) return handler.fetch(request, options);
      const body: any = options?.parsedBody ?? (await request.clone().json().catch(() => undefined));
      const uris = body?.params?.notifications?.resourceSubscriptions;
      return this.#asked.run(new Set(Array.isArray(uris) ? uris : []), () => handler.fetch(request, options));
    };
    return { ...handler, fetch };
  }

  /** Tells all replicas. This one hears of it as the others do. */
  publish(event: ServerEvent): void {
    const params = event.kind === "resource_updated" ? { uri: event.uri } : {};
    const [now, payload] = [Date.now(), JSON.stringify(params)];
    for (const [what, { at }] of this.#published) if (now - at > REPUBLISHED_MS) this.#published.delete(what);
    this.#published.set(`${event.kind} ${payload}`, { event, at: now });
    this.#client.publish(this.#prefix + SUFFIXES[event.kind], payload);
  }

  subscribe(listener: (event: ServerEvent) => void): () => void {
    const asked = this.#asked.getStore();
    if (!asked) throw new Error("serve the handler through bus.serve(handler), which knows what clients listen for");
    this.#listeners.set(listener, asked);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends the connection. Streams are ended before, by the handler's `close`. */
  async close(): Promise<void> {
    clearInterval(this.#tick);
    await this.#client.close();
  }

  async #everywhere(): Promise<void> {
    const answer = await this.#client.request("$TIDINGS.barrier", `${BARRIER_MS}ms`, { timeout: BARRIER_MS + 5_000 });
    if (!answer.json<{ everywhere?: boolean }>().everywhere)
      throw new Error(`not all nodes know this replica of the MCP server: ${answer.string()}`);
  }

  /** Notices when the connection was lost, and when messages were. */
  async #follow(): Promise<void> {
    for await (const status of this.#client.status()) {
      if (status.type === "reconnect") void this.#cameBack();
      if (status.type === "slowConsumer") this.#suspect();
    }
  }

  /** What was published while there was no connection is asked for; what was lost on its way out is said again. */
  async #cameBack(): Promise<void> {
    for (let known = false; !known && !this.#client.isClosed(); ) {
      try {
        await this.#everywhere();
        known = true;
      } catch (error) {
        // The connection may be gone again, or a node cannot be reached yet.
        console.warn("after a reconnect:", error);
        await sleep(RECALLS_PAUSE_MS);
      }
    }
    if (this.#client.isClosed()) return;
    for (const { event } of [...this.#published.values()]) this.publish(event);
    this.#suspect();
  }

  /** What all nodes say that was published there since what is known. */
  async #ask(giveUp = false): Promise<Answer> {
    const server = this.#prefix.split(".")[1];
    const asked = { server, known: this.#known, suspect: [...this.#suspects], give_up: giveUp };
    const answer = await this.#client.request("$TIDINGS.mcp.changed", JSON.stringify(asked), { timeout: 10_000 });
    return answer.json<Answer>();
  }

  /** Something may be missing: the nodes are asked what, and asked again as long as one does not answer. */
  #suspect(delay = 0): void {
    this.#again = true;
    if (!this.#recalling) void this.#recall(delay);
  }

  async #recall(delay: number): Promise<void> {
    this.#recalling = true;
    for (await sleep(delay); this.#again && !this.#client.isClosed(); await sleep(RECALLS_PAUSE_MS)) {
      this.#again = false;
      const asked = Object.keys(this.#known);
      try {
        this.#take(await this.#ask(this.#missingTicks > 1), asked);
      } catch (error) {
        // There is no connection, for the time being.
        console.warn("the node does not say what has changed:", error);
        this.#again = true;
      }
    }
    this.#recalling = false;
  }

  #take(answer: Answer, asked: string[]): void {
    for (const { topic, params } of answer.changes ?? []) this.#changed(topic, params);
    // A node that cannot say it leaves everything open.
    if (answer.all ?? true) this.#tell(LOSS);
    if (!answer.known) return;
    for (const run of asked) if (!(run in answer.known)) delete this.#known[run];
    for (const [run, number] of Object.entries(answer.known))
      this.#known[run] = number < 0 ? number : Math.max(number, this.#known[run] ?? number);
    if (!answer.missing) this.#missingTicks = 0;
    if (answer.silent) this.#again = true;
    else this.#suspects.clear();
  }

  #heard(error: Error | null, message: Msg): void {
    if (error) return console.warn("a message of a change is lost:", error), this.#suspect();
    // Which run of which node says so, what number came before this one there, and this one's.
    const [node, incarnation, after, number] = (message.headers?.get("Tidings-Change") ?? "").split(" ");
    const known = this.#known[`${node} ${incarnation}`] ?? 0;
    if (Number(after) > Math.max(known, 0)) this.#suspect(OVERTAKEN_MS);
    else if (number) this.#known[`${node} ${incarnation}`] = Math.max(known, Number(number));
    try {
      this.#changed(message.subject, message.json());
    } catch (error) {
      console.warn(`a message on ${message.subject} is malformed:`, error);
    }
  }

  #changed(topic: string, params: any): void {
    const kind = KINDS.get(topic.slice(this.#prefix.length));
    if (kind === undefined) return;
    if (kind !== "resource_updated") return this.#tell(kind, { kind });
    const uri: unknown = params?.uri;
    if (typeof uri !== "string") return console.warn(`a message on ${topic} is malformed: there is no uri`);
    this.#tell(`${kind} ${uri}`, { kind, uri });
  }

  #lost(message: Msg): void {
    const gap = message.json<{ event: string; from?: string; frames?: number | null }>();
    if (gap.event === "gap" && gap.from && gap.frames == null) this.#suspects.add(gap.from);
    this.#suspect();
  }

  /** Tells of an event, or everybody of all that is listened for. What nobody listens for is not kept. */
  #tell(what: string, event?: ServerEvent): void {
    const isConcerned = (uris: Set<string>) => event?.kind !== "resource_updated" || uris.has(event.uri);
    const concerned = [...this.#listeners].filter(([, uris]) => isConcerned(uris));
    if (concerned.length === 0) return;
    if (this.#resting.has(what)) return void this.#resting.set(what, true);
    this.#resting.set(what, false);
    setTimeout(() => {
      const again = this.#resting.get(what);
      this.#resting.delete(what);
      if (again) this.#tell(what, event);
    }, PAUSE_MS).unref();
    for (const [listener, uris] of concerned)
      for (const one of event ? [event] : everything(uris)) listener(one);
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** All that a listener may have asked for. */
function everything(uris: Set<string>): ServerEvent[] {
  const lists = [...KINDS.values()].filter((kind) => kind !== "resource_updated");
  const resources = [...uris].map((uri): ServerEvent => ({ kind: "resource_updated", uri }));
  return [...lists.map((kind): ServerEvent => ({ kind })), ...resources];
}
