// A redis-server of our own: nothing is kept, and it can be killed, restarted on the same port, stopped and continued.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, Process } from "./process.mjs";

export class Redis {
  static async start({ password } = {}) {
    const redis = await Redis.absent({ password });
    await redis.restart();
    return redis;
  }

  /** A port on which a Redis may come up later. */
  static async absent({ password } = {}) {
    const redis = new Redis();
    redis.port = await freePort();
    redis.password = password;
    return redis;
  }

  get url() {
    return `redis://${this.password ? `:${this.password}@` : ""}127.0.0.1:${this.port}`;
  }

  async restart() {
    this.directory ??= mkdtempSync(join(tmpdir(), "synapse-redis-"));
    const args = ["--port", this.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", this.directory];
    if (this.password) args.push("--requirepass", this.password);
    this.process = new Process("redis-server", args.map(String));
    await this.process.ready(() => ping(this.port));
  }

  async kill() {
    await this.process.kill();
  }

  pause() {
    this.process.signal("SIGSTOP");
  }

  resume() {
    this.process.signal("SIGCONT");
  }

  /** One command by redis-cli; what it printed. */
  command(...args) {
    const auth = this.password ? ["-a", this.password, "--no-auth-warning"] : [];
    const result = spawnSync("redis-cli", ["-h", "127.0.0.1", "-p", String(this.port), ...auth, ...args], {
      encoding: "utf8",
      timeout: 5_000,
    });
    return result.stdout.trim();
  }

  /** `redis-cli PSUBSCRIBE pattern`, running: its output is what it saw. */
  async watch(pattern) {
    const args = ["-h", "127.0.0.1", "-p", String(this.port), "PSUBSCRIBE", pattern];
    const watcher = new Process("redis-cli", args);
    await watcher.ready(() => watcher.output.includes("psubscribe"));
    return watcher;
  }

  async stop() {
    if (this.process) {
      this.process.signal("SIGCONT");
      await this.process.kill();
    }
    if (this.directory) rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Whether a Redis answers there. With a password the answer is an error, which shows as well that it runs. */
function ping(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.setTimeout(500, () => socket.destroy());
    socket.on("connect", () => socket.write("PING\r\n"));
    socket.on("data", (data) => {
      resolve(/PONG|NOAUTH/.test(data.toString()));
      socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(false));
  });
}
