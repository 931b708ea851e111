// The demo in a real browser: two servers, two pages, and an event that crosses from one to the other.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import { artifact, launchBrowser } from "./support/browser.mjs";
import { freePort } from "./support/process.mjs";
import { Redis } from "./support/redis.mjs";
import { startSynapse } from "./support/synapse.mjs";
import { until } from "./support/wait.mjs";

describe("demo pages", () => {
  let redis;
  let demo;
  let browser;
  let contexts = [];
  before(async () => {
    redis = await Redis.start();
    demo = await startDemo({ REDIS_URL: redis.url });
    browser = await launchBrowser();
  });
  afterEach(async () => {
    await Promise.all(contexts.splice(0).map((context) => context.close()));
  });
  after(async () => {
    await browser?.close();
    await demo?.stop();
    await redis?.stop();
  });

  /** A connected page of the first (0) or the second (1) server, and whatever went wrong in it. */
  async function open(index, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
    contexts.push(context);
    const page = await context.newPage();
    page.problems = [];
    page.on("pageerror", (error) => page.problems.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") page.problems.push(message.text());
    });
    await page.goto(`http://127.0.0.1:${demo.port + index}/`);
    await page.waitForFunction(() => window.socket?.connected === true, undefined, { timeout: 10_000 });
    return page;
  }

  async function emit(page, event, data) {
    await page.fill("#event", event);
    await page.fill("#data", JSON.stringify(data));
    await page.click("#send");
  }

  function shows(page, text) {
    return page.locator("#received > *", { hasText: text }).first().waitFor({ timeout: 5_000 });
  }

  it("show on one server what is emitted on the other, both ways", async () => {
    const [one, two] = [await open(0), await open(1)];
    await emit(one, "test_event", { message: "Hello from Server 1" });
    await shows(two, "Hello from Server 1");
    await emit(two, "test_event", { message: "Hello from Server 2" });
    await shows(one, "Hello from Server 2");
    assert.equal(await two.locator("#received > *", { hasText: "Hello from Server 1" }).count(), 1);
    assert.deepEqual([...one.problems, ...two.problems], []);
  });

  it("show text from others as text", async () => {
    const [one, two] = [await open(0), await open(1)];
    await emit(one, "test_event", { message: "<img src=x onerror='window.broken = true'>end" });
    await shows(two, "onerror");
    assert.equal(await two.locator("#received img").count(), 0);
    assert.equal(await two.evaluate(() => window.broken), undefined);
  });

  it("do not send what is not JSON", async () => {
    const [one, two] = [await open(0), await open(1)];
    await one.fill("#event", "test_event");
    await one.fill("#data", "{ not json");
    await one.click("#send");
    await emit(one, "test_event", { message: "valid" });
    await shows(two, "valid");
    assert.equal(await two.locator("#received > *", { hasText: "not json" }).count(), 0);
    assert.deepEqual(one.problems, []);
  });

  const colors = {};
  for (const colorScheme of ["light", "dark"]) {
    it(`look well in ${colorScheme} colours, wide and narrow`, async () => {
      const [one, two] = [await open(0, { colorScheme }), await open(1, { colorScheme })];
      await emit(one, "test_event", { message: "Hello from Server 1" });
      await shows(two, "Hello from Server 1");
      await two.screenshot({ path: artifact(`demo-${colorScheme}.png`) });

      await two.setViewportSize({ width: 375, height: 700 });
      await until(() => two.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "page that fits the width");
      await two.screenshot({ path: artifact(`demo-${colorScheme}-narrow.png`) });
      colors[colorScheme] = await two.evaluate(() => getComputedStyle(document.body).color);
      assert.deepEqual(two.problems, []);
    });
  }

  it("have colours of their own for light and dark", () => {
    assert.notEqual(colors.light, colors.dark);
  });
});

/** `synapse demo` takes a port and the one after it. */
async function startDemo(env) {
  for (let attempt = 0; ; attempt++) {
    const port = await freePort();
    try {
      const demo = await startSynapse({ env, args: ["demo"], port });
      await until(async () => (await fetch(`http://127.0.0.1:${port + 1}/live`)).status === 200, "second server of the demo").catch(
        async (error) => {
          await demo.stop();
          throw error;
        },
      );
      return demo;
    } catch (error) {
      if (attempt === 3) throw error;
    }
  }
}
