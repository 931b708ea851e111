// Compressed WebSocket messages (permessage-deflate): what is agreed on, and that it saves traffic without changing a message.

import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { after, afterEach, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { startApp, targets } from "./support/app.mjs";
import { launchBrowser } from "./support/browser.mjs";
import { ask, Clients, flush, received } from "./support/clients.mjs";
import { address, PollingSession, RawSocket } from "./support/engine.mjs";
import { startSynapse } from "./support/synapse.mjs";
import { next, until, within } from "./support/wait.mjs";

const BOTH = ["client_no_context_takeover", "permessage-deflate", "server_no_context_takeover"];
const LONG = "all work and no play makes a dull message ".repeat(500);
/** What of LONG may be on the wire when it is compressed. */
const SMALL = LONG.length / 10;

/** The extensions in the answer to a WebSocket handshake, sorted; undefined when there are none. */
async function agreed(server, offer) {
  const headers = {
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    ...(offer && { "Sec-WebSocket-Extensions": offer }),
  };
  const request = httpRequest(address(server, { transport: "websocket" }), { headers }).end();
  const [response, socket] = await within(once(request, "upgrade"), `answer to ${offer}`);
  socket.destroy();
  return response.headers["sec-websocket-extensions"]?.split("; ").sort();
}

/** A client by hand that has joined the main namespace. */
async function join(server, perMessageDeflate) {
  const socket = await RawSocket.open(address(server, { transport: "websocket" }), { perMessageDeflate });
  await socket.next();
  socket.send("40");
  await socket.next();
  await socket.next();
  return socket;
}

/** How many bytes the server needs to send what `ask` makes it send, which is one message. */
async function cost(socket, ask) {
  const stream = socket.websocket._socket;
  const before = stream.bytesRead;
  ask();
  const message = await socket.next();
  return { message, bytes: stream.bytesRead - before };
}

const event = (...args) => `42${JSON.stringify(args)}`;

for (const target of targets) {
  describe(`permessage-deflate of ${target}`, () => {
    const clients = new Clients();
    let server;
    before(async () => {
      server = await startApp(target, { perMessageDeflate: 1024 });
    });
    afterEach(() => clients.close());
    after(() => server?.stop());

    describe("handshake", () => {
      const rows = [
        ["what Chromium offers", "permessage-deflate; client_max_window_bits", []],
        ["what Firefox offers", "permessage-deflate", []],
        ["a window for the server", "permessage-deflate; server_max_window_bits=10", ["server_max_window_bits=10"]],
        ["a window for the client", "permessage-deflate; client_max_window_bits=9", ["client_max_window_bits=9"]],
        ["an extension that nobody knows before it", "x-unknown; a=b, permessage-deflate", []],
      ];
      for (const [what, offer, extra] of rows) {
        it(`meets ${what}`, async () => {
          assert.deepEqual(await agreed(server, offer), [...BOTH, ...extra].sort());
        });
      }

      it("agrees on nothing that was not offered", async () => {
        assert.equal(await agreed(server), undefined);
        assert.equal(await agreed(server, "permessage-bzip2"), undefined);
      });

      it("goes on without compression when an offer is malformed", { skip: target === "node" && "Node refuses the handshake" }, async () => {
        for (const offer of [
          "permessage-deflate; server_max_window_bits=8",
          "permessage-deflate; client_max_window_bits=99",
          "permessage-deflate; unknown",
          "permessage-deflate; client_max_window_bits; client_max_window_bits",
          "permessage-deflate;;",
          ",",
        ]) {
          assert.equal(await agreed(server, offer), undefined, offer);
        }
      });

      it("takes the first offer that it can meet", { skip: target === "node" && "Node refuses the handshake" }, async () => {
        const offer = "permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=9";
        assert.deepEqual(await agreed(server, offer), [...BOTH, "server_max_window_bits=9"].sort());
      });

      it("is off unless it is asked for", async () => {
        const plain = await startApp(target);
        try {
          assert.equal(await agreed(plain, "permessage-deflate; client_max_window_bits"), undefined);
        } finally {
          await plain.stop();
        }
      });
    });

    describe("with any options of ws", () => {
      const options = [
        {},
        { threshold: 0 },
        { threshold: 0, clientMaxWindowBits: 9 },
        { threshold: 0, serverMaxWindowBits: 9 },
        { threshold: 0, serverMaxWindowBits: 12, clientMaxWindowBits: 10 },
        { threshold: 0, clientMaxWindowBits: false },
        { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true },
        { threshold: 0, zlibDeflateOptions: { level: 0 } },
        { threshold: 0, zlibDeflateOptions: { level: 9, memLevel: 1 } },
      ];
      for (const option of options) {
        it(`messages arrive as they were: ${JSON.stringify(option)}`, async () => {
          const socket = await join(server, option);
          assert.equal(socket.websocket.extensions, "permessage-deflate");
          for (const text of ["", "short", LONG, `${"x".repeat(40_000)}${LONG}`, "naïve 🦀 ".repeat(500)]) {
            socket.send(event("message", text));
            assert.equal(await socket.next(), event("message-back", text));
          }
          for (const data of [Buffer.alloc(0), Buffer.alloc(50_000, 7), Buffer.from(Array.from({ length: 3_000 }, (_, at) => (at * at) % 251))]) {
            socket.send(`451-${JSON.stringify(["message", { _placeholder: true, num: 0 }])}`);
            socket.send(data);
            assert.equal(await socket.next(), `451-${JSON.stringify(["message-back", { _placeholder: true, num: 0 }])}`);
            assert.deepEqual(await socket.next(), data);
          }
          socket.terminate();
        });
      }

      it("fragments of a compressed message are one message", async () => {
        const socket = await join(server, { threshold: 0 });
        const message = event("message", LONG);
        for (let at = 0; at < message.length; at += 5_000) {
          socket.websocket.send(message.slice(at, at + 5_000), { fin: at + 5_000 >= message.length });
        }
        assert.equal(await socket.next(), event("message-back", LONG));
        socket.terminate();
      });
    });

    describe("traffic", () => {
      it("large messages get small, small ones stay", async () => {
        const socket = await join(server, {});
        const long = await cost(socket, () => socket.send(event("message", LONG)));
        assert.equal(long.message, event("message-back", LONG));
        assert.ok(long.bytes < SMALL, `${long.bytes} bytes for ${LONG.length}`);
        const short = await cost(socket, () => socket.send(event("message", "x".repeat(500))));
        assert.equal(short.bytes, short.message.length + 4);
        socket.terminate();
      });

      it("a client that does not offer it gets plain messages", async () => {
        const socket = await join(server, false);
        assert.equal(socket.websocket.extensions, "");
        const { message, bytes } = await cost(socket, () => socket.send(event("message", LONG)));
        assert.equal(message, event("message-back", LONG));
        assert.equal(bytes, message.length + 4);
        socket.terminate();
      });

      it("broadcasts are compressed for those who agreed", async () => {
        const windows = [{}, {}, { serverMaxWindowBits: 9 }, false];
        const sockets = await Promise.all(windows.map((window) => join(server, window)));
        const streams = sockets.map((socket) => socket.websocket._socket);
        const before = streams.map((stream) => stream.bytesRead);
        sockets[0].send(event("send", { self: true }, "news", LONG));
        for (const socket of sockets) assert.equal(await socket.next(), event("news", LONG));
        const bytes = streams.map((stream, at) => stream.bytesRead - before[at]);
        assert.ok(
          bytes.slice(0, 3).every((count) => count < SMALL),
          `${bytes}`,
        );
        assert.equal(bytes[3], event("news", LONG).length + 4);
        for (const socket of sockets) socket.terminate();
      });

      // Node's engine takes the flag for polling only.
      it("compress(false) is obeyed", { skip: target === "node" && "Node compresses all the same" }, async () => {
        const socket = await join(server, {});
        for (const [message, sent] of [
          [event("send", { self: true, compress: false }, "news", LONG), event("news", LONG)],
          [event("message-plain", LONG), event("message-back", LONG)],
        ]) {
          const { message: got, bytes } = await cost(socket, () => socket.send(message));
          assert.equal(got, sent);
          assert.equal(bytes, sent.length + 4);
        }
        const asked = event("send", { self: true, compress: true }, "news", LONG);
        assert.ok((await cost(socket, () => socket.send(asked))).bytes < SMALL);
        socket.terminate();
      });
    });

    describe("upgrade", () => {
      it("a probe may be compressed, and what follows it is", async () => {
        const session = await PollingSession.open(server);
        await session.join();
        const url = address(server, { sid: session.sid, transport: "websocket" });
        const socket = await RawSocket.open(url, { perMessageDeflate: { threshold: 0 } });
        assert.equal(socket.websocket.extensions, "permessage-deflate");
        socket.send("2probe");
        assert.equal(await socket.next(), "3probe");
        socket.send("5");
        const { message, bytes } = await cost(socket, () => socket.send(event("message", LONG)));
        assert.equal(message, event("message-back", LONG));
        assert.ok(bytes < SMALL, `${bytes} bytes`);
        socket.terminate();
      });

      it("what a polling session was sent before arrives, and in order", async () => {
        const socket = await clients.connect(server, { transports: ["polling", "websocket"] });
        const sent = [];
        const upgraded = until(() => socket.io.engine.transport.name === "websocket", "upgrade");
        for (let number = 0; number < 200; number++) {
          sent.push([number, LONG]);
          socket.emit("message", number, LONG);
          if (number % 20 === 0) await flush(socket);
        }
        await upgraded;
        await flush(socket);
        assert.deepEqual(received(socket, "message-back"), sent);
        assert.equal(socket.io.engine.transport.ws.extensions, "permessage-deflate");
      });
    });

    describe("official client", () => {
      for (const perMessageDeflate of [{ threshold: 0 }, { threshold: 1024 }, { threshold: 0, serverMaxWindowBits: 10, clientMaxWindowBits: 9 }]) {
        it(`works with ${JSON.stringify(perMessageDeflate)}`, async () => {
          const options = { transports: ["websocket"], perMessageDeflate };
          const [one, two] = await Promise.all([clients.connect(server, options), clients.connect(server, options)]);
          assert.equal(one.io.engine.transport.ws.extensions, "permessage-deflate");
          const data = { text: LONG, binary: Buffer.alloc(30_000, 3), list: Array.from({ length: 500 }, (_, at) => at) };
          assert.deepEqual(await ask(one, "message-with-ack", data, "x"), [data, "x"]);
          const told = next(two, "news");
          one.emit("send", {}, "news", data);
          assert.deepEqual(await told, [data]);
        });
      }
    });
  });
}

describe("permessage-deflate of the synapse binary", { skip: !targets.includes("synapse") }, () => {
  let server;
  let browser;
  before(async () => {
    const bundle = fileURLToPath(new URL("node_modules/socket.io/client-dist", import.meta.url));
    server = await startSynapse({ args: ["--per-message-deflate", "--client-dir", bundle] });
    browser = await launchBrowser();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  it("Chromium agrees on it, and messages pass from page to page", async () => {
    const pages = await Promise.all([0, 1].map(() => browser.newPage()));
    for (const page of pages) {
      await page.goto(`${server.url}/live`);
      await page.addScriptTag({ url: `${server.url}/socket.io/socket.io.js` });
      await page.evaluate(() => (window.socket = io({ transports: ["websocket"] })));
      await page.waitForFunction(() => window.socket.connected, undefined, { timeout: 10_000 });
      const extensions = await page.evaluate(() => window.socket.io.engine.transport.ws.extensions);
      assert.equal(extensions.split(";")[0], "permessage-deflate");
    }
    const [one, two] = pages;
    await two.evaluate(() => {
      window.told = new Promise((resolve) => window.socket.on("test_event", resolve));
    });
    const sent = { text: LONG, list: [1, 2, 3] };
    await one.evaluate((data) => window.socket.emit("test_event", data), sent);
    assert.deepEqual(await within(two.evaluate(() => window.told), "event in the other page"), sent);
  });
});
