// The doctor is run from the portal and its report is shown.
import { join } from "node:path";
import { check, shots } from "./lib.mjs";

export async function doctor(browser, base) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 1100 } })).newPage();
  await check("the doctor runs from the portal and its report stays", async () => {
    await page.goto(`${base}/doctor`);
    await page.getByText("has not run since").waitFor();
    await page.getByRole("button", { name: "Run the doctor" }).click();
    await page.getByRole("table").waitFor({ timeout: 90_000 });
    await page.screenshot({ path: join(shots, "doctor.png"), fullPage: true });
    const rows = await page.locator("tbody tr").count();
    if (rows < 8) throw new Error(`${rows} checks`);
    await page.getByRole("button", { name: "dashboards", exact: true }).click();
    await page.waitForURL(/check=dashboards/);
    await page.reload();
    await page.getByRole("table").waitFor();
  });
  await page.context().close();
}
