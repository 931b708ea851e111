// The msgpack parser: by a bare WebSocket where the packets themselves are the subject, else by the official client with
// the official parser; and a cluster in which another server speaks JSON with its clients.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import parser from "socket.io-msgpack-parser";
import { startApp, targets } from "./support/app.mjs";
import { ask, Clients, flush, received, record } from "./support/clients.mjs";
import { PollingSession, RawSocket } from "./support/engine.mjs";
import { Redis } from "./support/redis.mjs";
import { startSynapse } from "./support/synapse.mjs";
import { next, until } from "./support/wait.mjs";

const [CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT] = [0, 1, 2, 3, 4, 5];

const values = {
  nothing: [],
  null: [null],
  booleans: [true, false],
  integers: [0, -1, 127, 128, 255, 256, -32, -33, -128, -129, 65_535, 65_536, 2 ** 31, 2 ** 32, -(2 ** 31), -(2 ** 32)],
  "large integers": [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 2 ** 53, 2 ** 62, -(2 ** 62)],
  // Whole numbers above 2 ** 64 the official encoder does not know.
  fractions: [0.1, -2.5e-7, 5e-324, 1 / 3],
  text: ["", "plain", 'quotes " and \\ and \n', "x".repeat(31), "x".repeat(32), "x".repeat(300), "x".repeat(70_000)],
  unicode: ["ünïcödé €", "日本語", "👩‍👩‍👧‍👦", "\u0000\u2028\u2029"],
  "nested data": [{ a: { b: [{ c: [[], {}] }, null] } }, [[[["deep"]]]]],
  "keys of all kinds": [{ "": 1, __proto__x: 2, "ключ": 3, "a.b": 4, _placeholder: true, num: 7 }],
  "many items": [Array.from({ length: 20 }, (_, at) => at), Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`k${at}`, at]))],
  binary: [Buffer.from([0, 1, 254, 255])],
  "empty binary": [Buffer.alloc(0)],
  "large binary": [Buffer.alloc(300, 7), Buffer.alloc(70_000, 9)],
  "nested binary": [{ files: [{ name: "a", data: Buffer.from("one") }, { data: [Buffer.from("two")] }] }, Buffer.from("three")],
  "more binary values than JSON packets may have": Array.from({ length: 20 }, (_, at) => Buffer.from([at])),
};

const transports = {
  polling: { transports: ["polling"] },
  websocket: { transports: ["websocket"] },
  "polling then websocket": {},
};

const encode = (packet) => new parser.Encoder().encode(packet)[0];

function decode(message) {
  assert.ok(Buffer.isBuffer(message), `binary and not ${message}`);
  const decoder = new parser.Decoder();
  let packet;
  decoder.on("decoded", (decoded) => (packet = decoded));
  decoder.add(message);
  return packet;
}

/** A WebSocket on a session. */
async function session(server) {
  const socket = await RawSocket.session(server);
  socket.say = (packet) => socket.send(encode({ nsp: "/", ...packet }));
  // That somebody has gone is told to everyone, and may come at any time.
  socket.hear = async () => {
    const packet = decode(await socket.next());
    return packet.type === EVENT && packet.data[0] === "gone" ? socket.hear() : packet;
  };
  return socket;
}

/** The same, in the main namespace: CONNECT's answer and the `auth` event are taken. */
async function joined(server) {
  const socket = await session(server);
  socket.say({ type: CONNECT });
  socket.connect = await socket.hear();
  socket.auth = await socket.hear();
  return socket;
}

for (const target of targets) {
  describe(`msgpack of ${target}`, () => {
    const clients = new Clients();
    let server;
    before(async () => {
      server = await startApp(target, { parser: "msgpack", maxHttpBufferSize: 10_000_000 });
    });
    afterEach(() => clients.close());
    after(() => server?.stop());

    const connect = (options) => clients.connect(server, { parser, ...options });

    describe("packets", () => {
      it("answers CONNECT with an id, and hands on what it brings", async () => {
        const socket = await session(server);
        socket.say({ type: CONNECT, data: { token: "abc", list: [1, 2] }, options: { compress: true } });
        const answer = await socket.hear();
        assert.match(answer.data.sid, /^[A-Za-z0-9_-]{20}$/);
        assert.deepEqual({ ...answer, data: null }, { type: CONNECT, nsp: "/", data: null });
        assert.deepEqual(await socket.hear(), { type: EVENT, nsp: "/", data: ["auth", { token: "abc", list: [1, 2] }] });
        socket.terminate();
      });

      it("sends an event as one message, binary included", async () => {
        const socket = await joined(server);
        assert.deepEqual(socket.auth, { type: EVENT, nsp: "/", data: ["auth", {}] });
        socket.say({ type: EVENT, data: ["message", 1, Buffer.from([1, 2])] });
        assert.deepEqual(await socket.hear(), { type: EVENT, nsp: "/", data: ["message-back", 1, Buffer.from([1, 2])] });
        socket.terminate();
      });

      it("reads the bytes of a client whatever their order", async () => {
        const socket = await joined(server);
        // {id: 12, options: {compress: true}, data: ["message-with-ack", "hi"], nsp: "/", type: 2.0 as a float}
        const message =
          "85a269640ca76f7074696f6e7381a8636f6d7072657373c3a46461746192b06d6573736167652d776974682d61636ba26869a36e7370a12fa474797065cb4000000000000000";
        socket.send(Buffer.from(message, "hex"));
        assert.deepEqual(await socket.hear(), { type: ACK, nsp: "/", data: ["hi"], id: 12 });
        socket.terminate();
      });

      it("answers with the ack's own number", async () => {
        const socket = await joined(server);
        socket.say({ type: EVENT, data: ["message-with-ack", 1, "2", { 3: [false] }, Buffer.from([4])], id: 456 });
        assert.deepEqual(await socket.hear(), { type: ACK, nsp: "/", data: [1, "2", { 3: [false] }, Buffer.from([4])], id: 456 });
        socket.terminate();
      });

      it("refuses namespaces, with data", async () => {
        const socket = await session(server);
        socket.say({ type: CONNECT, nsp: "/nowhere" });
        assert.deepEqual(await socket.hear(), { type: CONNECT_ERROR, nsp: "/nowhere", data: { message: "Invalid namespace" } });
        socket.say({ type: CONNECT, nsp: "/guarded", data: { token: "guess" } });
        const data = { message: "not authorized", data: { code: 401 } };
        assert.deepEqual(await socket.hear(), { type: CONNECT_ERROR, nsp: "/guarded", data });
        socket.say({ type: CONNECT, nsp: "/guarded", data: { token: "letmein" } });
        assert.equal((await socket.hear()).type, CONNECT);
        socket.terminate();
      });

      it("tells a client that it is put out", async () => {
        const socket = await joined(server);
        socket.say({ type: EVENT, data: ["bye", false] });
        assert.deepEqual(await socket.hear(), { type: DISCONNECT, nsp: "/" });
        socket.terminate();
      });

      it("travels in polls as base64", async () => {
        const polling = await PollingSession.open(server);
        await polling.send(`b${encode({ type: CONNECT, nsp: "/" }).toString("base64")}`);
        const packets = await polling.receive(2);
        const decoded = packets.map((packet) => {
          assert.match(packet, /^b[A-Za-z0-9+/=]+$/);
          return decode(Buffer.from(packet.slice(1), "base64"));
        });
        assert.deepEqual(decoded.map(({ type }) => type), [CONNECT, EVENT]);
      });

      const message = { type: EVENT, nsp: "/", data: ["message"] };
      const violations = {
        "an event before CONNECT": message,
        "a second CONNECT": { type: CONNECT },
        "CONNECT_ERROR from a client": { type: CONNECT_ERROR, data: { message: "no" } },
        "CONNECT with null": { type: CONNECT, data: null },
        "CONNECT with an array": { type: CONNECT, data: [] },
        "a text message": '2["message"]',
        "a text that is a number": "\u0002",
        "a packet type of JSON alone": { ...message, type: BINARY_EVENT },
        "a packet type that is a text": { ...message, type: "2" },
        "no packet type": { data: ["message"] },
        "a namespace that is no text": { ...message, nsp: 7 },
        "an event that is not an array": { ...message, data: {} },
        "an event without data": { type: EVENT },
        "DISCONNECT with data": { type: DISCONNECT, data: {} },
        "an id that is null": { ...message, id: null },
        "an id that is a fraction": { ...message, id: 1.5 },
        "an array instead of a map": encode([2, "/", ["message"]]),
        "a message that ends too early": encode(message).subarray(0, -4),
        "a message that goes on": Buffer.concat([encode(message), Buffer.from([0])]),
      };
      // Node's parser leaves these to the application, where some of them end the process.
      const strict = {
        "an event without a name": { ...message, data: [] },
        "an event whose name is null": { ...message, data: [null] },
        "an event whose name is an object": { ...message, data: [{ toString: "x" }] },
        "a reserved event name": { ...message, data: ["disconnecting"] },
        "a negative id": { ...message, id: -1 },
        "an ack without id": { type: ACK, data: [] },
      };
      const early = new Set(["an event before CONNECT", "CONNECT with null", "CONNECT with an array"]);
      for (const [what, violation] of Object.entries(target === "node" ? violations : { ...violations, ...strict })) {
        it(`closes the connection at ${what}`, async () => {
          const socket = early.has(what) ? await session(server) : await joined(server);
          socket.send(typeof violation === "string" || Buffer.isBuffer(violation) ? violation : encode({ nsp: "/", ...violation }));
          await socket.ends();
          assert.ok(socket.pending.every((message) => decode(message).data[0] === "gone"));
        });
      }
    });

    for (const [name, options] of Object.entries(transports)) {
      describe(`official client over ${name}`, () => {
        for (const [kind, args] of Object.entries(values)) {
          it(`carries ${kind} there and back`, async () => {
            const socket = await connect(options);
            assert.deepEqual(await ask(socket, "message-with-ack", ...args), args);
            socket.emit("message", ...args);
            assert.deepEqual(await next(socket, "message-back"), args);
          });
        }

        it("reads dates and undefined as JSON has them", async () => {
          const socket = await connect(options);
          const args = [undefined, new Date(1_700_000_000_123), { a: undefined, b: [undefined, new Date(0)], c: 1 }, NaN];
          const answer = await ask(socket, "message-with-ack", ...args);
          assert.deepEqual(JSON.parse(JSON.stringify(answer)), JSON.parse(JSON.stringify(args)));
        });

        it("reads array buffers of every length as binary", async () => {
          const socket = await connect(options);
          for (const length of [0, 1, 8, 9, 300]) {
            const [answer] = await ask(socket, "message-with-ack", new Uint8Array(length).fill(3).buffer);
            assert.deepEqual(Buffer.from(answer), Buffer.alloc(length, 3));
          }
        });

        it("is asked by the server and answers", async () => {
          const socket = await connect(options);
          socket.on("question", (argument, answer) => answer({ echoed: argument, more: [Buffer.from("yes")] }));
          socket.emit("ask", "question", { n: 1, data: Buffer.from("what") }, 5_000);
          const [{ error, response }] = await next(socket, "asked");
          assert.equal(error, null);
          assert.deepEqual(response, { echoed: { n: 1, data: Buffer.from("what") }, more: [Buffer.from("yes")] });
        });

        it("reaches the members of a room", async () => {
          const sockets = await Promise.all([connect(options), connect(options), connect(options)]);
          const [sender, member, stranger] = sockets;
          assert.deepEqual(await ask(member, "join", ["a", "b"]), [[member.id, "a", "b"].sort()]);
          sender.emit("send", { to: ["a"] }, "news", { n: 1 }, Buffer.from([5]));
          assert.deepEqual(await next(member, "news"), [{ n: 1 }, Buffer.from([5])]);
          await flush(...sockets);
          assert.deepEqual(received(sender, "news"), []);
          assert.deepEqual(received(stranger, "news"), []);
        });

        it("joins namespaces on one connection, and hears why not", async () => {
          const socket = await connect(options);
          const custom = clients.open(server, { namespace: "/custom", manager: socket.io });
          record(custom);
          await next(custom, "connect");
          assert.deepEqual(await ask(custom, "message-with-ack", "there"), ["there"]);
          const guarded = clients.open(server, { namespace: "/guarded", manager: socket.io, auth: { token: "guess" } });
          const [error] = await next(guarded, "connect_error");
          assert.equal(error.message, "not authorized");
          assert.deepEqual(error.data, { code: 401 });
          assert.deepEqual(await ask(socket, "message-with-ack", "still here"), ["still here"]);
        });

        it("keeps the order of many events", async () => {
          const socket = await connect(options);
          socket.emit("burst", 500);
          await until(() => received(socket, "burst").length === 500, "all events");
          assert.deepEqual(received(socket, "burst").flat(), Array.from({ length: 500 }, (_, at) => at));
        });

        it("is told when it is put out", async () => {
          const socket = await connect(options);
          socket.emit("bye", false);
          assert.equal((await next(socket, "disconnect"))[0], "io server disconnect");
        });
      });
    }

    it("ends the connection of a client that speaks JSON", async () => {
      const socket = clients.open(server, { transports: ["websocket"] });
      assert.match((await next(socket.io, "close"))[0], /transport close|parse error/);
      assert.ok(!socket.connected);
    });
  });

  for (const other of new Set(["node", target])) {
    describe(`cluster of ${target} with msgpack and ${other} with JSON`, () => {
      const clients = new Clients();
      let redis;
      let servers;
      before(async () => {
        redis = await Redis.start();
        servers = await Promise.all([startApp(target, { redis, parser: "msgpack" }), startApp(other, { redis })]);
      });
      afterEach(() => clients.close());
      after(async () => {
        await Promise.all((servers ?? []).map((server) => server.stop()));
        await redis?.stop();
      });

      it("delivers broadcasts both ways, binary included", async () => {
        const packed = await clients.connect(servers[0], { transports: ["websocket"], parser });
        const plain = await clients.connect(servers[1], { transports: ["websocket"] });
        const heard = (socket, event, from) => received(socket, event).filter(([sender]) => sender === from.id);
        const pairs = [
          [packed, plain],
          [plain, packed],
        ];
        await until(() => {
          for (const [from] of pairs) from.emit("send", {}, "hello", from.id);
          return pairs.every(([from, to]) => heard(to, "hello", from).length > 0);
        }, "complete cluster");
        const args = [1.5, -70_000, 2 ** 40, "ü", null, { a: [Buffer.from("one"), { b: Buffer.from("two") }] }];
        for (const [from, to] of pairs) {
          await ask(to, "join", "room");
          from.emit("send", { to: ["room"] }, "news", from.id, ...args);
          await until(() => heard(to, "news", from).length > 0, "news");
          assert.deepEqual(heard(to, "news", from), [[from.id, ...args]]);
        }
      });
    });
  }
}

if (targets.includes("synapse")) {
  describe("msgpack of the synapse binary", () => {
    const clients = new Clients();
    let server;
    before(async () => {
      server = await startSynapse({ env: { SYNAPSE_PARSER: "msgpack" } });
    });
    after(() => {
      clients.close();
      return server?.stop();
    });

    it("relays an event to everyone else", async () => {
      const [sender, other] = await Promise.all([clients.connect(server, { parser }), clients.connect(server, { parser })]);
      sender.emit("test_event", { n: 1 }, Buffer.from([1, 2]));
      assert.deepEqual(await next(other, "test_event"), [{ n: 1 }, Buffer.from([1, 2])]);
    });
  });
}
