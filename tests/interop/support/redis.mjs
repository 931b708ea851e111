// A redis-server of our own: nothing is kept, and it can be killed, restarted on the same port, stopped and continued.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { freePort, Process } from "./process.mjs";

export class Redis {
  /** With `tls`, it speaks TLS only, with a certificate of its own that nobody trusts unless told so: `redis.certificate`. */
  static async start({ password, tls } = {}) {
    const redis = await Redis.absent({ password, tls });
    await redis.restart();
    return redis;
  }

  /** A port on which a Redis may come up later. */
  static async absent({ password, tls = false } = {}) {
    const redis = new Redis();
    redis.port = await freePort();
    redis.password = password;
    redis.tls = tls;
    return redis;
  }

  get url() {
    return `redis${this.tls ? "s" : ""}://${this.password ? `:${this.password}@` : ""}127.0.0.1:${this.port}`;
  }

  get certificate() {
    return join(this.directory, "certificate.pem");
  }

  async restart() {
    this.directory ??= mkdtempSync(join(tmpdir(), "synapse-redis-"));
    const port = this.tls ? ["--port", 0, "--tls-port", this.port, ...this.#certify()] : ["--port", this.port];
    const args = [...port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", this.directory];
    if (this.password) args.push("--requirepass", this.password);
    this.process = new Process("redis-server", args.map(String));
    await this.process.ready(() => ping(this.port, this.tls));
  }

  /** Makes a certificate for the loopback address and returns what redis-server is told of it. */
  #certify() {
    const key = join(this.directory, "key.pem");
    const made = spawnSync("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
      ...["-subj", "/CN=synapse test", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
      ...["-keyout", key, "-out", this.certificate],
    ]);
    if (made.status !== 0) throw new Error(`openssl made no certificate: ${made.stderr}`);
    return ["--tls-auth-clients", "no", "--tls-cert-file", this.certificate, "--tls-key-file", key];
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
function ping(port, tls) {
  return new Promise((resolve) => {
    const socket = tls ? connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false }) : createConnection(port, "127.0.0.1");
    socket.setTimeout(500, () => socket.destroy());
    socket.on(tls ? "secureConnect" : "connect", () => socket.write("PING\r\n"));
    socket.on("data", (data) => {
      resolve(/PONG|NOAUTH/.test(data.toString()));
      socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(false));
  });
}
