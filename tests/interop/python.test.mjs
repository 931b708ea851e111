// An independent client in another language: python-socketio, threads and asyncio, alone and beside the official client.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { startApp, targets } from "./support/app.mjs";
import { Clients, flush, received } from "./support/clients.mjs";
import { Python } from "./support/python.mjs";
import { next, span, until } from "./support/wait.mjs";

/** The default of both servers, in bytes. */
const LIMIT = 1_000_000;
/** python-engineio gives up a poll that brings more packets than this. */
const PACKETS_OF_A_POLL = 16;
/**
 * For tests in which a client goes: one with threads, by polling, may go without a word and wait for one of the server.
 * The timeout is longer than any delay of a busy machine.
 */
const HEARTBEAT = { pingInterval: 300, pingTimeout: 4_000 };

const values = {
  nothing: [],
  null: [null],
  "booleans and numbers": [true, false, 0, -1, 2 ** 31, -(2 ** 53) + 1, 0.1, -2.5e-7],
  text: ["", "plain", 'quotes " and \\ and \n'],
  // Python writes these as escapes, the last ones as pairs of surrogates.
  unicode: ["ünïcödé €", "日本語", "👩‍👩‍👧‍👦", "\u0000\u2028\u2029", "\ud800 alone"],
  "nested data": [{ a: { b: [{ c: [[], {}] }, null] }, "ключ": 1, "": 2 }, [[[["deep"]]]]],
  binary: [Buffer.from([0, 1, 254, 255])],
  "empty binary": [Buffer.alloc(0)],
  "binary among others": ["before", Buffer.from("one"), { files: [{ data: Buffer.from("two") }] }, [Buffer.from("three")], 4],
};

const transports = {
  polling: { options: { transports: ["polling"] }, ends: "polling" },
  websocket: { options: { transports: ["websocket"] }, ends: "websocket" },
  "polling then websocket": { options: {}, ends: "websocket" },
};

for (const target of targets) {
  describe(`python-socketio with ${target}`, () => {
    const clients = new Clients();
    let server;
    let lively;
    let python;
    before(async () => {
      [server, lively, python] = await Promise.all([startApp(target), startApp(target, HEARTBEAT), Python.start()]);
    });
    afterEach(async () => {
      clients.close();
      await python?.disconnect();
    });
    after(() => Promise.all([server?.stop(), lively?.stop(), python?.stop()]));

    for (const kind of ["Client", "AsyncClient"]) {
      for (const [name, { options: transport, ends }] of Object.entries(transports)) {
        describe(`${kind} by ${name}`, () => {
          const open = (options) => python.open(server, { kind, ...transport, ...options });

          it("connects, and has the transport that it wants", async () => {
            const client = await open();
            const { sid, transport } = await client.describe();
            assert.match(sid, /^[A-Za-z0-9_-]{20}$/);
            assert.equal(transport, ends);
            assert.deepEqual(await client.next("auth"), [{}]);
          });

          it("sends values of all kinds there and back, and has them acknowledged", async () => {
            const client = await open();
            for (const [what, args] of Object.entries(values)) {
              await client.emit("message", ...args);
              assert.deepEqual(await client.next("message-back"), args, what);
              assert.deepEqual(await client.ask("message-with-ack", ...args), args, what);
            }
          });

          it("is asked by the server and answers", async () => {
            const client = await open();
            for (const argument of [{ n: 21 }, Buffer.from("what")]) {
              await client.emit("ask", "question", argument, 5_000);
              assert.deepEqual(await client.next("asked"), [{ error: null, response: { answer: [argument] } }]);
            }
          });

          it("shows its auth, query and headers", async () => {
            const auth = { token: "abc", nested: { list: [1, null, "ü"] } };
            const client = await open({ auth, query: "?room=a%20b" });
            assert.deepEqual(await client.next("auth"), [auth]);
            const [handshake] = await client.ask("handshake");
            assert.deepEqual(handshake.auth, auth);
            assert.equal(handshake.query.room, "a b");
            assert.equal(handshake.query.EIO, "4");
            assert.equal(handshake.address, "127.0.0.1");
          });

          it("is in several namespaces, and leaves them one by one", async () => {
            const client = await open({ namespaces: ["/", "/custom"] });
            const [main, custom] = [await client.describe("/"), await client.describe("/custom")];
            assert.notEqual(main.sid, custom.sid);
            assert.deepEqual(await client.askIn("/custom", "message-with-ack", "there"), ["there"]);
            await client.emitIn("/custom", "message", Buffer.from([1]));
            assert.deepEqual(await client.next("message-back", "/custom"), [Buffer.from([1])]);
            await client.emit("send", { self: true }, "news", "main");
            assert.deepEqual(await client.next("news"), ["main"]);

            await client.emitIn("/custom", "bye", false);
            await client.next("disconnect", "/custom");
            assert.deepEqual(await client.ask("message-with-ack", "still here"), ["still here"]);
            assert.deepEqual(client.received("news", "/custom"), []);
            assert.deepEqual(client.received("disconnect"), []);
          });

          it("gets into a guarded namespace with the right auth", async () => {
            const client = await open({ namespaces: ["/guarded"], auth: { token: "letmein" } });
            assert.deepEqual(await client.askIn("/guarded", "message-with-ack", "in"), ["in"]);
          });

          it("hears why it is refused", async () => {
            const namespaces = ["/", "/guarded", "/nowhere"];
            const client = await open({ namespaces, auth: { token: "guess" }, wait: false });
            assert.deepEqual(await client.next("connect_error", "/guarded"), [{ message: "not authorized", data: { code: 401 } }]);
            assert.deepEqual(await client.next("connect_error", "/nowhere"), [{ message: "Invalid namespace" }]);
            await client.next("connect");
            assert.deepEqual(await client.ask("message-with-ack", "let in here"), ["let in here"]);
          });

          it("is in rooms with an official client", async () => {
            const member = await open();
            const stranger = await open();
            const official = await clients.connect(server);
            const { sid } = await member.describe();
            assert.deepEqual(await member.ask("join", ["a", "b"]), [[sid, "a", "b"].sort()]);
            await new Promise((resolve) => official.emit("join", "a", resolve));

            official.emit("send", { to: ["a"] }, "news", "from node", Buffer.from([5]));
            assert.deepEqual(await member.next("news"), ["from node", Buffer.from([5])]);
            await stranger.emit("send", { to: ["a"], except: [sid] }, "news", "from a stranger", Buffer.from([6]));
            await until(() => received(official, "news").length === 1, "news");
            await member.emit("send", { to: ["a"] }, "news", "from python", { nested: Buffer.from([7]) });
            await until(() => received(official, "news").length === 2, "more news");
            assert.deepEqual(await member.ask("leave", "a"), [[sid, "b"].sort()]);
            official.emit("send", {}, "notice", "to all");
            assert.deepEqual(await member.next("notice"), ["to all"]);
            assert.deepEqual(await stranger.next("notice"), ["to all"]);

            await flush(official);
            assert.deepEqual(received(official, "news"), [
              ["from a stranger", Buffer.from([6])],
              ["from python", { nested: Buffer.from([7]) }],
            ]);
            // A connection keeps its order: what was to come before the notice is there.
            assert.deepEqual(member.received("news"), []);
            assert.deepEqual(stranger.received("news"), []);
          });

          it("keeps the order of many events both ways", async () => {
            const client = await open();
            const official = await clients.connect(server);
            for (let number = 0; number < 200; number++) await client.emit("send", { to: [official.id] }, "numbered", number);
            await until(() => received(official, "numbered").length === 200, "200 events");
            assert.deepEqual(received(official, "numbered").flat(), Array.from({ length: 200 }, (_, number) => number));

            const count = ends === "polling" ? PACKETS_OF_A_POLL : 500;
            await client.emit("burst", count);
            await until(() => client.received("burst").length === count, "burst");
            assert.deepEqual(client.received("burst").flat(), Array.from({ length: count }, (_, number) => number));
          });

          it("sends a message of the largest size, and binary of 700 kB", async () => {
            const client = await open();
            const text = "x".repeat(LIMIT - '42["message",""]'.length);
            await client.emit("message", text);
            assert.ok((await client.next("message-back"))[0] === text);
            // In a poll it is a third longer.
            const binary = Buffer.alloc(700_000, "synapse");
            const [answer] = await client.ask("message-with-ack", binary);
            assert.ok(binary.equals(answer));
          });

          it("goes, and the server knows", async () => {
            const official = await clients.connect(lively);
            const client = await python.open(lively, { kind, ...transport });
            const { sid } = await client.describe();
            await client.ask("join", "a");
            await client.disconnect();
            const gone = () => received(official, "gone").find(([, id]) => id === sid);
            const [namespace, , reason, rooms] = await until(gone, "departure", 10_000);
            assert.equal(namespace, "/");
            // Its DISCONNECT, its CLOSE and the end of the connection run a race, in which a poll may be cut off.
            const reasons = ["client namespace disconnect", "transport close", "transport error"];
            if (kind === "Client" && ends === "polling") reasons.push("ping timeout");
            assert.ok(reasons.includes(reason), reason);
            assert.deepEqual(rooms, ["a"]);
          });

          for (const close of [false, true]) {
            it(`is put out${close ? " with its connection" : ""}, and comes again`, async () => {
              const client = await python.open(lively, { kind, ...transport });
              const { sid } = await client.describe();
              await client.next("connect");
              await client.emit("bye", close);
              await client.next("disconnect");
              await client.reopen(lively, transport);
              await client.next("connect");
              assert.notEqual((await client.describe()).sid, sid);
              assert.deepEqual(await client.ask("message-with-ack", "again"), ["again"]);
            });
          }
        });
      }

      it(`${kind} hears why its handshake is refused`, async () => {
        const client = python.client();
        await assert.rejects(client.open(server, { kind, headers: { "x-refuse": "not today" } }), /ConnectionError.*403/);
        assert.deepEqual(await client.next("connect_error"), [{ code: 4, message: "not today" }]);
      });

      it(`${kind} is put out by a message that is too large`, async () => {
        const official = await clients.connect(server);
        const client = await python.open(server, { kind, transports: ["websocket"] });
        const { sid } = await client.describe();
        await client.emit("message", "x".repeat(LIMIT - '42["message",""]'.length + 1));
        await client.next("disconnect");
        const gone = () => received(official, "gone").find(([, id]) => id === sid);
        assert.match((await until(gone, "departure"))[2], /^transport (error|close)$/);
        assert.deepEqual(client.received("message-back"), []);
      });
    }
  });

  describe(`python-socketio and a server of ${target} that`, () => {
    let server;
    let python;
    before(async () => {
      python = await Python.start();
    });
    afterEach(async () => {
      await python.disconnect();
      await server?.stop();
    });
    after(() => python?.stop());

    it("asks for heartbeats keeps its clients", async () => {
      server = await startApp(target, { pingInterval: 300, pingTimeout: 1_200 });
      const open = (kind) => Object.values(transports).map(({ options }) => python.open(server, { kind, ...options }));
      const opened = await Promise.all([...open("Client"), ...open("AsyncClient")]);
      const before = await Promise.all(opened.map((client) => client.describe()));
      // Who answers none is gone after 1.5 s.
      await span(3_000);
      for (const client of opened) assert.deepEqual(await client.ask("message-with-ack", "alive"), ["alive"]);
      assert.deepEqual(await Promise.all(opened.map((client) => client.describe())), before);
    });

    for (const kind of ["Client", "AsyncClient"]) {
      for (const [name, { options: transport }] of Object.entries(transports)) {
        it(`dies and comes back gets back a ${kind} by ${name}`, async () => {
          server = await startApp(target);
          const settings = { reconnection: true, reconnection_delay: 0.1, reconnection_delay_max: 0.2, randomization_factor: 0 };
          const client = await python.open(server, { kind, ...transport, settings, auth: { token: "kept" } });
          const { sid } = await client.describe();
          await client.next("connect");
          await client.next("auth");
          await server.process.kill();
          await client.next("disconnect");
          server = await startApp(target, { port: server.port });
          await client.next("connect");
          assert.deepEqual(await client.next("auth"), [{ token: "kept" }]);
          assert.deepEqual(await client.ask("message-with-ack", "back"), ["back"]);
          assert.notEqual((await client.describe()).sid, sid);
        });
      }
    }
  });
}
