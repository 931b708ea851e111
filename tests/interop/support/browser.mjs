// The Chromium of this machine.

import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { repository } from "./process.mjs";

const FLAGS = [
  "--no-sandbox",
  "--headless",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The first browser that is found; CHROMIUM names another one. */
function executable() {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const folders = (process.env.PATH ?? "").split(":");
  const candidates = [process.env.CHROMIUM, ...names.flatMap((name) => ["/usr/bin", ...folders].map((folder) => join(folder, name)))];
  const found = candidates.find((path) => path && existsSync(path));
  if (!found) throw new Error(`no browser: install one of ${names.join(", ")}`);
  return found;
}

/** A browser without QUIC, which only WebTransport asks for. */
export function launchBrowser({ quic = false } = {}) {
  return chromium.launch({ executablePath: executable(), args: quic ? FLAGS : [...FLAGS, "--disable-quic"] });
}

/** Where a picture of that name is kept. */
export function artifact(name) {
  const folder = join(repository, "artifacts");
  mkdirSync(folder, { recursive: true });
  return join(folder, name);
}
