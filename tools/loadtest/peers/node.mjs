// A peer for comparison: Node's socket.io on ws, doing what the `synapse` server does. Its packages are those of tests/interop.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../tests/interop/package.json", import.meta.url));
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { serveClient: false });
if (process.env.REDIS_URL) {
  const { createAdapter } = require("@socket.io/redis-adapter");
  const { createClient } = require("redis");
  const publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  io.adapter(createAdapter(publisher, subscriber));
}
io.on("connection", (socket) => {
  socket.on("test_event", (...args) => socket.broadcast.emit("test_event", ...args));
  socket.on("echo", (...args) => args.pop()(...args));
});
http.listen(Number(process.env.PORT), "127.0.0.1");
