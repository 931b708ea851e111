// The namespace `/api` of the reference application, on Node's socket.io: answers and errors, listeners of every event,
// middlewares of events. And namespaces that come into being when they are asked for: `/room-<number>`, and `/team/<name>`
// for who says in `auth` to be of it.

import { setTimeout as pause } from "node:timers/promises";

export function serveApi(io) {
  const api = io.of("/api");
  const rooms = io.of(/^\/room-\d+$/);
  const made = [];
  io.on("new_namespace", (namespace) => made.push(namespace.name));
  rooms.use((socket, next) => next(socket.handshake.auth.refuse ? new Error("refused") : undefined));
  rooms.on("connection", (socket) => {
    socket.on("where", (callback) => callback(socket.nsp.name));
    socket.on("all", (text) => rooms.emit("to-all", text));
  });
  io.of((name, auth, next) => setImmediate(() => next(null, name === `/team/${auth.team}`)));

  let visits = 0;
  api.on("connection", (socket) => {
    visits += 1;
    const heard = [];
    const shown = [];
    const any = (name) => heard.push(name);
    const anyOutgoing = (name) => shown.push(name);
    socket.onAny(any);
    socket.onAnyOutgoing(anyOutgoing);
    socket.on("names", (callback) => callback(heard, shown));
    socket.on("deaf", (callback) => {
      socket.offAny(any);
      socket.offAnyOutgoing(anyOutgoing);
      callback();
    });
    socket.once("once", () => socket.emit("ran", "once"));

    socket.on("divide", (a, b, callback) => {
      callback(b === 0 ? { error: "not by zero", data: [a, b] } : Math.trunc(a / b));
    });
    socket.on("visits", (callback) => callback(visits));
    socket.on("said", (said, callback) => {
      socket.broadcast.emit("said", said);
      callback();
    });
    for (const name of ["secret", "slow", "fast"]) socket.on(name, () => socket.emit("ran", name));
    socket.on("all", (text) => api.emit("to-all", text));
    socket.on("children", (callback) => {
      callback([...rooms.children].map(({ name }) => name).sort(), made);
    });

    socket.use(async ([name], next) => {
      if (name === "secret") return next(Object.assign(new Error("not for you"), { data: 403 }));
      if (name === "slow") await pause(30);
      next();
    });
    socket.on("error", (error) => {
      if (error.message === "not for you") socket.emit("trouble", error.message);
      else socket.broadcast.emit("undecodable", socket.id);
    });
  });
}
