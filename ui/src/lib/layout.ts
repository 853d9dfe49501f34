import type { Panel } from "../api/types";
import type { Scope } from "./variables";
import { ALL } from "./variables";

/** A panel at its place, with the value of the variable that it was repeated for. */
export interface Placed {
  panel: Panel;
  key: string;
  x: number;
  y: number;
  w: number;
  h: number;
  values: Record<string, string[]>;
}

export interface Section {
  row: Panel | null;
  key: string;
  values: Record<string, string[]>;
  panels: Placed[];
}

function valuesOf(variable: string, scope: Scope): string[] {
  const chosen = scope.values[variable] ?? [];
  if (!chosen.includes(ALL)) return chosen;
  return (scope.variables.find((v) => v.name === variable)?.options ?? []).filter((o) => o !== ALL);
}

const COPIES_MAX = 40;

function place(panels: Panel[], scope: Scope, own: Record<string, string[]>, key: string): Placed[] {
  const out: Placed[] = [];
  let below = 0;
  for (const panel of panels.toSorted((a, b) => a.grid.y - b.grid.y || a.grid.x - b.grid.x)) {
    const { x, y, w, h } = panel.grid;
    const copies = panel.repeat ? valuesOf(panel.repeat.variable, scope).slice(0, COPIES_MAX) : [];
    if (!panel.repeat || copies.length === 0) {
      out.push({ panel, key: `${key}${panel.id}`, x, y: y + below, w, h, values: own });
      continue;
    }
    const name = panel.repeat.variable;
    const columns = panel.repeat.vertical ? 1 : Math.min(copies.length, panel.repeat.columns_max ?? 4);
    const wide = panel.repeat.vertical ? w : Math.max(1, Math.floor(24 / columns));
    copies.forEach((value, i) => {
      out.push({ panel, key: `${key}${panel.id}.${value}`, x: panel.repeat?.vertical ? x : (i % columns) * wide, y: y + below + Math.floor(i / columns) * h, w: wide, h, values: { ...own, [name]: [value] } });
    });
    below += (Math.ceil(copies.length / columns) - 1) * h;
  }
  // Nothing floats: a panel rises until something is above it.
  const settled: Placed[] = [];
  for (const p of out.toSorted((a, b) => a.y - b.y || a.x - b.x)) {
    let y = 0;
    for (const q of settled) if (p.x < q.x + q.w && q.x < p.x + p.w) y = Math.max(y, q.y + q.h);
    settled.push({ ...p, y });
  }
  return settled;
}

/** Rows with the panels below them; rows and panels are repeated for the values of their variable. */
export function sections(panels: Panel[], scope: Scope): Section[] {
  const out: Section[] = [];
  const top = panels.filter((p) => p.row === null && p.kind !== "row");
  const rows = panels.filter((p) => p.kind === "row");
  const first = Math.min(...rows.map((r) => r.grid.y), Infinity);
  const before = top.filter((p) => p.grid.y < first);
  if (before.length) out.push({ row: null, key: "top", values: {}, panels: place(before, scope, {}, "") });
  rows.forEach((row, i) => {
    const next = rows[i + 1]?.grid.y ?? Infinity;
    const own = [...panels.filter((p) => p.row === row.id), ...top.filter((p) => p.grid.y >= row.grid.y && p.grid.y < next && p.grid.y >= first)];
    const copies = row.repeat ? valuesOf(row.repeat.variable, scope).slice(0, COPIES_MAX) : [];
    if (row.repeat && copies.length) {
      for (const value of copies) {
        const values = { [row.repeat.variable]: [value] };
        out.push({ row, key: `row${row.id}.${value}`, values, panels: place(own, scope, values, `${value}.`) });
      }
    } else out.push({ row, key: `row${row.id}`, values: {}, panels: place(own, scope, {}, "") });
  });
  return out;
}
