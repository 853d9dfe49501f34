import { get, promInstant, promList } from "../api/client";
import { seriesName } from "../lib/labels";
import { ALL, applyRegex, interpolate, sorted, type Scope, type Variable } from "../lib/variables";

/** Splits the arguments of a call at commas that are in no brackets or quotes. */
function args(text: string): string[] {
  const out = [""];
  let depth = 0;
  let quoted = "";
  for (const c of text) {
    if (quoted) quoted = c === quoted ? "" : quoted;
    else if (c === '"' || c === "'" || c === "`") quoted = c;
    else if ("({[".includes(c)) depth += 1;
    else if (")}]".includes(c)) depth -= 1;
    if (c === "," && depth === 0 && !quoted) out.push("");
    else out[out.length - 1] += c;
  }
  return out.map((a) => a.trim());
}

/** What a query variable offers: `label_values`, `label_names`, `metrics`, `query_result`. */
async function ask(query: string, s: Scope, signal: AbortSignal): Promise<string[]> {
  const text = interpolate(query, s).trim();
  const call = /^(label_values|label_names|metrics|query_result)\s*\(([\s\S]*)\)\s*$/.exec(text);
  const [first = "", second] = args(call?.[2] ?? "");
  const window = { start: s.start, end: s.end, limit: 5000 };
  switch (call?.[1]) {
    case "label_values": {
      const label = second ?? first;
      const match = second === undefined ? undefined : first;
      const stream = match?.startsWith("{") && !match.includes("__name__") && /^\{\s*(app|job_name|service_name|namespace|level)\b/.test(match);
      if (stream) return (await get<{ data?: string[] }>(`/loki/api/v1/label/${encodeURIComponent(label)}/values`, { query: match }, signal)).data ?? [];
      return promList(`/api/v1/label/${encodeURIComponent(label)}/values`, { ...window, "match[]": match }, signal);
    }
    case "label_names": return promList("/api/v1/labels", { ...window, "match[]": first || undefined }, signal);
    case "metrics": {
      const re = new RegExp(first || ".");
      return (await promList("/api/v1/label/__name__/values", window, signal)).filter((n) => re.test(n));
    }
    default: {
      // Each series is written as Prometheus prints it, for the variable's regex to cut.
      const { series } = await promInstant(call ? (call[2] ?? "") : text, signal, s.end);
      return series.map((x) => `${seriesName(x.labels)} ${x.values[0]} ${Math.round((x.times[0] ?? 0) * 1000)}`);
    }
  }
}

/** Options and chosen values of all variables, in order, since a later one may name an earlier. */
export async function resolve(variables: Variable[], chosen: (name: string) => string[] | null, base: Scope, signal: AbortSignal): Promise<Scope> {
  const scope: Scope = { ...base, variables: [], values: {} };
  for (const v of variables) {
    let options = v.options;
    if (v.kind === "query" && v.query) {
      const found = await ask(v.query, scope, signal).catch((e: unknown) => {
        if (signal.aborted) throw e;
        return [] as string[];
      });
      options = sorted(applyRegex(found, v.regex), v.sort);
    }
    const usual = (): string[] => {
      if (v.values.length && (v.kind !== "query" || v.values.includes(ALL) || v.values.some((x) => options.includes(x)))) return v.values;
      if (v.kind === "textbox" || v.kind === "constant") return [interpolate(v.query, scope)];
      if (v.include_all) return [ALL];
      return options.slice(0, 1);
    };
    scope.values[v.name] = chosen(v.name) ?? usual();
    scope.variables.push({ ...v, options, texts: v.kind === "query" ? options : v.texts });
  }
  return scope;
}
