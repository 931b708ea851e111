// Clients of Socket.IO 2, collected so that a test closes all that it opened, and their Engine.IO by hand.

import { runInNewContext } from "node:vm";
import io from "socket.io-client-v2";
import { address, request } from "./engine.mjs";
import { next, within } from "./wait.mjs";

export class OldClients {
  #sockets = [];

  /** A socket that is on its way. `manager` shares the connection of another socket. */
  open(server, { namespace = "/", manager, ...options } = {}) {
    const socket = manager
      ? manager.socket(namespace, options)
      : io(server.url + namespace, { forceNew: true, reconnection: false, ...options });
    this.#sockets.push(socket);
    record(socket);
    return socket;
  }

  /** A connected socket, with what it has received in `socket.received` as `[event, ...args]`. */
  async connect(server, options) {
    const socket = this.open(server, options);
    const failed = new Promise((_resolve, reject) => {
      for (const event of ["connect_error", "error"]) socket.once(event, reject);
    });
    await within(Promise.race([next(socket, "connect"), failed]), "connection");
    return socket;
  }

  close() {
    for (const socket of this.#sockets.splice(0)) socket.close();
  }
}

/** This client has no listener for every event, so its way in is listened on. */
function record(socket) {
  socket.received = [];
  const handle = socket.onevent;
  socket.onevent = function (packet) {
    socket.received.push(packet.data.slice());
    handle.call(this, packet);
  };
}

/** A long-polling session of Engine.IO v3. With `j`, it polls by JSONP. */
export class OldPollingSession {
  static async open(server, parameters = {}) {
    const session = new OldPollingSession();
    session.server = server;
    session.parameters = { EIO: "3", ...parameters };
    const [open] = await session.packets();
    session.handshake = JSON.parse(open.slice(1));
    session.sid = session.handshake.sid;
    return session;
  }

  get url() {
    return address(this.server, { ...this.parameters, sid: this.sid });
  }

  /** The packets of the next poll. */
  async packets() {
    const { status, headers, body } = await request(this.url);
    if (status !== 200) throw new Error(`poll refused with ${status}: ${body}`);
    this.headers = headers;
    return decodePayload(this.parameters.j === undefined ? body : runScript(body, this.parameters.j));
  }

  /** Polls until `count` packets are there. */
  async receive(count) {
    const packets = [];
    while (packets.length < count) packets.push(...(await this.packets()));
    return packets;
  }

  post(body, type = "text/plain;charset=UTF-8") {
    return request(this.url, { method: "POST", body, headers: { "content-type": type } });
  }

  send(...packets) {
    const payload = encodePayload(packets);
    if (this.parameters.j === undefined) return this.post(payload);
    // As the client does it, because browsers change line feeds in forms.
    const escaped = payload.replace(/\\n/g, "\\\n").replace(/\n/g, "\\n");
    return this.post(`d=${encodeURIComponent(escaped)}`, "application/x-www-form-urlencoded");
  }
}

function encodePayload(packets) {
  return packets.map((packet) => `${packet.length}:${packet}`).join("");
}

function decodePayload(payload) {
  const packets = [];
  for (let rest = payload; rest !== ""; ) {
    const [digits] = /^\d+(?=:)/.exec(rest) ?? [];
    if (digits === undefined) throw new Error(`no length in ${JSON.stringify(rest)}`);
    const start = digits.length + 1;
    packets.push(rest.slice(start, start + Number(digits)));
    rest = rest.slice(start + Number(digits));
  }
  return packets;
}

/** What a script of JSONP hands over. */
function runScript(script, index) {
  let payload;
  runInNewContext(script, { ___eio: { [index]: (data) => (payload = data) } });
  return payload;
}
