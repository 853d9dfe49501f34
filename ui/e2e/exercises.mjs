// Runs stand on their time line, and a report is made, shown and downloaded.
import { join } from "node:path";
import { check, shots } from "./lib.mjs";

export async function exercises(browser, base) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 1100 } })).newPage();
  await check("runs are shown with their outcome and on a time line", async () => {
    const now = (await (await fetch(`${base}/obs/correlate`)).json()).timestamp;
    const record = (body) => fetch(`${base}/obs/exercises`, { method: "POST", body: JSON.stringify(body) });
    const run = { exercise: "chaos", run_id: "chaos-by-a-test", name: "pause of the portal", target: "pid 7", started_at: now };
    await record(run);
    await record({ ...run, ended_at: now, outcome: "failed", summary: "failed: told" });
    await page.goto(`${base}/exercises`);
    await page.locator("tr", { hasText: "pause of the portal" }).getByText("failed", { exact: true }).waitFor();
    await page.locator("svg.lanes rect").first().waitFor();
    await page.getByRole("link", { name: "time line" }).first().click();
    await page.locator(".timeline li", { hasText: "pause of the portal" }).first().waitFor();
  });
  await check("a report is made from the page, shown and downloaded", async () => {
    await page.goto(`${base}/exercises`);
    await page.getByRole("button", { name: "Make weekly report" }).click();
    await page.getByRole("heading", { name: /Weekly report of/ }).waitFor({ timeout: 60_000 });
    await page.screenshot({ path: join(shots, "exercises.png"), fullPage: true });
    if (!(await page.getByRole("heading", { name: "Capacity" }).count())) throw new Error("no capacity");
    const link = page.getByRole("link", { name: "json", exact: true }).first();
    const answer = await (await fetch(base + (await link.getAttribute("href")))).json();
    if (answer.period !== "weekly") throw new Error(JSON.stringify(answer).slice(0, 200));
    const html = await fetch(base + (await page.getByRole("link", { name: "html", exact: true }).first().getAttribute("href")));
    if (!html.headers.get("content-security-policy").includes("sandbox")) throw new Error("the report may run scripts");
  });
  await page.context().close();
}
