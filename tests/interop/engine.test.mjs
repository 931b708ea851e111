// Engine.IO v4 as it is on the wire: handshake, errors, heartbeat, polling, WebSocket, upgrade and limits.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { startApp, targets } from "./support/app.mjs";
import { address, PollingSession, RawSocket, refusedUpgrade, request } from "./support/engine.mjs";
import { until, within } from "./support/wait.mjs";

const PING_INTERVAL = 300;
// Enough for a busy machine: whoever answers must not be taken for silent.
const PING_TIMEOUT = 600;

for (const target of targets) {
  describe(`Engine.IO of ${target}`, () => {
    let server;
    before(async () => {
      server = await startApp(target);
    });
    after(() => server?.stop());

    describe("handshake", () => {
      it("tells five things over polling", async () => {
        const { status, headers, body } = await request(address(server));
        assert.equal(status, 200);
        assert.equal(headers.get("content-type"), "text/plain; charset=UTF-8");
        assert.equal(headers.get("cache-control"), "no-store");
        assert.equal(body[0], "0");
        const handshake = JSON.parse(body.slice(1));
        assert.deepEqual(Object.keys(handshake), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]);
        assert.match(handshake.sid, /^[A-Za-z0-9_-]{20}$/);
        assert.deepEqual(handshake.upgrades, ["websocket"]);
        assert.equal(handshake.pingInterval, 25_000);
        assert.equal(handshake.pingTimeout, 20_000);
        assert.equal(handshake.maxPayload, 1_000_000);
      });

      it("offers no upgrade over WebSocket", async () => {
        const socket = await RawSocket.session(server);
        assert.deepEqual(Object.keys(socket.handshake), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]);
        assert.deepEqual(socket.handshake.upgrades, []);
        socket.terminate();
      });

      it("gives every session its own id", async () => {
        const sessions = await Promise.all(Array.from({ length: 20 }, () => PollingSession.open(server)));
        assert.equal(new Set(sessions.map((session) => session.sid)).size, 20);
      });
    });

    describe("errors", () => {
      const rows = [
        ["no transport", { transport: undefined }, 0, "Transport unknown"],
        ["an unknown transport", { transport: "carrier-pigeon" }, 0, "Transport unknown"],
        ["a transport named like a property of every object", { transport: "__proto__" }, 0, "Transport unknown"],
        ["an unknown session", { sid: "00000000000000000000" }, 1, "Session ID unknown"],
        ["no protocol version", { EIO: undefined }, 5, "Unsupported protocol version"],
        ["protocol version 3", { EIO: "3" }, 5, "Unsupported protocol version"],
        ["protocol version abc", { EIO: "abc" }, 5, "Unsupported protocol version"],
      ];
      for (const [what, parameters, code, message] of rows) {
        it(`${what} over HTTP`, async () => {
          const { status, headers, body } = await request(address(server, parameters));
          assert.equal(status, 400);
          assert.match(headers.get("content-type"), /^application\/json/);
          assert.deepEqual(JSON.parse(body), { code, message });
        });
        it(`${what} at a WebSocket upgrade`, async () => {
          const url = address(server, { transport: "websocket", ...parameters });
          // Node completes the WebSocket handshake before it looks at the version and then cuts the connection;
          // refusing at once is the better answer. Either way no session comes of it.
          const answer = await refusedUpgrade(url).catch(() => undefined);
          if (answer || code !== 5) {
            assert.deepEqual(answer, { status: 400, contentType: "text/html", body: message });
          } else {
            const socket = await RawSocket.open(url);
            await socket.ends();
            assert.deepEqual(socket.pending, []);
          }
        });
      }

      it("a handshake that is not a GET", async () => {
        for (const method of ["POST", "PUT", "DELETE"]) {
          const { status, body } = await request(address(server), { method });
          assert.equal(status, 400);
          assert.deepEqual(JSON.parse(body), { code: 2, message: "Bad handshake method" });
        }
      });

      it("WebSocket without an upgrade", async () => {
        const { status, body } = await request(address(server, { transport: "websocket" }));
        assert.equal(status, 400);
        assert.deepEqual(JSON.parse(body), { code: 3, message: "Bad request" });
      });

      it("a poll of a WebSocket session", async () => {
        const socket = await RawSocket.session(server);
        const { status, body } = await request(address(server, { sid: socket.handshake.sid }));
        assert.equal(status, 400);
        assert.deepEqual(JSON.parse(body), { code: 3, message: "Bad request" });
        socket.terminate();
      });

      it("a request that the application refuses", async () => {
        const headers = { "x-refuse": "not today" };
        const { status, body } = await request(address(server), { headers });
        assert.equal(status, 403);
        assert.deepEqual(JSON.parse(body), { code: 4, message: "not today" });
        const answer = await refusedUpgrade(address(server, { transport: "websocket" }), { headers });
        assert.deepEqual(answer, { status: 400, contentType: "text/html", body: "not today" });
      });

      it("another path", async () => {
        assert.equal((await request(new URL("/nothing-here", server.url))).status, 404);
      });
    });

    describe("polling", () => {
      it("answers ok to a POST", async () => {
        const session = await PollingSession.open(server);
        const { status, headers, body } = await session.send("40");
        assert.equal(status, 200);
        assert.equal(body, "ok");
        assert.equal(headers.get("content-type"), "text/html");
        assert.equal(headers.get("content-length"), "2");
        assert.equal(headers.get("cache-control"), "no-store");
      });

      it("answers a waiting poll when there is something to say", async () => {
        const session = await PollingSession.open(server);
        const poll = session.get();
        await session.send("40");
        const { headers, body } = await poll;
        assert.match(body, /^40\{"sid":"/);
        assert.equal(headers.get("content-type"), "text/plain; charset=UTF-8");
        assert.equal(headers.get("cache-control"), "no-store");
      });

      it("takes several packets in one payload and gives several back", async () => {
        const session = await PollingSession.open(server);
        await session.join();
        await session.send('42["message",1]', '42["message","zwei €"]', '42["message",[3]]');
        const packets = await session.receive(3);
        assert.deepEqual(packets, ['42["message-back",1]', '42["message-back","zwei €"]', '42["message-back",[3]]']);
      });

      it("carries binary as base64", async () => {
        const session = await PollingSession.open(server);
        await session.join();
        await session.send('451-["message",{"_placeholder":true,"num":0}]', "bAQIDBA==");
        const packets = await session.receive(2);
        assert.deepEqual(packets, ['451-["message-back",{"_placeholder":true,"num":0}]', "bAQIDBA=="]);
      });

      it("refuses a second poll at the same time and ends the session", async () => {
        const session = await PollingSession.open(server);
        const polls = await Promise.all([session.get(), session.get()]);
        const statuses = polls.map((poll) => poll.status).sort();
        assert.deepEqual(statuses, [200, 400]);
        assert.equal(polls.find((poll) => poll.status === 200).body, "1");
        await session.closes();
      });

      it("refuses a second POST at the same time and ends the session", async () => {
        const session = await PollingSession.open(server);
        const unfinished = new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from("4")) });
        const abort = new AbortController();
        const first = session.post(unfinished, { duplex: "half", signal: abort.signal }).catch((error) => error);
        // The first one has to be there before the second: its session tells by refusing.
        let second;
        do second = await session.send("3");
        while (second.status === 200);
        assert.equal(second.status, 400);
        await session.closes();
        abort.abort();
        await within(first, "end of the first POST");
      });

      // The two that follow need a poll that waits at the server when the next thing happens. Requests on different connections
      // may overtake each other, and nothing tells from outside that one has arrived; so a try that came too early is repeated.
      it("ends the session when the client gives up a poll", async () => {
        await until(async () => {
          const session = await PollingSession.open(server);
          await session.join();
          const abort = new AbortController();
          const poll = session.get({ signal: abort.signal }).catch((error) => error);
          await session.send("3");
          abort.abort();
          assert.equal((await poll).name, "AbortError");
          await session.closes(1_000);
          return true;
        }, "session that ended with its poll");
      });

      it("ends the session at a close packet and lets the waiting poll go", async () => {
        await until(async () => {
          const session = await PollingSession.open(server);
          const poll = session.get();
          assert.equal((await session.send("1")).body, "ok");
          const { body } = await poll;
          await session.closes();
          return body === "6";
        }, "poll that was let go");
      });

      it("refuses binary bodies", async () => {
        const session = await PollingSession.open(server);
        const { status } = await session.post(Buffer.from([4]), { headers: { "content-type": "application/octet-stream" } });
        assert.equal(status, 400);
        await session.closes();
      });

      it("refuses a body over the limit with 413", async () => {
        const session = await PollingSession.open(server);
        const { status } = await session.post("4".repeat(1_000_001)).catch((error) => error.cause ?? error);
        assert.equal(status, 413);
      });

      it("takes a body of exactly the limit", async () => {
        const session = await PollingSession.open(server);
        await session.join();
        const frame = '42["message",""]';
        const text = "x".repeat(1_000_000 - frame.length);
        const { status } = await session.send(`42["message","${text}"]`);
        assert.equal(status, 200);
        assert.deepEqual(await session.receive(1), [`42["message-back","${text}"]`]);
      });
    });

    describe("WebSocket", () => {
      it("sends text and binary as frames of their own", async () => {
        const socket = await RawSocket.joined(server);
        socket.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
        socket.send(Buffer.from([1, 2, 3]));
        socket.send(Buffer.alloc(0));
        assert.equal(await socket.next(), '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]');
        assert.deepEqual(await socket.next(), Buffer.from([1, 2, 3]));
        assert.deepEqual(await socket.next(), Buffer.alloc(0));
        socket.terminate();
      });

      it("joins fragments, however small", async () => {
        const socket = await RawSocket.joined(server);
        const packet = Buffer.from('42["message","fragmented €"]');
        for (let index = 0; index < packet.length; index++) {
          socket.websocket.send(packet.subarray(index, index + 1), { binary: false, fin: index === packet.length - 1 });
        }
        assert.equal(await socket.next(), '42["message-back","fragmented €"]');
        socket.terminate();
      });

      it("answers the WebSocket's own ping", async () => {
        const socket = await RawSocket.session(server);
        const pong = new Promise((resolve) => socket.websocket.once("pong", (data) => resolve(data.toString())));
        socket.websocket.ping("are you there");
        assert.equal(await within(pong, "pong"), "are you there");
        socket.terminate();
      });

      it("closes with 1009 over the limit", async () => {
        const socket = await RawSocket.session(server);
        socket.send("4".repeat(1_000_001));
        assert.equal((await socket.ends()).code, 1009);
      });

      it("closes when the heartbeat goes in the wrong direction", async () => {
        const socket = await RawSocket.session(server);
        socket.send("2");
        await socket.ends();
      });

      it("closes at an unknown packet type", async () => {
        const socket = await RawSocket.session(server);
        socket.send("abc");
        await socket.ends();
      });
    });

    describe("upgrade", () => {
      const probe = (session) => RawSocket.open(address(server, { transport: "websocket", sid: session.sid }));

      it("answers the probe, frees the waiting poll and goes on over WebSocket", async () => {
        const session = await PollingSession.open(server);
        await session.join();
        const poll = session.get();
        const socket = await probe(session);
        socket.send("2probe");
        assert.equal(await socket.next(), "3probe");
        assert.equal((await poll).body, "6");
        socket.send("5");
        socket.send('42["message","upgraded"]');
        assert.equal(await socket.next(), '42["message-back","upgraded"]');

        const { status, body } = await session.get();
        assert.equal(status, 400);
        assert.deepEqual(JSON.parse(body), { code: 3, message: "Bad request" });
        socket.terminate();
      });

      it("keeps what was said during the probe", async () => {
        const session = await PollingSession.open(server);
        await session.join();
        const socket = await probe(session);
        socket.send("2probe");
        assert.equal(await socket.next(), "3probe");
        await session.send('42["message","meanwhile"]');
        socket.send("5");
        assert.equal(await socket.next(), '42["message-back","meanwhile"]');
        socket.terminate();
      });

      it("goes on with polling when the probe is given up", async () => {
        const session = await PollingSession.open(server);
        await session.join();
        const socket = await probe(session);
        socket.send("2probe");
        assert.equal(await socket.next(), "3probe");
        socket.terminate();
        await socket.ends();
        await session.send('42["message","still here"]');
        const packets = await session.receive(1);
        assert.deepEqual(
          packets.filter((packet) => packet !== "6"),
          ['42["message-back","still here"]'],
        );
      });

      it("takes no second WebSocket for an upgraded session", async () => {
        const session = await PollingSession.open(server);
        const first = await probe(session);
        first.send("2probe");
        assert.equal(await first.next(), "3probe");
        first.send("5");
        first.send("40");
        assert.match(await first.next(), /^40/);
        // Node takes the WebSocket and closes it; refusing it at once is as good.
        const url = address(server, { transport: "websocket", sid: session.sid });
        const refused = await refusedUpgrade(url).then(
          (answer) => answer.status === 400,
          () => false,
        );
        if (!refused) await (await probe(session)).ends();
        assert.equal(first.websocket.readyState, first.websocket.OPEN);
        first.terminate();
      });

      it("is refused for a session that does not exist", async () => {
        const answer = await refusedUpgrade(address(server, { transport: "websocket", sid: "11111111111111111111" }));
        assert.deepEqual(answer, { status: 400, contentType: "text/html", body: "Session ID unknown" });
      });
    });
  });

  describe(`Engine.IO heartbeat of ${target}`, () => {
    let server;
    before(async () => {
      server = await startApp(target, { pingInterval: PING_INTERVAL, pingTimeout: PING_TIMEOUT });
    });
    after(() => server?.stop());

    it("announces its times", async () => {
      const { handshake } = await PollingSession.open(server);
      assert.equal(handshake.pingInterval, PING_INTERVAL);
      assert.equal(handshake.pingTimeout, PING_TIMEOUT);
    });

    it("pings by itself and keeps who answers", async () => {
      const socket = await RawSocket.session(server);
      const start = Date.now();
      for (let beat = 1; beat <= 4; beat++) {
        assert.equal(await socket.next(), "2");
        socket.send("3");
      }
      const elapsed = Date.now() - start;
      assert.ok(elapsed >= 4 * PING_INTERVAL - 150, `four beats took ${elapsed} ms`);
      assert.equal(socket.websocket.readyState, socket.websocket.OPEN);
      socket.terminate();
    });

    it("pings over polling", async () => {
      const session = await PollingSession.open(server);
      for (let beat = 1; beat <= 3; beat++) {
        assert.deepEqual(await session.packets(), ["2"]);
        await session.send("3");
      }
      assert.equal(await session.isClosed(), false);
    });

    it("closes who does not answer over WebSocket", async () => {
      const socket = await RawSocket.session(server);
      const start = Date.now();
      assert.equal(await socket.next(), "2");
      await socket.ends();
      const elapsed = Date.now() - start;
      assert.ok(elapsed >= PING_INTERVAL + PING_TIMEOUT - 100, `closed after ${elapsed} ms already`);
      assert.ok(elapsed < 3 * (PING_INTERVAL + PING_TIMEOUT), `closed after ${elapsed} ms only`);
    });

    // Node leaves this one to the heartbeat.
    it("closes at a close packet over WebSocket", async () => {
      const socket = await RawSocket.session(server);
      socket.send("1");
      await socket.ends(3 * (PING_INTERVAL + PING_TIMEOUT));
    });

    it("closes who does not answer over polling", async () => {
      const session = await PollingSession.open(server);
      await session.closes(3 * (PING_INTERVAL + PING_TIMEOUT));
    });
  });

  describe(`Engine.IO across origins of ${target}`, () => {
    const origin = "http://shop.example";
    let server;
    before(async () => {
      server = await startApp(target, { corsOrigin: origin });
    });
    after(() => server?.stop());

    it("allows the origin on every answer", async () => {
      const headers = { origin };
      const session = await PollingSession.open(server);
      const answers = [
        await request(address(server), { headers }),
        await session.post("40", { headers: { ...headers, "content-type": "text/plain;charset=UTF-8" } }),
        await session.get({ headers }),
        await request(address(server, { transport: "none" }), { headers }),
      ];
      for (const answer of answers) {
        assert.equal(answer.headers.get("access-control-allow-origin"), origin);
        assert.equal(answer.headers.get("access-control-allow-credentials"), "true");
      }
    });

    it("answers a preflight", async () => {
      const headers = {
        origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
      };
      const answer = await request(address(server), { method: "OPTIONS", headers });
      assert.equal(answer.status, 204);
      assert.equal(answer.headers.get("access-control-allow-origin"), origin);
      assert.equal(answer.headers.get("access-control-allow-credentials"), "true");
      assert.match(answer.headers.get("access-control-allow-methods"), /POST/);
      assert.match(answer.headers.get("access-control-allow-headers"), /content-type/i);
    });
  });
}
