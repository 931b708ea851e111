// Redis in trouble, with the `synapse` binary: no connection is lost, local delivery goes on, and all heals by itself.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { Clients, received } from "./support/clients.mjs";
import { Redis } from "./support/redis.mjs";
import { startSynapse } from "./support/synapse.mjs";
import { span, until } from "./support/wait.mjs";

const WEBSOCKET = { transports: ["websocket"] };
/** Delivery across servers has to be back that long after Redis is. */
const HEALED = 5_000;
const DOWN = ["connecting", "disconnected"];

/**
 * Two servers with two clients on the first and one on the second. The first client emits numbered events without pause;
 * the second shows local delivery, the third delivery across servers.
 */
class Cluster {
  #clients = new Clients();
  #sent = 0;
  #ends = [];

  static async start(redis) {
    const cluster = new Cluster();
    try {
      const env = { REDIS_URL: redis.url };
      cluster.servers = await Promise.all([startSynapse({ env }), startSynapse({ env })]);
      const [one, two] = cluster.servers;
      cluster.sender = await cluster.#connect(one, WEBSOCKET);
      cluster.local = await cluster.#connect(one, WEBSOCKET);
      cluster.polling = await cluster.#connect(one, { transports: ["polling"] });
      cluster.remote = await cluster.#connect(two, WEBSOCKET);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    cluster.timer = setInterval(() => cluster.sender.emit("test_event", cluster.#sent++), 5);
    return cluster;
  }

  async #connect(server, options) {
    const socket = await this.#clients.connect(server, options);
    socket.on("disconnect", (reason) => this.#ends.push(reason));
    return socket;
  }

  /** What is sent from here on arrives at the other server. */
  crosses(timeout = HEALED) {
    const first = this.#sent;
    return until(() => this.numbers(this.remote).some((number) => number >= first), "event across servers", timeout);
  }

  /** What is sent from here on arrives at the other clients of the same server, and soon. */
  async staysLocal() {
    for (const socket of [this.local, this.polling]) {
      const first = this.#sent;
      await until(() => this.numbers(socket).some((number) => number >= first), "local event", 1_000);
    }
  }

  numbers(socket) {
    return received(socket, "test_event").map(([number]) => number);
  }

  healthBecomes(status, redisStatus, timeout) {
    return Promise.all(this.servers.map((server) => server.healthBecomes(status, redisStatus, timeout)));
  }

  /** Nobody was disconnected, no local event is missing or out of order, and none from elsewhere came twice or late. */
  async check() {
    clearInterval(this.timer);
    for (const socket of [this.local, this.polling]) {
      await until(() => this.numbers(socket).length >= this.#sent, "all local events");
      assert.deepEqual(this.numbers(socket), Array.from({ length: this.#sent }, (_, number) => number));
    }
    const crossed = this.numbers(this.remote);
    assert.ok(crossed.every((number, index) => index === 0 || number > crossed[index - 1]), "order across servers");
    assert.deepEqual(this.#ends, []);
  }

  async stop() {
    clearInterval(this.timer);
    this.#clients.close();
    await Promise.all((this.servers ?? []).map((server) => server.stop()));
  }
}

describe("Redis in trouble", () => {
  let redis;
  let cluster;
  afterEach(async () => {
    await cluster?.stop();
    await redis?.stop();
    cluster = redis = undefined;
  });

  it("killed under load and started again", async () => {
    redis = await Redis.start();
    cluster = await Cluster.start(redis);
    await cluster.healthBecomes("ok", "connected");
    await cluster.crosses();

    await redis.kill();
    await cluster.healthBecomes("degraded", DOWN);
    await cluster.staysLocal();

    await redis.restart();
    await cluster.crosses();
    await cluster.healthBecomes("ok", "connected");
    await cluster.check();
  });

  it("killed and started again five times", async () => {
    redis = await Redis.start();
    cluster = await Cluster.start(redis);
    for (let round = 0; round < 5; round++) {
      await cluster.crosses();
      await redis.kill();
      await cluster.staysLocal();
      await redis.restart();
    }
    await cluster.crosses();
    await cluster.healthBecomes("ok", "connected");
    await cluster.check();
  });

  it("absent at the start", async () => {
    redis = await Redis.absent();
    cluster = await Cluster.start(redis);
    await cluster.healthBecomes("degraded", DOWN);
    await cluster.staysLocal();
    for (const server of cluster.servers) await server.process.prints(/Running without Redis adapter/);
    assert.deepEqual(cluster.numbers(cluster.remote), []);

    await redis.restart();
    await cluster.crosses();
    await cluster.healthBecomes("ok", "connected");
    for (const server of cluster.servers) await server.process.prints(/Redis adapter configured successfully/);
    await cluster.check();
  });

  it("silent for 20 seconds", async () => {
    redis = await Redis.start();
    cluster = await Cluster.start(redis);
    await cluster.healthBecomes("ok", "connected");
    await cluster.crosses();

    redis.pause();
    const silence = span(20_000);
    await cluster.staysLocal();
    await cluster.healthBecomes("degraded", DOWN, 20_000);
    await silence;
    await cluster.staysLocal();

    redis.resume();
    await cluster.crosses();
    await cluster.healthBecomes("ok", "connected");
    await cluster.check();
  });

  it("with its subscriptions cut off, again and again", async () => {
    redis = await Redis.start();
    cluster = await Cluster.start(redis);
    await cluster.crosses();
    for (let round = 0; round < 5; round++) {
      redis.command("CLIENT", "KILL", "TYPE", "pubsub");
      await cluster.crosses();
      redis.command("CLIENT", "KILL", "TYPE", "normal");
      await cluster.crosses();
    }
    await cluster.healthBecomes("ok", "connected");
    await cluster.check();
  });
});

describe("without Redis", () => {
  const clients = new Clients();
  let server;
  before(async () => {
    server = await startSynapse();
  });
  afterEach(() => clients.close());
  after(() => server?.stop());

  it("is healthy, and says that Redis is not in use", async () => {
    await server.healthBecomes("ok", "disabled");
  });

  it("relays test_event to everybody else, and nothing else", async () => {
    const [sender, other] = [await clients.connect(server), await clients.connect(server)];
    const polling = await clients.connect(server, { transports: ["polling"] });
    sender.emit("something_else", 1);
    sender.emit("message", 2);
    sender.emit("test_event", { message: "Hello" }, [1, null], Buffer.from([1, 2, 3]));
    other.emit("test_event", "back");
    const hello = ["test_event", { message: "Hello" }, [1, null], Buffer.from([1, 2, 3])];
    await until(() => sender.received.length >= 1 && polling.received.length >= 2, "relayed events");
    assert.deepEqual(sender.received, [["test_event", "back"]]);
    assert.deepEqual(other.received, [hello]);
    assert.deepEqual(
      polling.received.sort((left, right) => typeof right[1] === "string" ? -1 : 1),
      [hello, ["test_event", "back"]],
    );
  });

  it("refuses other namespaces", async () => {
    const socket = clients.open(server, { namespace: "/nowhere" });
    const error = await new Promise((resolve) => socket.once("connect_error", resolve));
    assert.equal(error.message, "Invalid namespace");
  });
});
