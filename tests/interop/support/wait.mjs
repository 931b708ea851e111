// Waiting with a deadline. No test sleeps and hopes; each waits for the state that it needs.

import { setTimeout as pause } from "node:timers/promises";

/** Polls `check` until it returns something truthy, and returns that. A throwing check counts as "not yet". */
export async function until(check, what, timeout = 5_000, interval = 20) {
  const deadline = Date.now() + timeout;
  let lastError;
  for (;;) {
    try {
      const value = await check();
      if (value) return value;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (Date.now() >= deadline) throw new Error(`no ${what} within ${timeout} ms`, { cause: lastError });
    await pause(interval);
  }
}

/** The promise's value, or a failure that says what was missing. */
export function within(promise, what, timeout = 5_000) {
  let timer;
  const expired = new Promise((_resolve, reject) => {
    const error = new Error(`no ${what} within ${timeout} ms`);
    timer = setTimeout(() => reject(error), timeout);
  });
  return Promise.race([promise, expired]).finally(() => clearTimeout(timer));
}

/** The arguments of the next `event` of an emitter. */
export function next(emitter, event, timeout = 5_000) {
  return within(new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), `event "${event}"`, timeout);
}

/** A span of time in which something must not happen, or a fault must last: the one place where time itself is the subject. */
export function span(milliseconds) {
  return pause(milliseconds);
}
