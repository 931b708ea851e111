// Engine.IO by hand, for what no client does: polling by fetch, frames by a bare WebSocket.

import { WebSocket } from "ws";
import { until, within } from "./wait.mjs";

const SEPARATOR = "\x1e";

/** The address of an Engine.IO request. A parameter that is `undefined` is left out. */
export function address(server, parameters = {}) {
  const url = new URL("/socket.io/", server.url);
  for (const [name, value] of Object.entries({ EIO: "4", transport: "polling", ...parameters })) {
    if (value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/** One HTTP request: `{ status, headers, body }`. */
export async function request(url, options = {}) {
  const response = await within(fetch(url, options), `answer from ${url}`, options.timeout ?? 10_000);
  return { status: response.status, headers: response.headers, body: await response.text() };
}

/** A long-polling session after its handshake. */
export class PollingSession {
  static async open(server, parameters = {}) {
    const session = new PollingSession();
    session.server = server;
    const { status, body } = await request(address(server, parameters));
    if (status !== 200) throw new Error(`handshake refused with ${status}: ${body}`);
    session.handshake = JSON.parse(body.slice(1));
    session.sid = session.handshake.sid;
    return session;
  }

  get url() {
    return address(this.server, { sid: this.sid });
  }

  get(options) {
    return request(this.url, options);
  }

  post(body, options = {}) {
    return request(this.url, { method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" }, ...options });
  }

  /** The packets of the next poll. */
  async packets() {
    const { status, body } = await this.get();
    if (status !== 200) throw new Error(`poll refused with ${status}: ${body}`);
    return body.split(SEPARATOR);
  }

  /** Polls until `count` packets are there. */
  async receive(count) {
    const packets = [];
    while (packets.length < count) packets.push(...(await this.packets()));
    return packets;
  }

  send(...packets) {
    return this.post(packets.join(SEPARATOR));
  }

  /** Joins the main namespace and returns the two packets that follow: CONNECT and the `auth` event. */
  async join() {
    await this.send("40");
    return this.receive(2);
  }

  /** Whether the server knows the session still; asks without disturbing it, by a request that is refused either way. */
  async isClosed() {
    const { body } = await request(address(this.server, { sid: this.sid, transport: "websocket" }));
    return JSON.parse(body).code === 1;
  }

  closes(timeout) {
    return until(() => this.isClosed(), "end of the session", timeout);
  }
}

/** A WebSocket whose messages are waited for one by one. Text is a string, binary a Buffer. */
export class RawSocket {
  #messages = [];

  static async open(url, options = {}) {
    const socket = new RawSocket(url, options);
    await within(socket.opened, `WebSocket at ${url}`);
    return socket;
  }

  /** An Engine.IO session over WebSocket from its start: the handshake packet is taken. */
  static async session(server, parameters = {}) {
    const socket = await RawSocket.open(address(server, { transport: "websocket", ...parameters }));
    socket.handshake = JSON.parse((await socket.next()).slice(1));
    return socket;
  }

  /** Joined to a namespace: CONNECT's answer and the `auth` event are taken. */
  static async joined(server, namespace = "/", auth) {
    const socket = await RawSocket.session(server);
    const prefix = namespace === "/" ? "" : `${namespace},`;
    socket.send(`40${prefix}${auth ? JSON.stringify(auth) : ""}`);
    socket.connect = await socket.next();
    socket.auth = await socket.next();
    return socket;
  }

  constructor(url, options) {
    this.url = url;
    this.websocket = new WebSocket(url, { perMessageDeflate: false, ...options });
    this.opened = new Promise((resolve, reject) => {
      this.websocket.once("open", resolve);
      this.websocket.once("error", reject);
    });
    this.closed = new Promise((resolve) => {
      this.websocket.once("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    // A failure shows in `opened` or as the close that follows.
    this.opened.catch(() => {});
    this.websocket.on("error", () => {});
    this.websocket.on("message", (data, isBinary) => this.#messages.push(isBinary ? data : data.toString()));
  }

  send(message) {
    this.websocket.send(message);
  }

  async next(timeout) {
    await until(() => this.#messages.length > 0, "message on the WebSocket", timeout, 2);
    return this.#messages.shift();
  }

  /** What arrived and was not taken. */
  get pending() {
    return [...this.#messages];
  }

  ends(timeout) {
    return within(this.closed, "close of the WebSocket", timeout);
  }

  terminate() {
    this.websocket.terminate();
  }
}

/** The answer to a WebSocket handshake that is refused: `{ status, contentType, body }`. */
export function refusedUpgrade(url, options) {
  const websocket = new WebSocket(url, { perMessageDeflate: false, ...options });
  const answer = new Promise((resolve, reject) => {
    websocket.on("open", () => {
      websocket.terminate();
      reject(new Error(`${url} was accepted`));
    });
    websocket.on("error", reject);
    websocket.on("unexpected-response", (_request, response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text) => (body += text));
      response.on("end", () => {
        resolve({ status: response.statusCode, contentType: response.headers["content-type"], body });
        websocket.terminate();
      });
    });
  });
  answer.catch(() => {});
  return within(answer, `refusal at ${url}`);
}
