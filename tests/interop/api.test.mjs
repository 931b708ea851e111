// What applications register and clients notice: answers and errors, listeners of every event, middlewares of events,
// namespaces that come into being when they are asked for.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { startApp, targets } from "./support/app.mjs";
import { ask, Clients, received } from "./support/clients.mjs";
import { RawSocket } from "./support/engine.mjs";
import { next, until, within } from "./support/wait.mjs";

for (const target of targets) {
  // What only Synapse has: Node tells the ack nothing of what it refuses, and lets later events overtake one that waits.
  const onSynapse = target === "synapse" ? it : it.skip;

  describe(`application interface of ${target}`, () => {
    const clients = new Clients();
    let server;
    const connect = () => clients.connect(server, { namespace: "/api" });
    before(async () => {
      server = await startApp(target);
    });
    afterEach(() => clients.close());
    after(() => server?.stop());

    describe("answers", () => {
      it("gives what the handler returns", async () => {
        const socket = await connect();
        assert.deepEqual(await ask(socket, "divide", 7, 2), [3]);
        assert.equal(await within(socket.emitWithAck("divide", -7, 2), "answer"), -3);
      });

      it("gives an error as an object that emitWithAck sees", async () => {
        const socket = await connect();
        const answer = await within(socket.emitWithAck("divide", 7, 0), "answer");
        assert.deepEqual(answer, { error: "not by zero", data: [7, 0] });
      });

      onSynapse("tells of arguments that do not fit", async () => {
        const socket = await connect();
        const trouble = next(socket, "trouble");
        const [{ error }] = await ask(socket, "divide", "seven", {});
        assert.match(error, /^arguments do not fit: invalid type: string "seven"/);
        assert.deepEqual(await trouble, [error]);
      });

      it("answers with nothing when there is nothing to say", async () => {
        const [socket, other] = [await connect(), await connect()];
        const said = next(other, "said");
        assert.deepEqual(await ask(socket, "said", { text: "hi" }), []);
        assert.deepEqual(await said, [{ text: "hi" }]);
      });

      it("shares state between handlers", async () => {
        const socket = await connect();
        const [before] = await ask(socket, "visits");
        await connect();
        assert.deepEqual(await ask(socket, "visits"), [before + 1]);
      });
    });

    describe("listeners", () => {
      it("hears every event and sees every event that goes out, broadcasts included, acks not", async () => {
        const socket = await connect();
        socket.emit("unheard-of", 1);
        socket.emit("fast");
        const all = next(socket, "to-all");
        socket.emit("all", "x");
        await all;
        assert.deepEqual(await ask(socket, "divide", 1, 1), [1]);
        assert.deepEqual(await ask(socket, "names"), [
          ["unheard-of", "fast", "all", "divide", "names"],
          ["ran", "to-all"],
        ]);
      });

      it("takes them off", async () => {
        const socket = await connect();
        await ask(socket, "deaf");
        const ran = next(socket, "ran");
        socket.emit("fast");
        await ran;
        assert.deepEqual(await ask(socket, "names"), [["deaf"], []]);
      });

      it("runs a handler once", async () => {
        const socket = await connect();
        socket.emit("once");
        socket.emit("once");
        socket.emit("fast");
        await until(() => received(socket, "ran").length === 2, "two events");
        assert.deepEqual(received(socket, "ran"), [["once"], ["fast"]]);
      });

      it("tells the handlers of errors of a packet that cannot be decoded", async () => {
        const witness = await connect();
        const told = next(witness, "undecodable");
        const raw = await RawSocket.session(server);
        raw.send("40/api,");
        const { sid } = JSON.parse((await raw.next()).slice("40/api,".length));
        raw.send('42/api,["open');
        assert.deepEqual(await told, [sid]);
        raw.terminate();
      });
    });

    describe("middlewares of events", () => {
      it("refuses an event", async () => {
        const socket = await connect();
        const trouble = next(socket, "trouble");
        socket.emit("secret");
        assert.deepEqual(await trouble, ["not for you"]);
        assert.deepEqual(received(socket, "ran"), []);
      });

      onSynapse("tells who waits for the answer", async () => {
        const socket = await connect();
        assert.deepEqual(await ask(socket, "secret"), [{ error: "not for you", data: 403 }]);
      });

      onSynapse("keeps events in order behind one that waits", async () => {
        const socket = await connect();
        for (const name of ["fast", "slow", "fast", "slow", "fast"]) socket.emit(name);
        await until(() => received(socket, "ran").length === 5, "five events");
        assert.deepEqual(received(socket, "ran").flat(), ["fast", "slow", "fast", "slow", "fast"]);
      });
    });

    describe("namespaces that are asked for", () => {
      const join = (namespace, auth) => clients.connect(server, { namespace, auth });
      const refusal = async (namespace, auth) => {
        const [error] = await next(clients.open(server, { namespace, auth }), "connect_error");
        return error.message;
      };
      const children = async () => ask(await connect(), "children");

      it("come into being by a pattern, and go with their last client", async () => {
        const [first, second] = [await join("/room-1"), await join("/room-2")];
        const again = await join("/room-1");
        assert.deepEqual(await ask(first, "where"), ["/room-1"]);
        assert.deepEqual(await ask(again, "where"), ["/room-1"]);
        assert.deepEqual((await children())[0], ["/room-1", "/room-2"]);
        first.disconnect();
        second.disconnect();
        await until(async () => (await children())[0].length === 1, "one child to be left");
        again.disconnect();
        await until(async () => (await children())[0].length === 0, "no child to be left");
        assert.equal(await refusal("/room-x"), "Invalid namespace");
      });

      it("take over the parent's middlewares, and none is left of who is refused", async () => {
        assert.equal(await refusal("/room-3", { refuse: true }), "refused");
        await until(async () => (await children())[0].length === 0, "no child to be left");
        assert.ok((await children())[1].includes("/room-3"));
      });

      it("come into being by a function that knows name and auth", async () => {
        await join("/team/red", { team: "red" });
        assert.equal(await refusal("/team/red-and-blue", { team: "red" }), "Invalid namespace");
        assert.equal(await refusal("/team/blue"), "Invalid namespace");
      });

      it("all hear what is sent to their parent", async () => {
        const sockets = [await join("/room-5"), await join("/room-6")];
        const team = await join("/team/red", { team: "red" });
        const heard = Promise.all(sockets.map((socket) => next(socket, "to-all")));
        sockets[0].emit("all", "x");
        assert.deepEqual(await heard, [["x"], ["x"]]);
        assert.deepEqual(received(team, "to-all"), []);
      });
    });
  });
}
