// Clients of python-socketio, in one Python process that python_client.py drives: a command per line, an answer or an event
// per line.

import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Process } from "./process.mjs";
import { until, within } from "./wait.mjs";

const program = fileURLToPath(new URL("python_client.py", import.meta.url));
/** Debian's, whose packages scripts/setup.sh installs: another one on the PATH would not find them. */
const interpreter = "/usr/bin/python3";
const DEADLINE = 20_000;

export class Python {
  #process;
  #clients = [];
  #open = [];
  #commands = 0;
  #waiting = new Map();

  static async start() {
    const python = new Python();
    // Isolated from the variables and packages of whoever runs the tests; no proxy has a way to this machine's loopback.
    const env = { NO_PROXY: "127.0.0.1", no_proxy: "127.0.0.1" };
    const child = (python.#process = new Process(interpreter, ["-I", program], { env, stdin: "pipe" }));
    createInterface({ input: child.child.stdout }).on("line", (line) => python.#take(JSON.parse(line)));
    // A command to a process that has ended fails by that end.
    child.child.stdin.on("error", () => {});
    child.ended.then(() => {
      for (const { reject } of python.#waiting.values()) reject(python.#hasEnded());
    });
    await python.command({ client: null, do: "ready" });
    return python;
  }

  /**
   * A client of that `kind` (Client or AsyncClient), connected. `settings` are those of its constructor, the others those
   * of its `connect`, all under their names in Python.
   */
  async open(server, options) {
    const client = this.client();
    await client.open(server, options);
    return client;
  }

  /** A client that is yet to be opened. */
  client() {
    const client = new PythonClient(this, this.#clients.length);
    this.#clients.push(client);
    return client;
  }

  opened(client) {
    this.#open.push(client);
  }

  /** What the program answers to a command; its failure is an error. */
  async command(command) {
    if (this.#process.how) throw this.#hasEnded();
    const id = this.#commands++;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#process.child.stdin.write(`${JSON.stringify(toPlain({ id, ...command }))}\n`);
    return within(answer, `answer of Python to "${command.do}"`, DEADLINE).finally(() => this.#waiting.delete(id));
  }

  /** Ends every connection. */
  async disconnect() {
    for (const client of this.#open.splice(0)) await client.disconnect();
  }

  stop() {
    return this.#process.stop();
  }

  #hasEnded() {
    return new Error(`Python has ended; its output:\n${this.#process.output}`);
  }

  #take({ id, result, error, ...heard }) {
    if (id === undefined) this.#clients[heard.client].heard.push(fromPlain(heard));
    else if (error) this.#waiting.get(id)?.reject(new Error(error));
    else this.#waiting.get(id)?.resolve(fromPlain(result));
  }
}

export class PythonClient {
  /** What it has heard and nobody has taken: `{ namespace, event, arguments }`. */
  heard = [];

  constructor(python, number) {
    this.python = python;
    this.number = number;
  }

  command(action, details = {}) {
    return this.python.command({ client: this.number, do: action, ...details });
  }

  async open(server, { kind = "Client", query = "", settings, ...options } = {}) {
    this.python.opened(this);
    await this.command("open", {
      url: server.url + query,
      kind,
      settings: { reconnection: false, ...settings },
      options: { wait_timeout: 10, ...options },
    });
  }

  /** Connects again after it was put out, with the same options of `connect`. */
  reopen(server, options) {
    return this.command("reopen", { url: server.url, options: { wait_timeout: 10, ...options } });
  }

  emit(event, ...args) {
    return this.emitIn("/", event, ...args);
  }

  emitIn(namespace, event, ...args) {
    return this.command("emit", { namespace, event, arguments: args, ask: false });
  }

  /** Emits and returns the arguments of the answer. */
  ask(event, ...args) {
    return this.askIn("/", event, ...args);
  }

  askIn(namespace, event, ...args) {
    return this.command("emit", { namespace, event, arguments: args, ask: true });
  }

  /** The arguments of the next event of that name, which is taken. */
  async next(event, namespace = "/") {
    const index = () => this.heard.findIndex((one) => one.event === event && one.namespace === namespace);
    await until(() => index() >= 0, `event "${event}" in Python`, DEADLINE, 5);
    return this.heard.splice(index(), 1)[0].arguments;
  }

  /** The arguments of all events of that name that are not taken. */
  received(event, namespace = "/") {
    return this.heard.filter((one) => one.event === event && one.namespace === namespace).map((one) => one.arguments);
  }

  /** `{ sid, transport }`, without an id while it is not in the namespace. */
  describe(namespace = "/") {
    return this.command("describe", { namespace });
  }

  disconnect() {
    return this.command("disconnect");
  }
}

function toPlain(value) {
  if (Buffer.isBuffer(value)) return { $bytes: value.toString("base64") };
  return map(value, toPlain);
}

function fromPlain(value) {
  if (typeof value?.$bytes === "string") return Buffer.from(value.$bytes, "base64");
  return map(value, fromPlain);
}

function map(value, change) {
  if (Array.isArray(value)) return value.map(change);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, change(item)]));
}
