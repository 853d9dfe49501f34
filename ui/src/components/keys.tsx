import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { serverNow } from "../lib/clock";
import { now, range, refreshing, zoom } from "../state/range";
import { go } from "../state/route";
import { theme } from "../state/theme";

const help = signal(false);
let prefix = false;

const PAGES: Record<string, [string, string]> = {
  o: ["/", "Overview"], d: ["/dashboards", "Dashboards"], m: ["/explore/metrics", "Metrics"], l: ["/explore/logs", "Logs"], t: ["/explore/traces", "Traces"],
  p: ["/services", "Service map"], a: ["/alerts", "Alerts"], s: ["/slos", "SLOs"], c: ["/correlate", "Correlate"], r: ["/ledger", "Receipts and ledger"], h: ["/doctor", "Doctor"],
};

const SHORTCUTS: [string, string][] = [
  ["?", "this help"], ["/", "to the query or filter of the page"], ["Esc", "out of a box, a menu or a full-screen panel"],
  ["[  ]", "half a range earlier, later"], ["-", "zoom out"], ["f", "refresh now"], ["Space", "live or paused"], ["k", "dark or light"],
  ["Ctrl+Space", "suggestions in a query"], ["Ctrl+↑  Ctrl+↓", "earlier queries"], ["Enter", "run the query"], ["Ctrl+S  Ctrl+Z  Ctrl+Y", "save, undo, redo in the dashboard editor"], ["Arrows, Shift+Arrows", "move, resize a panel in the editor, from its handle"],
];

function press(e: KeyboardEvent): void {
  const target = e.target as HTMLElement;
  const typing = target.matches("input, textarea, select, [contenteditable]");
  if (e.key === "Escape") {
    if (typing) target.blur();
    help.value = false;
    return;
  }
  if (typing || e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
  const { start, end } = range.value;
  const span = end - start;
  if (prefix) {
    prefix = false;
    const page = PAGES[e.key];
    if (page) go(page[0]);
    return;
  }
  switch (e.key) {
    case "g": prefix = true; window.setTimeout(() => { prefix = false; }, 1200); return;
    case "?": help.value = true; break;
    case "/": document.querySelector<HTMLElement>("main textarea, main input:not([type=checkbox])")?.focus(); break;
    case "[": zoom(start - span / 2, end - span / 2); break;
    case "]": zoom(start + span / 2, end + span / 2); break;
    case "-": zoom(start - span / 2, end + span / 2); break;
    case "f": now.value = serverNow(); break;
    case " ": if (target.matches("button, a, summary, [tabindex]")) return; refreshing.value = !refreshing.value; break;
    case "k": theme.value = theme.value === "dark" ? "light" : "dark"; break;
    default: return;
  }
  e.preventDefault();
}

document.addEventListener("keydown", press);

/** Opens with `?`. */
export function KeysHelp(): JSX.Element | null {
  if (!help.value) return null;
  return (
    <dialog ref={(d) => { if (d && !d.open) d.showModal(); }} onClose={() => { help.value = false; }} aria-label="Keyboard">
      <div class="row"><h2 class="grow" style="margin:0">Keyboard</h2><button onClick={() => { help.value = false; }}>Close</button></div>
      <dl class="kv" style="margin-top:10px">
        {SHORTCUTS.map(([k, what]) => <><dt><kbd>{k}</kbd></dt><dd>{what}</dd></>)}
        {Object.entries(PAGES).map(([k, [, title]]) => <><dt><kbd>g {k}</kbd></dt><dd>{title}</dd></>)}
      </dl>
    </dialog>
  );
}
