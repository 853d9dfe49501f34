// What happened stands as marks on the charts of its range: reachable by keys, with what it was, and
// with a way there; off and on by a switch that the address keeps.
import { join } from "node:path";
import { check, shots, until } from "./lib.mjs";

const NAME = "release 7 of the portal";

export async function events(browser, base) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 1000 } })).newPage();
  const marks = page.locator(".marks a");
  const ours = page.getByRole("link", { name: NAME }).first();
  await check("a deployment is a mark on the explorer's chart", async () => {
    const now = (await (await fetch(`${base}/obs/correlate`)).json()).timestamp;
    const at = new Date(Date.parse(now) - 60_000).toISOString();
    const record = (body) => fetch(`${base}/obs/exercises`, { method: "POST", body: JSON.stringify(body) });
    const run = { exercise: "deployment", run_id: "deployment-by-a-test", name: NAME, target: "portal", started_at: at };
    for (const body of [run, { ...run, ended_at: at, outcome: "passed", summary: "released" }]) {
      const answer = await record(body);
      if (!answer.ok) throw new Error(await answer.text());
    }
    await page.goto(`${base}/explore/metrics?query=up&last=1h`);
    await ours.waitFor({ timeout: 20_000 });
    // It stands where its time is: within the axis, left of the end.
    const [mark, plot] = await Promise.all([ours.boundingBox(), page.locator(".u-over").first().boundingBox()]);
    const x = mark.x + mark.width / 2;
    if (x < plot.x - 1 || x > plot.x + plot.width + 1) throw new Error(`mark at ${x}, axis from ${plot.x}, ${plot.width} wide`);
    await page.screenshot({ path: join(shots, "events.png"), fullPage: true });
  });
  await check("marks are reached by the keyboard, tell what they are and lead there", async () => {
    await page.getByRole("button", { name: "Live", exact: true }).click();
    const stops = await marks.evaluateAll((all) => all.filter((a) => a.tabIndex === 0).length);
    if (stops !== 1) throw new Error(`${stops} stops of the Tab key on one chart`);
    await page.locator(".marks a[tabindex='0']").focus();
    await page.keyboard.press("Home");
    const count = await marks.count();
    let told = "";
    for (let i = 0; i < count && !told.includes(NAME); i += 1) {
      await page.locator(".marks .tip").waitFor();
      told = await page.locator(".marks .tip").innerText();
      if (!told.includes(NAME)) await page.keyboard.press("ArrowRight");
    }
    if (!told.includes(NAME) || !/\d\d:\d\d:\d\d/.test(told)) throw new Error(`no mark tells of it: ${told}`);
    await page.keyboard.press("Enter");
    await until("the page behind the mark", async () => /\/(exercises|correlate)/.test(page.url()));
  });
  await check("marks are switched off and on, and the address says so", async () => {
    await page.goto(`${base}/dashboards/system-overview?last=1h`);
    await marks.first().waitFor({ timeout: 20_000 });
    await page.screenshot({ path: join(shots, "events-dashboard.png"), fullPage: true });
    await page.getByRole("checkbox", { name: "Events" }).uncheck();
    await until("no marks", async () => (await marks.count()) === 0);
    if (!page.url().includes("events=off")) throw new Error(page.url());
    await page.reload();
    await page.locator("canvas").first().waitFor();
    await page.waitForTimeout(1000);
    if (await marks.count()) throw new Error("marks after a reload with events=off");
    await page.getByRole("checkbox", { name: "Events" }).check();
    await marks.first().waitFor({ timeout: 20_000 });
  });
  await page.context().close();
}
