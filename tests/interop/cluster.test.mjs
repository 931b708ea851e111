// Several servers on one Redis: what is emitted on one reaches the right sockets on all, whoever the servers are.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { Emitter } from "@socket.io/redis-emitter";
import { startApp, targets } from "./support/app.mjs";
import { ask, Clients, received } from "./support/clients.mjs";
import { connectRedis, startNodeServer } from "./support/node-server.mjs";
import { Redis } from "./support/redis.mjs";
import { next, until, within } from "./support/wait.mjs";

const WEBSOCKET = { transports: ["websocket"] };

/** The pairs of servers that are to work together: each target with itself, and both ways round with Node. */
const pairs = targets.flatMap((target) =>
  target === "node"
    ? [["node", "node"]]
    : [
        [target, target],
        [target, "node"],
        ["node", target],
      ],
);

/**
 * Waits until an event has crossed from every one of these sockets to every other. Messages of one sender keep their
 * order across Redis, so that afterwards all that was emitted before has arrived too.
 */
async function settle(...sockets) {
  const mark = Math.random().toString(36).slice(2);
  for (const socket of sockets) socket.emit("send", { self: true }, "mark", mark, socket.id);
  const marks = (socket) => received(socket, "mark").filter(([found]) => found === mark);
  await until(() => sockets.every((socket) => marks(socket).length >= sockets.length), "mark on every socket");
}

/** Waits until each server sees what the other emits, so that a test does not begin before the cluster is complete. */
async function joined(servers, namespaces = ["/"]) {
  for (const namespace of namespaces) {
    const clients = new Clients();
    const sockets = await Promise.all(servers.map((server) => clients.connect(server, { ...WEBSOCKET, namespace })));
    await until(async () => {
      for (const socket of sockets) socket.emit("send", { self: true }, "hello", socket.id);
      return sockets.every((socket) => sockets.every(({ id }) => received(socket, "hello").some(([from]) => from === id)));
    }, `cluster on ${namespace}`);
    clients.close();
  }
}

for (const [first, second] of pairs) {
  describe(`cluster of ${first} and ${second}`, () => {
    const clients = new Clients();
    let redis;
    let servers;
    before(async () => {
      redis = await Redis.start();
      servers = await Promise.all([first, second].map((target) => startApp(target, { redis })));
      await joined(servers, ["/", "/custom"]);
    });
    afterEach(() => clients.close());
    after(async () => {
      await Promise.all((servers ?? []).map((server) => server.stop()));
      await redis?.stop();
    });

    /** Three sockets on each server: in no room, in `a`, and in `a` and `b`. */
    async function six() {
      const names = ["none1", "a1", "ab1", "none2", "a2", "ab2"];
      const sockets = {};
      for (const name of names) {
        const socket = await clients.connect(servers[name.endsWith("1") ? 0 : 1], WEBSOCKET);
        if (name.includes("b")) await ask(socket, "join", ["a", "b"]);
        else if (name.startsWith("a")) await ask(socket, "join", "a");
        sockets[name] = socket;
      }
      return sockets;
    }

    const everybody = ["none1", "a1", "ab1", "none2", "a2", "ab2"];
    const without = (...names) => everybody.filter((name) => !names.includes(name));
    const sends = [
      ["everybody", { self: true }, everybody],
      ["everybody else", {}, without("none1")],
      ["one room", { to: ["a"], self: true }, ["a1", "ab1", "a2", "ab2"]],
      ["several rooms, once each", { to: ["a", "b"], self: true }, ["a1", "ab1", "a2", "ab2"]],
      ["everybody but a room", { except: ["b"], self: true }, without("ab1", "ab2")],
      ["a room but not another", { to: ["a"], except: ["b"], self: true }, ["a1", "a2"]],
      ["a socket of the other server by its id", { to: ["@ab2"], self: true }, ["ab2"]],
      ["a socket of the same server by its id", { to: ["@ab1"], self: true }, ["ab1"]],
      ["everybody but a socket of the other server", { except: ["@a2"], self: true }, without("a2")],
      ["who can take it at once", { volatile: true, self: true }, everybody],
      ["this server alone", { local: true, self: true }, ["none1", "a1", "ab1"]],
      ["one room of this server alone", { local: true, to: ["b"] }, ["ab1"]],
      ["nobody", { to: ["empty"], self: true }, []],
    ];
    for (const [what, options, expected] of sends) {
      it(`reaches ${what}`, async () => {
        const sockets = await six();
        const resolve = (rooms) => rooms?.map((room) => (room[0] === "@" ? sockets[room.slice(1)].id : room));
        const chain = { ...options, to: resolve(options.to), except: resolve(options.except) };
        const args = [what, { nested: [1.5, null, "ü"] }];
        sockets.none1.emit("send", chain, "news", ...args);
        // A volatile event gives way to any other, so nothing else is sent before it is there.
        const arrived = () => expected.every((name) => received(sockets[name], "news").length > 0);
        await until(arrived, `event for ${expected.join(", ")}`);
        await settle(...Object.values(sockets));
        for (const [name, socket] of Object.entries(sockets)) {
          assert.deepEqual(received(socket, "news"), expected.includes(name) ? [args] : [], `news of ${name}`);
        }
      });
    }

    it("carries binary in both directions", async () => {
      const [one, two] = await Promise.all(servers.map((server) => clients.connect(server)));
      const args = [Buffer.from([0, 255]), { files: [Buffer.from("zwei"), "text"] }, Buffer.alloc(0)];
      one.emit("send", {}, "from-one", ...args);
      two.emit("send", {}, "from-two", ...args);
      await settle(one, two);
      assert.deepEqual(received(two, "from-one"), [args]);
      assert.deepEqual(received(one, "from-two"), [args]);
    });

    it("carries every kind of value in both directions", async () => {
      const [one, two] = await Promise.all(servers.map((server) => clients.connect(server)));
      // Node's MessagePack turns whole numbers from 2^64 on into others, so they are left out.
      const args = [0, -1, 1e15, -(2 ** 40), 2 ** 53, 0.1, -2.5e-300, "", "日本語 👩‍👩‍👧", null, true, [], {}, { a: [{ b: null }], "": 1 }];
      one.emit("send", {}, "from-one", ...args);
      two.emit("send", {}, "from-two", ...args);
      await settle(one, two);
      assert.deepEqual(received(two, "from-one"), [args]);
      assert.deepEqual(received(one, "from-two"), [args]);
    });

    it("keeps namespaces apart", async () => {
      const connect = (namespace) => Promise.all(servers.map((server) => clients.connect(server, { namespace })));
      const main = await connect("/");
      const custom = await connect("/custom");
      custom[0].emit("send", { self: true }, "news", "custom");
      main[1].emit("send", { self: true }, "news", "main");
      await settle(...main);
      await settle(...custom);
      for (const socket of main) assert.deepEqual(received(socket, "news"), [["main"]]);
      for (const socket of custom) assert.deepEqual(received(socket, "news"), [["custom"]]);
    });

    it("survives garbage from Redis", async () => {
      const [one, two] = await Promise.all(servers.map((server) => clients.connect(server)));
      const node = [first, second].includes("node");
      // A Node peer of the cluster ends itself over most of these, so it is spared all but the harmless ones.
      const payloads = node ? ["test message"] : ["test message", "", "{", "[]", "\x93", "\xdd\xff\xff\xff\xff", "\xc1", "{}", '{"type":99}'];
      const channels = node ? ["socket.io#/#nobody#"] : ["socket.io#/#", "socket.io#/#x", "socket.io-request#/#", "socket.io-response#/#"];
      for (const channel of channels) for (const payload of payloads) redis.command("PUBLISH", channel, payload);
      await settle(one, two);
      assert.deepEqual(servers.map((server) => server.process.how), [undefined, undefined]);
    });

    describe("with the official emitter", () => {
      let client;
      let emitter;
      before(async () => {
        client = await connectRedis(redis.url);
        emitter = new Emitter(client);
      });
      after(() => client?.destroy());

      /** Runs `act` and gives what each of the six received as "news". */
      async function newsOf(sockets, act) {
        await act();
        emitter.emit("end");
        const all = Object.values(sockets);
        await until(() => all.every((socket) => received(socket, "end").length === 1), "the end from the emitter");
        return Object.keys(sockets).filter((name) => received(sockets[name], "news").length === 1);
      }

      const emits = [
        ["everybody", (sender) => sender, everybody],
        ["a room", (sender) => sender.to("a"), ["a1", "ab1", "a2", "ab2"]],
        ["several rooms", (sender) => sender.to(["a", "b"]), ["a1", "ab1", "a2", "ab2"]],
        ["everybody but a room", (sender) => sender.except("b"), without("ab1", "ab2")],
        ["who can take it at once", (sender) => sender.volatile, everybody],
      ];
      for (const [what, chain, expected] of emits) {
        it(`reaches ${what}`, async () => {
          const sockets = await six();
          const news = await newsOf(sockets, () => chain(emitter).emit("news", 1, { text: "zwei" }, Buffer.from([3])));
          assert.deepEqual(news, expected);
          for (const name of expected) {
            assert.deepEqual(received(sockets[name], "news"), [[1, { text: "zwei" }, Buffer.from([3])]]);
          }
        });
      }

      it("reaches a socket by its id", async () => {
        const sockets = await six();
        assert.deepEqual(await newsOf(sockets, () => emitter.to(sockets.a2.id).emit("news")), ["a2"]);
      });

      it("reaches another namespace", async () => {
        const namespace = "/custom";
        const custom = await Promise.all(servers.map((server) => clients.connect(server, { namespace })));
        const main = await clients.connect(servers[0]);
        const news = custom.map((socket) => next(socket, "news"));
        emitter.of("/custom").emit("news", "custom");
        assert.deepEqual(await Promise.all(news), [["custom"], ["custom"]]);
        await settle(main);
        assert.deepEqual(received(main, "news"), []);
      });

      it("lets sockets join and leave", async () => {
        const sockets = await six();
        const rooms = async (socket) => (await ask(socket, "join", []))[0].filter((room) => room !== socket.id);
        emitter.in("b").socketsJoin(["c", "d"]);
        for (const name of ["ab1", "ab2"]) {
          await until(async () => (await rooms(sockets[name])).join() === "a,b,c,d", `rooms of ${name}`);
        }
        emitter.in("c").socketsLeave(["a", "d"]);
        for (const name of ["ab1", "ab2"]) {
          await until(async () => (await rooms(sockets[name])).join() === "b,c", `rooms of ${name}`);
        }
        for (const name of ["a1", "a2"]) assert.deepEqual(await rooms(sockets[name]), ["a"]);
      });

      it("disconnects sockets", async () => {
        const sockets = await six();
        const ends = ["ab1", "ab2"].map((name) => next(sockets[name], "disconnect"));
        emitter.in("b").disconnectSockets();
        for (const end of ends) assert.equal((await end)[0], "io server disconnect");
        for (const name of ["none1", "a1", "none2", "a2"]) assert.equal(sockets[name].connected, true);
      });

      it("disconnects connections", async () => {
        const sockets = await six();
        const ends = ["ab1", "ab2"].map((name) => next(sockets[name].io, "close"));
        emitter.in("b").disconnectSockets(true);
        await Promise.all(ends);
      });
    });

    it("delivers every one of many broadcasts once and in order to 1,000 clients", async () => {
      const PER_SERVER = 500;
      const BROADCASTS = 20;
      const sockets = [];
      for (const server of servers) {
        for (let group = 0; group < PER_SERVER; group += 50) {
          const connecting = Array.from({ length: 50 }, () => clients.connect(server, WEBSOCKET));
          sockets.push(...(await Promise.all(connecting)));
        }
      }
      const senders = [sockets[0], sockets[PER_SERVER]];
      for (let number = 0; number < BROADCASTS; number++) {
        senders.forEach((sender, index) => sender.emit("send", { self: true }, `from${index}`, number));
      }
      const complete = (socket) => [0, 1].every((index) => received(socket, `from${index}`).length >= BROADCASTS);
      await until(() => sockets.every(complete), "all broadcasts on all clients", 30_000);
      await settle(...senders);
      const numbers = Array.from({ length: BROADCASTS }, (_, number) => [number]);
      for (const socket of sockets) {
        for (const index of [0, 1]) assert.deepEqual(received(socket, `from${index}`), numbers);
      }
    });
  });
}

for (const target of targets) {
  describe(`requests of Node to ${target}`, () => {
    const clients = new Clients();
    let redis;
    let node;
    let server;
    before(async () => {
      redis = await Redis.start();
      node = await startNodeServer(redis.url);
      node.io.on("connection", () => {});
      server = await startApp(target, { redis });
      const counted = async () => redis.command("PUBSUB", "NUMSUB", "socket.io-request#/#").split("\n")[1] === "2";
      await until(counted, "second server in the cluster");
    });
    afterEach(() => clients.close());
    after(async () => {
      await node?.close();
      await server?.stop();
      await redis?.stop();
    });

    /** Well before the five seconds after which Node gives up. */
    const soon = (promise, what) => within(promise, what, 2_000);

    async function three() {
      const here = await clients.connect(node);
      const there = await clients.connect(server, { auth: { user: "anna" }, query: { color: "blue" } });
      const other = await clients.connect(server);
      await ask(there, "join", ["a", "b"]);
      return { here, there, other };
    }

    it("fetchSockets knows all sockets", async () => {
      const { here, there, other } = await three();
      const sockets = await soon(node.io.fetchSockets(), "sockets");
      assert.deepEqual(sockets.map(({ id }) => id).sort(), [here.id, there.id, other.id].sort());
      const found = sockets.find(({ id }) => id === there.id);
      assert.deepEqual([...found.rooms].sort(), [there.id, "a", "b"].sort());
      assert.deepEqual(found.handshake.auth, { user: "anna" });
      assert.equal(found.handshake.query.color, "blue");
      assert.equal(found.handshake.address, "127.0.0.1");
      assert.equal(found.handshake.headers.host, `127.0.0.1:${server.port}`);
      assert.equal(typeof found.handshake.time, "string");
      assert.equal(typeof found.handshake.issued, "number");
      assert.equal(found.handshake.secure, false);
      assert.equal(found.handshake.xdomain, false);
      assert.ok(found.handshake.url.startsWith("/socket.io/?"));
      assert.deepEqual(found.data, {});
    });

    it("fetchSockets of a room, of nobody and of a socket", async () => {
      const { there } = await three();
      const ids = async (chain) => (await soon(chain.fetchSockets(), "sockets")).map(({ id }) => id);
      assert.deepEqual(await ids(node.io.in("a")), [there.id]);
      assert.deepEqual(await ids(node.io.in(there.id)), [there.id]);
      assert.deepEqual(await ids(node.io.in("empty")), []);
      assert.deepEqual(await ids(node.io.in("a").except("b")), []);
    });

    it("allRooms knows all rooms", async () => {
      const { here, there, other } = await three();
      const rooms = await soon(node.io.of("/").adapter.allRooms(), "rooms");
      assert.deepEqual([...rooms].sort(), [here.id, there.id, other.id, "a", "b"].sort());
    });

    it("a RemoteSocket emits, joins, leaves and disconnects", async () => {
      const { there } = await three();
      const [remote] = await soon(node.io.in("a").fetchSockets(), "sockets");
      const news = next(there, "news");
      remote.emit("news", 1);
      assert.deepEqual(await news, [1]);
      remote.join("c");
      await until(async () => (await ask(there, "join", []))[0].includes("c"), "joined room");
      remote.leave("a");
      await until(async () => !(await ask(there, "join", []))[0].includes("a"), "left room");
      there.on("question", (callback) => callback("answer"));
      assert.equal(await soon(remote.timeout(1_500).emitWithAck("question"), "answer"), "answer");
      const end = next(there, "disconnect");
      remote.disconnect(true);
      assert.equal((await end)[0], "io server disconnect");
    });

    it("socketsJoin, socketsLeave and disconnectSockets", async () => {
      const { there, other } = await three();
      node.io.in("a").socketsJoin("c");
      await until(async () => (await ask(there, "join", []))[0].includes("c"), "joined room");
      node.io.in("c").socketsLeave("b");
      await until(async () => !(await ask(there, "join", []))[0].includes("b"), "left room");
      const end = next(there, "disconnect");
      node.io.in("c").disconnectSockets();
      assert.equal((await end)[0], "io server disconnect");
      assert.equal(other.connected, true);
    });

    it("emitWithAck collects the answers of all clients", async () => {
      const { here, there, other } = await three();
      for (const [socket, number] of [[here, 1], [there, 2], [other, 3]]) {
        socket.on("question", (arg, callback) => callback({ answer: number + arg }));
      }
      const answers = await soon(node.io.timeout(1_500).emitWithAck("question", 10), "answers");
      assert.deepEqual(answers.map(({ answer }) => answer).sort(), [11, 12, 13]);
    });

    it("emitWithAck takes binary there and back", async () => {
      const { there } = await three();
      there.on("question", (arg, callback) => callback(arg));
      const answers = await soon(node.io.in("a").timeout(1_500).emitWithAck("question", Buffer.from([1, 2])), "answers");
      assert.deepEqual(answers, [Buffer.from([1, 2])]);
    });

    it("emitWithAck of an empty room answers at once", async () => {
      await three();
      assert.deepEqual(await soon(node.io.in("empty").timeout(1_500).emitWithAck("question"), "answers"), []);
    });

    it("emitWithAck gives what there is when a client is silent", async () => {
      const { here, there, other } = await three();
      for (const socket of [here, there]) socket.on("question", (callback) => callback("yes"));
      other.on("question", () => {});
      const error = await soon(
        node.io.timeout(500).emitWithAck("question").catch((error) => error),
        "end of waiting",
      );
      assert.equal(error.message, "operation has timed out");
      assert.deepEqual(error.responses, ["yes", "yes"]);
    });

    it("serverSideEmit arrives", async () => {
      const witness = await clients.connect(server);
      const told = next(witness, "told");
      node.io.serverSideEmit("tell", "news", 7);
      assert.deepEqual(await told, ["news", 7]);
    });

    it("serverSideEmitWithAck is answered", async () => {
      const answers = await soon(node.io.serverSideEmitWithAck("add", 2, 3), "answers");
      assert.deepEqual(answers, [5]);
    });
  });
}
