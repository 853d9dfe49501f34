import { quote } from "./labels";

export const ALL = "$__all";

export interface Variable {
  name: string;
  label: string | null;
  kind: string;
  query: string;
  regex: string;
  multi: boolean;
  include_all: boolean;
  all_value: string;
  hidden: boolean;
  values: string[];
  options: string[];
  texts: string[];
  sort: number | null;
}

export interface Filter {
  key: string;
  op: string;
  value: string;
}

/** What the page has chosen, and the window that macros speak of (seconds). */
export interface Scope {
  variables: Variable[];
  values: Record<string, string[]>;
  start: number;
  end: number;
  step: number;
}

const SCRAPE_S = 15;

function escapeRegex(v: string, mark: string): string {
  return v.replace(/[\\^$*+?.()|{}[\]]/g, (c) => mark + c);
}

/** Values in one of Grafana's formats; several make a regular expression by default. */
export function formatted(values: string[], format: string, many: boolean): string {
  const quoted = (q: string, escaped: string) => values.map((v) => q + v.replaceAll(q, escaped) + q).join(",");
  const regex = (mark: string) => {
    const all = values.map((v) => escapeRegex(v, mark));
    return all.length === 1 ? (all[0] ?? "") : `(${all.join("|")})`;
  };
  switch (format) {
    case "raw": case "csv": case "text": return values.join(",");
    case "pipe": return values.join("|");
    case "doublequote": return quoted('"', '\\"');
    case "singlequote": return quoted("'", "\\'");
    case "sqlstring": return quoted("'", "''");
    case "json": return JSON.stringify(values.length === 1 && !many ? values[0] : values);
    case "glob": return values.length === 1 ? (values[0] ?? "") : `{${values.join(",")}}`;
    case "lucene": return values.length === 1 ? (values[0] ?? "") : `(${values.map((v) => `"${v.replaceAll('"', '\\"')}"`).join(" OR ")})`;
    case "percentencode": case "uriencode": return encodeURIComponent(values.length === 1 ? (values[0] ?? "") : `{${values.join(",")}}`);
    case "regex": return regex("\\");
    default: return values.length === 1 && !many ? (values[0] ?? "") : regex("\\\\");
  }
}

function macro(name: string, s: Scope, format: string): string | null {
  const span = Math.max(1, Math.round(s.end - s.start));
  const date = (t: number) => (format.startsWith("date") ? (format.includes("seconds") ? String(Math.round(t)) : new Date(t * 1000).toISOString()) : String(Math.round(t * 1000)));
  switch (name) {
    case "__interval": case "__auto": case "__auto_interval": return `${s.step}s`;
    case "__interval_ms": return String(s.step * 1000);
    case "__rate_interval": return `${Math.max(s.step + SCRAPE_S, 4 * SCRAPE_S)}s`;
    case "__rate_interval_ms": return String(Math.max(s.step + SCRAPE_S, 4 * SCRAPE_S) * 1000);
    case "__range": return `${span}s`;
    case "__range_s": return String(span);
    case "__range_ms": return String(span * 1000);
    case "__from": return date(s.start);
    case "__to": return date(s.end);
    default: return null;
  }
}

function variableValue(name: string, s: Scope, format: string): string | null {
  const v = s.variables.find((x) => x.name === name);
  const values = s.values[name];
  if (!v && !values) return null;
  const chosen = values ?? v?.values ?? [];
  if (chosen.includes(ALL)) {
    const options = (v?.options ?? []).filter((o) => o !== ALL);
    if (v?.all_value) return v.all_value;
    return options.length ? formatted(options, format, true) : ".*";
  }
  if (v?.kind === "interval" && chosen[0]?.startsWith("$__auto")) return `${s.step}s`;
  if (v?.kind === "groupby" && !format) return chosen.join(",");
  return formatted(chosen, format === "text" ? "csv" : format, Boolean(v?.multi || v?.include_all));
}

/** Replaces `$name`, `${name:format}`, `[[name]]` and Grafana's macros; what is not known stays. */
export function interpolate(text: string, s: Scope): string {
  let out = text;
  for (let pass = 0; pass < 4; pass += 1) {
    const next = out.replace(/\$\{(\w+)(?:\.(?:text|value))?(?::([^}]+))?\}|\[\[(\w+)(?::(\w+))?\]\]|\$(\w+)/g, (whole, a?: string, f?: string, b?: string, g?: string, c?: string) => {
      const name = a ?? b ?? c ?? "";
      return macro(name, s, f ?? g ?? "") ?? variableValue(name, s, f ?? g ?? "") ?? whole;
    });
    if (next === out) break;
    out = next;
  }
  return out;
}

const WORDS = new Set(["by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end", "atan2"]);

/** Adds label matchers to every selector of a PromQL expression. */
export function withFilters(expr: string, filters: Filter[]): string {
  if (filters.length === 0) return expr;
  const added = filters.map((f) => `${f.key}${f.op}${quote(f.value)}`).join(",");
  let out = "";
  let i = 0;
  while (i < expr.length) {
    const rest = expr.slice(i);
    const text = /^("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|#[^\n]*|\[[^\]]*\]|\s+|\d[\w.]*)/.exec(rest)?.[0];
    if (text) {
      out += text;
      i += text.length;
      continue;
    }
    const name = /^[a-zA-Z_:][\w:.]*/.exec(rest)?.[0] ?? "";
    const after = rest.slice(name.length);
    if (name && WORDS.has(name.toLowerCase())) {
      // The labels in `by (…)` are no selectors.
      const list = /^\s*\([^)]*\)/.exec(/^(by|without|on|ignoring|group_left|group_right)$/i.test(name) ? after : "")?.[0] ?? "";
      out += name + list;
      i += name.length + list.length;
      continue;
    }
    const braces = /^\s*\{((?:[^}"'`]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)*)\}/.exec(after);
    if (braces) {
      const inner = (braces[1] ?? "").trim().replace(/,$/, "");
      out += `${name}{${inner ? `${inner},` : ""}${added}}`;
      i += name.length + braces[0].length;
    } else if (name && !/^\s*(\(|by\b|without\b)/i.test(after)) {
      out += `${name}{${added}}`;
      i += name.length;
    } else {
      out += name || (rest[0] ?? "");
      i += name.length || 1;
    }
  }
  return out;
}

/** Filters a list of values by a variable's regex; a group in it becomes the value. */
export function applyRegex(values: string[], regex: string): string[] {
  if (!regex) return values;
  const [, inner, flags] = /^\/(.*)\/([a-z]*)$/s.exec(regex) ?? [null, regex, ""];
  let re: RegExp;
  try {
    re = new RegExp(inner ?? "", (flags ?? "").replace(/[^imsu]/g, ""));
  } catch {
    return values;
  }
  const out = values.flatMap((v) => {
    const m = re.exec(v);
    return m ? [m.groups?.["value"] ?? m[1] ?? v] : [];
  });
  return [...new Set(out)];
}

/** 1, 2 by name; 3, 4 by number; 5, 6 without regard to case; odd ones ascend. */
export function sorted(values: string[], how: number | null): string[] {
  if (!how) return values;
  const out = values.toSorted((a, b) => (how >= 3 && how <= 4 ? Number.parseFloat(a) - Number.parseFloat(b) : how >= 5 ? a.toLowerCase().localeCompare(b.toLowerCase()) : a.localeCompare(b)));
  return how % 2 === 1 ? out : out.reverse();
}
