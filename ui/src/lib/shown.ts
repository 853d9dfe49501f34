import { blend, cssColor, ramp } from "./color";
import { numberOf, pattern, type Cell, type DataLink, type Field, type Frame, type Mapping, type Settings, type Step } from "./frame";
import { formatTime } from "./time";
import { formatValue } from "./units";

export type Token = (name: string) => string;

interface Override {
  matcher: { id: string; options?: unknown };
  properties: { id: string; value: unknown }[];
}

export function displayName(f: Field): string {
  const template = f.settings.displayName;
  if (!template) return f.name;
  return template.replace(/\$\{__field\.labels\.([\w.]+)\}|\$\{__field\.labels\[["']([^"']+)["']\]\}|\$\{__(?:field\.name|series\.name)\}/g, (_, a?: string, b?: string) =>
    a !== undefined || b !== undefined ? (f.labels[a ?? b ?? ""] ?? "") : f.name,
  );
}

function names(f: Field): string[] {
  return [f.name, displayName(f), ...(f.type === "time" ? ["Time"] : [])];
}

function matches(f: Field, matcher: Override["matcher"]): boolean {
  const o = matcher.options;
  switch (matcher.id) {
    case "byName": return names(f).includes(String(o));
    case "byRegexp": return names(f).some((n) => pattern(String(o)).test(n));
    case "byType": return f.type === o;
    case "numeric": return f.type === "number";
    case "byFrameRefID": return f.refId === o;
    case "byNames": {
      const { mode, names: listed } = (o ?? {}) as { mode?: string; names?: string[] };
      return names(f).some((n) => listed?.includes(n)) !== (mode === "exclude");
    }
    default: return false;
  }
}

function set(s: Settings, id: string, value: unknown): void {
  switch (id) {
    case "unit": s.unit = String(value ?? ""); break;
    case "decimals": s.decimals = numberOf(value as Cell); break;
    case "min": s.min = numberOf(value as Cell); break;
    case "max": s.max = numberOf(value as Cell); break;
    case "displayName": s.displayName = String(value ?? ""); break;
    case "noValue": s.noValue = String(value ?? ""); break;
    case "mappings": s.mappings = (value as Mapping[] | null) ?? []; break;
    case "links": s.links = (value as DataLink[] | null) ?? []; break;
    case "color": s.color = value as Settings["color"]; break;
    case "thresholds": {
      const t = value as { mode?: string; steps?: Step[] } | null;
      s.percentage = t?.mode === "percentage";
      s.steps = t?.steps ?? [];
      break;
    }
    default:
      if (id.startsWith("custom.")) {
        const [, ...path] = id.split(".");
        let at = s.custom;
        for (const part of path.slice(0, -1)) at = at[part] = { ...(at[part] as Record<string, unknown> | undefined) } as Record<string, unknown>;
        at[path.at(-1) ?? ""] = value;
      }
  }
}

/** Gives every field its settings: the panel's, then each override that matches, in order. */
export function applySettings(frames: Frame[], defaults: Settings, overrides: Override[]): Frame[] {
  return frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((f) => {
      const settings = { ...defaults, custom: { ...defaults.custom } };
      const out = { ...f, settings };
      // A name that an override gives does not change what the others match.
      const seen = { ...f, settings: defaults };
      for (const o of overrides) if (matches(seen, o.matcher)) for (const p of o.properties) set(settings, p.id, p.value);
      return out;
    }),
  }));
}

export interface Shown {
  text: string;
  color: string;
  /** Set by a mapping, so that the colour is meant even where values are not coloured. */
  mapped: boolean;
}

function mapped(v: Cell, mappings: Mapping[]): { text?: string; color?: string } | null {
  for (const m of mappings) {
    const o = m.options;
    const result = o["result"] as { text?: string; color?: string } | undefined;
    const written = v === null ? "null" : String(v);
    switch (m.type) {
      case "value": {
        const found = o[written] as { text?: string; color?: string } | undefined;
        if (found) return found;
        break;
      }
      case "range": {
        const x = numberOf(v);
        if (x !== null && x >= (numberOf(o["from"] as Cell) ?? -Infinity) && x <= (numberOf(o["to"] as Cell) ?? Infinity)) return result ?? {};
        break;
      }
      case "regex": {
        const re = pattern(String(o["pattern"] ?? ""));
        if (v !== null && re.test(written)) return { ...result, ...(result?.text ? { text: written.replace(re, result.text) } : {}) };
        break;
      }
      case "special": {
        const what = String(o["match"]);
        const isNan = typeof v === "number" && Number.isNaN(v);
        const hit = (what.includes("null") && v === null) || (what.includes("nan") && isNan) || (what === "empty" && v === "") ||
          ((what === "true" || what === "false") && written === what);
        if (hit) return result ?? {};
      }
    }
  }
  return null;
}

/** The step that a value has reached; thresholds in percent are of the way from min to max. */
export function stepColor(v: number | null, s: Settings, token: Token, low = s.min ?? 0, high = s.max ?? 100): string {
  if (s.steps.length === 0 || v === null) return "";
  const x = s.percentage ? ((v - low) / (high - low || 1)) * 100 : v;
  let color = "";
  for (const step of s.steps) if (step.value === null || x >= step.value) color = step.color;
  return cssColor(color, token);
}

/** Text and colour of a value under a field's settings. */
export function show(v: Cell | undefined, s: Settings, token: Token, type: Field["type"] = "number"): Shown {
  const cell = v ?? null;
  const found = mapped(cell, s.mappings);
  const x = type === "string" ? null : numberOf(cell);
  let color = cssColor(found?.color, token);
  if (!color) {
    const colors = ramp(s.color?.mode);
    if (s.color?.mode === "fixed") color = cssColor(s.color.fixedColor, token);
    else if (colors && x !== null) color = blend(colors, (x - (s.min ?? 0)) / ((s.max ?? 100) - (s.min ?? 0) || 1));
    else color = stepColor(x, s, token);
  }
  const plain = () => {
    if (cell === null || cell === "") return s.noValue || "–";
    if (type === "time") return formatTime(Number(cell)).replace(" UTC", "");
    if (type === "string" || typeof cell === "string") return String(cell);
    return formatValue(cell, s.unit, s.decimals ?? undefined);
  };
  return { text: found?.text ?? plain(), color, mapped: found !== null };
}

/** A link with the values of a row and the page's variables put in. */
export function fillLink(url: string, value: Cell, f: Field, frame: Frame, row: number, fill: (text: string) => string): string {
  const enc = (v: Cell | undefined) => encodeURIComponent(v === null || v === undefined ? "" : String(v));
  return fill(
    url.replace(/\$\{?__(?:value\.raw|value\.text|value\.numeric|value|cell)(?::\w+)?\}?/g, () => enc(value))
      .replace(/\$\{__field\.labels\.([\w.]+)\}/g, (_, name: string) => enc(f.labels[name]))
      .replace(/\$\{__field\.name\}|\$\{__series\.name\}/g, () => enc(f.name))
      .replace(/\$\{__data\.fields(?:\.([\w ]+)|\[["']?([^"'\]]+)["']?\])[^}]*\}/g, (_, a?: string, b?: string) => {
        const name = a ?? b ?? "";
        const found = frame.fields.find((c) => c.name === name || displayName(c) === name) ?? frame.fields[Number(name)];
        return enc(found?.values[row]);
      })
      .replace(/\$\{?__cell_(\d+)\}?/g, (_, i: string) => enc(frame.fields[Number(i)]?.values[row])),
  );
}

