// The test application on Node's socket.io. What it does is the specification of the Rust test application: the tests
// first run against this one, which proves the tests, and then against the other.
//
// Environment: PORT and HOST; REDIS_URL (no adapter without it); PING_INTERVAL, PING_TIMEOUT (milliseconds),
// MAX_HTTP_BUFFER_SIZE (bytes), PER_MESSAGE_DEFLATE (the threshold in bytes; no compression without it), CORS_ORIGIN (that
// origin may send credentials), PARSER (json or msgpack), ALLOW_EIO3 (`true` for clients of Socket.IO 2), RECOVERY
// (milliseconds for which a client may be away and come back to its socket; never without it), OPTIONS (further options of
// the server, as JSON; beside them `testHeaders: true` adds the headers `x-initial` and `x-every` by the two events, and
// `idPrefix` begins every session's id). It prints `listening on <port>` when ready.

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import msgpackParser from "socket.io-msgpack-parser";
import { serveApi } from "./reference-api.mjs";

const { PORT = "0", HOST = "127.0.0.1", REDIS_URL, CORS_ORIGIN, PARSER } = process.env;

const options = {
  cleanupEmptyChildNamespaces: true,
  pingInterval: numberFrom("PING_INTERVAL", 25_000),
  pingTimeout: numberFrom("PING_TIMEOUT", 20_000),
  maxHttpBufferSize: numberFrom("MAX_HTTP_BUFFER_SIZE", 1_000_000),
  allowEIO3: process.env.ALLOW_EIO3 === "true",
  // A request with the header `x-refuse` is refused with its value as the message.
  allowRequest: (request, callback) => {
    const message = request.headers["x-refuse"];
    callback(message === undefined ? null : message, message === undefined);
  },
};
if (process.env.PER_MESSAGE_DEFLATE) {
  options.perMessageDeflate = { threshold: numberFrom("PER_MESSAGE_DEFLATE"), serverNoContextTakeover: true, clientNoContextTakeover: true };
}
if (CORS_ORIGIN) options.cors = { origin: CORS_ORIGIN, credentials: true };
if (PARSER === "msgpack") options.parser = msgpackParser;
const { testHeaders, idPrefix, ...more } = JSON.parse(process.env.OPTIONS ?? "{}");
Object.assign(options, more);
if (process.env.RECOVERY) options.connectionStateRecovery = { maxDisconnectionDuration: Number(process.env.RECOVERY) };
if (REDIS_URL) options.adapter = await redisAdapter(REDIS_URL);

const http = createServer((_request, response) => response.writeHead(404).end());
const io = new Server(http, options);

if (testHeaders) {
  io.engine.on("initial_headers", (headers, request) => (headers["x-initial"] = request.method));
  io.engine.on("headers", (headers, request) => (headers["x-every"] = request.method));
}
if (idPrefix) io.engine.generateId = () => idPrefix + randomBytes(15).toString("base64url").slice(idPrefix.length);
for (const name of ["/", "/custom", "/guarded", "/quiet"]) serve(io.of(name));
serveApi(io);
io.of("/guarded").use((socket, next) => {
  if (socket.handshake.auth.token === "letmein") return next();
  next(Object.assign(new Error("not authorized"), { data: { code: 401 } }));
});

http.listen(Number(PORT), HOST, () => console.log(`listening on ${http.address().port}`));
process.on("SIGTERM", () => {
  io.close(() => process.exit(0));
});

function serve(namespace) {
  // From other servers: what is to be told to the clients here, and a sum to be answered.
  namespace.on("tell", (...args) => namespace.local.emit("told", ...args));
  namespace.on("double", (number, callback) => callback(number * 2));
  namespace.on("add", (left, right, callback) => callback(left + right));

  namespace.on("connection", (socket) => {
    // A client of the quiet namespace receives nothing that it has not asked for.
    if (namespace.name !== "/quiet") socket.emit("auth", socket.handshake.auth);

    socket.on("message", (...args) => socket.emit("message-back", ...args));
    socket.on("message-plain", (text) => socket.compress(false).emit("message-back", text));
    socket.on("message-with-ack", (...args) => args.pop()(...args));

    socket.on("join", async (rooms, callback) => {
      await socket.join(rooms);
      callback([...socket.rooms].sort());
    });
    socket.on("leave", async (room, callback) => {
      await socket.leave(room);
      callback([...socket.rooms].sort());
    });

    socket.on("send", (options, event, ...args) => operators(namespace, socket, options).emit(event, ...args));

    socket.on("ask", (event, arg, timeout) => {
      socket.timeout(timeout).emit(event, arg, (error, response) => {
        socket.emit("asked", { error: error ? error.message : null, response: response ?? null });
      });
    });
    // What is asked of all servers is answered with `{ error, value }`; a value is there with an error as far as Node tells it.
    const chain = (options, timeout) => operators(namespace, socket, options).timeout(timeout);
    socket.on("fetch", (options, timeout, callback) => {
      answer(callback, async () => (await chain(options, timeout).fetchSockets()).map(describeRemote));
    });
    socket.on("ids", (options, timeout, callback) => {
      answer(callback, async () => (await chain(options, timeout).fetchSockets()).map(({ id }) => id).sort());
    });
    socket.on("rooms", (callback) => answer(callback, async () => [...(await namespace.adapter.allRooms())].sort()));
    socket.on("servers", (callback) => answer(callback, () => namespace.adapter.serverCount()));
    socket.on("ask-all", (options, timeout, event, arg, callback) => {
      chain(options, timeout).emit(event, arg, (error, responses) => callback({ error: error?.message ?? null, value: responses }));
    });
    socket.on("ask-servers", (event, arg, callback) => {
      namespace.serverSideEmit(event, arg, (error, responses) => callback({ error: error?.message ?? null, value: responses }));
    });
    // The socket of that id, wherever it is, is made to do something: emit, join, leave or disconnect; `ask` is answered.
    socket.on("remote", (id, action, arg, callback) => {
      answer(callback, async () => {
        const [remote] = await namespace.in(id).fetchSockets();
        if (action === "ask") return remote.timeout(2_000).emitWithAck("question", arg);
        if (action === "emit") remote.emit("news", arg);
        else remote[action](arg);
        return null;
      });
    });
    socket.on("bye", (close) => socket.disconnect(close));

    socket.on("handshake", (callback) => {
      const { query, auth, address, headers, url, secure, xdomain, issued } = socket.handshake;
      callback({
        query,
        auth,
        address,
        hasHeaders: typeof headers.host === "string",
        url,
        secure,
        xdomain,
        issuedIsNumber: typeof issued === "number",
      });
    });
    socket.on("burst", (count) => {
      for (let number = 0; number < count; number++) socket.emit("burst", number);
    });
    socket.on("remember", (key, value) => (socket.data[key] = value));
    socket.on("state", (callback) => callback(socket.recovered, [...socket.rooms].sort(), socket.data));
    socket.on("sockets", (callback) => callback(namespace.sockets.size));

    let roomsAtDisconnecting = [];
    socket.on("disconnecting", () => {
      roomsAtDisconnecting = [...socket.rooms].filter((room) => room !== socket.id).sort();
    });
    socket.on("disconnect", (reason) => {
      io.of("/").emit("gone", namespace.name, socket.id, reason, roomsAtDisconnecting);
    });
  });
}

// `self` chooses where the chain starts: the whole namespace, or everybody but the sender.
function operators(namespace, socket, { to = [], except = [], local, volatile, compress, self }) {
  let chain = self ? namespace.to([]) : socket.broadcast;
  if (to.length > 0) chain = chain.to(to);
  if (except.length > 0) chain = chain.except(except);
  if (local) chain = chain.local;
  if (volatile) chain = chain.volatile;
  if (compress !== undefined) chain = chain.compress(compress);
  return chain;
}

async function answer(callback, ask) {
  try {
    callback({ error: null, value: await ask() });
  } catch (error) {
    callback({ error: error.message, value: null });
  }
}

function describeRemote({ id, rooms, handshake, data }) {
  return { id, rooms: [...rooms].sort(), auth: handshake.auth, url: handshake.url, data };
}

async function redisAdapter(url) {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  // Without a listener a lost connection would end this process; the client reconnects by itself.
  for (const client of [publisher, subscriber]) client.on("error", () => {});
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}

function numberFrom(name, fallback) {
  return process.env[name] === undefined ? fallback : Number(process.env[name]);
}
