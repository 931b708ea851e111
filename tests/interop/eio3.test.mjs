// Clients of Socket.IO 2 (Engine.IO v3), together with those of today: the official client wherever it can show it, else by hand.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { io as ioV3 } from "socket.io-client-v3";
import { startApp, targets } from "./support/app.mjs";
import { ask, Clients, flush, received } from "./support/clients.mjs";
import { address, PollingSession, RawSocket, request } from "./support/engine.mjs";
import { startNodeServer } from "./support/node-server.mjs";
import { OldClients, OldPollingSession } from "./support/old-clients.mjs";
import { Redis } from "./support/redis.mjs";
import { next, until, within } from "./support/wait.mjs";

const values = {
  text: ["plain", 'quotes " and \\ and \n', "ünïcödé €", "👩‍👩‍👧‍👦", "\u0000\u2028\u2029"],
  json: [null, true, -1.5, [{ a: { b: [] } }]],
  binary: [Buffer.from([0, 1, 254, 255])],
  "empty binary": [Buffer.alloc(0)],
  "binary with text around": ["€", { data: [Buffer.from("one")] }, Buffer.alloc(70_000, 7), "👍"],
};

const transports = {
  polling: { transports: ["polling"] },
  websocket: { transports: ["websocket"] },
  "polling then websocket": {},
  "polling in base64": { transports: ["polling"], forceBase64: true },
  "websocket in base64": { transports: ["websocket"], forceBase64: true },
};

for (const target of targets) {
  describe(`Socket.IO 2 with ${target}`, () => {
    const clients = new OldClients();
    const newClients = new Clients();
    let server;
    before(async () => {
      server = await startApp(target, { allowEIO3: true });
    });
    afterEach(() => {
      clients.close();
      newClients.close();
    });
    after(() => server?.stop());

    for (const [name, options] of Object.entries(transports)) {
      describe(`over ${name}`, () => {
        for (const [what, args] of Object.entries(values)) {
          it(`carries ${what} both ways`, async () => {
            const socket = await clients.connect(server, options);
            const back = next(socket, "message-back");
            socket.emit("message", ...args);
            assert.deepEqual(await back, args);
            assert.deepEqual(await ask(socket, "message-with-ack", ...args), args);
            socket.on("question", (value, callback) => callback(value));
            const asked = next(socket, "asked");
            socket.emit("ask", "question", args, 5_000);
            assert.deepEqual(await asked, [{ error: null, response: args }]);
          });
        }

        it("keeps the order of a burst", async () => {
          const socket = await clients.connect(server, options);
          socket.emit("burst", 200);
          await flush(socket);
          assert.deepEqual(received(socket, "burst").flat(), [...Array(200).keys()]);
        });
      });
    }

    it("goes over to WebSocket and loses nothing on the way", async () => {
      const socket = await clients.connect(server);
      const sent = [];
      do {
        socket.emit("message", sent.length, Buffer.from([sent.length]));
        sent.push(sent.length);
        await ask(socket, "message-with-ack");
      } while (socket.io.engine.transport.name !== "websocket");
      await flush(socket);
      assert.deepEqual(received(socket, "message-back").map(([number]) => number), sent);
    });

    describe("namespaces", () => {
      it("are joined on one connection, the main one without asking", async () => {
        const main = await clients.connect(server, { transports: ["websocket"] });
        const custom = await clients.connect(server, { manager: main.io, namespace: "/custom" });
        assert.equal(main.id, main.io.engine.id);
        assert.equal(custom.id, `/custom#${main.io.engine.id}`);
        assert.deepEqual(await ask(custom, "message-with-ack", "custom"), ["custom"]);
        assert.deepEqual(await ask(main, "message-with-ack", "main"), ["main"]);
        await Promise.all([until(() => received(main, "auth").length, "auth"), until(() => received(custom, "auth").length, "auth")]);
        assert.deepEqual(received(main, "auth"), [[{}]]);
        assert.deepEqual(received(custom, "auth"), [[{}]]);
      });

      it("take the query as the auth", async () => {
        const query = { token: "a b&c=é,d", list: "1" };
        const custom = await clients.connect(server, { namespace: "/custom", query });
        await flush(custom);
        assert.deepEqual(received(custom, "auth"), [[query]]);
        const [handshake] = await ask(custom, "handshake");
        assert.deepEqual(handshake.auth, query);
        assert.equal(handshake.query.token, query.token);
      });

      it("let in whom their middleware lets in", async () => {
        const guarded = await clients.connect(server, { namespace: "/guarded", query: { token: "letmein" } });
        assert.deepEqual(await ask(guarded, "message-with-ack", "in"), ["in"]);
      });

      it("refuse with the data of the error, and the connection stays", async () => {
        const main = await clients.connect(server);
        const guarded = clients.open(server, { manager: main.io, namespace: "/guarded", query: { token: "wrong" } });
        assert.deepEqual(await next(guarded, "error"), [{ code: 401 }]);
        const unknown = clients.open(server, { manager: main.io, namespace: "/unknown" });
        assert.deepEqual(await next(unknown, "error"), [{ message: "Invalid namespace" }]);
        assert.deepEqual(await ask(main, "message-with-ack", "still"), ["still"]);
      });
    });

    describe("with clients of today", () => {
      it("shares rooms and broadcasts, text and binary", async () => {
        const [polling, websocket, base64] = await Promise.all([
          clients.connect(server, { transports: ["polling"] }),
          clients.connect(server, { transports: ["websocket"] }),
          clients.connect(server, { transports: ["websocket"], forceBase64: true }),
        ]);
        const today = await newClients.connect(server);
        const outside = await clients.connect(server);
        const inside = [polling, websocket, base64, today];
        for (const socket of inside) await ask(socket, "join", "mixed");

        const args = ["€", Buffer.from([1, 2, 3]), { deep: [Buffer.alloc(3000, 9)] }];
        for (const sender of inside) {
          sender.emit("send", { to: ["mixed"], self: true }, `from-${sender.id}`, ...args);
          for (const socket of inside) {
            const here = () => received(socket, `from-${sender.id}`).length === 1;
            await until(here, `broadcast of ${sender.id} at ${socket.id}`);
            assert.deepEqual(received(socket, `from-${sender.id}`), [args]);
          }
        }
        await flush(outside);
        assert.equal(outside.received.filter(([name]) => name.startsWith("from-")).length, 0);

        today.emit("send", { to: ["mixed"], except: [polling.id] }, "except", 1);
        await until(() => received(websocket, "except").length, "broadcast");
        await flush(today, polling);
        assert.deepEqual([polling, today].map((socket) => received(socket, "except").length), [0, 0]);
      });

      it("are found by what they call themselves", async () => {
        const today = await newClients.connect(server);
        const todayCustom = await newClients.connect(server, { manager: today.io, namespace: "/custom" });
        const main = await clients.connect(server);
        const custom = await clients.connect(server, { manager: main.io, namespace: "/custom" });
        for (const [sender, socket] of [
          [today, main],
          [todayCustom, custom],
        ]) {
          const told = next(socket, "told");
          sender.emit("send", { to: [socket.id] }, "told", socket.id);
          assert.deepEqual(await told, [socket.id]);
          sender.emit("send", { except: [socket.id] }, "others", 1);
          await flush(sender, socket);
          assert.deepEqual(received(socket, "others"), []);
          const [rooms] = await ask(socket, "join", "room");
          assert.deepEqual(rooms, [socket.id, "room"].sort());
        }
        const back = next(today, "back");
        main.emit("send", { to: [today.id] }, "back", 1);
        await back;
      });
    });

    describe("ends", () => {
      let observer;
      const gone = (id) => until(() => received(observer, "gone").find(([_name, gone]) => gone === id), `end of ${id}`);
      afterEach(() => (observer = undefined));

      it("when the server puts a client out of a namespace", async () => {
        observer = await newClients.connect(server);
        const main = await clients.connect(server);
        const custom = await clients.connect(server, { manager: main.io, namespace: "/custom" });
        const ended = next(custom, "disconnect");
        custom.emit("bye", false);
        assert.deepEqual(await ended, ["io server disconnect"]);
        assert.deepEqual(await ask(main, "message-with-ack", "still"), ["still"]);
        // It may come back, with the id it had.
        custom.open();
        await next(custom, "connect");
        assert.deepEqual(await ask(custom, "message-with-ack", "again"), ["again"]);
      });

      it("when the server closes the connection", async () => {
        observer = await newClients.connect(server);
        for (const options of [{ transports: ["polling"] }, { transports: ["websocket"] }]) {
          const socket = await clients.connect(server, options);
          const id = socket.id;
          const ended = next(socket, "disconnect");
          socket.emit("bye", true);
          assert.deepEqual(await ended, ["io server disconnect"]);
          assert.deepEqual((await gone(id)).slice(0, 3), ["/", id, "server namespace disconnect"]);
        }
      });

      it("when a client leaves", async () => {
        observer = await newClients.connect(server);
        for (const options of [{ transports: ["polling"] }, { transports: ["websocket"] }]) {
          const socket = await clients.connect(server, options);
          const { id } = socket;
          await ask(socket, "join", "left");
          socket.disconnect();
          assert.deepEqual(await gone(id), ["/", id, "client namespace disconnect", ["left"]]);
        }
      });

      it("by a packet that is none", async () => {
        observer = await newClients.connect(server);
        const bodies = ["", "4hello", "9999999999:4", "2:4", ":1:2", "1:9"];
        // Node takes what there is of these.
        const lax = ["2:4👍", "3:b4!", Buffer.from([0, 9, 9, 255, 0x34]), Buffer.from([1, 1, 255, 0x34])];
        for (const body of target === "node" ? bodies : bodies.concat(lax)) {
          const type = typeof body === "string" ? undefined : "application/octet-stream";
          const session = await OldPollingSession.open(server);
          await session.receive(2);
          await session.post(body, type);
          assert.equal((await gone(session.sid))[2], "parse error", String(body));
        }
      });
    });

    for (const [name, options] of Object.entries({ polling: { transports: ["polling"] }, websocket: { transports: ["websocket"] } })) {
      it(`serves clients of Socket.IO 3 over ${name} as those of 4`, async () => {
        const socket = ioV3(server.url, { forceNew: true, reconnection: false, ...options });
        try {
          await next(socket, "connect");
          assert.notEqual(socket.id, socket.io.engine.id);
          assert.deepEqual(await ask(socket, "message-with-ack", "€", Buffer.from([1])), ["€", Buffer.from([1])]);
        } finally {
          socket.close();
        }
      });
    }
  });

  // On a server of its own, because others would be told of every client that goes.
  describe(`Engine.IO v3 of ${target} by hand`, () => {
    let server;
    before(async () => {
      server = await startApp(target, { allowEIO3: true });
    });
    after(() => server?.stop());

    describe("polling", () => {
      it("tells the same five things with their length", async () => {
        const { status, headers, body } = await request(address(server, { EIO: undefined }));
        assert.equal(status, 200);
        assert.equal(headers.get("content-type"), "text/plain; charset=UTF-8");
        assert.equal(headers.get("cache-control"), "no-store");
        const [, length, packet] = /^(\d+):(0.*)$/.exec(body);
        assert.equal(Number(length), packet.length);
        const keys = ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"];
        assert.deepEqual(Object.keys(JSON.parse(packet.slice(1))), keys);
      });

      it("answers in bytes where something is binary, in base64 where that is asked for", async () => {
        for (const [b64, type] of [
          [undefined, "application/octet-stream"],
          ["1", "text/plain; charset=UTF-8"],
        ]) {
          const session = await OldPollingSession.open(server, { b64 });
          await session.receive(2);
          await session.send('451-["message",{"_placeholder":true,"num":0}]', "b4AQI=");
          const response = await within(fetch(session.url), "poll");
          assert.equal(response.headers.get("content-type"), type);
          const text = '451-["message-back",{"_placeholder":true,"num":0}]';
          const body = Buffer.from(await response.arrayBuffer());
          const bytes = Buffer.concat([Buffer.from([0, 5, 0, 255]), Buffer.from(text), Buffer.from([1, 3, 255, 4, 1, 2])]);
          assert.deepEqual(body, b64 ? Buffer.from(`${text.length}:${text}6:b4AQI=`) : bytes);
        }
      });

      it("takes bodies of bytes", async () => {
        const session = await OldPollingSession.open(server);
        await session.receive(2);
        const text = Buffer.from('42["message","€"]');
        await session.post(Buffer.concat([Buffer.from([0, 1, 9, 255]), text]), "application/octet-stream");
        assert.deepEqual(await session.packets(), ['42["message-back","€"]']);
      });

      it("refuses requests of another version of the protocol, and the session stays", async () => {
        const session = await OldPollingSession.open(server);
        const today = await PollingSession.open(server);
        for (const parameters of [
          { EIO: "4", sid: session.sid },
          { EIO: "3", sid: today.sid },
          { EIO: undefined, sid: today.sid },
        ]) {
          const { status, body } = await request(address(server, parameters));
          assert.equal(status, 400);
          assert.deepEqual(JSON.parse(body), { code: 3, message: "Bad request" });
        }
        assert.deepEqual(await session.receive(2), ["40", '42["auth",{}]']);
        assert.match((await today.join())[0], /^40\{/);
      });
    });

    describe("JSONP", () => {
      const texts = ['quotes " and \\', "line\nfeed and \\n and \\\\n", "\u2028\u2029€👍", "</script>"];

      it("carries text of all kinds both ways", async () => {
        const session = await OldPollingSession.open(server, { b64: "1", j: "3" });
        assert.match(session.headers.get("content-type"), /^text\/plain/);
        assert.deepEqual(await session.receive(2), ["40", '42["auth",{}]']);
        for (const text of texts) {
          const { status, body } = await session.send(`42${JSON.stringify(["message", text])}`);
          assert.deepEqual([status, body], [200, "ok"]);
          assert.deepEqual(await session.packets(), [`42${JSON.stringify(["message-back", text])}`]);
        }
      });

      it("carries binary in base64", async () => {
        const session = await OldPollingSession.open(server, { b64: "1", j: "0" });
        await session.receive(2);
        await session.send('451-["message",{"_placeholder":true,"num":0}]', "b4AQI=");
        assert.deepEqual(await session.receive(2), ['451-["message-back",{"_placeholder":true,"num":0}]', "b4AQI="]);
      });

      it("names no more than the number in its script", async () => {
        const { body } = await request(address(server, { EIO: "3", j: "1](alert(1));//2" }));
        assert.match(body, /^___eio\[112\]\("/);
      });

      it("is chosen by j in version 4 as well", async () => {
        const { body } = await request(address(server, { j: "0" }));
        const sid = /\\"sid\\":\\"([^"\\]+)/.exec(body)[1];
        const url = address(server, { j: "0", sid });
        const form = { "content-type": "application/x-www-form-urlencoded" };
        assert.equal((await request(url, { method: "POST", body: "d=40", headers: form })).body, "ok");
        assert.match((await request(url)).body, /^___eio\[0\]\("40\{\\"sid\\":.*\\u001e42\[\\"auth\\",\{\}\]"\);$/);
      });

      it("takes a form without a payload for nothing", async () => {
        const session = await OldPollingSession.open(server, { j: "0" });
        await session.receive(2);
        for (const body of ["", "x=1"]) {
          assert.equal((await session.post(body, "application/x-www-form-urlencoded")).body, "ok");
        }
        await session.send("2");
        assert.deepEqual(await session.packets(), ["3"]);
      });
    });

    it("has namespaces as version 2 has them", async () => {
      const socket = await RawSocket.session(server, { EIO: "3" });
      assert.equal(await socket.next(), "40");
      assert.equal(await socket.next(), '42["auth",{}]');
      socket.send("40/custom?token=x,");
      assert.equal(await socket.next(), "40/custom,");
      assert.equal(await socket.next(), '42/custom,["auth",{"token":"x"}]');
      socket.send("40/guarded,");
      assert.equal(await socket.next(), '44/guarded,{"code":401}');
      socket.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
      socket.send(Buffer.from([4, 1, 2]));
      socket.send(Buffer.from([4]));
      assert.match(await socket.next(), /^452-\["message-back",/);
      assert.deepEqual([await socket.next(), await socket.next()], [Buffer.from([4, 1, 2]), Buffer.from([4])]);
      // The main namespace has been joined already.
      socket.send("40");
      await socket.ends();
    });
  });

  describe(`Socket.IO 2 in a cluster of ${target} and Node`, () => {
    const clients = new OldClients();
    let redis;
    let server;
    let peer;
    before(async () => {
      redis = await Redis.start();
      server = await startApp(target, { allowEIO3: true, redis });
      peer = await startNodeServer(redis.url);
      peer.io.of("/custom");
    });
    after(async () => {
      clients.close();
      await Promise.all([server?.stop(), peer?.close()]);
      await redis?.stop();
    });

    it("is reached from the other server, in bytes and by its own name, and seen there", async () => {
      const custom = await clients.connect(server, { namespace: "/custom", query: { token: "x" } });
      const namespace = peer.io.of("/custom");
      const arrived = () => namespace.emit("hello") && received(custom, "hello").length;
      await until(arrived, "cluster", 10_000);

      const args = ["€", Buffer.from([1, 2, 3])];
      const told = next(custom, "told");
      namespace.to(custom.id).emit("told", ...args);
      assert.deepEqual(await told, args);
      namespace.except(custom.id).emit("others");
      const last = next(custom, "last");
      namespace.emit("last");
      await last;
      assert.deepEqual(received(custom, "others"), []);

      const [remote, ...more] = await namespace.fetchSockets();
      assert.deepEqual(more, []);
      assert.equal(remote.id, custom.id);
      assert.deepEqual([...remote.rooms], [custom.id]);
      assert.deepEqual(remote.handshake.auth, { token: "x" });
      const asked = next(custom, "by-remote");
      remote.emit("by-remote", 1);
      assert.deepEqual(await asked, [1]);
      const ended = next(custom, "disconnect");
      remote.disconnect();
      await ended;
    });
  });

  describe(`Socket.IO 2 with ${target} that compresses`, () => {
    const clients = new OldClients();
    const newClients = new Clients();
    let server;
    before(async () => {
      server = await startApp(target, { allowEIO3: true, perMessageDeflate: 1 });
    });
    after(async () => {
      clients.close();
      newClients.close();
      await server?.stop();
    });

    for (const forceBase64 of [false, true]) {
      it(`carries binary ${forceBase64 ? "in base64" : "in bytes"}, compressed, alone and to many`, async () => {
        const socket = await clients.connect(server, { transports: ["websocket"], forceBase64 });
        assert.match(socket.io.engine.transport.ws.extensions, /permessage-deflate/);
        const today = await newClients.connect(server, { transports: ["websocket"] });
        const args = ["€".repeat(500), Buffer.alloc(3000, 9)];
        assert.deepEqual(await ask(socket, "message-with-ack", ...args), args);
        const both = [next(socket, "many"), next(today, "many")];
        today.emit("send", { self: true }, "many", ...args);
        assert.deepEqual(await Promise.all(both), [args, args]);
      });
    }
  });

  describe(`heartbeat of Socket.IO 2 with ${target}`, () => {
    const clients = new OldClients();
    const newClients = new Clients();
    let server;
    let observer;
    before(async () => {
      server = await startApp(target, { allowEIO3: true, pingInterval: 300, pingTimeout: 600 });
    });
    afterEach(() => {
      clients.close();
      newClients.close();
    });
    after(() => server?.stop());
    const reason = async (id) => {
      const gone = () => received(observer, "gone").find(([_name, gone]) => gone === id);
      return (await until(gone, `end of ${id}`))[2];
    };

    for (const [name, options] of Object.entries({
      polling: { transports: ["polling"] },
      websocket: { transports: ["websocket"] },
      "polling then websocket": {},
    })) {
      it(`keeps a client over ${name} that pings`, async () => {
        const socket = await clients.connect(server, options);
        // Longer than interval and timeout together.
        for (let pong = 0; pong < 5; pong++) await next(socket, "pong");
        assert.deepEqual(await ask(socket, "message-with-ack", "there"), ["there"]);
      });
    }

    it("ends a client that does not ping, whatever else it says", async () => {
      observer = await newClients.connect(server);
      const session = await OldPollingSession.open(server);
      await session.receive(2);
      const socket = await RawSocket.session(server, { EIO: "3" });
      const talk = setInterval(() => socket.send('42["message"]'), 100);
      try {
        await socket.ends();
      } finally {
        clearInterval(talk);
      }
      assert.equal(await reason(socket.handshake.sid), "ping timeout");
      assert.equal(await reason(session.sid), "ping timeout");
    });

    it("ends a client that answers what nobody asked", async () => {
      observer = await newClients.connect(server);
      const socket = await RawSocket.session(server, { EIO: "3" });
      socket.send("2");
      while ((await socket.next()) !== "3");
      socket.send("3");
      await socket.ends();
      assert.equal(await reason(socket.handshake.sid), "transport error");
    });
  });

  describe(`Socket.IO 2 where ${target} does not allow it`, () => {
    const clients = new OldClients();
    let server;
    before(async () => {
      server = await startApp(target);
    });
    afterEach(() => clients.close());
    after(() => server?.stop());

    it("is refused over every transport", async () => {
      for (const transport of ["polling", "websocket"]) {
        const socket = clients.open(server, { transports: [transport] });
        // Node completes the WebSocket handshake before it looks at the version, and then cuts the connection.
        const refused = Promise.race([next(socket, "connect_error"), next(socket.io, "close")]);
        await refused;
        assert.equal(socket.connected, false);
      }
      const { status, body } = await request(address(server, { EIO: "3" }));
      assert.equal(status, 400);
      assert.deepEqual(JSON.parse(body), { code: 5, message: "Unsupported protocol version" });
    });
  });
}
