// How much is loaded first, and how long a chart of 100 000 points takes.
import { gzipSync } from "node:zlib";
import { check } from "./lib.mjs";

const FIRST_LOAD_BYTES_MAX = 150 * 1024;
// The aim is 50 ms on an idle machine; the check allows for a busy one.
const DRAW_MS_MAX = 250;

export async function weight(browser, base) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  await check("the first load is small", async () => {
    const scripts = [];
    page.on("response", (r) => r.request().resourceType() === "script" && scripts.push(r));
    await page.goto(`${base}/`);
    await page.locator("h1").waitFor();
    const bodies = await Promise.all(scripts.map((r) => r.body()));
    const bytes = bodies.reduce((n, b) => n + gzipSync(b, { level: 9 }).length, 0);
    console.log(`first load: ${bytes} bytes of JavaScript, gzipped, in ${bodies.length} files`);
    if (bytes > FIRST_LOAD_BYTES_MAX) throw new Error(`${bytes} bytes`);
    if (scripts.some((r) => /complete|editor/.test(r.url()))) throw new Error("the completer or the editor is loaded before it is needed");
  });
  await check("100 000 points are drawn fast", async () => {
    const now = Math.floor(Date.now() / 1000);
    const [start, step, points, series] = [now - 20_000, 2, 10_000, 10];
    await page.route("**/api/v1/query_range*", (r) => {
      const asked = new URL(r.request().url()).searchParams;
      const from = Number(asked.get("start"));
      const by = Number(asked.get("step"));
      const count = Math.min(points, Math.floor((Number(asked.get("end")) - from) / by) + 1);
      const result = Array.from({ length: series }, (_, s) => ({
        metric: { series: String(s) },
        values: Array.from({ length: count }, (_, i) => [from + i * by, String(s * 10 + 5 * Math.sin(i / (40 + s)) + (i % 7) / 3)]),
      }));
      return r.fulfill({ json: { status: "success", data: { resultType: "matrix", result } } });
    });
    const panel = { id: 1, title: "Many points", description: "", kind: "timeseries", known: true, row: null, collapsed: false, grid: { x: 0, y: 0, w: 24, h: 14 }, unit: "", decimals: null, thresholds: [], min: null, max: null, text: null,
      queries: [{ ref_id: "A", language: "promql", expr: "many", legend: "{{series}}", instant: false, hidden: false, interval: `${step}s`, panel_id: null, format: null, range: true }],
      field: { display_name: "", percentage: false, mappings: [], links: [], custom: {}, color: null, no_value: null, overrides: [] }, options: {}, transformations: [], repeat: null, links: [], interval: null, max_data_points: points, time_from: null, time_shift: null, transparent: null };
    await page.route("**/obs/dashboards/many", (r) => r.fulfill({ json: { id: "many", title: "Many", description: "", tags: [], time: { from: "now-1h", to: "now" }, refresh: "", links: [], annotations: [], variables: [], panels: [panel] } }));
    await page.goto(`${base}/dashboards/many?from=${start}&to=${now}&step=${step}`);
    await page.waitForFunction(() => performance.getEntriesByName("chart-draw").some((e) => e.detail >= 100_000), null, { timeout: 30_000 });
    const ms = await page.evaluate(() => Math.min(...performance.getEntriesByName("chart-draw").filter((e) => e.detail >= 100_000).map((e) => e.duration)));
    console.log(`100 000 points: ${ms.toFixed(1)} ms`);
    if (ms > DRAW_MS_MAX) throw new Error(`${ms.toFixed(1)} ms`);
  });
  await page.context().close();
}
