// The page at `/`: shows the way to the other servers, emits what the form holds, lists what arrives.

import { io } from "/assets/client.js";

const RECEIVED_MAX = 200;
const HEALTH_INTERVAL = 2000;

const byId = (id) => document.getElementById(id);
const fact = (name) => document.querySelector(`meta[name="synapse-${name}"]`).content;
// Milliseconds since 1970 with fractions, unlike Date.now().
const now = () => performance.timeOrigin + performance.now();

const socket = io(fact("path"));
window.socket = socket;

// The connection.

const showState = (id, state) => (byId(id).dataset.state = state);
let transports = "polling";

function showConnection(text, state) {
  byId("connection").textContent = text;
  byId("transport").textContent = transports;
  showState("node-page", state);
  showState("wire-page", state);
}

socket.on("connect", () => {
  transports = socket.transport;
  showConnection("connected", "good");
  showState("node-server", "good");
  refresh();
});
socket.on("upgrade", () => {
  transports = "polling → websocket";
  if (socket.connected) showConnection("connected", "good");
});
socket.on("disconnect", (reason) => showConnection(`lost: ${reason}`, "wait"));
socket.on("connect_error", () => showConnection("server not reached", "wait"));
socket.on("reconnect_attempt", (attempt) => showConnection(`reconnecting, attempt ${attempt}`, "wait"));

// The server and its Redis.

const REDIS = {
  connected: ["connected", "good"],
  connecting: ["connecting", "wait"],
  disconnected: ["disconnected", "wait"],
  disabled: ["not configured", "off"],
};

function showHealth(health) {
  const [words, state] = REDIS[health.redis_status] ?? [health.redis_status, "wait"];
  const joined = health.adapter === "in-process";
  const trip = health.redis_round_trip_ms;
  byId("redis-name").textContent = joined ? "In-process bus" : "Redis";
  byId("redis").textContent = joined ? "joins both servers" : words;
  byId("redis").title = health.redis_last_error ? `last error: ${health.redis_last_error}` : "";
  byId("round-trip").textContent = joined ? "same process" : state === "off" ? "single server" : trip === null ? "…" : milliseconds(trip);
  showState("node-redis", joined ? "good" : state);
  showState("wire-redis", joined ? "good" : state);
  byId("server-id").textContent = health.server_id;
  const clients = `${health.connections} ${health.connections === 1 ? "client" : "clients"}`;
  byId("server").textContent = `${clients}, up ${duration(health.uptime_seconds)}`;
  showState("node-server", "good");
}

async function refresh() {
  try {
    const response = await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(HEALTH_INTERVAL) });
    showHealth(await response.json());
  } catch {
    byId("server").textContent = "does not answer";
    byId("redis").textContent = "unknown";
    byId("round-trip").textContent = "…";
    for (const id of ["node-server", "wire-redis", "node-redis"]) showState(id, "wait");
  }
}

setInterval(() => document.hidden || refresh(), HEALTH_INTERVAL);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();

function milliseconds(time) {
  return `${time.toFixed(time < 10 ? 2 : time < 100 ? 1 : 0)} ms`;
}

function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

// Emitting.

byId("emit").addEventListener("submit", (submit) => {
  submit.preventDefault();
  const [event, data] = [byId("event"), byId("data")];
  event.removeAttribute("aria-invalid");
  data.removeAttribute("aria-invalid");
  const name = event.value.trim();
  if (!name) return complain(event, "An event needs a name.");
  let value;
  try {
    value = data.value.trim() ? JSON.parse(data.value) : null;
  } catch (error) {
    return complain(data, `Not JSON: ${error.message}`);
  }
  try {
    // The data goes out as it is written; listeners that take one argument do not see the second.
    socket.emit(name, value, { sent_at: now() });
  } catch (error) {
    return complain(event, error.message);
  }
  if (!socket.connected) return note("Kept until the connection is back", "good");
  if (isRelayed(name)) note(`Sent at ${clock(new Date())}`, "good");
  else note("Sent, but this server relays no event of that name", "bad");
  travel("out");
});

const isRelayed = (name) => ["everyone", "rooms"].some((receivers) => fact("relay").split(",").includes(`${name}=${receivers}`));

function complain(field, text) {
  field.setAttribute("aria-invalid", "true");
  field.focus();
  note(text, "bad");
}

function note(text, state) {
  byId("note").textContent = text;
  byId("note").dataset.state = state;
}

byId("data").addEventListener("keydown", (key) => {
  if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) byId("emit").requestSubmit();
});

// Receiving.

let received = 0;

socket.onAny((event, ...args) => {
  const at = now();
  const sentAt = args.at(-1)?.sent_at;
  const timed = args.length > 1 && typeof sentAt === "number" && Object.keys(args.at(-1)).length === 1;
  if (timed) args.pop();

  const item = document.createElement("li");
  const part = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    item.append(element);
    return element;
  };
  part("span", "name", event);
  const latency = part("span", "latency", timed ? inTransit(at - sentAt) : "no time given");
  if (!timed || at < sentAt) latency.dataset.state = "off";
  part("code", "data", args.map(text).join(", "));
  part("time", "at", clock(new Date())).dateTime = new Date().toISOString();

  const list = byId("received");
  list.prepend(item);
  while (list.children.length > RECEIVED_MAX) list.lastChild.remove();
  byId("count").textContent = received += 1;
  travel("in");
});

const inTransit = (time) => (time < 0 ? "clocks differ" : milliseconds(time));

function text(value) {
  if (value instanceof ArrayBuffer) return `<${value.byteLength} bytes>`;
  return JSON.stringify(value, (_, item) => (item instanceof ArrayBuffer ? `<${item.byteLength} bytes>` : item)) ?? "undefined";
}

const clock = (date) => date.toLocaleTimeString([], { hour12: false });

byId("clear").addEventListener("click", () => {
  byId("received").replaceChildren();
  byId("count").textContent = received = 0;
});

// A dot along the wires.
function travel(direction) {
  const wires = [byId("wire-page"), byId("wire-redis")];
  if (direction === "in") wires.reverse();
  wires.forEach((wire, index) => {
    if (wire.dataset.state !== "good") return;
    setTimeout(() => {
      wire.classList.remove("in", "out");
      void wire.offsetWidth; // lets the animation start anew
      wire.classList.add(direction);
    }, index * 380);
  });
}

// The other server of the demo.

const sibling = fact("sibling");
if (sibling) {
  const link = byId("sibling");
  link.href = `${location.protocol}//${location.hostname}:${sibling}/`;
  link.textContent = `Open the other server, :${sibling}`;
  link.hidden = false;
}
