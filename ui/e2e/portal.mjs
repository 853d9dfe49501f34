// Opens every page of the portal in headless Chromium against a demo server, as a person would.
// Closes with `N passed, N failed`; screenshots go to test-output/portal.
//
// Environment: VMOBS_BIN (default target/debug/vm-obs), CHROMIUM (default /usr/bin/chromium).
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const binary = process.env.VMOBS_BIN ?? join(root, "target/debug/vm-obs");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const shots = join(root, "test-output/portal");
const PATIENCE = 60_000;

if (!existsSync(executablePath)) {
  console.log(`skipped: ${executablePath} is not there`);
  console.log("0 passed, 0 failed");
  process.exit(0);
}
mkdirSync(shots, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), "vm-obs-portal-"));
let passed = 0;
let failed = 0;

async function check(name, work) {
  try {
    await work();
    passed += 1;
    console.log(`ok: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED: ${name}: ${error.stack ?? error}`);
  }
}

async function until(what, ask) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask().catch(() => undefined);
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`${what} did not come`);
    await new Promise((done) => setTimeout(done, 250));
  }
}

function start() {
  const data = join(folder, "data");
  const server = spawn(
    binary,
    ["serve", "--demo", "--data", data, "--http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0",
      "--otlp-http", "127.0.0.1:0", "--clock-speed", "20"],
    { stdio: "ignore" },
  );
  return { server, addresses: join(data, "addresses.json") };
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
    ["/slos", "text=/Oracle|slo:/"],
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

  const browser = await chromium.launch({
    executablePath,
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
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
  } finally {
    await browser.close();
  }
}

const { server, addresses } = start();
try {
  await until("the server", async () => existsSync(addresses) && readFileSync(addresses, "utf8").endsWith("\n"));
  await run(`http://${JSON.parse(readFileSync(addresses, "utf8")).http}`);
} catch (error) {
  failed += 1;
  console.log(`FAILED: ${error.stack ?? error}`);
} finally {
  const ended = new Promise((done) => server.once("exit", done));
  server.kill("SIGTERM");
  await Promise.race([ended, new Promise((done) => setTimeout(done, 20_000))]);
  if (server.exitCode === null && server.signalCode === null) server.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
