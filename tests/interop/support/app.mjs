// The test applications: the Rust one and the Node reference behave the same and are started the same way.

import { join } from "node:path";
import { startNodeApp } from "./node-server.mjs";
import { freePort, Process, repository } from "./process.mjs";

/** What the tests run against: TARGETS=node proves the tests, the default is the real thing. */
export const targets = (process.env.TARGETS ?? "synapse").split(",").map((name) => name.trim());

/**
 * Starts the test application of a target. Settings: `port` (a free one), `redis` (a Redis), `pingInterval`, `pingTimeout`,
 * `maxHttpBufferSize`, `perMessageDeflate` (its threshold), `corsOrigin`, `parser` (json or msgpack), `allowEIO3`, `recovery`,
 * `options` (what the head of `reference-app.mjs` says of OPTIONS).
 */
export function startApp(target, settings = {}) {
  switch (target) {
    case "node":
      return startNodeApp(settings);
    case "synapse":
      return startRustApp(settings);
    default:
      throw new Error(`unknown target "${target}" in TARGETS`);
  }
}

function startRustApp(settings) {
  const binary = process.env.SYNAPSE_TEST_APP ?? join(repository, "target/debug/synapse-test-app");
  return startApplication("synapse", binary, [], settings);
}

export async function startApplication(kind, command, args, settings) {
  const { redis, pingInterval, pingTimeout, maxHttpBufferSize, perMessageDeflate, corsOrigin, parser, allowEIO3, recovery, options } = settings;
  const port = settings.port ?? (await freePort());
  const env = { PORT: String(port), HOST: "127.0.0.1" };
  if (redis) env.REDIS_URL = redis.url;
  if (pingInterval) env.PING_INTERVAL = String(pingInterval);
  if (pingTimeout) env.PING_TIMEOUT = String(pingTimeout);
  if (maxHttpBufferSize) env.MAX_HTTP_BUFFER_SIZE = String(maxHttpBufferSize);
  if (perMessageDeflate !== undefined) env.PER_MESSAGE_DEFLATE = String(perMessageDeflate);
  if (recovery) env.RECOVERY = String(recovery);
  if (corsOrigin) env.CORS_ORIGIN = corsOrigin;
  if (parser) env.PARSER = parser;
  if (options) env.OPTIONS = JSON.stringify(options);
  if (allowEIO3) env.ALLOW_EIO3 = "true";

  const child = new Process(command, args, { env });
  await child.ready(() => child.output.includes(`listening on ${port}`));
  return {
    kind,
    port,
    url: `http://127.0.0.1:${port}`,
    process: child,
    stop: () => child.stop(),
  };
}
