// An address is a view: what is chosen stands in it, and a fresh browser that opens it shows the same.
import { check } from "./lib.mjs";

/** [address, what must be seen there, before and after a reload in a fresh context]. */
function views(traceId) {
  return [
    ["/?last=15m", "h1"],
    ["/dashboards/psi-field?last=15m", "[data-panel] canvas"],
    ["/dashboards/psi-field?last=15m&panel=1", ".full [data-panel]"],
    ["/dashboards/psi-field?edit=1&panel=1", "form, [role=form], fieldset, .editor"],
    ["/explore/metrics?query=treaty_fill_rate&last=15m", "canvas"],
    ["/explore/logs?query=%7Bservice_name%3D%22guardian%22%7D&last=15m", "text=guardian"],
    ["/explore/traces?last=30m", "a[href^='/trace/']"],
    [`/trace/${traceId}`, "text=Waterfall"],
    ["/services?last=15m", "svg a"],
    ["/correlate?window=15m", "text=/metric|log|trace|alert/i"],
    ["/alerts?status=firing", "text=PsiFieldPodDrift"],
    ["/slos?id=slo:treaty-drop-rate", "[data-burndown='slo:treaty-drop-rate'] canvas"],
    ["/anomalies?last=15m", "h1"],
    ["/ledger", "text=/observability/"],
    ["/targets", "text=psi-field"],
    ["/doctor", "h1"],
  ];
}

export async function permalinks(browser, base, traceId) {
  for (const [path, wanted] of views(traceId)) {
    await check(`permalink ${path.replace(traceId, "ID")}`, async () => {
      const seen = [];
      for (let round = 0; round < 2; round += 1) {
        // Nothing of the first visit is left: no history, no storage.
        const context = await browser.newContext({ viewport: { width: 1280, height: 1200 } });
        const page = await context.newPage();
        await page.goto(base + path);
        await page.locator(wanted).locator("visible=true").first().waitFor({ timeout: 30_000 });
        seen.push([await page.locator("h1").first().innerText(), page.url()]);
        const errors = await page.locator(".note.error").allTextContents();
        if (errors.length) throw new Error(errors.join("; "));
        await context.close();
      }
      if (String(seen[0]) !== String(seen[1])) throw new Error(`${seen[0]} is not ${seen[1]}`);
      if (seen[0][1] !== base + path) throw new Error(`the address became ${seen[0][1]}`);
    });
  }
  await check("the burn-down is reached by keyboard and stays in the address", async () => {
    const page = await (await browser.newContext({ viewport: { width: 1280, height: 1200 } })).newPage();
    await page.goto(`${base}/slos?last=15m`);
    const link = page.getByRole("link", { name: "Burn-down of Treaty drop rate" });
    await link.waitFor({ timeout: 30_000 });
    await link.focus();
    await page.keyboard.press("Enter");
    await page.waitForURL(/id=slo/);
    if (!page.url().includes("last=15m")) throw new Error(`the range is lost: ${page.url()}`);
    const curve = page.locator("[data-burndown]");
    await curve.locator("canvas").first().waitFor({ timeout: 30_000 });
    await curve.locator("summary").focus();
    await page.keyboard.press("Enter");
    const rows = await curve.locator("tbody tr").count();
    if (rows < 1) throw new Error("the table has no row");
    const text = await curve.innerText();
    for (const word of [/% of the budget is left/, /at risk below 25 %/]) if (!word.test(text)) throw new Error(`${word} is not in ${text}`);
    await page.context().close();
  });
}
