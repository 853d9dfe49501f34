// Every panel of every dashboard of every pack shows data of the demo world, not merely no error.
import { join } from "node:path";
import { DRAWN, painted } from "./dashboards.mjs";
import { check, shots } from "./lib.mjs";

/** Ids in the order of the page, with the rows that are folded on it. */
async function boards(base) {
  const { dashboards } = await (await fetch(`${base}/obs/dashboards`)).json();
  const packs = dashboards.filter((d) => d.pack !== null);
  return Promise.all(packs.map(async (d) => {
    const { panels } = await (await fetch(`${base}/obs/dashboards/${d.id}`)).json();
    const folded = panels.filter((p) => p.kind === "row" && p.collapsed).map((p) => p.id);
    return { id: d.id, pack: d.pack, count: panels.filter((p) => p.kind !== "row").length, folded };
  }));
}

/** What a panel shows, or why it shows nothing. */
async function verdict(panel) {
  const { kind, state } = await panel.evaluate((p) => ({ kind: p.dataset.kind, state: p.dataset.state }));
  const text = (await panel.innerText()).replace(/\s+/g, " ");
  if (state !== "done") return `${state}: ${text}`;
  if (/No data|Loading|asks nothing|Nothing in this/.test(text)) return text;
  if (DRAWN.has(kind) && !(await panel.evaluate(painted))) return "its canvas is blank";
  const words = text.replace(/^[^⋮]*⋮/, "");
  if (!DRAWN.has(kind) && kind !== "nodeGraph" && !/[0-9a-z]/i.test(words)) return `says only ${text}`;
  if (kind === "nodeGraph" && (await panel.locator("svg a, svg g, svg text").count()) === 0) return "no node is drawn";
  return null;
}

async function look(page, base, board) {
  const rows = board.folded.map((id) => `&row=row${id}`).join("");
  await page.goto(`${base}/dashboards/${board.id}?last=15m${rows}`);
  await page.locator("[data-panel]").first().waitFor({ timeout: 20_000 });
  // Those that are far below ask once they come into sight; a slow one gets time.
  await page.waitForFunction((count) => {
    const all = [...document.querySelectorAll("[data-panel]")];
    const waiting = all.find((p) => p.dataset.state === "loading");
    waiting?.scrollIntoView();
    return all.length >= Math.min(count, 1) && !waiting;
  }, board.count, { timeout: 45_000 });
  await page.waitForTimeout(250);
  const found = [];
  for (const panel of await page.locator("[data-panel]").all()) {
    const name = await panel.getAttribute("aria-label");
    const why = await verdict(panel);
    found.push([await panel.getAttribute("data-panel"), name, why]);
  }
  return found;
}

export async function panels(browser, base) {
  const all = await boards(base);
  const queue = [...all];
  let count = 0;
  const work = async () => {
    const page = await (await browser.newContext({ viewport: { width: 1280, height: 2400 } })).newPage();
    for (let board = queue.shift(); board; board = queue.shift()) {
      let found = [];
      await check(`dashboard ${board.id} of ${board.pack} opens whole`, async () => {
        found = await look(page, base, board);
        const shown = new Set(found.map(([id]) => id)).size;
        if (shown < board.count) throw new Error(`${shown} of ${board.count} panels are on the page`);
      });
      const empty = found.filter(([, , why]) => why);
      if (empty.length) await page.screenshot({ path: join(shots, `board-${board.id}.png`), fullPage: true });
      for (const [id, name, why] of found) {
        count += 1;
        await check(`${board.id}: panel ${id} (${name}) shows data`, async () => {
          if (why) throw new Error(why);
        });
      }
    }
    await page.context().close();
  };
  await Promise.all([work(), work()]);
  console.log(`${count} panels of ${all.length} dashboards`);
}
