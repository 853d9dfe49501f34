import { field, numberOf, pattern, rowCount, typeOf, type Cell, type Field, type Frame } from "./frame";
import { reduce, reducerTitle } from "./reduce";
import { displayName } from "./shown";

export interface Transformation {
  id: string;
  disabled?: boolean;
  options: Record<string, unknown>;
}

type Step = (frames: Frame[], options: Record<string, unknown>) => Frame[];

const find = (frame: Frame, name: string): Field | undefined => frame.fields.find((f) => f.name === name || displayName(f) === name);
const pick = (frame: Frame, rows: number[]): Frame => ({ ...frame, fields: frame.fields.map((f) => ({ ...f, values: rows.map((r) => f.values[r] ?? null) })) });
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const words = (v: unknown): string[] => (Array.isArray(v) ? v.map(String) : []);

function compare(a: Cell, b: Cell): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

/** Rows of all frames under one set of columns; rows that agree wherever both speak become one. */
const merge: Step = (frames) => {
  if (frames.length < 2) return frames;
  const columns = new Map<string, Field>();
  const owners = new Map<string, number>();
  for (const frame of frames) for (const f of frame.fields) {
    owners.set(f.name, (owners.get(f.name) ?? 0) + 1);
    if (!columns.has(f.name)) columns.set(f.name, { ...f, values: [] });
  }
  const shared = [...columns.keys()].filter((name) => owners.get(name) === frames.length && columns.get(name)?.type !== "number");
  const rows: Map<string, Cell>[] = [];
  const index = new Map<string, Map<string, Cell>[]>();
  for (const frame of frames) for (const r of range(rowCount(frame))) {
    const row = new Map(frame.fields.map((f): [string, Cell] => [f.name, f.values[r] ?? null]));
    const key = JSON.stringify(shared.map((name) => row.get(name)));
    const same = index.get(key) ?? [];
    index.set(key, same);
    const partner = same.find((other) => [...row].every(([name, v]) => !other.has(name) || other.get(name) === v));
    if (partner) for (const [name, v] of row) partner.set(name, v);
    else {
      same.push(row);
      rows.push(row);
    }
  }
  return [{ refId: frames[0]?.refId ?? "", fields: [...columns.values()].map((f) => ({ ...f, values: rows.map((row) => row.get(f.name) ?? null) })) }];
};

/** One frame with a row for each value of a column; the other columns stand beside one another. */
const join: Step = (frames, o) => {
  if (frames.length === 0) return frames;
  const wanted = typeof o["byField"] === "string" ? o["byField"] : "";
  const keyOf = (frame: Frame) => (wanted ? find(frame, wanted) : frame.fields.find((f) => f.type === "time"));
  const parts = frames.filter((f) => keyOf(f));
  const first = parts[0];
  const key = first && keyOf(first);
  if (!first || !key) return frames;
  const rows = new Map<Cell, number>();
  for (const frame of parts) for (const v of keyOf(frame)?.values ?? []) if (!rows.has(v)) rows.set(v, rows.size);
  let keys = [...rows.keys()];
  if (o["mode"] === "inner") keys = keys.filter((v) => parts.every((frame) => keyOf(frame)?.values.includes(v)));
  if (key.type === "time") keys.sort(compare);
  const at = new Map(keys.map((v, i) => [v, i]));
  const taken = new Map<string, number>();
  for (const frame of parts) for (const f of frame.fields) taken.set(f.name, (taken.get(f.name) ?? 0) + 1);
  const fields: Field[] = [{ ...key, values: keys }];
  for (const [i, frame] of parts.entries()) {
    const own = keyOf(frame);
    for (const f of frame.fields) {
      if (f === own) continue;
      const values: Cell[] = keys.map(() => null);
      own?.values.forEach((v, r) => {
        const to = at.get(v);
        if (to !== undefined) values[to] = f.values[r] ?? null;
      });
      // Columns of one name are told apart by their number, as Grafana does.
      const name = f.type !== "number" && (taken.get(f.name) ?? 0) > 1 ? `${f.name} ${i + 1}` : f.name;
      fields.push({ ...f, name, values });
    }
  }
  return [{ refId: first.refId, fields }];
};

const organize: Step = (frames, o) => frames.map((frame) => {
  const excluded = (o["excludeByName"] ?? {}) as Record<string, boolean>;
  const included = (o["includeByName"] ?? {}) as Record<string, boolean>;
  const order = (o["indexByName"] ?? {}) as Record<string, number>;
  const renamed = (o["renameByName"] ?? {}) as Record<string, string>;
  const only = Object.values(included).some(Boolean);
  const fields = frame.fields.filter((f) => !excluded[f.name] && (!only || included[f.name]));
  const place = (f: Field) => order[f.name] ?? Number.MAX_SAFE_INTEGER;
  if (Object.keys(order).length) fields.sort((a, b) => place(a) - place(b));
  return { ...frame, fields: fields.map((f) => ({ ...f, name: renamed[f.name] || f.name })) };
});

const groupBy: Step = (frames, o) => frames.map((frame) => {
  const plan = (o["fields"] ?? {}) as Record<string, { operation?: string; aggregations?: string[] }>;
  const keys = frame.fields.filter((f) => plan[f.name]?.operation === "groupby");
  if (keys.length === 0) return frame;
  const groups = new Map<string, number[]>();
  for (const r of range(rowCount(frame))) {
    const key = JSON.stringify(keys.map((f) => f.values[r] ?? null));
    groups.set(key, [...(groups.get(key) ?? []), r]);
  }
  const all = [...groups.values()];
  const fields = keys.map((f) => ({ ...f, values: all.map((rows) => f.values[rows[0] ?? 0] ?? null) }));
  for (const f of frame.fields) {
    if (plan[f.name]?.operation !== "aggregate") continue;
    for (const name of plan[f.name]?.aggregations ?? []) {
      fields.push({ ...f, name: `${f.name} (${name})`, values: all.map((rows) => reduce(rows.map((r) => f.values[r] ?? null), name)) });
    }
  }
  return { ...frame, fields };
});

const OPERATORS: Record<string, (a: number, b: number) => number> = {
  "+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b, "/": (a, b) => a / b, "%": (a, b) => a % b, "**": (a, b) => a ** b,
};

const calculateField: Step = (frames, o) => frames.map((frame) => {
  const rows = range(rowCount(frame));
  const numbers = frame.fields.filter((f) => f.type === "number");
  let name = "Total";
  let value: (r: number) => Cell = () => null;
  if (o["mode"] === "binary") {
    const b = (o["binary"] ?? {}) as { left?: unknown; right?: unknown; operator?: string };
    const side = (what: unknown) => {
      const text = typeof what === "object" && what !== null ? String((what as { matcher?: { options?: unknown } }).matcher?.options ?? "") : String(what ?? "");
      const f = find(frame, text);
      const fixed = numberOf(text);
      return { text, at: (r: number) => (f ? numberOf(f.values[r]) : fixed) };
    };
    const [left, right, op] = [side(b.left), side(b.right), OPERATORS[b.operator ?? "+"]];
    name = `${left.text} ${b.operator ?? "+"} ${right.text}`;
    value = (r) => {
      const [x, y] = [left.at(r), right.at(r)];
      return x === null || y === null || !op ? null : op(x, y);
    };
  } else if (o["mode"] === "index") {
    name = "Row";
    value = (r) => r;
  } else if (o["mode"] === "unary") {
    const u = (o["unary"] ?? {}) as { fieldName?: string; operator?: string };
    const f = find(frame, u.fieldName ?? "");
    const fn = ({ abs: Math.abs, exp: Math.exp, ln: Math.log, floor: Math.floor, ceil: Math.ceil, round: Math.round } as Record<string, (x: number) => number>)[u.operator ?? "abs"];
    name = `${u.operator}(${u.fieldName})`;
    value = (r) => {
      const x = numberOf(f?.values[r]);
      return x === null || !fn ? null : fn(x);
    };
  } else {
    const r_ = (o["reduce"] ?? {}) as { include?: string[]; reducer?: string };
    const from = r_.include?.length ? numbers.filter((f) => r_.include?.includes(f.name)) : numbers;
    name = reducerTitle(r_.reducer ?? "sum");
    value = (r) => reduce(from.map((f) => f.values[r] ?? null), r_.reducer ?? "sum");
  }
  const added = field(String(o["alias"] || name), "number", rows.map(value), frame.refId);
  const kept = o["replaceFields"] ? frame.fields.filter((f) => f.type === "time") : frame.fields;
  return { ...frame, fields: [...kept, added] };
});

const sortBy: Step = (frames, o) => frames.map((frame) => {
  const [by] = (o["sort"] ?? []) as { field?: string; desc?: boolean }[];
  const f = find(frame, by?.field ?? "");
  if (!f) return frame;
  const rows = range(rowCount(frame)).sort((a, b) => compare(f.values[a] ?? null, f.values[b] ?? null));
  return pick(frame, by?.desc ? rows.reverse() : rows);
});

const labelsToFields: Step = (frames, o) => {
  if (o["mode"] === "rows") {
    return frames.map((frame) => {
      const labels = Object.entries(frame.fields.find((f) => f.type === "number")?.labels ?? {});
      return { ...frame, fields: [field("label", "string", labels.map(([k]) => k)), field("value", "string", labels.map(([, v]) => v))] };
    });
  }
  const keep = words(o["keepLabels"]);
  const valueLabel = typeof o["valueLabel"] === "string" ? o["valueLabel"] : "";
  const out = frames.map((frame) => {
    const fields: Field[] = [];
    const added = new Map<string, Field>();
    const rows = rowCount(frame);
    for (const f of frame.fields) {
      for (const [k, v] of Object.entries(f.labels)) {
        if (k === "__name__" || k === valueLabel || (keep.length && !keep.includes(k)) || added.has(k)) continue;
        added.set(k, field(k, "string", range(rows).map(() => v), frame.refId));
      }
      fields.push(f.type === "number" ? { ...f, name: valueLabel ? (f.labels[valueLabel] ?? f.name) : f.labels["__name__"] || "Value", labels: {} } : f);
    }
    const time = fields.filter((f) => f.type === "time");
    return { ...frame, fields: [...time, ...added.values(), ...fields.filter((f) => f.type !== "time")] };
  });
  return merge(out, {});
};

const extractFields: Step = (frames, o) => frames.map((frame) => {
  const f = find(frame, String(o["source"] ?? ""));
  if (!f) return frame;
  const rows = f.values.map((v): Record<string, unknown> => {
    if (o["format"] === "kvp") return Object.fromEntries([...String(v ?? "").matchAll(/([\w.-]+)\s*[=:]\s*("[^"]*"|\S+)/g)].map(([, k, x]) => [k ?? "", (x ?? "").replace(/^"|"$/g, "")]));
    if (o["format"] === "regexp") return { ...pattern(String(o["regExp"] ?? "")).exec(String(v ?? ""))?.groups };
    try {
      return JSON.parse(String(v)) as Record<string, unknown>;
    } catch {
      return {};
    }
  });
  const paths = (o["jsonPaths"] ?? []) as { path: string; alias?: string }[];
  const value = (row: Record<string, unknown>, path: string): Cell => {
    let at: unknown = row;
    for (const part of path.split(".")) at = (at as Record<string, unknown> | null | undefined)?.[part];
    return typeof at === "number" || typeof at === "string" ? at : at === undefined || at === null ? null : JSON.stringify(at);
  };
  const names = paths.length ? paths.map((p) => ({ path: p.path, name: p.alias || p.path })) : [...new Set(rows.flatMap((r) => Object.keys(r ?? {})))].map((k) => ({ path: k, name: k }));
  const added = names.map(({ path, name }) => {
    const values = rows.map((r) => value(r, path));
    return field(name, typeOf(values), values, frame.refId);
  });
  const kept = o["replace"] ? (o["keepTime"] ? frame.fields.filter((c) => c.type === "time") : []) : frame.fields;
  return { ...frame, fields: [...kept, ...added] };
});

const filterFieldsByName: Step = (frames, o) => frames.map((frame) => {
  const test = (what: unknown): ((f: Field) => boolean) | null => {
    const w = what as { names?: string[]; pattern?: string } | undefined;
    if (!w || (!w.names?.length && !w.pattern)) return null;
    return (f) => Boolean(w.names?.includes(f.name) || w.names?.includes(displayName(f)) || (w.pattern && pattern(w.pattern).test(f.name)));
  };
  const [include, exclude] = [test(o["include"]), test(o["exclude"])];
  return { ...frame, fields: frame.fields.filter((f) => (!include || include(f)) && !exclude?.(f)) };
}).filter((frame) => frame.fields.length > 0);

const reduceStep: Step = (frames, o) => {
  const calcs = words(o["reducers"]);
  if (o["mode"] === "reduceFields") {
    return frames.map((frame) => ({ ...frame, fields: frame.fields.filter((f) => f.type === "number").flatMap((f) => calcs.map((c) => ({ ...f, name: calcs.length > 1 ? `${f.name} ${reducerTitle(c)}` : f.name, values: [reduce(f.values, c)] }))) }));
  }
  const all = frames.flatMap((frame) => frame.fields.filter((f) => f.type === "number"));
  const labels = o["labelsToFields"] ? [...new Set(all.flatMap((f) => Object.keys(f.labels)))] : [];
  return [{
    refId: frames[0]?.refId ?? "",
    fields: [
      field("Field", "string", all.map((f) => (labels.length ? f.labels["__name__"] || f.name : displayName(f)))),
      ...labels.map((l) => field(l, "string", all.map((f) => f.labels[l] ?? null))),
      ...calcs.map((c) => field(reducerTitle(c), "number", all.map((f) => reduce(f.values, c)))),
    ],
  }];
};

const TESTS: Record<string, (v: Cell, o: Record<string, unknown>) => boolean> = {
  isNull: (v) => v === null,
  isNotNull: (v) => v !== null,
  regex: (v, o) => pattern(String(o["value"] ?? "")).test(String(v)),
  equal: (v, o) => String(v) === String(o["value"]),
  notEqual: (v, o) => String(v) !== String(o["value"]),
  substring: (v, o) => String(v).includes(String(o["value"] ?? "")),
  notSubstring: (v, o) => !String(v).includes(String(o["value"] ?? "")),
  greater: (v, o) => (numberOf(v) ?? NaN) > Number(o["value"]),
  greaterOrEqual: (v, o) => (numberOf(v) ?? NaN) >= Number(o["value"]),
  lower: (v, o) => (numberOf(v) ?? NaN) < Number(o["value"]),
  lowerOrEqual: (v, o) => (numberOf(v) ?? NaN) <= Number(o["value"]),
  between: (v, o) => (numberOf(v) ?? NaN) >= Number(o["from"]) && (numberOf(v) ?? NaN) <= Number(o["to"]),
};

const filterByValue: Step = (frames, o) => frames.map((frame) => {
  const filters = (o["filters"] ?? []) as { fieldName: string; config: { id: string; options?: Record<string, unknown> } }[];
  const live = filters.map((x) => ({ f: find(frame, x.fieldName), test: TESTS[x.config.id], o: x.config.options ?? {} })).filter((x) => x.f && x.test);
  if (live.length === 0) return frame;
  const hit = (r: number) => {
    const one = (x: (typeof live)[number]) => x.test?.(x.f?.values[r] ?? null, x.o) ?? false;
    return o["match"] === "all" ? live.every(one) : live.some(one);
  };
  return pick(frame, range(rowCount(frame)).filter((r) => hit(r) !== (o["type"] === "exclude")));
});

const renameByRegex: Step = (frames, o) => frames.map((frame) => ({
  ...frame,
  fields: frame.fields.map((f) => (f.type === "time" ? f : { ...f, name: f.name.replace(pattern(String(o["regex"] ?? "")), String(o["renamePattern"] ?? "")) })),
}));

const STEPS: Record<string, Step> = {
  merge, joinByField: join, seriesToColumns: join, organize, groupBy, calculateField, sortBy, labelsToFields, extractFields, filterFieldsByName,
  reduce: reduceStep, filterByValue, renameByRegex,
  limit: (frames, o) => frames.map((f) => pick(f, range(Math.min(rowCount(f), numberOf(o["limitField"] as Cell) ?? 10)))),
  filterByRefId: (frames, o) => frames.filter((f) => pattern(`^(?:${String(o["include"] ?? ".*")})$`).test(f.refId)),
  concatenate: (frames) => [{ refId: frames[0]?.refId ?? "", fields: frames.flatMap((f) => f.fields) }],
  convertFieldType: (frames, o) => frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((f) => {
      const to = ((o["conversions"] ?? []) as { targetField?: string; destinationType?: string }[]).find((c) => c.targetField === f.name)?.destinationType;
      if (to === "number") return { ...f, type: "number" as const, values: f.values.map((v) => numberOf(v)) };
      if (to === "time") return { ...f, type: "time" as const, values: f.values.map((v) => (typeof v === "number" ? v : Date.parse(String(v)))) };
      return to === "string" ? { ...f, type: "string" as const, values: f.values.map((v) => (v === null ? null : String(v))) } : f;
    }),
  })),
};

/** Applies transformations in order; says which are not known. */
export function transform(frames: Frame[], steps: Transformation[]): { frames: Frame[]; unknown: string[] } {
  const unknown: string[] = [];
  let at = frames;
  for (const t of steps) {
    if (t.disabled) continue;
    const step = STEPS[t.id];
    if (step) at = step(at, t.options ?? {});
    else unknown.push(t.id);
  }
  return { frames: at, unknown };
}
