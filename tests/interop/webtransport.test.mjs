// WebTransport: the official client in a real browser, which is the only place that has it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, afterEach, before, describe, it } from "node:test";
import { startApp } from "./support/app.mjs";
import { launchBrowser } from "./support/browser.mjs";
import { Clients, received } from "./support/clients.mjs";
import { until } from "./support/wait.mjs";

const CLIENT = readFileSync(new URL("node_modules/socket.io-client/dist/socket.io.js", import.meta.url));
const LIMIT = 2_000_000;

describe("WebTransport", () => {
  let browser;
  let pages;
  let origin;
  let app;
  let contexts = [];
  const clients = new Clients();
  before(async () => {
    pages = createServer((request, response) => {
      const isScript = request.url === "/socket.io.js";
      response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
      response.end(isScript ? CLIENT : '<!doctype html><link rel="icon" href="data:,"><script src="/socket.io.js"></script>');
    }).listen(0, "127.0.0.1");
    await once(pages, "listening");
    origin = `http://127.0.0.1:${pages.address().port}`;
    app = await start({ corsOrigin: origin });
    browser = await launchBrowser({ quic: true });
  });
  afterEach(async () => {
    clients.close();
    await Promise.all(contexts.splice(0).map((context) => context.close()));
  });
  after(async () => {
    await browser?.close();
    await app?.stop();
    pages?.close();
  });

  /** The test application with WebTransport; `certificate` is the hash that pages have to know. */
  async function start(settings) {
    const options = { transports: ["polling", "websocket", "webtransport"] };
    const started = await startApp("synapse", { options, maxHttpBufferSize: LIMIT, ...settings });
    const [, hash] = await started.process.prints(/^certificate (\S+)$/m);
    started.certificate = hash.split(":").map((byte) => Number.parseInt(byte, 16));
    return started;
  }

  /** A page that has a socket, and keeps what happens to it: events in `received`, the rest in `log`. */
  async function open({ transports, to = app, namespace = "/" }) {
    const context = await browser.newContext();
    contexts.push(context);
    const page = await context.newPage();
    await page.goto(origin);
    await page.evaluate(
      ({ url, transports, certificate }) => {
        const value = new Uint8Array(certificate);
        const options = { webtransport: { serverCertificateHashes: [{ algorithm: "sha-256", value }] } };
        window.received = [];
        window.log = [];
        window.upgrades = undefined;
        window.socket = io(url, { transports, transportOptions: options, reconnection: false });
        socket.onAny((...event) => received.push(event));
        socket.on("connect_error", (error) => log.push(`connect_error: ${error.message}`));
        socket.on("disconnect", (reason) => log.push(`disconnect: ${reason}`));
        socket.io.engine.on("handshake", (handshake) => (window.upgrades = handshake.upgrades));
        socket.io.engine.on("upgrade", (transport) => log.push(`upgrade: ${transport.name}`));
        socket.io.engine.on("close", (reason) => log.push(`close: ${reason}`));
      },
      { url: to.url + namespace, transports, certificate: to.certificate },
    );
    return page;
  }

  async function connect(options) {
    const page = await open(options);
    await page.waitForFunction(() => socket.connected || log.length > 0, undefined, { timeout: 10_000 });
    assert.deepEqual(await page.evaluate(() => log.filter((line) => !line.startsWith("upgrade"))), []);
    return page;
  }

  function transport(page) {
    return page.evaluate(() => socket.io.engine.transport.name);
  }

  /** Waits for a line in the page's log. */
  function logs(page, line) {
    return until(async () => (await page.evaluate(() => log)).includes(line), `"${line}" in the page's log`).catch(async (error) => {
      throw new Error(`${error.message}: ${JSON.stringify(await page.evaluate(() => log))}`);
    });
  }

  /** Upgraded by WebTransport, if it has not been from the beginning. */
  const WAYS = { directly: ["webtransport"], "after polling": ["polling", "webtransport"] };

  for (const [way, transports] of Object.entries(WAYS)) {
    describe(way, () => {
      let page;
      async function connected() {
        page = await connect({ transports });
        await until(async () => (await transport(page)) === "webtransport", "upgrade to WebTransport");
      }

      it("carries text and binary data both ways, and acks", async () => {
        await connected();
        const answer = await page.evaluate(async () => {
          const bytes = new Uint8Array([0, 1, 127, 128, 255]);
          const [text, data] = await new Promise((resolve) => {
            socket.emit("message-with-ack", "häß€😀", { deep: [bytes.buffer] }, (...answer) => resolve(answer));
          });
          return [text, data.deep[0] instanceof ArrayBuffer, [...new Uint8Array(data.deep[0])]];
        });
        assert.deepEqual(answer, ["häß€😀", true, [0, 1, 127, 128, 255]]);
        await page.evaluate(() => socket.emit("message", 1, "2", { 3: ["4", true] }, new Uint8Array([5, 6, 7])));
        const back = await until(() => page.evaluate(() => received.find(([name]) => name === "message-back")), "message-back");
        assert.deepEqual(back.slice(0, 4), ["message-back", 1, "2", { 3: ["4", true] }]);
        const bytes = await page.evaluate(() => [...new Uint8Array(received.find(([name]) => name === "message-back")[4])]);
        assert.deepEqual(bytes, [5, 6, 7]);
      });

      it("carries payloads of every form of length", async () => {
        await connected();
        for (const length of [1, 90, 200, 70_000, 1_500_000]) {
          const same = await page.evaluate(async (length) => {
            const text = "x".repeat(length);
            const bytes = new Uint8Array(length).map((_, at) => at % 251);
            const [textBack, bytesBack] = await new Promise((resolve) => {
              socket.emit("message-with-ack", text, bytes, (...answer) => resolve(answer));
            });
            const back = new Uint8Array(bytesBack);
            return textBack === text && back.length === length && back.every((byte, at) => byte === at % 251);
          }, length);
          assert.ok(same, `${length} bytes`);
        }
      });

      it("tells the server that a client leaves its namespace", async () => {
        const watcher = await clients.connect(app, { transports: ["websocket"] });
        await connected();
        const id = await page.evaluate(() => socket.id);
        await page.evaluate(() => socket.disconnect());
        await hears(watcher, id, "client namespace disconnect");
      });

      it("tells the server that a page is gone", async () => {
        const watcher = await clients.connect(app, { transports: ["websocket"] });
        await connected();
        const id = await page.evaluate(() => socket.id);
        await page.close();
        await hears(watcher, id, "transport close");
      });

      it("tells the client that the server disconnects it, after all that was sent before", async () => {
        await connected();
        await page.evaluate(() => {
          socket.emit("message", "x".repeat(500_000));
          socket.emit("bye", true);
        });
        await logs(page, "disconnect: io server disconnect");
        assert.equal(await page.evaluate(() => received.find(([name]) => name === "message-back")?.[1].length), 500_000);
        await until(async () => (await page.evaluate(() => socket.io.engine?.readyState)) === "closed", "end of the connection");
      });

      it("closes a session whose packet is over the limit", async () => {
        const watcher = await clients.connect(app, { transports: ["websocket"] });
        await connected();
        const id = await page.evaluate(() => socket.id);
        await page.evaluate((length) => socket.emit("message", "x".repeat(length)), LIMIT);
        await hears(watcher, id, "parse error");
        await logs(page, "disconnect: transport close");
      });
    });
  }

  /** Another client hears that a socket is gone, and why. */
  function hears(watcher, id, reason) {
    return until(
      () => received(watcher, "gone").some((arguments_) => arguments_.includes(id) && arguments_.includes(reason)),
      `departure of ${id} by ${reason}`,
    ).catch((error) => {
      throw new Error(`${error.message}: ${JSON.stringify(received(watcher, "gone"))}`);
    });
  }

  it("is preferred to WebSocket when both are offered", async () => {
    const page = await connect({ transports: ["polling", "websocket", "webtransport"] });
    await logs(page, "upgrade: webtransport");
    assert.equal(await transport(page), "webtransport");
  });

  it("loses and reorders nothing while it takes over from polling", async () => {
    const page = await open({ transports: ["polling", "webtransport"] });
    const numbers = await page.evaluate(async () => {
      let sent = 0;
      const timer = setInterval(() => socket.emit("message", sent++), 1);
      await new Promise((resolve) => socket.io.engine.once("upgrade", resolve));
      for (let more = 0; more < 100; more++) socket.emit("message", sent++);
      clearInterval(timer);
      await new Promise((resolve) => socket.emit("message-with-ack", resolve));
      return { sent, back: received.filter(([name]) => name === "message-back").map(([, number]) => number) };
    });
    assert.ok(numbers.sent > 100);
    assert.deepEqual(numbers.back, Array.from({ length: numbers.sent }, (_, number) => number));
    assert.equal(await transport(page), "webtransport");
  });

  it("is refused to pages of foreign origins", async () => {
    const strict = await start({ corsOrigin: "https://example.com" });
    try {
      const page = await open({ transports: ["webtransport"], to: strict });
      await logs(page, "connect_error: webtransport error");
    } finally {
      await strict.stop();
    }
  });

  it("keeps a silent session by its heartbeat", async () => {
    const quick = await start({ corsOrigin: origin, pingInterval: 100, pingTimeout: 200 });
    try {
      const page = await connect({ transports: ["webtransport"], to: quick });
      await page.evaluate(async () => {
        for (let pings = 0; pings < 5; pings++) await new Promise((resolve) => socket.io.engine.once("ping", resolve));
      });
      assert.deepEqual(await page.evaluate(() => log), []);
    } finally {
      await quick.stop();
    }
  });

  it("ends with its server", async () => {
    const ending = await start({ corsOrigin: origin });
    const page = await connect({ transports: ["webtransport"], to: ending });
    const ended = await ending.stop();
    assert.equal(ended.code, 0);
    await logs(page, "disconnect: transport close");
  });

  it("is listed in the handshake of polling only", async () => {
    const response = await fetch(`${app.url}/socket.io/?EIO=4&transport=polling`);
    const handshake = JSON.parse((await response.text()).slice(1));
    assert.deepEqual(handshake.upgrades, ["websocket", "webtransport"]);
    const page = await connect({ transports: ["webtransport"] });
    assert.deepEqual(await page.evaluate(() => upgrades), []);
    const wrong = await fetch(`${app.url}/socket.io/?EIO=4&transport=webtransport`);
    assert.deepEqual([wrong.status, await wrong.json()], [400, { code: 0, message: "Transport unknown" }]);
  });
});
