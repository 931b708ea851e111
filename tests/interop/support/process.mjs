// Child processes that end with the test: each is stopped by its own pid, also when a test failed half-way.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { until } from "./wait.mjs";

export const repository = fileURLToPath(new URL("../../../", import.meta.url));

const running = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));

/** A port of 127.0.0.1 that nobody listened on a moment ago. */
export async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

export class Process {
  output = "";

  constructor(command, args = [], { env = {}, cwd, stdin = "ignore" } = {}) {
    this.command = command;
    this.child = spawn(command, args, { cwd, env: { ...cleanEnvironment(), ...env }, stdio: [stdin, "pipe", "pipe"] });
    running.add(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (this.output += text));
    }
    this.child.on("error", (error) => (this.output += `${error.message}\n`));
    this.ended = new Promise((resolve) => {
      this.child.on("close", (code, signal) => resolve({ code, signal }));
    });
    this.ended.then((how) => {
      this.how = how;
      running.delete(this.child);
    });
  }

  /** Waits for `check`, or fails at once with the output when the process ended before. */
  async ready(check, timeout = 10_000) {
    const value = await until(() => this.how ?? check(), `readiness of ${this.command}`, timeout).catch((error) => {
      throw new Error(`${error.message}; its output:\n${this.output}`);
    });
    if (this.how) throw new Error(`${this.command} ended with code ${this.how.code}; its output:\n${this.output}`);
    return value;
  }

  /** Waits until the output matches, and returns the match. */
  prints(pattern, timeout = 10_000) {
    return until(() => this.output.match(pattern), `line ${pattern} from ${this.command}`, timeout).catch((error) => {
      throw new Error(`${error.message}; its output:\n${this.output}`);
    });
  }

  signal(name) {
    this.child.kill(name);
  }

  /** How it ended: `{ code, signal }`. */
  end(timeout = 10_000) {
    return until(() => this.how, `end of ${this.command}`, timeout);
  }

  /** Asks it to end, and after a while makes it. */
  async stop(timeout = 5_000) {
    if (this.how) return this.how;
    this.signal("SIGTERM");
    return this.end(timeout).catch(() => this.kill());
  }

  async kill() {
    this.signal("SIGKILL");
    return this.ended;
  }
}

/** What the tests set is all that a server may see of our variables. */
function cleanEnvironment() {
  const ours = /^(REDIS_|SYNAPSE_|PORT$|HOST$|PING_|MAX_HTTP|CORS_|PARSER$|ALLOW_|OPTIONS$|LOG_|RUST_LOG$)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)));
}
