/** Milliseconds since the Unix epoch. */
export type Millis = number & { readonly __unit?: "ms" };

const UNITS: Record<string, number> = { ms: 1, s: 1e3, m: 6e4, h: 3.6e6, d: 8.64e7, w: 6.048e8 };

/** Reads `30s`, `1h30m`, `7d`; `null` if it is no duration. */
export function parseDuration(text: string): Millis | null {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d|w))+$/.test(text)) return null;
  let total = 0;
  for (const [, n, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/g)) {
    total += Number(n) * (UNITS[unit ?? "s"] ?? 0);
  }
  return total;
}

/** `1.2 s`, `340 ms`, `2 m 5 s` */
export function formatDuration(ms: Millis): string {
  if (!Number.isFinite(ms)) return "–";
  const abs = Math.abs(ms);
  if (abs < 1) return `${(ms * 1000).toFixed(0)} µs`;
  if (abs < 1000) return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;
  if (abs < 60_000) return `${(ms / 1000).toFixed(abs < 10_000 ? 2 : 1)} s`;
  if (abs < 3_600_000) return `${Math.floor(ms / 60_000)} m ${Math.round((ms % 60_000) / 1000)} s`;
  if (abs < 86_400_000) return `${Math.floor(ms / 3.6e6)} h ${Math.round((ms % 3.6e6) / 6e4)} m`;
  return `${Math.floor(ms / 8.64e7)} d ${Math.round((ms % 8.64e7) / 3.6e6)} h`;
}

const two = (n: number, width = 2) => String(n).padStart(width, "0");

/** `2025-12-06 14:30:00.123 UTC` */
export function formatTime(at: Millis | string, withMillis = false): string {
  const d = new Date(at);
  if (Number.isNaN(d.getTime())) return "–";
  const day = `${d.getUTCFullYear()}-${two(d.getUTCMonth() + 1)}-${two(d.getUTCDate())}`;
  return `${day} ${formatClock(at, withMillis)} UTC`;
}

/** `14:30:00` in UTC. */
export function formatClock(at: Millis | string, withMillis = false): string {
  const d = new Date(at);
  const ms = withMillis ? `.${two(d.getUTCMilliseconds(), 3)}` : "";
  return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}${ms}`;
}

/** `3 m ago` */
export function formatAge(at: Millis | string | null | undefined, now: Millis): string {
  if (at === null || at === undefined) return "never";
  const age = now - new Date(at).getTime();
  if (!Number.isFinite(age)) return "never";
  if (age < 1500) return "just now";
  return `${formatDuration(age).replace(/ 0 [smh]$/, "")} ago`;
}
