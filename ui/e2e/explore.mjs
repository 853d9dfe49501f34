// Queries are completed and remembered, lines arrive live, keys work, a range is in the address.
import { join } from "node:path";
import { check, shots } from "./lib.mjs";

export async function explore(browser, base) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  await check("a metric, a label and a value are completed", async () => {
    await page.goto(`${base}/explore/metrics?query=up`);
    const box = page.getByRole("combobox").first();
    await box.fill("");
    await box.pressSequentially("scrape_dur");
    await page.getByRole("option").first().waitFor();
    await box.press("Tab");
    await box.pressSequentially("{");
    await page.getByRole("option", { name: /^job/ }).first().waitFor();
    await box.pressSequentially("jo");
    await box.press("Tab");
    await page.getByRole("option", { name: "node-exporter" }).waitFor();
    await page.screenshot({ path: join(shots, "completion.png") });
    await box.pressSequentially("node-e");
    await page.waitForTimeout(400);
    await box.press("Tab");
    const text = await box.inputValue();
    if (text !== 'scrape_duration_seconds{job="node-exporter') throw new Error(text);
    await box.pressSequentially('"}');
    await box.press("Enter");
    await page.waitForURL(/scrape_duration_seconds/);
  });
  await check("an earlier query comes back", async () => {
    await page.goto(`${base}/explore/metrics?query=up`);
    const box = page.getByRole("combobox").first();
    await box.press("Control+ArrowUp");
    await page.waitForFunction(() => document.querySelector("#promql").value.startsWith("scrape_duration_seconds"));
  });
  await check("lines arrive live", async () => {
    await page.goto(`${base}/explore/logs?tail=1`);
    await page.getByText("following").waitFor({ timeout: 15_000 });
    const count = () => page.locator(".log tr").count();
    const first = await count();
    await page.waitForFunction((n) => document.querySelectorAll(".log tr").length > n, first, { timeout: 20_000 });
  });
  await check("keys: help, pages, range", async () => {
    await page.goto(`${base}/`);
    await page.locator("h1").waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await page.screenshot({ path: join(shots, "keys.png") });
    await page.keyboard.press("Escape");
    await page.keyboard.press("g");
    await page.keyboard.press("d");
    await page.waitForURL(/\/dashboards$/);
    await page.goto(`${base}/explore/metrics?query=up`);
    await page.locator("h1").click();
    await page.keyboard.press("[");
    await page.waitForURL(/from=\d+&to=\d+/);
  });
  await check("an absolute range is typed", async () => {
    await page.goto(`${base}/explore/metrics?query=up`);
    await page.getByRole("group", { name: "Time range" }).locator("summary").click();
    await page.getByLabel("From (UTC)").fill("2025-12-06 14:30");
    await page.getByLabel("To (UTC)").fill("2025-12-06 15:30");
    await page.getByRole("button", { name: "Apply" }).click();
    await page.waitForURL(/from=1765031400&to=1765035000/);
  });
  await page.context().close();
}
