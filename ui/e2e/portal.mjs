// Opens every page of the portal in headless Chromium against a demo server, as a person would.
// Closes with `N passed, N failed`; screenshots go to test-output/portal.
//
// Environment: VMOBS_BIN (default target/debug/vm-obs), CHROMIUM (default /usr/bin/chromium),
// VMOBS_PORTAL_URL (a demo server that runs already; none is started).
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { access } from "./access.mjs";
import { dashboards } from "./dashboards.mjs";
import { doctor } from "./doctor.mjs";
import { edit } from "./edit.mjs";
import { events } from "./events.mjs";
import { exercises } from "./exercises.mjs";
import { explore } from "./explore.mjs";
import { check, executablePath, openBrowser, shots, startServer, tally, until } from "./lib.mjs";
import { panels } from "./panels.mjs";
import { permalinks } from "./permalinks.mjs";
import { weight } from "./weight.mjs";

if (!existsSync(executablePath)) {
  console.log(`skipped: ${executablePath} is not there`);
  console.log("0 passed, 0 failed");
  process.exit(0);
}

// [path, what must be there]
function pages(traceId) {
  return [
    ["/", "canvas"],
    ["/dashboards", "a[href^='/dashboards/']"],
    ["/dashboards/system-overview", "canvas"],
    ["/explore/metrics?query=up", "canvas"],
    // The demo's clock runs 20 times as fast as the browser's; ranges end at the server's now.
    ["/explore/logs", "text=guardian"],
    ["/explore/traces", "a[href^='/trace/']"],
    [`/trace/${traceId}`, "text=Waterfall"],
    ["/correlate", "text=/metric|log|trace|alert/i"],
    ["/alerts?status=firing", "text=PsiFieldPodDrift"],
    ["/services", "svg a"],
    ["/slos", "text=/Oracle|slo:/"],
    ["/slos?id=slo:treaty-drop-rate", "[data-burndown] canvas"],
    ["/anomalies", "h1"],
    ["/ledger", "text=/observability/"],
    ["/targets", "text=psi-field"],
  ];
}

async function run(base) {
  const json = async (path) => (await fetch(base + path)).json();
  await until("traces", async () => (await json("/obs/traces?last=30m")).traces.length);
  await fetch(`${base}/obs/demo/break/pod-drift`, { method: "POST" });
  await until("the alert", async () => (await json("/obs/alerts?status=firing&name=PsiFieldPodDrift")).alerts.length);
  const traceId = (await json("/obs/traces?last=30m")).traces[0].trace_id;

  const browser = await openBrowser();
  try {
    const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
    let complaints = [];
    page.on("console", (m) => m.type() === "error" && complaints.push(m.text()));
    page.on("pageerror", (e) => complaints.push(String(e)));
    page.on("request", (r) => {
      if (!r.url().startsWith(base) && !r.url().startsWith("data:") && !r.url().startsWith("blob:")) complaints.push(`asks elsewhere: ${r.url()}`);
    });
    for (const [path, wanted] of pages(traceId)) {
      await check(`page ${path.replace(traceId, "ID")}`, async () => {
        complaints = [];
        await page.goto(base + path);
        await page.locator(wanted).locator("visible=true").first().waitFor({ timeout: 20_000 });
        await page.waitForTimeout(300);
        const name = path.replace(traceId, "id").replace(/[^a-z-]+/gi, "-").replace(/^-|-$/g, "") || "overview";
        await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
        const errors = await page.locator(".note.error").allTextContents();
        if (errors.length) throw new Error(`the page shows an error: ${errors.join("; ")}`);
        if (complaints.length) throw new Error(`console: ${complaints.join("; ")}`);
      });
    }
    await check("an alert is acknowledged from the page", async () => {
      await page.goto(`${base}/alerts?status=firing`);
      const row = page.locator("tr", { hasText: "PsiFieldPodDrift" }).first();
      await row.getByRole("button", { name: "Ack", exact: true }).click();
      await page.getByLabel("Comment").fill("seen by a test");
      await page.locator("dialog").getByRole("button", { name: "Acknowledge" }).click();
      await until("the acknowledgement", async () =>
        (await json("/obs/alerts?name=PsiFieldPodDrift")).alerts.some((a) => a.acknowledged?.comment === "seen by a test"));
    });
    await check("a silence is made from the page", async () => {
      await page.goto(`${base}/alerts`);
      await page.getByRole("button", { name: "New silence" }).click();
      await page.getByLabel(/Alert name/).fill("HighCPUUsage");
      await page.getByLabel("Reason").fill("maintenance by a test");
      await page.locator("dialog").getByRole("button", { name: "Silence" }).click();
      await until("the silence", async () =>
        (await json("/obs/silences")).silences.some((s) => s.reason === "maintenance by a test"));
    });
    await check("the ledger verifies in the browser", async () => {
      await page.goto(`${base}/ledger`);
      await page.getByRole("button", { name: "Verify in this browser" }).click();
      await page.locator("[data-check]").first().waitFor({ timeout: 30_000 });
      const verdict = await page.locator("[data-check]").first().getAttribute("data-check");
      await page.screenshot({ path: join(shots, "ledger-verified.png"), fullPage: true });
      if (verdict !== "ok") throw new Error(await page.locator("[data-check]").first().innerText());
    });
    await dashboards(browser, base);
    await panels(browser, base);
    await edit(browser, base);
    await doctor(browser, base);
    await exercises(browser, base);
    await events(browser, base);
    await explore(browser, base);
    await permalinks(browser, base, traceId);
    await access(browser, base, traceId);
    await weight(browser, base);
  } finally {
    await browser.close();
  }
}

const running = process.env.VMOBS_PORTAL_URL;
const server = running ? null : startServer(mkdtempSync(join(tmpdir(), "vm-obs-portal-")));
try {
  await run(running ?? (await server.base()));
} catch (error) {
  tally.failed += 1;
  console.log(`FAILED: ${error.stack ?? error}`);
} finally {
  await server?.stop();
}
console.log(`${tally.passed} passed, ${tally.failed} failed`);
process.exit(tally.failed ? 1 : 0);
