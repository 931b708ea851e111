// Socket.IO v5 on one server: by a bare WebSocket where the wire itself is the subject, else by the official client.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { startApp, targets } from "./support/app.mjs";
import { ask, Clients, flush, received, record } from "./support/clients.mjs";
import { PollingSession, RawSocket } from "./support/engine.mjs";
import { next, until } from "./support/wait.mjs";

const LARGE = 1024 * 1024;

const values = {
  nothing: [],
  null: [null],
  booleans: [true, false],
  integers: [0, -1, 42, 2 ** 31, -(2 ** 31), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER],
  fractions: [0.1, -2.5e-7, 1e300],
  text: ["", "plain", 'quotes " and \\ and \n'],
  unicode: ["ünïcödé €", "日本語", "👩‍👩‍👧‍👦", "\u0000\u2028\u2029"],
  "nested data": [{ a: { b: [{ c: [[], {}] }, null] } }, [[[["deep"]]]]],
  "keys of all kinds": [{ "": 1, __proto__x: 2, "ключ": 3, "a.b": 4, _placeholder: false, num: 7 }],
  binary: [Buffer.from([0, 1, 254, 255])],
  "empty binary": [Buffer.alloc(0)],
  "nested binary": [{ files: [{ name: "a", data: Buffer.from("one") }, { data: [Buffer.from("two")] }] }, Buffer.from("three")],
  "binary with text around": ["before", Buffer.from([1]), { after: Buffer.from([2]) }, "end"],
};

const transports = {
  polling: { transports: ["polling"] },
  websocket: { transports: ["websocket"] },
  "polling then websocket": {},
  "websocket then polling": { transports: ["websocket", "polling"] },
};

for (const target of targets) {
  describe(`Socket.IO of ${target}`, () => {
    const clients = new Clients();
    let server;
    before(async () => {
      server = await startApp(target, { maxHttpBufferSize: 10_000_000 });
    });
    afterEach(() => clients.close());
    after(() => server?.stop());

    describe("wire", () => {
      it("answers CONNECT with an id of its own", async () => {
        const socket = await RawSocket.joined(server);
        const { sid } = JSON.parse(socket.connect.slice(2));
        assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
        assert.notEqual(sid, socket.handshake.sid);
        assert.equal(socket.auth, '42["auth",{}]');
        socket.terminate();
      });

      it("hands on what CONNECT brings", async () => {
        const socket = await RawSocket.joined(server, "/", { token: "abc", list: [1, 2] });
        assert.equal(socket.auth, '42["auth",{"token":"abc","list":[1,2]}]');
        socket.terminate();
      });

      it("serves several namespaces on one connection", async () => {
        const socket = await RawSocket.joined(server);
        socket.send("40/custom,");
        const connect = await socket.next();
        assert.match(connect, /^40\/custom,\{"sid":"[A-Za-z0-9_-]{20}"\}$/);
        assert.notEqual(connect.slice(11), socket.connect.slice(2));
        assert.equal(await socket.next(), '42/custom,["auth",{}]');
        socket.send('42/custom,["message","there"]');
        socket.send('42["message","here"]');
        assert.equal(await socket.next(), '42/custom,["message-back","there"]');
        assert.equal(await socket.next(), '42["message-back","here"]');
        socket.terminate();
      });

      it("refuses a namespace that does not exist", async () => {
        const socket = await RawSocket.session(server);
        socket.send("40/nowhere");
        assert.equal(await socket.next(), '44/nowhere,{"message":"Invalid namespace"}');
        socket.terminate();
      });

      it("refuses in a middleware, with data", async () => {
        const socket = await RawSocket.session(server);
        socket.send('40/guarded,{"token":"guess"}');
        const refusal = await socket.next();
        assert.ok(refusal.startsWith("44/guarded,{"), refusal);
        assert.deepEqual(JSON.parse(refusal.slice(11)), { message: "not authorized", data: { code: 401 } });
        socket.send('40/guarded,{"token":"letmein"}');
        assert.match(await socket.next(), /^40\/guarded,\{"sid":/);
        socket.terminate();
      });

      it("answers with the ack's own number", async () => {
        const socket = await RawSocket.joined(server);
        socket.send('42456["message-with-ack",1,"2",{"3":[false]}]');
        assert.equal(await socket.next(), '43456[1,"2",{"3":[false]}]');
        socket.send('42/custom,0["message-with-ack"]');
        await socket.ends();
      });

      it("answers with binary in an ack", async () => {
        const socket = await RawSocket.joined(server);
        socket.send('452-7["message-with-ack",{"_placeholder":true,"num":0},"-",{"_placeholder":true,"num":1}]');
        socket.send(Buffer.from([1, 2, 3]));
        socket.send(Buffer.from([4]));
        assert.equal(await socket.next(), '462-7[{"_placeholder":true,"num":0},"-",{"_placeholder":true,"num":1}]');
        assert.deepEqual(await socket.next(), Buffer.from([1, 2, 3]));
        assert.deepEqual(await socket.next(), Buffer.from([4]));
        socket.terminate();
      });

      it("leaves a namespace and keeps the connection", async () => {
        const socket = await RawSocket.joined(server);
        socket.send("40/custom,");
        await socket.next();
        await socket.next();
        socket.send("41/custom,");
        socket.send('42["message","still here"]');
        let packet = await socket.next();
        if (packet.includes("gone")) packet = await socket.next();
        assert.equal(packet, '42["message-back","still here"]');
        socket.terminate();
      });

      const violations = {
        "an event before CONNECT": '42["message"]',
        "a second CONNECT": ["40", "40"],
        "CONNECT_ERROR from a client": '44{"message":"no"}',
        "an unknown packet type": "4abc",
        "a payload that is not JSON": ["40", '42{"a"'],
        "an event that is not an array": ["40", "42{}"],
        "an event without a name": ["40", "42[]"],
        "an event whose name is null": ["40", "42[null]"],
        "an event whose name is an object": ["40", '42[{"toString":"x"}]'],
        "a reserved event name": ["40", '42["disconnecting"]'],
        "text while an attachment is awaited": ["40", '451-["message",{"_placeholder":true,"num":0}]', '42["message"]'],
        "an attachment nobody announced": ["40", Buffer.from([1])],
        "an attachment count that is no number": ["40", '45splice-["message"]'],
        "a placeholder that is out of range": ["40", '451-["message",{"_placeholder":true,"num":9}]', Buffer.from([1])],
        "more than ten attachments": ["40", '4511-["message"]'],
      };
      for (const [what, packets] of Object.entries(violations)) {
        it(`closes the connection at ${what}`, async () => {
          const before = packets[0] === "40";
          const socket = before ? await RawSocket.joined(server) : await RawSocket.session(server);
          for (const packet of before ? packets.slice(1) : [packets]) socket.send(packet);
          await socket.ends();
        });
      }

      it("delivers nothing to a connection that joined no namespace", async () => {
        const idle = await RawSocket.session(server);
        const sender = await RawSocket.joined(server);
        sender.send('42["send",{"self":true},"news",1]');
        assert.equal(await sender.next(), '42["news",1]');
        idle.send("40");
        assert.match(await idle.next(), /^40/);
        idle.terminate();
        sender.terminate();
      });
    });

    for (const [name, options] of Object.entries(transports)) {
      describe(`client by ${name}`, () => {
        for (const [what, args] of Object.entries(values)) {
          it(`sends ${what} there and back`, async () => {
            const socket = await clients.connect(server, options);
            const back = next(socket, "message-back");
            socket.emit("message", ...args);
            assert.deepEqual(await back, args);
            assert.deepEqual(await ask(socket, "message-with-ack", ...args), args);
          });
        }

        it("sends a mebibyte of text and of binary", async () => {
          const socket = await clients.connect(server, options);
          const text = "0123456789abcdef".repeat(LARGE / 16);
          const binary = Buffer.alloc(LARGE, "synapse");
          assert.deepEqual(await ask(socket, "message-with-ack", text), [text]);
          const [answer] = await ask(socket, "message-with-ack", binary);
          assert.ok(binary.equals(answer));
        });

        it("keeps the order of many messages both ways", async () => {
          const socket = clients.open(server, options);
          record(socket);
          for (let number = 0; number < 1_000; number++) socket.emit("message", number);
          socket.emit("burst", 1_000);
          const numbers = Array.from({ length: 1_000 }, (_, number) => [number]);
          await until(() => received(socket, "burst").length >= 1_000, "burst of 1,000", 15_000);
          assert.deepEqual(received(socket, "burst"), numbers);
          assert.deepEqual(received(socket, "message-back"), numbers);
        });

        it("sees its auth and handshake on the server", async () => {
          const auth = { token: "abc", nested: { list: [1, null, "ü"] } };
          const socket = await clients.connect(server, { ...options, auth, query: { room: "a b", empty: "" } });
          const [handshake] = await ask(socket, "handshake");
          assert.deepEqual(received(socket, "auth"), [[auth]]);
          assert.deepEqual(handshake.auth, auth);
          assert.equal(handshake.query.EIO, "4");
          assert.equal(handshake.query.room, "a b");
          assert.equal(handshake.query.empty, "");
          assert.equal(handshake.address, "127.0.0.1");
          assert.equal(handshake.hasHeaders, true);
          assert.ok(handshake.url.startsWith("/socket.io/?"), handshake.url);
          assert.equal(handshake.secure, false);
          assert.equal(handshake.xdomain, false);
          assert.equal(handshake.issuedIsNumber, true);
        });
      });
    }

    describe("upgrade", () => {
      it("happens, and loses and reorders nothing in either direction", async () => {
        const socket = clients.open(server, { transports: ["polling", "websocket"] });
        record(socket);
        const upgraded = new Promise((resolve) => {
          socket.io.on("open", () => socket.io.engine.once("upgrade", resolve));
        });
        await next(socket, "connect");
        const numbers = Array.from({ length: 1_000 }, (_, number) => [number]);
        // A few in each turn of the event loop, so that they are spread over the whole upgrade.
        for (let number = 0; number < 1_000; ) {
          for (let end = number + 10; number < end; number++) socket.emit("message", number);
          if (number === 200) socket.emit("burst", 1_000);
          await new Promise(setImmediate);
        }
        await until(() => received(socket, "message-back").length >= 1_000, "1,000 answers", 15_000);
        await until(() => received(socket, "burst").length >= 1_000, "burst of 1,000", 15_000);
        assert.deepEqual(received(socket, "message-back"), numbers);
        assert.deepEqual(received(socket, "burst"), numbers);
        await upgraded;
        assert.equal(socket.io.engine.transport.name, "websocket");
        assert.deepEqual(await ask(socket, "message-with-ack", "after"), ["after"]);
      });
    });

    describe("namespaces", () => {
      it("share one connection and keep apart", async () => {
        const main = await clients.connect(server);
        const custom = await clients.connect(server, { namespace: "/custom", manager: main.io });
        assert.equal(main.io, custom.io);
        assert.notEqual(main.id, custom.id);
        main.emit("send", { self: true }, "news", "main");
        custom.emit("send", { self: true }, "news", "custom");
        await flush(main, custom);
        assert.deepEqual(received(main, "news"), [["main"]]);
        assert.deepEqual(received(custom, "news"), [["custom"]]);
      });

      it("that do not exist are refused", async () => {
        const socket = clients.open(server, { namespace: "/nowhere" });
        const [error] = await next(socket, "connect_error");
        assert.equal(error.message, "Invalid namespace");
      });

      it("can be guarded", async () => {
        const refused = clients.open(server, { namespace: "/guarded", auth: { token: "guess" } });
        const [error] = await next(refused, "connect_error");
        assert.equal(error.message, "not authorized");
        assert.deepEqual(error.data, { code: 401 });
        const socket = await clients.connect(server, { namespace: "/guarded", auth: { token: "letmein" } });
        assert.deepEqual(await ask(socket, "message-with-ack", "in"), ["in"]);
      });
    });

    describe("asking a client", () => {
      it("gets its answer", async () => {
        const socket = await clients.connect(server);
        socket.on("question", (arg, callback) => callback({ answer: arg * 2 }));
        socket.emit("ask", "question", 21, 2_000);
        assert.deepEqual(await next(socket, "asked"), [{ error: null, response: { answer: 42 } }]);
      });

      it("gets binary", async () => {
        const socket = await clients.connect(server);
        socket.on("question", (arg, callback) => callback({ data: arg }));
        socket.emit("ask", "question", Buffer.from([1, 2]), 2_000);
        assert.deepEqual(await next(socket, "asked"), [{ error: null, response: { data: Buffer.from([1, 2]) } }]);
      });

      it("ends in time when there is none", async () => {
        const socket = await clients.connect(server);
        socket.emit("ask", "question", 1, 100);
        assert.deepEqual(await next(socket, "asked"), [{ error: "operation has timed out", response: null }]);
      });
    });

    describe("rooms", () => {
      it("are joined and left", async () => {
        const socket = await clients.connect(server);
        assert.deepEqual(await ask(socket, "join", "b"), [[socket.id, "b"].sort()]);
        assert.deepEqual(await ask(socket, "join", ["c", "a", "b"]), [[socket.id, "a", "b", "c"].sort()]);
        assert.deepEqual(await ask(socket, "leave", "b"), [[socket.id, "a", "c"].sort()]);
        assert.deepEqual(await ask(socket, "leave", "unknown"), [[socket.id, "a", "c"].sort()]);
      });

      const all = ["sender", "inA", "inAB", "inB", "outside"];
      const sends = [
        ["everybody", { self: true }, all],
        ["everybody else", {}, ["inA", "inAB", "inB", "outside"]],
        ["one room", { to: ["a"], self: true }, ["inA", "inAB"]],
        ["several rooms, once each", { to: ["a", "b"], self: true }, ["inA", "inAB", "inB"]],
        ["everybody but a room", { except: ["a"], self: true }, ["sender", "inB", "outside"]],
        ["one room but not another", { to: ["a"], except: ["b"], self: true }, ["inA"]],
        ["everybody else but a room", { except: ["b"] }, ["inA", "outside"]],
        ["an empty room", { to: ["nobody"], self: true }, []],
        ["this server", { local: true, self: true }, all],
        ["everybody who can take it at once", { volatile: true, self: true }, all],
        ["one socket by its id", { to: ["@inB"], self: true }, ["inB"]],
        ["itself, which is left out", { to: ["@sender"] }, []],
        ["everybody but one socket", { except: ["@inA"], self: true }, ["sender", "inAB", "inB", "outside"]],
      ];
      for (const [what, options, expected] of sends) {
        it(`reach ${what}`, async () => {
          const sockets = Object.fromEntries(
            await Promise.all(all.map(async (name) => [name, await clients.connect(server, transports.websocket)])),
          );
          await ask(sockets.inA, "join", "a");
          await ask(sockets.inAB, "join", ["a", "b"]);
          await ask(sockets.inB, "join", ["b"]);
          const resolve = (rooms) => rooms?.map((room) => (room[0] === "@" ? sockets[room.slice(1)].id : room));
          const chain = { ...options, to: resolve(options.to), except: resolve(options.except) };

          sockets.sender.emit("send", chain, "news", what, Buffer.from([7]));
          await flush(sockets.sender);
          await flush(...Object.values(sockets));
          for (const [name, socket] of Object.entries(sockets)) {
            const news = expected.includes(name) ? [[what, Buffer.from([7])]] : [];
            assert.deepEqual(received(socket, "news"), news, `news of ${name}`);
          }
        });
      }

      it("count nobody after everybody left", async () => {
        const socket = await clients.connect(server, { namespace: "/custom" });
        const other = await clients.connect(server, { namespace: "/custom" });
        assert.deepEqual(await ask(socket, "sockets"), [2]);
        other.disconnect();
        await until(async () => (await ask(socket, "sockets"))[0] === 1, "count of one");
      });
    });

    describe("disconnect", () => {
      /** Waits for what the server says about the end of a socket: `[namespace, reason, rooms]`. */
      const goneOf = (witness, id) =>
        until(() => received(witness, "gone").find(([, gone]) => gone === id), `"gone" of ${id}`).then(
          ([namespace, , reason, rooms]) => [namespace, reason, rooms],
        );

      it("by the client from a namespace", async () => {
        const witness = await clients.connect(server);
        const socket = await clients.connect(server);
        const custom = await clients.connect(server, { namespace: "/custom", manager: socket.io });
        await ask(custom, "join", ["y", "x"]);
        const { id } = custom;
        const reason = next(custom, "disconnect");
        custom.disconnect();
        assert.equal((await reason)[0], "io client disconnect");
        assert.deepEqual(await goneOf(witness, id), ["/custom", "client namespace disconnect", ["x", "y"]]);
        assert.deepEqual(await ask(socket, "message-with-ack", "still here"), ["still here"]);
      });

      for (const name of ["polling", "websocket"]) {
        it(`by the end of the connection over ${name}`, async () => {
          const witness = await clients.connect(server);
          const socket = await clients.connect(server, transports[name]);
          await ask(socket, "join", "room");
          const { id } = socket;
          socket.io.engine.close();
          const expected = { polling: ["transport close", "transport error"], websocket: ["transport close"] };
          const [namespace, reason, rooms] = await goneOf(witness, id);
          assert.equal(namespace, "/");
          assert.ok(expected[name].includes(reason), reason);
          assert.deepEqual(rooms, ["room"]);
        });
      }

      it("by the server from a namespace", async () => {
        const witness = await clients.connect(server);
        const socket = await clients.connect(server);
        const custom = await clients.connect(server, { namespace: "/custom", manager: socket.io });
        const { id } = custom;
        const reason = next(custom, "disconnect");
        custom.emit("bye", false);
        assert.equal((await reason)[0], "io server disconnect");
        assert.deepEqual(await goneOf(witness, id), ["/custom", "server namespace disconnect", []]);
        assert.deepEqual(await ask(socket, "message-with-ack", "still here"), ["still here"]);
      });

      it("by the server from all namespaces and the connection", async () => {
        const witness = await clients.connect(server);
        const socket = await clients.connect(server);
        const custom = await clients.connect(server, { namespace: "/custom", manager: socket.io });
        const ids = [socket.id, custom.id];
        const reasons = [next(socket, "disconnect"), next(custom, "disconnect")];
        const closed = next(socket.io, "close");
        socket.emit("bye", true);
        for (const reason of reasons) assert.equal((await reason)[0], "io server disconnect");
        await closed;
        assert.deepEqual(await goneOf(witness, ids[0]), ["/", "server namespace disconnect", []]);
        assert.deepEqual(await goneOf(witness, ids[1]), ["/custom", "server namespace disconnect", []]);
      });

      it("by a broken rule", async () => {
        const witness = await clients.connect(server);
        const raw = await RawSocket.joined(server);
        const { sid } = JSON.parse(raw.connect.slice(2));
        raw.send("40");
        await raw.ends();
        // Node says the one over WebSocket and the other over polling.
        const [namespace, reason] = await goneOf(witness, sid);
        assert.equal(namespace, "/");
        assert.ok(["forced close", "forced server close"].includes(reason), reason);
      });

      it("by a packet that cannot be decoded", async () => {
        const witness = await clients.connect(server);
        const raw = await RawSocket.joined(server);
        const { sid } = JSON.parse(raw.connect.slice(2));
        raw.send("42[not json");
        await raw.ends();
        assert.deepEqual(await goneOf(witness, sid), ["/", "forced close", []]);
      });

      it("by a connection that is cut, after which the client comes back", async () => {
        const witness = await clients.connect(server);
        const socket = await clients.connect(server, {
          ...transports.websocket,
          reconnection: true,
          reconnectionDelay: 10,
          reconnectionDelayMax: 50,
        });
        const { id } = socket;
        const reason = next(socket, "disconnect");
        const back = next(socket, "connect");
        socket.io.engine.transport.ws.terminate();
        assert.equal((await reason)[0], "transport close");
        await back;
        assert.notEqual(socket.id, id);
        assert.deepEqual(await goneOf(witness, id), ["/", "transport close", []]);
        assert.deepEqual(await ask(socket, "message-with-ack", "back"), ["back"]);
      });
    });
  });

  describe(`Socket.IO heartbeat of ${target}`, () => {
    const clients = new Clients();
    let server;
    before(async () => {
      server = await startApp(target, { pingInterval: 300, pingTimeout: 600 });
    });
    after(async () => {
      clients.close();
      await server?.stop();
    });

    it("ends who went silent, and nobody else", async () => {
      const witness = await clients.connect(server);
      const silent = await RawSocket.joined(server);
      const polling = await PollingSession.open(server);
      const [connect] = await polling.join();
      const ids = [silent.connect, connect].map((packet) => JSON.parse(packet.slice(2)).sid);
      for (const id of ids) {
        const gone = await until(() => received(witness, "gone").find(([, gone]) => gone === id), `"gone" of ${id}`);
        assert.deepEqual(gone, ["/", id, "ping timeout", []]);
      }
      assert.equal(witness.connected, true);
    });
  });
}
