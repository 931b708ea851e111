// Node's Socket.IO, as a peer: the reference application in a process of its own, or a server inside the test itself
// where the test calls Node's own API (fetchSockets, serverSideEmit and so on).

import { once } from "node:events";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { startApplication } from "./app.mjs";

const application = fileURLToPath(new URL("../reference-app.mjs", import.meta.url));

export function startNodeApp(settings) {
  return startApplication("node", process.execPath, [application], settings);
}

/** A Node server in this process, joined to the cluster: `{ io, url, close }`. */
export async function startNodeServer(redisUrl) {
  const publisher = await connectRedis(redisUrl);
  const subscriber = await connectRedis(redisUrl);
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(publisher, subscriber) });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return {
    io,
    url: `http://127.0.0.1:${http.address().port}`,
    async close() {
      await io.close();
      await Promise.all([publisher.close(), subscriber.close()]);
    },
  };
}

export async function connectRedis(url) {
  const client = createClient({ url });
  client.on("error", () => {});
  return client.connect();
}
