// The set-up guide, step by step, with the `synapse` binary as an operator meets it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { after, afterEach, before, describe, it } from "node:test";
import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";
import { Clients, received } from "./support/clients.mjs";
import { Redis } from "./support/redis.mjs";
import { runSynapse, startSynapse } from "./support/synapse.mjs";
import { next, until } from "./support/wait.mjs";

const CONFIGURED = /Redis adapter configured successfully/;
const WITHOUT = /Running without Redis adapter/;

const clients = new Clients();
const started = [];
afterEach(async () => {
  clients.close();
  await Promise.all(started.splice(0).map((one) => one.stop()));
});

async function start(settings) {
  const server = await startSynapse(settings);
  started.push(server);
  return server;
}

function run(env, args) {
  const child = runSynapse(env, args);
  started.push(child);
  return child;
}

/** An event of a client of one server reaches a client of the other. */
async function crosses(one, two) {
  const [sender, receiver] = [await clients.connect(one), await clients.connect(two)];
  sender.emit("test_event", { message: "Hello from Server 1" });
  const arrived = () => received(receiver, "test_event").length > 0;
  await until(arrived, "test_event on the other server");
  assert.deepEqual(received(receiver, "test_event"), [[{ message: "Hello from Server 1" }]]);
  assert.deepEqual(received(sender, "test_event"), []);
  return { sender, receiver };
}

describe("two servers on one Redis", () => {
  let redis;
  before(async () => {
    redis = await Redis.start();
  });
  after(() => redis?.stop());

  /** Two servers that are one cluster already. */
  async function two(env = { REDIS_URL: redis.url }) {
    const servers = [await start({ env }), await start({ env })];
    for (const server of servers) {
      await server.process.prints(CONFIGURED);
      await server.healthBecomes("ok", "connected");
    }
    return servers;
  }

  it("share test_event, log that Redis is configured and say so in /health", async () => {
    const [one, other] = await two();
    await crosses(one, other);
    await crosses(other, one);
    for (const server of [one, other]) assert.doesNotMatch(server.output, WITHOUT);
  });

  it("take single variables instead of a URL", async () => {
    const [one, other] = await two({ REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port), REDIS_DB: "0" });
    await crosses(one, other);
  });

  it("show a broadcast to redis-cli PSUBSCRIBE", async () => {
    const [one, other] = await two();
    const watcher = await redis.watch("socket.io#/#*");
    started.push(watcher);
    const { sender } = await crosses(one, other);
    sender.emit("test_event", "watched");
    await until(() => watcher.output.includes("watched"), "broadcast in redis-cli");
    assert.match(watcher.output, /socket\.io#\/#\n/);
    assert.match(watcher.output, /test_event/);
  });

  it("are not harmed by redis-cli PUBLISH", async () => {
    const [one, other] = await two();
    const { sender, receiver } = await crosses(one, other);
    for (const channel of ["socket.io#/", "socket.io#/#", "socket.io#/#room#", "socket.io-request#/#", "socket.io-response#/#"]) {
      redis.command("PUBLISH", channel, "test message");
    }
    sender.emit("test_event", "after");
    await until(() => received(receiver, "test_event").length >= 2, "event after the garbage");
    assert.deepEqual(received(receiver, "test_event")[1], ["after"]);
    for (const server of [one, other]) await server.healthBecomes("ok", "connected");
  });

  it("go on when the other one is gone", async () => {
    const [one, other] = await two();
    const { sender } = await crosses(one, other);
    const end = await other.process.kill();
    assert.equal(end.signal, "SIGKILL");
    const local = await clients.connect(one);
    const news = next(local, "test_event");
    sender.emit("test_event", "alone");
    assert.deepEqual(await news, ["alone"]);
    assert.equal(sender.connected, true);
  });
});

describe("a Redis with a password", () => {
  const password = "correct-horse-battery";
  const wrong = "wrong-horse-secret";
  let redis;
  before(async () => {
    redis = await Redis.start({ password });
  });
  after(() => redis?.stop());

  it("is used by URL and by single variables, and the password is never printed", async () => {
    const one = await start({ env: { REDIS_URL: redis.url, LOG_LEVEL: "debug" } });
    const single = { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port), REDIS_USERNAME: "default", REDIS_PASSWORD: password };
    const two = await start({ env: { ...single, LOG_LEVEL: "debug" } });
    for (const server of [one, two]) await server.healthBecomes("ok", "connected");
    await crosses(one, two);
    for (const server of [one, two]) assert.ok(!server.output.includes(password));
  });

  it("refuses a wrong one, which is said with the name of the variable", async () => {
    const ways = [
      [/REDIS_URL/, { REDIS_URL: redis.url.replace(password, wrong) }],
      [/REDIS_PASSWORD/, { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port), REDIS_PASSWORD: wrong }],
    ];
    for (const [variable, env] of ways) {
      const server = await start({ env });
      await server.process.prints(WITHOUT);
      await server.process.prints(variable);
      await server.healthBecomes("degraded", ["connecting", "disconnected"]);
      assert.ok(!server.output.includes(wrong), server.output);
      assert.ok(!JSON.stringify(await server.health()).includes(wrong));
    }
  });
});

describe("a Redis behind TLS", () => {
  const password = "correct-horse-battery";
  let redis;
  before(async () => {
    redis = await Redis.start({ password, tls: true });
  });
  after(() => redis?.stop());

  it("joins two servers by URL, by REDIS_TLS_URL and by single values", async () => {
    const trust = { SSL_CERT_FILE: redis.certificate };
    const single = { REDIS_HOST: "127.0.0.1", REDIS_PORT: String(redis.port), REDIS_PASSWORD: password, REDIS_TLS: "true" };
    const ways = [{ REDIS_URL: redis.url }, { REDIS_TLS_URL: redis.url, REDIS_URL: "redis://127.0.0.1:1" }, single];
    const servers = await Promise.all(ways.map((env) => start({ env: { ...trust, ...env } })));
    for (const server of servers) {
      await server.process.prints(CONFIGURED);
      await server.healthBecomes("ok", "connected");
      assert.ok(!server.output.includes(password));
    }
    await crosses(servers[0], servers[1]);
    await crosses(servers[1], servers[2]);
  });

  it("is not spoken to when nobody vouches for its certificate, which is said", async () => {
    const server = await start({ env: { REDIS_URL: redis.url } });
    await server.process.prints(WITHOUT);
    await server.process.prints(/TLS failed .*REDIS_URL/);
    await server.healthBecomes("degraded", ["connecting", "disconnected"]);
    assert.ok(!server.output.includes(password));
  });
});

describe("relay rules", () => {
  let redis;
  before(async () => {
    redis = await Redis.start();
  });
  after(() => redis?.stop());

  it("=rooms pass an event on to the other members of the sender's rooms, on all servers, and to nobody else", async () => {
    const env = { REDIS_URL: redis.url, SYNAPSE_RELAY: "message=rooms,typing" };
    const [one, two] = [await start({ env }), await start({ env })];
    for (const server of [one, two]) await server.healthBecomes("ok", "connected");
    const sender = await clients.connect(one);
    const [near, far, outside] = [await clients.connect(one), await clients.connect(two), await clients.connect(two)];

    const connection = await createClient({ url: redis.url }).connect();
    started.push({ stop: () => connection.close() });
    const emitter = new Emitter(connection);
    for (const member of [sender, near, far]) emitter.in(member.id).socketsJoin("lobby");

    // The joins are on their way: what proves them is an event that arrives.
    const inRoom = () => {
      sender.emit("message", "to the room");
      return [near, far].every((member) => received(member, "message").length > 0);
    };
    await until(inRoom, "the members of the room", 5_000, 50);
    assert.deepEqual(received(far, "message")[0], ["to the room"]);

    // Behind everything above, on the same connection and the same channel.
    sender.emit("typing");
    for (const client of [near, far, outside]) await until(() => received(client, "typing").length > 0, "typing");
    assert.deepEqual(received(outside, "message"), []);
    assert.deepEqual(received(sender, "message"), []);

    // A client that is in no room but its own reaches nobody by such a rule.
    outside.emit("message", "alone");
    outside.emit("typing");
    for (const client of [near, far, sender]) await until(() => received(client, "typing").length > (client === sender ? 0 : 1), "typing");
    for (const client of [near, far]) assert.ok(!received(client, "message").flat().includes("alone"));
  });
});

describe("mistakes in the settings", () => {
  const mistakes = [
    ["REDIS_URL", "http://user:hidden-secret@127.0.0.1:6379"],
    ["REDIS_URL", "redis://user:hidden-secret@127.0.0.1:not-a-port"],
    ["REDIS_URL", "hidden-secret"],
    ["PORT", "seventy"],
    ["PORT", "70000"],
  ];
  for (const [variable, value] of mistakes) {
    it(`${variable}=${value} ends it with a line that names the variable`, async () => {
      const child = run({ PORT: "0", [variable]: value });
      const { code } = await child.end();
      assert.ok(code > 0, `ended with ${code}`);
      assert.match(child.output, new RegExp(variable));
      assert.doesNotMatch(child.output, /hidden-secret|panicked/);
    });
  }

  it("a port in use ends it with one line and code 1", async () => {
    const blocker = createServer().listen(0, "127.0.0.1");
    await once(blocker, "listening");
    const { port } = blocker.address();
    try {
      const child = run({ PORT: String(port) });
      assert.equal((await child.end()).code, 1);
      const lines = child.output.trim().split("\n");
      assert.equal(lines.length, 1, child.output);
      assert.match(lines[0], new RegExp(String(port)));
    } finally {
      blocker.close();
    }
  });
});

describe("one server", () => {
  it("says that it runs without Redis when none is set", async () => {
    const server = await start();
    await server.process.prints(WITHOUT);
    assert.doesNotMatch(server.output, CONFIGURED);
    await server.healthBecomes("ok", "disabled");
  });

  it("answers its addresses", async () => {
    const server = await start();
    for (const path of ["/", "/health", "/live", "/ready"]) {
      const response = await fetch(server.url + path);
      assert.equal(response.status, 200, path);
      await response.text();
    }
    const missing = await fetch(`${server.url}/nothing-here`);
    assert.equal(missing.status, 404);
  });

  it("ends on SIGTERM with code 0, tells its clients, and they come back to its successor", async () => {
    const server = await start();
    const settings = [{ transports: ["websocket"] }, { transports: ["polling"] }];
    const sockets = await Promise.all(
      settings.map((one) => clients.connect(server, { ...one, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 })),
    );
    const ends = sockets.map((socket) => next(socket, "disconnect", 10_000));
    server.process.signal("SIGTERM");
    // Another reason, such as "io server disconnect", would tell the client not to come back by itself.
    for (const end of ends) assert.match((await end)[0], /^transport (close|error)$/);
    assert.deepEqual(await server.process.end(10_000), { code: 0, signal: null });
    assert.doesNotMatch(server.output, /panicked/);

    const back = sockets.map((socket) => next(socket, "connect", 10_000));
    await start({ port: server.port });
    await Promise.all(back);
  });

  it("ends on SIGINT too", async () => {
    const server = await start();
    server.process.signal("SIGINT");
    assert.deepEqual(await server.process.end(10_000), { code: 0, signal: null });
  });
});
