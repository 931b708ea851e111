// A small Socket.IO client (Engine.IO 4, Socket.IO protocol 5), so that the page works without anything from elsewhere.
// It opens by long polling and goes on by WebSocket; text and binary, acks, back-off with jitter. For your own pages use the official
// client, `socket.io-client`.

const SEPARATOR = "\x1e";
const BUFFER_MAX = 1000; // emits kept while there is no connection
const RESERVED = new Set(["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]);

class Emitter {
  #listeners = new Map();
  #any = new Set();

  on(event, listener) {
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
    return this;
  }

  once(event, listener) {
    const wrapped = (...args) => {
      this.off(event, wrapped);
      listener(...args);
    };
    wrapped.listener = listener;
    return this.on(event, wrapped);
  }

  off(event, listener) {
    if (event === undefined) this.#listeners.clear();
    else if (listener === undefined) this.#listeners.delete(event);
    else {
      const listeners = this.#listeners.get(event);
      for (const each of listeners ?? []) if (each === listener || each.listener === listener) listeners.delete(each);
    }
    return this;
  }

  onAny(listener) {
    this.#any.add(listener);
    return this;
  }

  offAny(listener) {
    if (listener === undefined) this.#any.clear();
    else this.#any.delete(listener);
    return this;
  }

  // One listener that throws must not keep the others from hearing.
  _tell(event, args) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) guard(() => listener.apply(this, args));
  }

  _tellAny(event, args) {
    for (const listener of [...this.#any]) guard(() => listener.call(this, event, ...args));
  }
}

function guard(call) {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

// One Engine.IO session, from its handshake to its end. `events` has open, message, upgrade and close.
class Session {
  transport = "polling";
  id = null;
  #url;
  #events;
  #webSocket = null;
  #open = false;
  #closed = false;
  #queue = [];
  #posting = false;
  #polling = null;
  #holding = false; // nothing is posted while the transport changes
  #heartbeat = 0;
  #patience = 0;
  #abort = new AbortController();

  constructor(url, webSocketOnly, events) {
    this.#url = url;
    this.#events = events;
    if (webSocketOnly) this.#openWebSocket();
    else this.#openPolling();
  }

  send(packet) {
    this.#queue.push(packet);
    this.#flush();
  }

  close() {
    if (this.#closed) return;
    if (this.transport === "websocket") this.#webSocket?.close(1000);
    else if (this.id) fetch(this.#address("polling"), { method: "POST", body: "1", keepalive: true }).catch(() => {});
    this.#end("io client disconnect");
  }

  #address(transport) {
    const url = new URL(this.#url);
    if (transport === "websocket") url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("EIO", "4");
    url.searchParams.set("transport", transport);
    if (this.id) url.searchParams.set("sid", this.id);
    if (transport === "polling") url.searchParams.set("t", Math.random().toString(36).slice(2, 10));
    return url;
  }

  async #request(init) {
    const response = await fetch(this.#address("polling"), { ...init, cache: "no-store", signal: this.#abort.signal });
    const text = await response.text();
    if (!response.ok) throw new Error(text || response.statusText);
    return text;
  }

  async #openPolling() {
    try {
      const packets = (await this.#request()).split(SEPARATOR);
      for (const packet of packets) this.#receive(packet);
      if (!this.#open) throw new Error("the handshake had no open packet");
      if (this.upgrades.includes("websocket")) this.#probe();
      this.#poll();
    } catch (error) {
      this.#end(this.#open ? "transport error" : "refused", error);
    }
  }

  #openWebSocket() {
    this.transport = "websocket";
    this.#webSocket = new WebSocket(this.#address("websocket"));
    this.#listen(this.#webSocket);
  }

  // The session speaks through this WebSocket from here on.
  #listen(webSocket) {
    webSocket.binaryType = "arraybuffer";
    webSocket.onmessage = (event) => this.#receive(event.data);
    webSocket.onclose = () => this.#end(this.#open ? "transport close" : "refused");
    webSocket.onerror = null;
  }

  async #poll() {
    while (this.transport === "polling" && !this.#closed && !this.#holding) {
      this.#polling = this.#request();
      try {
        for (const packet of (await this.#polling).split(SEPARATOR)) this.#receive(packet);
      } catch (error) {
        this.#polling = null;
        this.#end("transport error", error);
        return;
      }
      this.#polling = null;
    }
  }

  // Tries WebSocket beside the polling session. The old transport is emptied before the new one is used, so nothing is lost or overtakes.
  #probe() {
    const webSocket = new WebSocket(this.#address("websocket"));
    const giveUp = setTimeout(() => webSocket.close(), 10_000);
    webSocket.onopen = () => webSocket.send("2probe");
    webSocket.onclose = () => clearTimeout(giveUp);
    webSocket.onmessage = async (event) => {
      if (event.data !== "3probe" || this.#closed) return webSocket.close();
      this.#holding = true;
      while (this.#posting || this.#polling) await (this.#polling ?? pause(5)).catch(() => {});
      clearTimeout(giveUp);
      if (this.#closed) return webSocket.close();
      if (webSocket.readyState !== WebSocket.OPEN) {
        this.#holding = false;
        this.#poll();
        return this.#flush();
      }
      this.#webSocket = webSocket;
      this.transport = "websocket";
      this.#listen(webSocket);
      webSocket.send("5");
      this.#holding = false;
      this.#flush();
      this.#events.upgrade();
    };
  }

  #receive(data) {
    if (this.#closed) return;
    if (typeof data !== "string") return this.#events.message(data);
    const body = data.slice(1);
    switch (data[0]) {
      case "0":
        this.#handshake(JSON.parse(body));
        break;
      case "1":
        this.#end("transport close");
        break;
      case "2":
        this.#expectPing();
        this.send("3" + body);
        break;
      case "4":
        this.#events.message(body);
        break;
      case "b":
        this.#events.message(Uint8Array.from(atob(body), (char) => char.charCodeAt(0)).buffer);
        break;
    }
  }

  #handshake({ sid, upgrades, pingInterval, pingTimeout, maxPayload }) {
    this.id = sid;
    this.upgrades = upgrades;
    this.maxPayload = maxPayload;
    this.#patience = pingInterval + pingTimeout;
    this.#open = true;
    this.#expectPing();
    this.#events.open();
  }

  #expectPing() {
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(() => this.#end("ping timeout"), this.#patience);
  }

  async #flush() {
    if (this.#closed || this.#holding || this.#posting || !this.#open || !this.#queue.length) return;
    if (this.transport === "websocket") {
      for (const packet of this.#queue.splice(0)) this.#webSocket.send(packet);
      return;
    }
    this.#posting = true;
    try {
      while (this.#queue.length && !this.#closed && !this.#holding) await this.#request({ method: "POST", body: this.#payload() });
    } catch (error) {
      this.#end("transport error", error);
    } finally {
      this.#posting = false;
    }
    this.#flush();
  }

  // As many packets as fit into one body; a single larger one goes alone and the server decides.
  #payload() {
    const texts = [];
    let length = 0;
    while (this.#queue.length) {
      const packet = this.#queue[0];
      const text = typeof packet === "string" ? packet : "b" + base64(packet);
      length += 3 * text.length + 1;
      if (texts.length && length > this.maxPayload) break;
      texts.push(text);
      this.#queue.shift();
    }
    return texts.join(SEPARATOR);
  }

  #end(reason, error) {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#heartbeat);
    if (this.#webSocket) {
      this.#webSocket.onclose = null;
      if (this.#webSocket.readyState < WebSocket.CLOSING) this.#webSocket.close();
    }
    this.#abort.abort();
    this.#events.close(reason, error);
  }
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

function base64(data) {
  const bytes = new Uint8Array(data);
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

const isBinary = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);

// Replaces binary values by placeholders and collects them.
function takeOut(value, attachments) {
  if (isBinary(value)) {
    const bytes = value instanceof ArrayBuffer ? value : value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
    return { _placeholder: true, num: attachments.push(bytes) - 1 };
  }
  if (Array.isArray(value)) return value.map((item) => takeOut(item, attachments));
  if (value && typeof value === "object" && typeof value.toJSON !== "function")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, takeOut(item, attachments)]));
  return value;
}

function putBack(value, attachments) {
  if (value?._placeholder === true) {
    if (!(value.num in attachments)) throw new Error("illegal attachments");
    return attachments[value.num];
  }
  if (Array.isArray(value)) return value.map((item) => putBack(item, attachments));
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, putBack(item, attachments)]));
  return value;
}

// Type, number of attachments, namespace, id, JSON.
const PACKET = /^([0-6])(?:(\d+)-)?(?:(\/[^,]*),?)?(\d+)?([^]*)$/;

export class Socket extends Emitter {
  id = undefined;
  connected = false;
  reconnecting = false;
  #url;
  #namespace;
  #auth;
  #session = null;
  #buffer = [];
  #acks = new Map();
  #nextAck = 0;
  #pending = null; // an event whose attachments are still to come
  #attempts = 0;
  #timer = 0;
  #wanted = false;

  constructor(url, { namespace = "/", auth } = {}) {
    super();
    this.#url = url;
    this.#namespace = namespace;
    this.#auth = auth;
    // A device that wakes up or finds its network again should not wait for the back-off.
    addEventListener("online", () => this.#hurry());
    addEventListener("pageshow", () => this.#hurry());
  }

  get disconnected() {
    return !this.connected;
  }

  get transport() {
    return this.#session?.transport ?? null;
  }

  connect() {
    if (this.#wanted) return this;
    this.#wanted = true;
    this.#start();
    return this;
  }

  disconnect() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.connected) this.#write(1);
    this.#session?.close();
    return this;
  }

  emit(event, ...args) {
    if (RESERVED.has(event)) throw new Error(`"${event}" is a reserved event name`);
    let id;
    if (typeof args.at(-1) === "function") {
      id = this.#nextAck++;
      this.#acks.set(id, args.pop());
    }
    const send = () => this.#write(2, [event, ...args], id);
    if (this.connected) send();
    else if (this.#buffer.length < BUFFER_MAX) this.#buffer.push(send);
    return this;
  }

  emitWithAck(event, ...args) {
    return new Promise((resolve) => this.emit(event, ...args, resolve));
  }

  #write(type, json, id) {
    const attachments = [];
    const body = json === undefined ? "" : JSON.stringify(takeOut(json, attachments));
    const count = attachments.length ? `${attachments.length}-` : "";
    const kind = attachments.length ? type + 3 : type;
    const namespace = this.#namespace === "/" ? "" : `${this.#namespace},`;
    this.#session.send(`4${kind}${count}${namespace}${id ?? ""}${body}`);
    for (const attachment of attachments) this.#session.send(attachment);
  }

  #start() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    // Behind a balancer that does not keep a client at one server polling fails, so every other attempt is WebSocket alone.
    const webSocketOnly = this.#attempts % 2 === 1;
    this.#session = new Session(this.#url, webSocketOnly, {
      open: () => this.#write(0, this.#auth),
      message: (data) => this.#receive(data),
      upgrade: () => this._tell("upgrade", [this.transport]),
      close: (reason, error) => this.#lost(reason, error),
    });
  }

  #receive(data) {
    try {
      if (typeof data !== "string") return this.#attachment(data);
      const [, type, count, namespace = "/", id, json] = PACKET.exec(data);
      if (namespace !== this.#namespace) return;
      const packet = { type: Number(type), id: id === undefined ? undefined : Number(id), json: json ? JSON.parse(json) : undefined };
      if (Number(count) > 0) this.#pending = { packet, count: Number(count), attachments: [] };
      else this.#handle(packet);
    } catch (error) {
      console.error("synapse: a packet could not be read", error);
      this.#session.close();
    }
  }

  #attachment(data) {
    const pending = this.#pending;
    if (!pending) throw new Error("an attachment that was not announced");
    if (pending.attachments.push(data) < pending.count) return;
    this.#pending = null;
    const { type, id, json } = pending.packet;
    this.#handle({ type: type - 3, id, json: putBack(json, pending.attachments) });
  }

  #handle({ type, id, json }) {
    switch (type) {
      case 0:
        this.id = json.sid;
        this.connected = true;
        this.reconnecting = false;
        this.#attempts = 0;
        for (const send of this.#buffer.splice(0)) send();
        this._tell("connect", []);
        break;
      case 1:
        // The server asked us to go; as with the official client, coming back is up to the page.
        this.#wanted = false;
        this.#ended("io server disconnect");
        this.#session.close();
        break;
      case 2:
        this.#event(json, id);
        break;
      case 3:
        this.#acks.get(id)?.(...json);
        this.#acks.delete(id);
        break;
      case 4:
        this._tell("connect_error", [Object.assign(new Error(json?.message ?? "refused"), { data: json?.data })]);
        this.#wanted = false;
        this.#session.close();
        break;
    }
  }

  #event([event, ...args], id) {
    this._tellAny(event, args);
    if (id !== undefined) args.push((...answer) => this.connected && this.#write(3, answer, id));
    this._tell(event, args);
  }

  #lost(reason, error) {
    this.#pending = null;
    if (this.connected) this.#ended(reason);
    else if (reason !== "io client disconnect") this._tell("connect_error", [error ?? new Error(reason)]);
    if (!this.#wanted) return;
    // 0.5 s, doubling up to 5 s, half of it by chance, so that the clients of a server that went down do not come back as one.
    const delay = Math.min(500 * 2 ** this.#attempts, 5000) * (0.5 + Math.random() / 2);
    this.#attempts += 1;
    this.reconnecting = true;
    this.#timer = setTimeout(() => this.#start(), delay);
    this._tell("reconnect_attempt", [this.#attempts, delay]);
  }

  #ended(reason) {
    if (!this.connected) return;
    this.connected = false;
    this.id = undefined;
    this._tell("disconnect", [reason]);
  }

  #hurry() {
    if (this.#timer) this.#start();
  }
}

export function io(path = "/socket.io", options) {
  const socket = new Socket(new URL(`${path}/`, location.href), options);
  socket.connect();
  return socket;
}
