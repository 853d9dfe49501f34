// A dashboard is edited in the portal with mouse and with keys alone, saved, and its versions kept.
import { join } from "node:path";
import { check, shots, until } from "./lib.mjs";

export async function edit(browser, base) {
  const json = async (path) => (await fetch(base + path)).json();
  const board = (title) => ({
    title, uid: "edited", time: { from: "now-15m", to: "now" },
    templating: { list: [{ type: "query", name: "job", query: "label_values(up, job)" }] },
    panels: [
      { type: "timeseries", id: 1, title: "First", gridPos: { x: 0, y: 0, w: 12, h: 8 }, targets: [{ refId: "A", expr: "sum(up)" }] },
      { type: "stat", id: 2, title: "Second", gridPos: { x: 12, y: 0, w: 12, h: 8 }, targets: [{ refId: "A", expr: "count(up)" }] },
    ],
  });
  const saved = await fetch(`${base}/obs/dashboards`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(board("Edited by a test")) });
  if (!saved.ok) throw new Error(await saved.text());
  // On a server that is used again the numbers go on.
  const first = (await saved.json()).version;
  const page = await (await browser.newContext({ viewport: { width: 1400, height: 1000 } })).newPage();
  const complaints = [];
  page.on("pageerror", (e) => complaints.push(String(e)));
  page.on("dialog", (d) => void d.accept());
  const stored = () => json("/obs/dashboards/edited/grafana");
  const cell = (id) => page.locator(`[data-cell="${id}"]`);
  const place = (id) => cell(id).evaluate((e) => ["--x", "--y", "--w", "--h"].map((n) => Number(e.style.getPropertyValue(n))));

  await check("the editor is fetched when it is needed, not before", async () => {
    const scripts = [];
    page.on("response", (r) => r.request().resourceType() === "script" && scripts.push(r.url()));
    await page.goto(`${base}/dashboards/edited`);
    await page.locator("[data-panel]").first().waitFor();
    if (scripts.some((u) => u.includes("editor"))) throw new Error("loaded with the dashboard");
    await page.getByRole("link", { name: "Edit", exact: true }).first().click();
    await cell(1).waitFor();
    if (!scripts.some((u) => u.includes("editor"))) throw new Error("not loaded at all");
  });
  await check("a panel's title, query, unit and thresholds are edited with a live preview", async () => {
    await cell(1).getByRole("button", { name: "Edit First" }).click();
    await page.waitForURL(/panel=1/);
    const side = page.locator(".edit-side");
    await side.getByLabel("Title").fill("Renamed");
    const query = side.getByRole("combobox", { name: "Query A", exact: true });
    await query.fill("");
    await query.pressSequentially("scrape_dur");
    await page.locator(".offers li").first().waitFor();
    await query.press("Tab");
    await query.press("Enter");
    await side.getByLabel("Unit").fill("s");
    await side.getByRole("button", { name: "Add a threshold" }).click();
    await side.getByLabel("From 1").fill("0.5");
    await page.waitForResponse((r) => decodeURIComponent(r.url()).includes("scrape_duration_seconds"), { timeout: 10_000 }).catch(() => undefined);
    await cell(1).locator("canvas").waitFor();
    await page.screenshot({ path: join(shots, "editor.png"), fullPage: true });
    if ((await cell(1).locator("h2").innerText()).trim() !== "Renamed") throw new Error("the title did not change");
  });
  await check("a panel is moved and resized with the mouse and with keys", async () => {
    const before = await place(2);
    const grip = cell(2).getByRole("button", { name: "Move Second" });
    const box = await grip.boundingBox();
    await page.mouse.move(box.x + 5, box.y + 5);
    await page.mouse.down();
    await page.mouse.move(box.x - 300, box.y + 330, { steps: 6 });
    await page.mouse.up();
    const dragged = await place(2);
    if (dragged[1] <= before[1]) throw new Error(`${before} became ${dragged}`);
    await grip.focus();
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("Shift+ArrowLeft");
    const keyed = await place(2);
    if (keyed[0] !== dragged[0] - 1 || keyed[2] !== dragged[2] - 1) throw new Error(`${dragged} became ${keyed}`);
  });
  await check("panels are added, copied, deleted; undo and redo", async () => {
    await page.getByRole("button", { name: "Add a panel" }).click();
    await cell(3).waitFor();
    await cell(3).getByRole("button", { name: "Copy New panel" }).click();
    await cell(4).waitFor();
    await cell(4).getByRole("button", { name: /^Delete/ }).click();
    await cell(4).waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Undo" }).click();
    await cell(4).waitFor();
    await page.getByRole("button", { name: "Redo" }).click();
    await cell(4).waitFor({ state: "detached" });
  });
  await check("a mistake is told while it is made, and a save with it is refused", async () => {
    await cell(3).getByRole("button", { name: "Edit New panel" }).click();
    const query = page.locator(".edit-side").getByRole("combobox", { name: "Query A", exact: true });
    await query.fill("sum(up");
    await page.locator(".problems").getByText("parse error").first().waitFor();
    await page.keyboard.press("Control+s");
    await page.getByRole("dialog", { name: "Save the dashboard" }).getByRole("button", { name: "Save" }).click();
    await page.locator("dialog .note.error").waitFor();
    await page.getByRole("button", { name: "Cancel" }).click();
    await query.fill("sum(up)");
    await page.locator(".problems").waitFor({ state: "detached" });
  });
  await check("settings, a variable and the JSON are edited, and saved as a version with a receipt", async () => {
    await page.getByRole("tab", { name: "Settings and variables" }).click();
    await page.getByLabel("Title").first().fill("Edited in the portal");
    await page.getByRole("textbox", { name: "From", exact: true }).fill("now-30m");
    await page.getByRole("button", { name: "Add a variable" }).click();
    await page.screenshot({ path: join(shots, "editor-settings.png"), fullPage: true });
    await page.getByRole("tab", { name: "JSON", exact: true }).click();
    const area = page.getByLabel("Grafana JSON of the dashboard");
    const doc = JSON.parse(await area.inputValue());
    await area.fill(JSON.stringify({ ...doc, description: "written as JSON" }));
    await page.getByRole("button", { name: "Apply the JSON" }).click();
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByLabel(/What was changed/).fill("by a test");
    await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
    await page.getByText(`Saved as version ${first + 1}.`).waitFor();
    const now = await stored();
    const text = JSON.stringify(now);
    for (const word of ["Edited in the portal", "now-30m", "written as JSON", "scrape_duration_seconds", "variable2"]) if (!text.includes(word)) throw new Error(`${word} is not in what was saved`);
    if (now.panels.length !== 3) throw new Error(`${now.panels.length} panels`);
    await until("the receipt", async () => JSON.stringify(await json("/obs/receipts?type=config_change")).includes("by a test"));
  });
  await check("an earlier version is taken up again", async () => {
    await page.getByRole("tab", { name: "Versions" }).click();
    await page.screenshot({ path: join(shots, "editor-versions.png") });
    await page.getByRole("row").nth(2).getByRole("button", { name: "Take up" }).click();
    await page.getByText(`Version ${first} is in the editor`).waitFor();
    await page.getByRole("tab", { name: "Panels" }).click();
    await page.getByRole("heading", { name: "Edit: Edited by a test" }).waitFor();
    await page.getByRole("button", { name: "Discard" }).click();
    await page.waitForURL(/dashboards\/edited$/);
    if ((await stored()).title !== "Edited in the portal") throw new Error("a discarded edit was kept");
  });
  await check("a new dashboard is made with keys alone", async () => {
    await page.goto(`${base}/dashboards/new?edit=1`);
    await page.getByText("This dashboard has no panels yet.").waitFor();
    const press = async (name) => { await page.getByRole("button", { name, exact: true }).focus(); await page.keyboard.press("Enter"); };
    await press("Add a panel");
    await cell(1).waitFor();
    await page.keyboard.press("Control+s");
    await page.getByLabel(/What was changed/).focus();
    await page.keyboard.type("with keys");
    await page.keyboard.press("Enter");
    await page.waitForURL(/dashboards\/new-dashboard\?edit=1/);
    await page.goto(`${base}/dashboards/new-dashboard`);
    await page.locator('[data-panel="1"] canvas').waitFor();
  });
  await check("a file is imported in the portal", async () => {
    await page.goto(`${base}/dashboards`);
    await page.getByRole("button", { name: "Import" }).click();
    await page.getByLabel("Or its text").fill(JSON.stringify({ ...board("Imported"), uid: "imported" }));
    await page.getByRole("dialog").getByRole("button", { name: "Import" }).click();
    await page.waitForURL(/dashboards\/imported$/);
  });
  await check("nothing broke in the editor", async () => {
    if (complaints.length) throw new Error(complaints.join("; "));
  });
  await page.context().close();
}
