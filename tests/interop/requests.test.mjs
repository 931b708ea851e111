// What one server asks of all servers of a cluster: everybody's answer, whoever the servers are, and an answer in time
// when one of them says nothing.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { startApp, targets } from "./support/app.mjs";
import { ask, Clients, received } from "./support/clients.mjs";
import { Redis } from "./support/redis.mjs";
import { next, until, within } from "./support/wait.mjs";

const WEBSOCKET = { transports: ["websocket"] };
/** Long enough that no complete answer comes by it. */
const LONG = 4_000;
/** Node's servers wait this long for others, whatever they are told. */
const NODE_TIMEOUT = 5_000;

/** Who asks, and whom. */
const pairs = targets.flatMap((target) =>
  target === "node"
    ? [["node", "node"]]
    : [
        [target, target],
        [target, "node"],
        ["node", target],
      ],
);

for (const [asker, asked] of pairs) {
  describe(`requests of ${asker} to ${asked}`, () => {
    const clients = new Clients();
    let redis;
    let servers;
    before(async () => {
      redis = await Redis.start();
      servers = await Promise.all([asker, asked].map((target) => startApp(target, { redis })));
      await joined();
    });
    afterEach(() => clients.close());
    after(async () => {
      await Promise.all((servers ?? []).map((server) => server.stop()));
      await redis?.stop();
    });

    async function joined() {
      const subscribers = () => redis.command("PUBSUB", "NUMSUB", "socket.io-request#/#").split("\n")[1];
      await until(() => subscribers() === "2", "both servers in the cluster");
    }

    /** A client of the server that asks, and two of the other, the latter in room `a`. */
    async function three() {
      const here = await clients.connect(servers[0], WEBSOCKET);
      const there = await clients.connect(servers[1], { ...WEBSOCKET, auth: { user: "anna" } });
      const member = await clients.connect(servers[1], WEBSOCKET);
      await ask(member, "join", "a");
      // Whom a test before has disconnected may not have gone yet.
      await until(async () => (await ids(here, { self: true })).length === 3, "three sockets");
      return { here, there, member };
    }

    const request = async (socket, ...args) => (await ask(socket, ...args))[0];
    const complete = async (socket, ...args) => {
      const { error, value } = await request(socket, ...args);
      assert.equal(error, null);
      return value;
    };
    const ids = (socket, options) => complete(socket, "ids", options, LONG);

    it("sockets are fetched with what is known of them", async () => {
      const { here, there, member } = await three();
      const sockets = await complete(here, "fetch", { self: true }, LONG);
      assert.deepEqual(sockets.map(({ id }) => id).sort(), [here.id, there.id, member.id].sort());
      const found = sockets.find(({ id }) => id === there.id);
      assert.deepEqual(found.rooms, [there.id]);
      assert.deepEqual(found.auth, { user: "anna" });
      assert.ok(found.url.startsWith("/socket.io/?"), found.url);
      assert.deepEqual(found.data, {});
    });

    it("ids are those of the target", async () => {
      const { here, there, member } = await three();
      assert.deepEqual(await ids(here, { self: true }), [here.id, there.id, member.id].sort());
      assert.deepEqual(await ids(here, {}), [there.id, member.id].sort());
      assert.deepEqual(await ids(here, { to: ["a"] }), [member.id]);
      assert.deepEqual(await ids(here, { self: true, except: ["a"] }), [here.id, there.id].sort());
      assert.deepEqual(await ids(here, { self: true, local: true }), [here.id]);
      assert.deepEqual(await ids(here, { to: ["nobody"] }), []);
    });

    it("rooms and servers are told", async () => {
      const { here, there, member } = await three();
      assert.deepEqual(await complete(here, "rooms"), [here.id, there.id, member.id, "a"].sort());
      assert.equal(await complete(here, "servers"), 2);
    });

    it("a socket of the other server is used like an own one", async () => {
      const { here, there } = await three();
      const news = next(there, "news");
      await complete(here, "remote", there.id, "emit", 1);
      assert.deepEqual(await news, [1]);
      await complete(here, "remote", there.id, "join", "c");
      await until(async () => (await ask(there, "join", []))[0].includes("c"), "joined room");
      await complete(here, "remote", there.id, "leave", "c");
      await until(async () => !(await ask(there, "join", []))[0].includes("c"), "left room");
      there.on("question", (number, callback) => callback(number + 1));
      assert.equal(await complete(here, "remote", there.id, "ask", 41), 42);
      const end = next(there, "disconnect");
      await complete(here, "remote", there.id, "disconnect", true);
      assert.equal((await end)[0], "io server disconnect");
    });

    it("a broadcast is acknowledged by every client", async () => {
      const sockets = Object.values(await three());
      for (const [number, socket] of sockets.entries()) {
        socket.on("question", (arg, callback) => callback({ number, arg }, "not this"));
      }
      const numbers = async (options) => {
        const responses = await complete(sockets[0], "ask-all", options, LONG, "question", ["x"]);
        for (const { arg } of responses) assert.deepEqual(arg, ["x"]);
        return responses.map(({ number }) => number).sort();
      };
      assert.deepEqual(await numbers({ self: true }), [0, 1, 2]);
      assert.deepEqual(await numbers({}), [1, 2]);
      assert.deepEqual(await numbers({ to: ["a"] }), [2]);
      // Node waits for the other servers although it has not asked them.
      if (asker !== "node") assert.deepEqual(await numbers({ self: true, local: true }), [0]);
      assert.deepEqual(await numbers({ to: ["nobody"] }), []);
    });

    it("binary answers of clients cross servers", async () => {
      const { here, there } = await three();
      there.on("question", (bytes, callback) => callback({ bytes }));
      const options = { to: [there.id] };
      const [answer] = await complete(here, "ask-all", options, LONG, "question", Buffer.from([1, 2, 255]));
      assert.deepEqual([...answer.bytes], [1, 2, 255]);
    });

    it("a client that does not acknowledge costs its own answer only", async () => {
      const { here, there, member } = await three();
      for (const socket of [here, member]) socket.on("question", (arg, callback) => callback(arg));
      const { error, value } = await request(here, "ask-all", { self: true }, 600, "question", 7);
      assert.equal(error, "operation has timed out");
      assert.deepEqual(value, [7, 7]);
      assert.deepEqual(received(there, "question").map(([arg]) => arg), [7]);
    });

    it("the other server answers an event for servers", async () => {
      const { here, there } = await three();
      assert.deepEqual(await complete(here, "ask-servers", "double", 21), [42]);
      assert.deepEqual(await complete(there, "ask-servers", "double", 4), [8]);
    });

    it("requests at once get their own answers", async () => {
      const { here, there } = await three();
      const numbers = Array.from({ length: 100 }, (_, number) => number);
      const answers = await Promise.all(
        numbers.map((number) => complete(number % 2 ? here : there, "ask-servers", "double", number)),
      );
      assert.deepEqual(answers, numbers.map((number) => [number * 2]));
    });

    it("a server that stands still is missing, and what has arrived is kept", async () => {
      const { here, there } = await three();
      here.on("question", (arg, callback) => callback(arg));
      const partly = (...args) =>
        within(new Promise((resolve) => here.emit(...args, resolve)), `answer to "${args[0]}"`, NODE_TIMEOUT + 4_000);
      servers[1].process.signal("SIGSTOP");
      try {
        const [fetched, asked, emitted] = await Promise.all([
          partly("fetch", { self: true }, 600),
          partly("ask-all", { self: true }, 600, "question", 7),
          partly("ask-servers", "double", 1),
        ]);
        assert.equal(fetched.error, "timeout reached while waiting for fetchSockets response");
        // Node throws away what has arrived.
        if (asker !== "node") assert.deepEqual(fetched.value.map(({ id }) => id), [here.id]);
        assert.deepEqual(asked, { error: "operation has timed out", value: [7] });
        assert.equal(emitted.error, "timeout reached: only 0 responses received out of 1");
        assert.deepEqual(emitted.value, []);
        // Who asks nobody else does not wait.
        assert.deepEqual(await ids(here, { self: true, local: true }), [here.id]);
      } finally {
        servers[1].process.signal("SIGCONT");
      }
      assert.deepEqual(await complete(here, "ask-servers", "double", 3), [6]);
      assert.ok((await ids(here, {})).includes(there.id));
    });

    it("a server that was killed is not asked", async () => {
      const { here } = await three();
      await servers[1].process.kill();
      await until(async () => (await complete(here, "servers")) === 1, "cluster of one");
      assert.deepEqual(await ids(here, { self: true }), [here.id]);
      assert.deepEqual(await complete(here, "ask-servers", "double", 1), []);
    });
  });
}
