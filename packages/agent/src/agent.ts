/**
 * The agent: one process that runs machines, knows other agents, and is steered through its
 * control socket.
 */
import { randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import { type LogStore, openLogStore } from "@dejavm/log-store";
import { type FrameSocketEvents, frameSocketOf, MAX_FRAME_BYTES } from "@dejavm/protocol";
import { Acceptor } from "@dejavm/target-agent";
import type { WebSocket } from "ws";
import type { AgentConfig, HostPort } from "./config.ts";
import {
  CONTROL_VERSION,
  type Info,
  pairingSchema,
  settleSchema,
  vmDefinitionSchema,
} from "./control/api.ts";
import { agentSocket } from "./control/discovery.ts";
import { parseBody, type Route, type StreamRoute } from "./control/routes.ts";
import { ControlServer } from "./control/server.ts";
import { serveTap } from "./control/tap.ts";
import { vmRoutes, vmStreams } from "./control/vm-routes.ts";
import { agentError } from "./errors.ts";
import { FileShelf } from "./files/file-shelf.ts";
import { FILES_PATH, type FileName } from "./files/file-wire.ts";
import { receiveFiles } from "./files/receive-files.ts";
import { setHeapFlags } from "./heap-flags.ts";
import { type Fingerprint, type Identity, loadIdentity } from "./identity/identity.ts";
import type { Log } from "./log.ts";
import { AgentMetrics } from "./metrics.ts";
import { migrationStream, storedMigrations } from "./migration/control.ts";
import { DoubtfulVm } from "./migration/doubt.ts";
import { MIGRATION_PATH } from "./migration/outgoing.ts";
import { Readiness } from "./migration/readiness.ts";
import { targetHost } from "./migration/target-host.ts";
import { TunnelDesk } from "./migration/tunnel-desk.ts";
import { Invitations } from "./pairing/invitations.ts";
import { PeerBook } from "./pairing/peers.ts";
import { formatToken, parseToken, SECRET_BYTES } from "./pairing/token.ts";
import { redeemInvitation } from "./peer/dialer.ts";
import { type PairRequest, PeerListener } from "./peer/listener.ts";
import { prepareStateDirectory, storeDirectory } from "./state-dir.ts";
import { findFile } from "./vm/machine-config.ts";
import { VmRegistry } from "./vm/registry.ts";

/** RFC 6455: the message violates a policy. */
const CLOSE_POLICY = 1008;

/** See the head of this file. `start` makes one. */
export class Agent {
  readonly #config: AgentConfig;
  readonly #log: Log;
  readonly #identity: Identity;
  readonly #peers: PeerBook;
  readonly #invitations = new Invitations();
  readonly #store: LogStore;
  readonly #vms: VmRegistry;
  readonly #acceptor: Acceptor;
  readonly #tunnels = new TunnelDesk();
  readonly #shelf: FileShelf;
  /** Files of machines that are to come: paths by role, by lineage. */
  readonly #delivered = new Map<string, ReadonlyMap<string, string>>();
  readonly #metrics: AgentMetrics;
  readonly #readiness: Readiness;
  #control: ControlServer | undefined;
  #listener: PeerListener | undefined;
  #metricsServer: Server | undefined;

  private constructor(config: AgentConfig, log: Log) {
    prepareStateDirectory(config.stateDir);
    this.#config = config;
    this.#log = log;
    this.#identity = loadIdentity(config.stateDir, config.name);
    this.#peers = new PeerBook(config.stateDir);
    this.#shelf = new FileShelf(config.stateDir);
    this.#store = openLogStore(storeDirectory(config.stateDir));
    this.#readiness = new Readiness(this.#store);
    this.#vms = new VmRegistry({
      stateDir: config.stateDir,
      host: {
        store: this.#store,
        log,
        onRelayed: ({ lineage, parts }) => this.#tunnels.close(lineage, parts.network),
      },
      onStarted: ({ parts }) => this.#readiness.machineStarted(parts.config.memoryBytes),
      ask: (lineage, onSettled) =>
        new DoubtfulVm({
          host: this.#vms.host,
          identity: this.#identity,
          agentName: config.name,
          lineage,
          peerNamed: (name) => this.#peers.named(name),
          onSettled,
        }),
    });
    this.#acceptor = new Acceptor(
      targetHost({
        ...this.#vms.host,
        agentName: config.name,
        stateDir: config.stateDir,
        tunnels: this.#tunnels,
        delivered: this.#delivered,
        isTaken: (name) => this.#vms.isTaken(name),
        onArrived: (vm) => this.#vms.adopt(vm),
      }),
    );
    this.#metrics = new AgentMetrics({
      vms: () => this.#vms.list().map((vm) => vm.summary()),
      peerCount: () => this.#peers.peers.length,
    });
  }

  /** Throws E_AGENT_RUNNING, E_AGENT_LISTEN, E_STATE_DIR and E_FILE_*. */
  static async start(config: AgentConfig, log: Log): Promise<Agent> {
    setHeapFlags();
    const agent = new Agent(config, log);
    try {
      await agent.#listen();
    } catch (error) {
      await agent.close();
      throw error;
    }
    return agent;
  }

  /** Who this agent is and where it can be reached. */
  get info(): Info {
    const address = this.#address();
    return {
      version: CONTROL_VERSION,
      kind: "agent",
      name: this.#config.name,
      pid: process.pid,
      ...(address === undefined ? {} : { listening: address }),
      fingerprint: this.#identity.fingerprint,
    };
  }

  /** Stops the machines' processes and closes everything. */
  async close(): Promise<void> {
    this.#readiness.close();
    await this.#vms.close();
    this.#store.close();
    await this.#listener?.close();
    this.#metricsServer?.closeAllConnections();
    this.#metricsServer?.close();
    await this.#control?.close();
  }

  async #listen(): Promise<void> {
    const { stateDir, listen, metrics } = this.#config;
    // First: whoever has the control socket has the state directory.
    this.#control = await ControlServer.listen({
      socketPath: agentSocket(stateDir),
      routes: [...this.#routes(), ...vmRoutes(this.#vms)],
      streams: [...vmStreams(this.#vms), this.#migrations(), this.#taps()],
      onDefect: (error) => this.#log.error({ err: error }, "a request failed"),
    });
    if (listen !== undefined) this.#listener = await this.#listenForPeers(listen);
    if (metrics !== undefined) await this.#serveMetrics(metrics);
    await this.#vms.resumeAll();
    this.#shelf.tidy(new Set(this.#vms.filePaths()));
    this.#log.info(this.info, "agent is ready");
  }

  #listenForPeers(at: HostPort): Promise<PeerListener> {
    return PeerListener.listen({
      at,
      identity: this.#identity,
      maxMessageBytes: MAX_FRAME_BYTES,
      peerOf: (fingerprint) => this.#peers.withFingerprint(fingerprint),
      onPair: (request, fingerprint) => this.#accept(request, fingerprint),
      onLink: (peer, path, link) => {
        this.#metrics.peerConnections.inc({ result: "accepted" });
        this.#log.info({ peer: peer.name, path }, "a peer has connected");
        if (path === MIGRATION_PATH) this.#acceptMigration(link);
        else if (path === FILES_PATH) this.#receiveFiles(link);
        else if (!this.#tunnels.accept(path, link)) {
          link.close(CLOSE_POLICY, "there is nothing of that name");
        }
      },
      onRefused: (code, message) => {
        this.#metrics.peerConnections.inc({ result: "refused" });
        this.#log.warn({ code }, message);
      },
    });
  }

  #routes(): readonly Route[] {
    return [
      { method: "GET", path: "/v1/info", handle: () => this.info },
      { method: "GET", path: "/healthz", handle: () => this.#health() },
      { method: "GET", path: "/metrics", handle: () => this.#metrics.text() },
      {
        method: "POST",
        path: "/v1/vms",
        handle: async (_parameters, body) => {
          const vm = await this.#vms.create(parseBody(vmDefinitionSchema, body));
          return vm.summary();
        },
      },
      {
        method: "POST",
        path: "/v1/vms/:name/start",
        handle: async ({ name = "" }) => (await this.#vms.start(name)).summary(),
      },
      {
        method: "POST",
        path: "/v1/vms/:name/settle",
        handle: ({ name = "" }, body) => {
          const { live, peerIsStopped } = parseBody(settleSchema, body);
          if (!peerIsStopped) throw peerMayRun(name);
          this.#vms.settle(name, live);
        },
      },
      {
        method: "GET",
        path: "/v1/migrations",
        handle: () => ({ migrations: storedMigrations(this.#store) }),
      },
      { method: "GET", path: "/v1/peers", handle: () => ({ peers: this.#peers.peers }) },
      {
        method: "DELETE",
        path: "/v1/peers/:name",
        handle: ({ name = "" }) => this.#peers.remove(name),
      },
      { method: "POST", path: "/v1/invitations", handle: () => this.#invite() },
      { method: "POST", path: "/v1/pairings", handle: (_, body) => this.#pair(body) },
    ];
  }

  #migrations(): StreamRoute {
    return migrationStream({
      host: this.#vms.host,
      identity: this.#identity,
      agentName: this.#config.name,
      vmNamed: (name) => this.#vms.named(name),
      peerNamed: (name) => this.#peers.named(name),
      onEnded: (vm, result) => {
        this.#metrics.migrations.inc({ role: "source", result });
        if (result !== "moved") return;
        this.#vms.departed(vm.name);
        this.#tunnels.departed(vm.lineage);
      },
    });
  }

  #taps(): StreamRoute {
    return {
      method: "GET",
      path: "/v1/vms/:name/tap",
      open: ({ name = "" }, stream) => serveTap(this.#vms.named(name).parts.network, stream),
    };
  }

  #acceptMigration(link: WebSocket): void {
    // Nothing comes before the event after this one.
    const hears: { events?: FrameSocketEvents } = {};
    const socket = frameSocketOf(link, {
      onMessage: (bytes) => hears.events?.onMessage(bytes),
      onClose: (code) => hears.events?.onClose(code),
    });
    hears.events = this.#acceptor.accept(socket);
  }

  #receiveFiles(link: WebSocket): void {
    const receiver = {
      shelf: this.#shelf,
      stateDir: this.#config.stateDir,
      find: (file: FileName) => findFile(file, this.#vms.filePaths()),
      onComplete: (lineage: string, paths: ReadonlyMap<string, string>) =>
        void this.#delivered.set(lineage, paths),
    };
    receiveFiles(receiver, link);
  }

  #health(): object {
    const failed = this.#vms.list().filter((vm) => vm.summary().state === "failed");
    return {
      status: "ok",
      vms: this.#vms.list().length,
      failedVms: failed.map(({ name }) => name),
    };
  }

  #invite(): object {
    const address = this.#address();
    if (address === undefined) {
      const message = "cannot invite another agent: this one does not listen";
      throw agentError("E_AGENT_CONFIG", message, "start it with --listen, or invite from there");
    }
    const secret = Uint8Array.from(randomBytes(SECRET_BYTES));
    this.#invitations.add(secret, performance.now());
    return { token: formatToken({ fingerprint: this.#identity.fingerprint, secret }), address };
  }

  /** Another agent redeems an invitation of ours. */
  #accept({ secret, name, address }: PairRequest, fingerprint: Fingerprint): string {
    this.#refuseOwn(fingerprint);
    this.#invitations.redeem(Buffer.from(secret, "hex"), performance.now());
    this.#peers.add({ name, fingerprint, ...(address === undefined ? {} : { address }) });
    this.#log.info({ peer: name, fingerprint }, "paired");
    return this.#config.name;
  }

  /** This agent redeems another one's invitation. */
  async #pair(body: unknown): Promise<object> {
    const { address, token } = parseBody(pairingSchema, body);
    const { fingerprint, secret } = parseToken(token);
    this.#refuseOwn(fingerprint);
    const own = this.#address();
    const name = await redeemInvitation(this.#identity, address, {
      fingerprint,
      request: {
        secret: Buffer.from(secret).toString("hex"),
        name: this.#config.name,
        ...(own === undefined ? {} : { address: own }),
      },
    });
    const peer = { name, fingerprint, address };
    this.#peers.add(peer);
    this.#log.info({ peer: name, fingerprint }, "paired");
    return peer;
  }

  #refuseOwn(fingerprint: Fingerprint): void {
    if (fingerprint !== this.#identity.fingerprint) return;
    const message = "cannot pair an agent with itself";
    throw agentError("E_PAIR_REFUSED", message, "run `dejavm pair` on the other host");
  }

  #address(): string | undefined {
    const { advertise, listen } = this.#config;
    if (advertise !== undefined) return advertise;
    if (listen === undefined || this.#listener === undefined) return undefined;
    const { host } = listen;
    return `${host.includes(":") ? `[${host}]` : host}:${this.#listener.port}`;
  }

  async #serveMetrics({ host, port }: HostPort): Promise<void> {
    const server = createServer((request, response) => {
      void (async () => {
        if (request.url === "/healthz") response.end(JSON.stringify(this.#health()));
        else if (request.url === "/metrics") response.end(await this.#metrics.text());
        else response.writeHead(404).end();
      })();
    });
    this.#metricsServer = server;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen(port, host, resolve);
    try {
      await promise;
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : String(cause);
      const message = `cannot serve metrics at ${host}:${port}: ${what}`;
      throw agentError("E_AGENT_LISTEN", message, "choose another address with --metrics", cause);
    }
  }
}

function peerMayRun(name: string): Error {
  return agentError(
    "E_VM_STATE",
    `cannot settle ${name} by hand while its other host may run it`,
    "make sure that the agent there is stopped for good, then add --peer-is-stopped",
  );
}
