// The options of Engine.IO: cookie, headers, compression, path, transports, ids and CORS in full, against both servers;
// and what the `synapse` binary makes of them.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import http from "node:http";
import { gunzipSync, inflateSync } from "node:zlib";
import { io } from "socket.io-client";
import { WebSocket } from "ws";
import { startApp, targets } from "./support/app.mjs";
import { address, PollingSession, RawSocket, refusedUpgrade, request } from "./support/engine.mjs";
import { startSynapse } from "./support/synapse.mjs";
import { next, within } from "./support/wait.mjs";

/** One request without fetch, which would decode the body: `{ status, headers, body }`, the body as bytes. */
function bare(url, { method = "GET", headers = {}, body } = {}) {
  const answer = new Promise((resolve, reject) => {
    const sent = http.request(url, { method, headers }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }));
    });
    sent.on("error", reject);
    sent.end(body);
  });
  return within(answer, `answer from ${url}`);
}

/** The head of the answer to a good WebSocket handshake. */
function upgraded(url) {
  const websocket = new WebSocket(url, { perMessageDeflate: false });
  const head = new Promise((resolve, reject) => {
    websocket.once("upgrade", (response) => resolve(response.headers));
    websocket.once("error", reject);
  });
  return within(head, `upgrade at ${url}`).finally(() => websocket.terminate());
}

for (const target of targets) {
  /** A server with these options for the tests inside. */
  function withOptions(options, tests) {
    describe(`${JSON.stringify(options)} of ${target}`, () => {
      const app = {};
      before(async () => Object.assign(app, await startApp(target, { options })));
      // Not asked to end: it would wait for the sessions that the tests leave behind.
      after(() => app.process?.kill());
      tests(app);
    });
  }

  withOptions({ cookie: true, testHeaders: true }, (app) => {
    it("sets the cookie at a polling handshake and nowhere else", async () => {
      const { headers, body } = await bare(address(app));
      const { sid } = JSON.parse(body.toString().slice(1));
      assert.deepEqual(headers["set-cookie"], [`io=${sid}; Path=/; HttpOnly; SameSite=Lax`]);
      const posted = await bare(address(app, { sid }), { method: "POST", body: "40" });
      assert.equal(posted.headers["set-cookie"], undefined);
      const polled = await bare(address(app, { sid }));
      assert.equal(polled.headers["set-cookie"], undefined);
      assert.equal((await upgraded(address(app, { transport: "websocket" })))["set-cookie"], undefined);
    });

    it("runs the hooks for headers on what is not refused", async () => {
      const seen = ({ headers }) => [headers["x-initial"], headers["x-every"]];
      const opened = await bare(address(app));
      assert.deepEqual(seen(opened), ["GET", "GET"]);
      const { sid } = JSON.parse(opened.body.toString().slice(1));
      assert.deepEqual(seen(await bare(address(app, { sid }), { method: "POST", body: "40" })), [undefined, "POST"]);
      assert.deepEqual(seen(await bare(address(app, { sid }))), [undefined, "GET"]);
      assert.deepEqual(seen({ headers: await upgraded(address(app, { transport: "websocket" })) }), ["GET", "GET"]);
      assert.deepEqual(seen({ headers: await upgraded(address(app, { transport: "websocket", sid })) }), [undefined, "GET"]);
      assert.deepEqual(seen(await bare(address(app, { transport: "none" }))), [undefined, undefined]);
    });
  });

  const cookie = { name: "lb", path: "/chat", httpOnly: false, sameSite: "none", maxAge: 3600, domain: "example.com", secure: true, partitioned: true };
  withOptions({ cookie }, (app) => {
    it("sets the attributes it was given", async () => {
      const { headers, body } = await bare(address(app));
      const { sid } = JSON.parse(body.toString().slice(1));
      const [first, ...attributes] = headers["set-cookie"][0].split("; ");
      assert.equal(first, `lb=${sid}`);
      assert.deepEqual(attributes.sort(), ["Domain=example.com", "Max-Age=3600", "Partitioned", "Path=/chat", "SameSite=None", "Secure"]);
    });
  });

  for (const [options, threshold] of [
    [{}, 1_024],
    [{ httpCompression: { threshold: 100 } }, 100],
    [{ httpCompression: false }, Infinity],
  ]) {
    withOptions(options, (app) => {
      /** The answer to a poll that holds an event of so many bytes. */
      async function poll(length, accepted) {
        const session = await PollingSession.open(app);
        await session.join();
        await session.send(`42["message","${"x".repeat(length - '42["message-back",""]'.length)}"]`);
        const headers = accepted === undefined ? {} : { "accept-encoding": accepted };
        const answer = await bare(session.url, { headers });
        assert.equal(answer.status, 200);
        assert.equal(answer.headers["content-type"], "text/plain; charset=UTF-8");
        const encoding = answer.headers["content-encoding"];
        const decode = { gzip: gunzipSync, deflate: inflateSync, undefined: (body) => body }[encoding];
        assert.equal(decode(answer.body).length, length);
        return encoding;
      }

      it("compresses polls from the threshold on", async () => {
        for (const length of [99, 100, 1_023, 1_024, 5_000, 200_000]) {
          assert.equal(await poll(length, "gzip, deflate, br"), length >= threshold ? "gzip" : undefined, `${length} bytes`);
        }
      });

      it("takes the encoding that the client likes best", async () => {
        const on = threshold < Infinity;
        for (const [accepted, encoding] of [
          [undefined, undefined],
          ["identity", undefined],
          ["br", undefined],
          ["deflate", "deflate"],
          ["deflate, gzip", "deflate"],
          ["gzip;q=0.2, deflate;q=0.7", "deflate"],
          ["gzip;q=0", undefined],
          ["*", "gzip"],
        ]) {
          assert.equal(await poll(3_000, accepted), on ? encoding : undefined, accepted);
        }
      });

      it("leaves the answers to posts as they are", async () => {
        const session = await PollingSession.open(app);
        const { headers, body } = await bare(session.url, { method: "POST", body: "40", headers: { "accept-encoding": "gzip" } });
        assert.deepEqual([headers["content-encoding"], body.toString()], [undefined, "ok"]);
      });
    });
  }

  for (const addTrailingSlash of [true, false]) {
    withOptions({ path: "/rt", addTrailingSlash }, (app) => {
      it("answers its path, with what is below", async () => {
        const query = "?EIO=4&transport=polling";
        assert.equal((await request(`${app.url}/rt/${query}`)).status, 200);
        assert.equal((await request(`${app.url}/rt${query}`)).status, addTrailingSlash ? 404 : 200);
        assert.equal((await request(`${app.url}/rt/more${query}`)).status, 200);
        assert.equal((await request(`${app.url}/r${query}`)).status, 404);
        assert.equal((await request(`${app.url}/socket.io/${query}`)).status, 404);
      });

      it("is found by a client", async () => {
        const socket = io(app.url, { path: "/rt", addTrailingSlash, reconnection: false, forceNew: true });
        await next(socket, "connect");
        socket.disconnect();
      });
    });
  }

  withOptions({ transports: ["websocket"] }, (app) => {
    it("does not know polling", async () => {
      const { status, body } = await request(address(app));
      assert.equal(status, 400);
      assert.deepEqual(JSON.parse(body), { code: 0, message: "Transport unknown" });
      (await RawSocket.joined(app)).terminate();
    });
  });

  withOptions({ transports: ["polling"] }, (app) => {
    it("serves by polling", async () => {
      const session = await PollingSession.open(app);
      const [connect] = await session.join();
      assert.match(connect, /^40/);
    });
  });

  withOptions({ allowUpgrades: false }, (app) => {
    it("offers no upgrade and still takes WebSocket from the start", async () => {
      const session = await PollingSession.open(app);
      assert.deepEqual(session.handshake.upgrades, []);
      (await RawSocket.joined(app)).terminate();
    });
  });

  withOptions({ idPrefix: "eu1-" }, (app) => {
    it("gives sessions the ids that the application makes", async () => {
      const session = await PollingSession.open(app);
      assert.match(session.sid, /^eu1-[A-Za-z0-9_-]{16}$/);
      await session.join();
      const socket = await RawSocket.session(app);
      assert.match(socket.handshake.sid, /^eu1-/);
      assert.notEqual(socket.handshake.sid, session.sid);
      socket.terminate();
    });
  });

  withOptions({ upgradeTimeout: 200 }, (app) => {
    it("ends a probe that does not go on, and polls on", async () => {
      const session = await PollingSession.open(app);
      await session.join();
      const socket = await RawSocket.open(address(app, { transport: "websocket", sid: session.sid }));
      socket.send("2probe");
      assert.equal(await socket.next(), "3probe");
      await socket.ends();
      await session.send('42["message","still here"]');
      const packets = await session.receive(1);
      assert.deepEqual(packets.filter((packet) => packet !== "6"), ['42["message-back","still here"]']);
    });
  });

  withOptions({ connectTimeout: 200 }, (app) => {
    it("closes who joins no namespace, and only those", async () => {
      const joined = await RawSocket.joined(app);
      const idle = await RawSocket.session(app);
      await idle.ends();
      joined.send('42["message",1]');
      assert.equal(await joined.next(), '42["message-back",1]');
      joined.terminate();
    });
  });

  const cors = {
    origin: ["https://a.example", "https://b.example"],
    credentials: true,
    methods: ["GET", "POST"],
    allowedHeaders: ["authorization", "x-token"],
    exposedHeaders: ["etag"],
    maxAge: 600,
  };
  withOptions({ cors }, (app) => {
    const names = ["origin", "credentials", "methods", "headers"].map((name) => `access-control-allow-${name}`);
    const told = ({ headers }) => [...names, "access-control-expose-headers", "access-control-max-age", "vary"].map((name) => headers[name]);

    it("answers a preflight in full", async () => {
      const headers = { origin: "https://b.example", "access-control-request-method": "POST", "access-control-request-headers": "x-secret" };
      const answer = await bare(address(app), { method: "OPTIONS", headers });
      assert.equal(answer.status, 204);
      assert.deepEqual(told(answer), ["https://b.example", "true", "GET,POST", "authorization,x-token", "etag", "600", "Origin"]);
    });

    it("tells every page on every answer, refusals too", async () => {
      const headers = { origin: "https://a.example" };
      for (const [parameters, status] of [
        [{}, 200],
        [{ transport: "none" }, 400],
        [{ sid: "nobody" }, 400],
      ]) {
        const answer = await bare(address(app, parameters), { headers });
        assert.equal(answer.status, status);
        assert.deepEqual(told(answer), ["https://a.example", "true", undefined, undefined, "etag", undefined, "Origin"]);
      }
    });

    it("names no foreign origin", async () => {
      for (const origin of ["https://a.example.evil.org", "https://evil-a.example", "https://A.example", "https://a.example:8443", "https://a.example.", "http://a.example", "null"]) {
        for (const method of ["OPTIONS", "GET"]) {
          const { headers } = await bare(address(app), { method, headers: { origin } });
          assert.equal(headers["access-control-allow-origin"], undefined, origin);
        }
      }
    });

    // Node leaves WebSocket, to which browsers do not apply CORS, to `allowRequest`.
    it("refuses a foreign page's WebSocket", { skip: target === "node" }, async () => {
      const url = address(app, { transport: "websocket" });
      const answer = await refusedUpgrade(url, { origin: "https://evil.org" });
      assert.deepEqual(answer, { status: 400, contentType: "text/html", body: "Forbidden" });
      const socket = await RawSocket.open(url, { origin: "https://a.example" });
      socket.terminate();
    });
  });

  withOptions({}, (app) => {
    it("has no use for other methods of a session", async () => {
      for (const method of ["PUT", "DELETE", "PATCH"]) {
        const { sid } = await PollingSession.open(app);
        const { status, body } = await bare(address(app, { sid }), { method });
        assert.deepEqual([status, body.length], [500, 0], method);
      }
    });

    it("refuses a post of a transport that the session does not use", async () => {
      const socket = await RawSocket.session(app);
      const { status, body } = await request(address(app, { sid: socket.handshake.sid }), { method: "POST", body: "40" });
      assert.deepEqual([status, JSON.parse(body)], [400, { code: 3, message: "Bad request" }]);
      socket.send("40");
      assert.match(await socket.next(), /^40/);
      socket.terminate();
    });

    it("answers a preflight as any other request that opens nothing", async () => {
      const { status, headers, body } = await bare(address(app), { method: "OPTIONS", headers: { origin: "https://a.example" } });
      assert.deepEqual([status, JSON.parse(body)], [400, { code: 2, message: "Bad handshake method" }]);
      assert.equal(headers["access-control-allow-origin"], undefined);
    });

    it("tells at an upgrade what is wrong", async () => {
      const url = (parameters) => address(app, { transport: "websocket", ...parameters });
      for (const [where, body] of [
        [url({ transport: "polling" }), undefined],
        [url({ transport: "none" }), "Transport unknown"],
        [url({ sid: "nobody" }), "Session ID unknown"],
      ]) {
        const answer = await refusedUpgrade(where).catch(() => undefined);
        if (body) assert.deepEqual(answer, { status: 400, contentType: "text/html", body });
        // Node takes the WebSocket of a polling handshake and closes it; refusing at once is as good.
        else assert.ok(answer === undefined || answer.status === 400);
      }
    });
  });
}

describe("the synapse binary behind a proxy", { skip: !targets.includes("synapse") }, () => {
  let server;
  before(async () => {
    server = await startSynapse({
      env: { SYNAPSE_TRUSTED_PROXIES: "127.0.0.0/8", SYNAPSE_CONNECTIONS_PER_ADDRESS: "2", CORS_ORIGIN: "https://*.example.com" },
    });
  });
  after(() => server?.process.kill());

  it("lets so many clients of one address in, and those of others", async () => {
    const open = (client) => bare(address(server), { headers: { "x-forwarded-for": `10.9.9.9, ${client}` } });
    for (const client of ["203.0.113.1", "203.0.113.2", "2001:db8::1"]) {
      const statuses = [];
      for (let count = 0; count < 3; count++) statuses.push((await open(client)).status);
      assert.deepEqual(statuses, [200, 200, 429], client);
    }
    const { headers, body } = await open("2001:db8::ffff");
    assert.equal(headers["retry-after"], "5");
    assert.deepEqual(JSON.parse(body), { code: 3, message: "Too many connections from this address" });
  });

  it("lets pages of every host below a domain in", async () => {
    const open = (origin) => bare(address(server), { headers: { origin } });
    for (const [origin, status] of [
      ["https://app.example.com", 200],
      ["https://example.com", 403],
      ["https://evil-example.com", 403],
    ]) {
      const answer = await open(origin);
      assert.equal(answer.status, status, origin);
      assert.equal(answer.headers["access-control-allow-origin"], status === 200 ? origin : undefined);
    }
  });
});
