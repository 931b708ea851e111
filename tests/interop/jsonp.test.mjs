// Polling by JSONP as the official client of Socket.IO 2 does it in a browser, from a page of another origin.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { startApp, targets } from "./support/app.mjs";
import { launchBrowser } from "./support/browser.mjs";

const bundle = readFileSync(fileURLToPath(import.meta.resolve("socket.io-client-v2/dist/socket.io.js")));
const texts = ["plain", 'quotes " and \\', "line\nfeed and \\n and \\\\n", "\u2028\u2029€👍", "</script>", "x".repeat(50_000)];

for (const target of targets) {
  describe(`JSONP of ${target} in a browser`, () => {
    let server;
    let site;
    let browser;
    let page;
    before(async () => {
      server = await startApp(target, { allowEIO3: true });
      site = createServer((request, response) => {
        const isScript = request.url === "/client.js";
        response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
        response.end(isScript ? bundle : '<!doctype html><meta charset="utf-8"><script src="/client.js"></script>');
      });
      site.listen(0, "127.0.0.1");
      await once(site, "listening");
      browser = await launchBrowser();
      page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${site.address().port}/`);
    });
    after(async () => {
      await browser?.close();
      site?.closeAllConnections();
      site?.close();
      await server?.stop();
    });

    for (const [name, options] of Object.entries({ "alone": { transports: ["polling"] }, "and WebSocket after it": {} })) {
      it(`carries text and bytes both ways, ${name}`, async () => {
        const connect = async ([url, options, texts]) => {
          const socket = window.io(url, { forceNew: true, reconnection: false, forceJSONP: true, ...options });
          const { j } = socket.io.engine.transport.query;
          const failed = new Promise((_resolve, reject) => {
            for (const event of ["connect_error", "error"]) socket.once(event, (error) => reject(new Error(`${event}: ${error}`)));
          });
          const upgraded = new Promise((resolve) => socket.io.engine.once("upgrade", resolve));
          await Promise.race([failed, new Promise((resolve) => socket.once("connect", resolve))]);
          const ask = (...args) => new Promise((resolve) => socket.emit("message-with-ack", ...args, (...answer) => resolve(answer)));
          const answers = await Promise.all([ask(...texts), ask(new Uint8Array([0, 1, 255]).buffer)]);
          if (!options.transports) await upgraded;
          const last = await ask("last", new Uint8Array([7]).buffer);
          const transport = socket.io.engine.transport.name;
          socket.close();
          const bytes = (buffer) => [...new Uint8Array(buffer)];
          return { j, texts: answers[0], bytes: bytes(answers[1][0]), last: [last[0], bytes(last[1])], transport };
        };
        const got = await page.evaluate(connect, [server.url, options, texts]);
        assert.equal(typeof got.j, "number");
        assert.deepEqual(got.texts, texts);
        assert.deepEqual(got.bytes, [0, 1, 255]);
        assert.deepEqual(got.last, ["last", [7]]);
        assert.equal(got.transport, options.transports ? "polling" : "websocket");
      });
    }
  });
}
