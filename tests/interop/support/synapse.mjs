// The `synapse` binary, as an operator starts it.

import { join } from "node:path";
import { freePort, Process, repository } from "./process.mjs";
import { until } from "./wait.mjs";

export const binary = process.env.SYNAPSE_BIN ?? join(repository, "target/debug/synapse");

/** Runs the binary without waiting for anything. */
export function runSynapse(env = {}, args = []) {
  return new Process(binary, args, { env: { HOST: "127.0.0.1", NO_COLOR: "1", ...env } });
}

/** A running server that answers on /live. */
export async function startSynapse({ env = {}, args = [], port } = {}) {
  port ??= await freePort();
  const child = runSynapse({ PORT: String(port), ...env }, args);
  const url = `http://127.0.0.1:${port}`;
  await child.ready(async () => (await fetch(`${url}/live`)).status === 200);
  return {
    port,
    url,
    process: child,
    get output() {
      return child.output;
    },
    async health() {
      const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(2_000) });
      return response.json();
    },
    /** Waits until /health says so, with one of these for Redis, and returns all of it. */
    healthBecomes(status, redisStatus, timeout = 10_000) {
      const check = async () => {
        const health = await this.health();
        return health.status === status && [redisStatus].flat().includes(health.redis_status) && health;
      };
      return until(check, `health "${status}" with redis "${redisStatus}"`, timeout, 50);
    },
    stop: () => child.stop(),
  };
}
