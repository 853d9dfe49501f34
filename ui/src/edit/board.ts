// A dashboard while it is edited: Grafana's JSON, changed by pure functions. What they do not know
// stays as it is.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Obj = { [name: string]: Json };

export function obj(value: Json | undefined): Obj {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
}

export function objects(value: Json | undefined): Obj[] {
  return Array.isArray(value) ? value.map(obj) : [];
}

export function str(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

export function num(value: Json | undefined): number | null {
  return typeof value === "number" ? value : null;
}

export interface Grid {
  x: number;
  y: number;
  w: number;
  h: number;
}

export const COLUMNS = 24;

export function gridOf(panel: Obj): Grid {
  const g = obj(panel["gridPos"]);
  return { x: num(g["x"]) ?? 0, y: num(g["y"]) ?? 0, w: num(g["w"]) ?? 12, h: num(g["h"]) ?? 8 };
}

export function idOf(panel: Obj): number {
  return num(panel["id"]) ?? 0;
}

export function panelsOf(doc: Obj): Obj[] {
  return objects(doc["panels"]);
}

function every(doc: Obj): Obj[] {
  return panelsOf(doc).flatMap((p) => [p, ...objects(p["panels"])]);
}

export function findPanel(doc: Obj, id: number): Obj | undefined {
  return every(doc).find((p) => idOf(p) === id);
}

function withGrid(panel: Obj, grid: Grid): Obj {
  return { ...panel, gridPos: { ...grid } };
}

function overlap(a: Grid, b: Grid): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

/**
 * Settles panels after a change: `moved` keeps its column and row, what lies in its way goes below
 * it, and then each rises until something is above it. Rows span the grid, so panels stay in theirs.
 */
export function settle(panels: Obj[], moved: number | null): Obj[] {
  const items = panels.map((panel, i) => ({ panel, i, grid: panel["type"] === "row" ? { ...gridOf(panel), x: 0, w: COLUMNS, h: 1 } : gridOf(panel) }));
  const own = items.find(({ panel }) => idOf(panel) === moved);
  const order = items.toSorted((a, b) => a.grid.y - b.grid.y || (a === own ? -1 : b === own ? 1 : a.grid.x - b.grid.x) || a.i - b.i);
  const placed: typeof items = [];
  for (const item of order) {
    let y = 0;
    for (const above of placed) {
      const sameColumns = item.grid.x < above.grid.x + above.grid.w && above.grid.x < item.grid.x + item.grid.w;
      if (sameColumns) y = Math.max(y, above.grid.y + above.grid.h);
    }
    placed.push({ ...item, grid: { ...item.grid, y } });
  }
  return placed.toSorted((a, b) => a.grid.y - b.grid.y || a.grid.x - b.grid.x).map(({ panel, grid }) => withGrid(panel, grid));
}

/** Puts a panel to another place or size; what cannot be is brought back onto the grid. */
export function placePanel(doc: Obj, id: number, to: Partial<Grid>): Obj {
  const panels = panelsOf(doc).map((p) => {
    if (idOf(p) !== id) return p;
    const old = gridOf(p);
    const w = Math.max(1, Math.min(COLUMNS, to.w ?? old.w));
    const h = Math.max(p["type"] === "row" ? 1 : 2, Math.min(60, to.h ?? old.h));
    const x = Math.max(0, Math.min(COLUMNS - w, to.x ?? old.x));
    return withGrid(p, { x, y: Math.max(0, to.y ?? old.y), w, h });
  });
  // Going down: what is passed comes up, so the panel must stand below it.
  const own = panels.find((p) => idOf(p) === id);
  const before = panelsOf(doc).find((p) => idOf(p) === id);
  if (own && before && gridOf(own).y > gridOf(before).y) {
    const at = gridOf(own);
    const under = panels.filter((p) => p !== own && overlap(gridOf(p), at) && gridOf(p).y > gridOf(before).y);
    const bottom = Math.max(at.y, ...under.map((p) => gridOf(p).y + gridOf(p).h));
    const lower = panels.map((p) => (p === own ? withGrid(p, { ...at, y: bottom }) : p));
    return { ...doc, panels: settle(lower, id) };
  }
  return { ...doc, panels: settle(panels, id) };
}

export function changePanel(doc: Obj, id: number, change: (panel: Obj) => Obj): Obj {
  const panels = panelsOf(doc).map((p) => {
    if (idOf(p) === id) return change(p);
    const inner = objects(p["panels"]);
    return inner.some((i) => idOf(i) === id) ? { ...p, panels: inner.map((i) => (idOf(i) === id ? change(i) : i)) } : p;
  });
  return { ...doc, panels };
}

export function removePanel(doc: Obj, id: number): Obj {
  const rest = panelsOf(doc)
    .filter((p) => idOf(p) !== id)
    .map((p) => (objects(p["panels"]).some((i) => idOf(i) === id) ? { ...p, panels: objects(p["panels"]).filter((i) => idOf(i) !== id) } : p));
  return { ...doc, panels: settle(rest, null) };
}

function nextId(doc: Obj): number {
  return Math.max(0, ...every(doc).map(idOf)) + 1;
}

/** A new panel or row below all others; gives its id too. */
export function addPanel(doc: Obj, kind: string): [Obj, number] {
  const id = nextId(doc);
  const bottom = Math.max(0, ...panelsOf(doc).map((p) => gridOf(p).y + gridOf(p).h));
  const row = kind === "row";
  const panel: Obj = {
    id, type: kind, title: row ? "New row" : "New panel",
    gridPos: row ? { x: 0, y: bottom, w: COLUMNS, h: 1 } : { x: 0, y: bottom, w: 12, h: 8 },
    ...(row ? { collapsed: false, panels: [] } : { targets: kind === "text" ? [] : [newTarget("A", "promql", "up")], fieldConfig: { defaults: {}, overrides: [] }, options: kind === "text" ? { mode: "markdown", content: "Text in **markdown**" } : {} }),
  };
  return [{ ...doc, panels: settle([...panelsOf(doc), panel], null) }, id];
}

export function duplicatePanel(doc: Obj, id: number): [Obj, number] {
  const found = panelsOf(doc).find((p) => idOf(p) === id);
  if (!found) return [doc, id];
  const copy = nextId(doc);
  const g = gridOf(found);
  // Beside it where there is room, else below.
  const beside = g.x + 2 * g.w <= COLUMNS;
  const place = beside ? { ...g, x: g.x + g.w } : { ...g, y: g.y + g.h };
  const panel: Obj = { ...(structuredClone(found) as Obj), id: copy, title: `${str(found["title"])} copy`, gridPos: place };
  return [{ ...doc, panels: settle([...panelsOf(doc), panel], copy) }, copy];
}

/** Folds the panels of a row into it, or takes them out again. */
export function foldRow(doc: Obj, id: number): Obj {
  const panels = panelsOf(doc);
  const at = panels.findIndex((p) => idOf(p) === id);
  const row = panels[at];
  if (!row) return doc;
  if (row["collapsed"] === true) {
    const inner = objects(row["panels"]);
    const top = Math.min(...inner.map((p) => gridOf(p).y), Infinity);
    const y = gridOf(row).y + 1;
    const out = inner.map((p) => withGrid(p, { ...gridOf(p), y: y + gridOf(p).y - top }));
    const room = Math.max(0, ...out.map((p) => gridOf(p).y + gridOf(p).h)) - y;
    const below = panels.slice(at + 1).map((p) => withGrid(p, { ...gridOf(p), y: gridOf(p).y + Math.max(0, room) }));
    return { ...doc, panels: settle([...panels.slice(0, at), { ...row, collapsed: false, panels: [] }, ...out, ...below], null) };
  }
  const rest = panels.slice(at + 1);
  const end = rest.findIndex((p) => p["type"] === "row");
  const own = end < 0 ? rest : rest.slice(0, end);
  return { ...doc, panels: settle([...panels.slice(0, at), { ...row, collapsed: true, panels: own }, ...(end < 0 ? [] : rest.slice(end))], null) };
}

const SOURCES: Record<string, string> = { promql: "prometheus", logql: "loki", traceql: "tempo" };

export function languageOf(target: Obj, panel: Obj): string {
  const kind = str(obj(target["datasource"])["type"]) || str(obj(panel["datasource"])["type"]);
  return Object.entries(SOURCES).find(([, source]) => source === kind)?.[0] ?? (kind.includes("victoriametrics-logs") ? "logql" : kind ? "promql" : "promql");
}

function source(language: string): Obj {
  const kind = SOURCES[language] ?? "prometheus";
  return { type: kind, uid: `\${ds_${kind}}` };
}

export function newTarget(letter: string, language: string, expr = ""): Obj {
  return setLanguage({ refId: letter, expr, hide: false }, language);
}

/** The expression of a target, wherever its language keeps it. */
export function exprOf(target: Obj, language: string): string {
  return language === "traceql" ? str(target["query"]) || str(target["expr"]) : str(target["expr"]);
}

export function setExpr(target: Obj, language: string, expr: string): Obj {
  return language === "traceql" ? { ...target, query: expr } : { ...target, expr };
}

export function setLanguage(target: Obj, language: string): Obj {
  const { query: _q, queryType: _t, ...rest } = target;
  const expr = str(target["expr"]) || str(target["query"]);
  const out: Obj = { ...rest, expr, datasource: source(language) };
  if (language === "traceql") return { ...out, expr: "", query: expr, queryType: "traceql" };
  return out;
}

export function freeLetter(targets: Obj[]): string {
  const used = new Set(targets.map((t) => str(t["refId"])));
  return [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].find((l) => !used.has(l)) ?? `A${targets.length}`;
}

/** Sets `path` (`fieldConfig.defaults.unit`) of an object; `undefined` takes it out. */
export function setAt(from: Obj, path: string, value: Json | undefined): Obj {
  const [head = "", ...rest] = path.split(".");
  if (rest.length > 0) return { ...from, [head]: setAt(obj(from[head]), rest.join("."), value) };
  if (value !== undefined) return { ...from, [head]: value };
  const { [head]: _gone, ...kept } = from;
  return kept;
}

export function at(from: Obj, path: string): Json | undefined {
  let value: Json | undefined = from;
  for (const name of path.split(".")) value = obj(value)[name];
  return value;
}

export const EMPTY: Obj = {
  title: "New dashboard", uid: "", tags: [], time: { from: "now-1h", to: "now" }, refresh: "", schemaVersion: 39,
  templating: { list: [] }, annotations: { list: [] }, links: [], panels: [],
};
