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
/** How often all is told, if messages are lost all the time. */
const LOSSES_PAUSE_MS = 1_000;
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

/** Once it is connected, all live nodes know this replica, so nothing is missed. */
export class TidingsBus implements ServerEventBus {
  /** Who listens, and for which resources. */
  readonly #listeners = new Map<(event: ServerEvent) => void, Set<string>>();
  /** The resources that the request which is being served asks to listen for. */
  readonly #asked = new AsyncLocalStorage<Set<string>>();
  /** What was told not long ago, and whether it is to be told again when its pause is over. */
  readonly #resting = new Map<string, boolean>();
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
    client.subscribe("$TIDINGS.gaps", { callback: () => bus.#lost() });
    void bus.#follow();
    try {
      await bus.#everywhere();
    } catch (error) {
      await client.close();
      throw error;
    }
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
    this.#client.publish(this.#prefix + SUFFIXES[event.kind], JSON.stringify(params));
  }

  subscribe(listener: (event: ServerEvent) => void): () => void {
    const asked = this.#asked.getStore();
    if (!asked) throw new Error("serve the handler through bus.serve(handler), which knows what clients listen for");
    this.#listeners.set(listener, asked);
    return () => void this.#listeners.delete(listener);
  }

  /** Ends the connection. Streams are ended before, by the handler's `close`. */
  async close(): Promise<void> {
    await this.#client.close();
  }

  async #everywhere(): Promise<void> {
    const answer = await this.#client.request("$TIDINGS.barrier", `${BARRIER_MS}ms`, { timeout: BARRIER_MS + 5_000 });
    if (!answer.json<{ everywhere?: boolean }>().everywhere)
      throw new Error(`not all nodes know this replica of the MCP server: ${answer.string()}`);
  }

  /** What was published while there was no connection is not known, nor what is until all nodes know of it. */
  async #follow(): Promise<void> {
    for await (const status of this.#client.status()) {
      if (status.type === "reconnect") void this.#cameBack();
      if (status.type === "slowConsumer") this.#lost();
    }
  }

  async #cameBack(): Promise<void> {
    for (let known = false; !known && !this.#client.isClosed(); this.#lost()) {
      try {
        await this.#everywhere();
        known = true;
      } catch (error) {
        // The connection may be gone again, or a node cannot be reached yet.
        console.warn("after a reconnect:", error);
        await new Promise((resolve) => setTimeout(resolve, LOSSES_PAUSE_MS));
      }
    }
  }

  #heard(error: Error | null, message: Msg): void {
    if (error) return console.warn("a message of a change is lost:", error), this.#lost();
    const kind = KINDS.get(message.subject.slice(this.#prefix.length));
    if (kind === undefined) return;
    if (kind !== "resource_updated") return this.#tell(kind, { kind });
    try {
      const uri: unknown = message.json<{ uri?: unknown }>().uri;
      if (typeof uri !== "string") throw new Error("there is no uri");
      this.#tell(`${kind} ${uri}`, { kind, uri });
    } catch (error) {
      console.warn(`a message on ${message.subject} is malformed:`, error);
    }
  }

  #lost(): void {
    this.#tell(LOSS);
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
    }, event ? PAUSE_MS : LOSSES_PAUSE_MS).unref();
    for (const [listener, uris] of concerned)
      for (const one of event ? [event] : everything(uris)) listener(one);
  }
}

/** All that a listener may have asked for. */
function everything(uris: Set<string>): ServerEvent[] {
  const lists = [...KINDS.values()].filter((kind) => kind !== "resource_updated");
  const resources = [...uris].map((uri): ServerEvent => ({ kind: "resource_updated", uri }));
  return [...lists.map((kind): ServerEvent => ({ kind })), ...resources];
}
