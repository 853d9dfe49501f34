export type Labels = Record<string, string>;

/** `name{a="b"}`, or the legend template with `{{label}}` filled in. */
export function seriesName(labels: Labels, legend?: string): string {
  if (legend) {
    if (legend === "__auto") return seriesName(labels);
    return legend.replace(/\{\{\s*([\w.]+)\s*\}\}/g, (_, name: string) => labels[name] ?? "");
  }
  const { __name__: name = "", ...rest } = labels;
  const inner = Object.entries(rest)
    .map(([k, v]) => `${k}="${v}"`)
    .join(", ");
  return inner ? `${name}{${inner}}` : name || "value";
}

/** Quotes a text for a PromQL, LogQL or TraceQL string. */
export function quote(text: string): string {
  return JSON.stringify(text);
}
