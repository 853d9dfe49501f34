import { numberOf, type Cell } from "./frame";

const TITLES: Record<string, string> = {
  lastNotNull: "Last *", last: "Last", firstNotNull: "First *", first: "First", min: "Min", max: "Max", mean: "Mean",
  sum: "Total", count: "Count", range: "Range", delta: "Delta", diff: "Difference", diffperc: "Difference %",
  stdDev: "StdDev", variance: "Variance", median: "Median", allIsZero: "All zeros", allIsNull: "All nulls",
  changeCount: "Changes", distinctCount: "Distinct", uniqueValues: "Unique",
};

export function reducerTitle(name: string): string {
  const p = /^p(\d+)$/.exec(name);
  return p ? `${p[1]}th %` : (TITLES[name] ?? name);
}

function quantile(sorted: number[], q: number): number | null {
  if (sorted.length === 0) return null;
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? 0;
  const high = sorted[Math.ceil(at)] ?? low;
  return low + (high - low) * (at - Math.floor(at));
}

/** One value for a column, by Grafana's name of the reducer; `null` where there is nothing. */
export function reduce(values: readonly Cell[], name: string): Cell {
  switch (name) {
    case "last": return values.at(-1) ?? null;
    case "lastNotNull": case "current": return values.findLast((v) => v !== null && !Number.isNaN(v)) ?? null;
    case "first": return values[0] ?? null;
    case "firstNotNull": return values.find((v) => v !== null && !Number.isNaN(v)) ?? null;
    case "count": return values.length;
    case "distinctCount": return new Set(values).size;
    case "uniqueValues": return [...new Set(values)].join(", ");
    case "changeCount": return values.reduce<number>((n, v, i) => (i > 0 && v !== values[i - 1] ? n + 1 : n), 0);
  }
  const all: number[] = [];
  for (const v of values) {
    const x = numberOf(v);
    if (x !== null && !Number.isNaN(x)) all.push(x);
  }
  const first = all[0];
  const last = all.at(-1);
  if (first === undefined || last === undefined) return name === "sum" || name === "total" ? 0 : null;
  const sum = all.reduce((a, b) => a + b, 0);
  const mean = sum / all.length;
  const variance = () => all.reduce((a, b) => a + (b - mean) ** 2, 0) / all.length;
  const sorted = () => all.toSorted((a, b) => a - b);
  const low = () => all.reduce((a, b) => Math.min(a, b), Infinity);
  const high = () => all.reduce((a, b) => Math.max(a, b), -Infinity);
  switch (name) {
    case "min": return low();
    case "max": return high();
    case "mean": case "avg": return mean;
    case "sum": case "total": return sum;
    case "range": return high() - low();
    case "diff": return last - first;
    case "diffperc": return first === 0 ? null : (last - first) / first;
    case "delta": return all.reduce((a, v, i) => (i === 0 ? a : a + (v >= (all[i - 1] ?? 0) ? v - (all[i - 1] ?? 0) : v)), 0);
    case "stdDev": return Math.sqrt(variance());
    case "variance": return variance();
    case "median": return quantile(sorted(), 0.5);
    case "allIsZero": return all.every((v) => v === 0) ? 1 : 0;
    case "allIsNull": return 0;
  }
  const p = /^p(\d+)$/.exec(name);
  return p ? quantile(sorted(), Number(p[1]) / 100) : last;
}
