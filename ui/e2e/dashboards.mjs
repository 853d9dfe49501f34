// Every kind of panel draws something that can be seen, at both widths and in both themes.
import { join } from "node:path";
import { gallery } from "./gallery.mjs";
import { check, shots } from "./lib.mjs";

/** Kinds that are drawn on a canvas. */
export const DRAWN = new Set(["timeseries", "heatmap", "state-timeline", "status-history", "barchart", "histogram"]);

/** Every panel has asked and been answered; those far below ask once they come into sight. */
async function settle(page) {
  await page.waitForFunction(() => {
    const all = [...document.querySelectorAll("[data-panel]")];
    const waiting = all.find((p) => p.dataset.state === "loading");
    waiting?.scrollIntoView();
    return all.length > 15 && !waiting;
  }, null, { timeout: 30_000 });
  await page.evaluate(() => window.scrollTo(0, 0));
  await page.waitForTimeout(400);
}

/** Whether any pixel of a canvas differs from its first. */
export function painted(panel) {
  return [...panel.querySelectorAll("canvas")].some((c) => {
    if (!c.width || !c.height) return false;
    const pixels = new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer);
    return pixels.some((p) => p !== pixels[0]);
  });
}

export async function dashboards(browser, base) {
  // The demo's clock runs ahead of the browser's.
  const now = Math.floor(Date.parse((await (await fetch(`${base}/obs/health`)).json()).now) / 1000);
  const address = `${base}/dashboards/gallery?from=${now - 600}&to=${now}&row=row20`;
  for (const [theme, width] of [["dark", 1280], ["light", 800]]) {
    const context = await browser.newContext({ viewport: { width, height: 3200 }, colorScheme: theme });
    const page = await context.newPage();
    const complaints = [];
    page.on("pageerror", (e) => complaints.push(String(e)));
    await page.route("**/obs/dashboards/gallery", (r) => r.fulfill({ json: gallery() }));
    await check(`the gallery loads in ${theme} at ${width}`, async () => {
      await page.goto(address);
      await settle(page);
      await page.screenshot({ path: join(shots, `gallery-${theme}-${width}.png`), fullPage: true });
      if (complaints.length) throw new Error(complaints.join("; "));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wide > 0) throw new Error(`the page is ${wide} px too wide`);
      const errors = await page.locator(".note.error").allTextContents();
      if (errors.length) throw new Error(errors.join("; "));
    });
    const kinds = await page.locator("[data-panel]").evaluateAll((all) => all.map((p) => [p.dataset.panel, p.dataset.kind]));
    for (const [id, kind] of kinds) {
      await check(`panel ${id} (${kind}) shows data in ${theme}`, async () => {
        const panel = page.locator(`[data-panel="${id}"]`).first();
        const text = (await panel.innerText()).replace(/\s+/g, " ");
        if (/No data|Loading|asks nothing/.test(text)) throw new Error(text);
        const drawn = DRAWN.has(kind);
        if (drawn && !(await panel.evaluate(painted))) throw new Error("its canvas is blank");
        if (!drawn && !/[0-9a-z]/i.test(text.replace(/^[^⋮]*⋮/, ""))) throw new Error(`says only ${text}`);
      });
    }
    if (theme === "dark") await actions(page, address);
    await context.close();
  }
}

async function actions(page, address) {
  await check("markup in a text panel is not run", async () => {
    if (await page.evaluate(() => window.hurt)) throw new Error("a script of a text panel ran");
  });
  await check("a mapping, an override and a unit are seen in the table", async () => {
    const text = await page.locator('[data-kind="table"]').innerText();
    for (const word of [/State/, /Took/, /\bup\b/, /[mµ]s\b/]) if (!word.test(text)) throw new Error(`${word} is not in ${text}`);
  });
  await check("a repeated panel stands once for each value", async () => {
    const count = await page.locator('[data-panel="21"]').count();
    if (count < 2) throw new Error(`${count} copies`);
  });
  await check("an unknown kind is a table with its name", async () => {
    const text = await page.locator('[data-kind="worldmap"]').innerText();
    if (!text.includes("worldmap") || !text.includes("up")) throw new Error(text);
  });
  await check("a choice of a variable is in the address and in the queries", async () => {
    await page.getByLabel("Top").selectOption("3");
    await page.waitForURL(/var-top=3/);
    await page.waitForRequest((r) => decodeURIComponent(r.url()).includes("topk(3"), { timeout: 10_000 }).catch(() => undefined);
    await page.locator('[data-kind="bargauge"] summary').click();
    await page.locator('[data-kind="bargauge"]').getByRole("button", { name: "Queries" }).click();
    const asked = await page.locator("dialog pre").first().innerText();
    if (!asked.startsWith("topk(3")) throw new Error(asked);
    await page.locator("dialog").getByRole("button", { name: "Close" }).click();
  });
  await check("a label filter reaches every PromQL query", async () => {
    await page.getByLabel("Add to Filters").fill('job="node-exporter"');
    await page.getByLabel("Add to Filters").press("Enter");
    await page.waitForURL(/filter=job/);
    await settle(page);
    const text = await page.locator('[data-kind="bargauge"]').innerText();
    if (!text.includes("node-exporter") || text.includes("kubernetes")) throw new Error(text);
  });
  await check("full screen is a permalink", async () => {
    await page.goto(address);
    await settle(page);
    await page.locator('[data-kind="piechart"] summary').click();
    await page.locator('[data-kind="piechart"]').getByRole("button", { name: "Full screen" }).click();
    await page.waitForURL(/panel=8/);
    await page.reload();
    await page.locator('.full [data-kind="piechart"] svg').waitFor();
    if ((await page.locator("[data-panel]").count()) !== 1) throw new Error("more than one panel is shown");
  });
}
