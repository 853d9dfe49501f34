import { computed, signal } from "@preact/signals";
import { serverNow } from "../lib/clock";
import { parseDuration, type Millis } from "../lib/time";
import { query, setQuery } from "./route";

export const PRESETS = ["5m", "15m", "1h", "6h", "24h", "7d", "30d"];

/** The server's time. Advances with the refresh timer, so that everything computed from it moves together. */
export const now = signal<Millis>(serverNow());
export const refreshing = signal(true);
const REFRESH_MS = 5000;

window.setInterval(() => {
  if (refreshing.value && !document.hidden) now.value = serverNow();
}, REFRESH_MS);

/** What is shown where the URL does not say; a dashboard brings its own. */
export const usualRange = signal("5m");
export const rangeText = computed(() => query.value.get("last") ?? usualRange.value);

export interface Range {
  /** Seconds. */
  start: number;
  end: number;
  step: number;
}

/** Start, end and a step that gives about `points` points, aligned so that reloads agree. */
export function rangeOf(last: string, at: Millis, points = 240): Range {
  const span = (parseDuration(last) ?? 900_000) / 1000;
  const step = Math.max(1, [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600].find((s) => span / s <= points) ?? 43200);
  const end = Math.floor(at / 1000 / step) * step;
  return { start: end - Math.ceil(span / step) * step, end, step };
}

/** An absolute window of the URL (`from`, `to` in Unix seconds) wins over `last`. */
export const range = computed<Range>(() => {
  const from = Number(query.value.get("from"));
  const to = Number(query.value.get("to"));
  if (from > 0 && to > from) {
    const step = Math.max(1, Math.ceil(Number(query.value.get("step")) || (to - from) / 240));
    return { start: Math.floor(from), end: Math.ceil(to), step };
  }
  return rangeOf(rangeText.value, now.value);
});

export function setLast(last: string): void {
  setQuery({ last, from: null, to: null });
  now.value = serverNow();
}

export function zoom(from: number, to: number): void {
  setQuery({ from: from.toFixed(0), to: to.toFixed(0) }, false);
}
