// What may stand at the caret of a PromQL expression. Loaded with the first key stroke.
import { get, promList } from "../api/client";

export interface Offer {
  text: string;
  insert: string;
  kind: "metric" | "label" | "value" | "function" | "word";
  note: string;
}

const FUNCTIONS =
  "abs absent absent_over_time acos acosh asin asinh atan atanh avg_over_time ceil changes clamp clamp_max clamp_min cos cosh count_over_time day_of_month day_of_week day_of_year days_in_month deg delta deriv double_exponential_smoothing exp floor histogram_avg histogram_count histogram_fraction histogram_quantile histogram_stddev histogram_stdvar histogram_sum hour idelta increase info irate label_join label_replace last_over_time ln log10 log2 mad_over_time max_over_time min_over_time minute month pi predict_linear present_over_time quantile_over_time rad rate resets round scalar sgn sin sinh sort sort_by_label sort_by_label_desc sort_desc sqrt stddev_over_time stdvar_over_time sum_over_time tan tanh time timestamp vector year".split(" ");
const AGGREGATIONS = "avg bottomk count count_values group limit_ratio limitk max min quantile stddev stdvar sum topk".split(" ");
const WORDS = "by without on ignoring group_left group_right and or unless bool offset".split(" ");
const OFFERS_MAX = 40;

let metrics: Promise<{ name: string; kind: string; help: string }[]> | null = null;
const lists = new Map<string, Promise<string[]>>();

function listed(path: string, match: string | undefined): Promise<string[]> {
  const key = `${path}#${match ?? ""}`;
  const found = lists.get(key) ?? promList(path, { "match[]": match, limit: 2000 });
  lists.set(key, found);
  found.catch(() => lists.delete(key));
  return found;
}

/** Where the caret is: in braces before or behind a matcher's operator, in a list of labels, or outside. */
export function context(text: string, caret: number): { at: "label" | "value" | "grouping" | "outside"; word: string; metric: string; label: string } {
  const before = text.slice(0, caret);
  let brace = -1;
  let quote = "";
  let opened = 0;
  for (let i = 0; i < before.length; i += 1) {
    const c = before[i] ?? "";
    if (quote) {
      if (c === "\\") i += 1;
      else if (c === quote) quote = "";
    } else if (c === '"' || c === "'" || c === "`") {
      quote = c;
      opened = i;
    } else if (c === "{") brace = i;
    else if (c === "}") brace = -1;
  }
  const metric = brace >= 0 ? (/([a-zA-Z_:][\w:]*)\s*$/.exec(before.slice(0, brace))?.[1] ?? "") : "";
  if (quote) {
    const label = brace >= 0 ? (/([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*$/.exec(before.slice(0, opened))?.[1] ?? "") : "";
    return { at: label ? "value" : "outside", word: before.slice(opened + 1), metric, label };
  }
  const word = /[a-zA-Z_:][\w:]*$/.exec(before)?.[0] ?? "";
  if (brace >= 0) return { at: "label", word, metric, label: "" };
  const grouping = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\([\w\s,]*$/i.test(before);
  // The metric that is grouped stands further right or left; any of the text will do.
  return { at: grouping ? "grouping" : "outside", word, metric: grouping ? (/([a-zA-Z_:][\w:]*)\s*[{[]/.exec(text)?.[1] ?? "") : "", label: "" };
}

function rank(names: Offer[], word: string): Offer[] {
  const w = word.toLowerCase();
  return names
    .map((o) => ({ o, at: o.text.toLowerCase().indexOf(w) }))
    .filter(({ at, o }) => at >= 0 && o.text !== word)
    .sort((a, b) => Number(a.at > 0) - Number(b.at > 0) || a.o.text.length - b.o.text.length || a.o.text.localeCompare(b.o.text))
    .slice(0, OFFERS_MAX)
    .map(({ o }) => o);
}

/** Offers for the word before the caret, or `null` where nothing is worth offering. */
export async function complete(text: string, caret: number, force: boolean): Promise<{ from: number; all: Offer[] } | null> {
  const c = context(text, caret);
  const from = caret - c.word.length;
  if (c.at === "outside") {
    if (!force && c.word.length < 1) return null;
    metrics ??= get<{ metrics: { name: string; kind: string; help: string }[] }>("/obs/metrics/names").then((d) => d.metrics);
    metrics.catch(() => { metrics = null; });
    const known = await metrics;
    const all: Offer[] = [
      ...known.map((m): Offer => ({ text: m.name, insert: m.name, kind: "metric", note: m.help || m.kind })),
      ...FUNCTIONS.map((f): Offer => ({ text: f, insert: `${f}(`, kind: "function", note: "function" })),
      ...AGGREGATIONS.map((f): Offer => ({ text: f, insert: f, kind: "function", note: "aggregation" })),
      ...WORDS.map((f): Offer => ({ text: f, insert: f, kind: "word", note: "" })),
    ];
    return { from, all: rank(all, c.word) };
  }
  const match = c.metric || undefined;
  if (c.at === "value") {
    const values = await listed(`/api/v1/label/${encodeURIComponent(c.label)}/values`, match);
    return { from, all: rank(values.map((v): Offer => ({ text: v, insert: v.replace(/[\\"]/g, "\\$&"), kind: "value", note: c.label })), c.word) };
  }
  const names = (await listed("/api/v1/labels", match)).filter((n) => n !== "__name__");
  return { from, all: rank(names.map((n): Offer => ({ text: n, insert: c.at === "label" ? `${n}="` : n, kind: "label", note: "label" })), c.word) };
}
