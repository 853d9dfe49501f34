// axe finds nothing serious or critical on any page, in both themes.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gallery } from "./gallery.mjs";
import { check } from "./lib.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function access(browser, base, traceId) {
  const paths = ["/", "/dashboards", "/dashboards/gallery?last=15m", "/dashboards/edited?edit=1&panel=1", "/dashboards/edited?edit=1&tab=settings", "/explore/metrics?query=up", "/explore/logs", "/explore/traces", `/trace/${traceId}`,
    "/services", "/correlate", "/alerts", "/slos", "/slos?id=slo:treaty-drop-rate", "/anomalies", "/ledger", "/targets", "/doctor", "/exercises", "/nothing-here"];
  for (const theme of ["dark", "light"]) {
    const page = await (await browser.newContext({ viewport: { width: 1280, height: 1600 }, colorScheme: theme })).newPage();
    await page.route("**/obs/dashboards/gallery", (r) => r.fulfill({ json: gallery() }));
    for (const path of paths) {
      await check(`axe on ${path.replace(traceId, "ID")} in ${theme}`, async () => {
        await page.goto(base + path);
        await page.locator("h1").waitFor();
        await page.waitForTimeout(1200);
        await page.evaluate(axe);
        const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }));
        const bad = found.violations.filter((v) => v.impact === "serious" || v.impact === "critical");
        if (bad.length) throw new Error(bad.map((v) => `${v.id}: ${v.nodes.slice(0, 4).map((n) => `${n.html.slice(0, 160)} ${n.any[0]?.message ?? ""}`).join(" | ")}`).join("; "));
      });
    }
    await page.context().close();
  }
}
