// Official clients, collected so that a test closes all that it opened.

import { io } from "socket.io-client";
import { next, within } from "./wait.mjs";

export class Clients {
  #sockets = [];

  /** A socket that is on its way. `manager` shares the connection of another socket. */
  open(server, { namespace = "/", manager, ...options } = {}) {
    const socket = manager
      ? manager.socket(namespace, options)
      : io(server.url + namespace, { forceNew: true, reconnection: false, ...options });
    this.#sockets.push(socket);
    return socket;
  }

  /** A connected socket. What the server sends first is kept in `socket.received` as `[event, ...args]`. */
  async connect(server, options) {
    const socket = this.open(server, options);
    record(socket);
    const failed = new Promise((_resolve, reject) => socket.once("connect_error", reject));
    await within(Promise.race([next(socket, "connect"), failed]), "connection");
    return socket;
  }

  close() {
    for (const socket of this.#sockets.splice(0)) {
      socket.disconnect();
      socket.io.engine?.close();
    }
  }
}

/** Keeps every event of a socket in `socket.received`. */
export function record(socket) {
  socket.received = [];
  socket.onAny((...event) => socket.received.push(event));
}

/** The arguments of all events of that name so far. */
export function received(socket, event) {
  return socket.received.filter(([name]) => name === event).map(([_name, ...args]) => args);
}

/** Emits and returns the arguments of the answer. */
export function ask(socket, event, ...args) {
  return within(new Promise((resolve) => socket.emit(event, ...args, (...answer) => resolve(answer))), `answer to "${event}"`);
}

/**
 * The server has nothing more for this socket from what came before: a round trip on the same connection is the last
 * thing to arrive, because a connection keeps its order.
 */
export async function flush(...sockets) {
  await Promise.all(sockets.map((socket) => ask(socket, "message-with-ack", "flush")));
}
