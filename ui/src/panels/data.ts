import { get, promInstant, promRange, type PromResult } from "../api/client";
import type { LogObject, Panel, PanelQuery, TraceSummary } from "../api/types";
import { field, PLAIN, type Field, type Frame, type Settings } from "../lib/frame";
import { seriesName } from "../lib/labels";
import { applySettings } from "../lib/shown";
import { parseDuration } from "../lib/time";
import { transform } from "../lib/transform";
import { interpolate, withFilters, type Filter, type Scope } from "../lib/variables";

/** More series than this are cut, with a notice. */
export const SERIES_MAX = 300;
const POINTS_MAX = 11_000;

export interface PanelData {
  frames: Frame[];
  logs: LogObject[] | null;
  traces: TraceSummary[] | null;
  notices: string[];
  /** What was asked, as it was sent. */
  asked: { ref: string; language: string; expr: string; step: number; ms: number; rows: number }[];
}

export interface Ask {
  panel: Panel;
  panels: Panel[];
  scope: Scope;
  filters: Filter[];
}

/** The panel's own window: its step, and `timeFrom`, `timeShift` where it has them. */
export function windowOf(panel: Panel, scope: Scope): Scope {
  const least = (text: string | null) => (parseDuration(interpolate(text ?? "", scope).replace(/^>/, "")) ?? 0) / 1000;
  let { start, end } = scope;
  const from = least(panel.time_from);
  if (from > 0) start = end - from;
  const shift = least(panel.time_shift);
  start -= shift;
  end -= shift;
  const points = Number(panel.max_data_points) || 0;
  let step = Math.max(scope.step, least(panel.interval), points > 0 ? (end - start) / points : 0, (end - start) / POINTS_MAX);
  step = Math.max(1, Math.ceil(step));
  return { ...scope, start: Math.floor(start / step) * step, end: Math.floor(end / step) * step, step };
}

const TABLES = new Set(["table", "nodeGraph"]);

function tableFrame(series: PromResult["series"], q: PanelQuery, many: boolean): Frame {
  const names = [...new Set(series.flatMap((s) => Object.keys(s.labels)))].filter((n) => n !== "__name__").sort();
  const named = series.some((s) => s.labels["__name__"]) ? ["__name__"] : [];
  return {
    refId: q.ref_id,
    fields: [
      field("Time", "time", series.map((s) => (s.times[0] ?? 0) * 1000), q.ref_id),
      ...[...named, ...names].map((n) => field(n, "string", series.map((s) => s.labels[n] ?? null), q.ref_id)),
      field(many ? `Value #${q.ref_id}` : "Value", "number", series.map((s) => s.values[0] ?? null), q.ref_id),
    ],
  };
}

/** One frame a series: its times, and its values under the name that the legend gives it. */
function seriesFrames(series: PromResult["series"], q: PanelQuery, at: Scope): Frame[] {
  return series.map((s) => ({
    refId: q.ref_id,
    fields: [
      field("Time", "time", s.times.map((t) => t * 1000), q.ref_id),
      field(seriesName(s.labels, interpolate(q.legend, at)), "number", s.values, q.ref_id, s.labels),
    ],
  }));
}

async function metrics(q: PanelQuery, expr: string, panel: Panel, at: Scope, many: boolean, signal: AbortSignal): Promise<{ frames: Frame[]; notices: string[] }> {
  const instant = q.instant || (q.format === "table" && !q.range);
  const { series, warnings } = instant
    ? await promInstant(expr, signal, at.end)
    : await promRange(expr, at.start, at.end, at.step, signal);
  const table = instant && (q.format === "table" || TABLES.has(panel.kind) || !panel.known);
  return { frames: table ? [tableFrame(series, q, many)] : seriesFrames(series, q, at), notices: warnings };
}

interface LokiAnswer {
  data: { result: { metric?: Record<string, string>; values?: [number, string][]; value?: [number, string] }[] };
}

/** A LogQL query that counts or measures, not one for lines. */
export function isLogMetric(expr: string): boolean {
  return /^\s*(\w+)?\s*(by|without)?\s*\(/.test(expr) || /\w+\s*\(/.test(expr.split("{")[0] ?? "");
}

async function logMetrics(q: PanelQuery, expr: string, at: Scope, signal: AbortSignal): Promise<Frame[]> {
  const body = await get<LokiAnswer>(q.instant ? "/loki/api/v1/query" : "/loki/api/v1/query_range", q.instant ? { query: expr, time: at.end } : { query: expr, start: at.start, end: at.end, step: at.step }, signal);
  return body.data.result.map((r) => {
    const points = r.values ?? (r.value ? [r.value] : []);
    const labels = r.metric ?? {};
    return {
      refId: q.ref_id,
      fields: [
        field("Time", "time", points.map(([t]) => t * 1000), q.ref_id),
        field(seriesName(labels, interpolate(q.legend, at)), "number", points.map(([, v]) => Number(v)), q.ref_id, labels),
      ],
    };
  });
}

function logFrame(logs: LogObject[], refId: string): Frame {
  return {
    refId,
    fields: [
      field("Time", "time", logs.map((l) => Date.parse(l.timestamp)), refId),
      field("level", "string", logs.map((l) => l.level), refId),
      field("service", "string", logs.map((l) => l.service), refId),
      field("Line", "string", logs.map((l) => l.message), refId),
      field("labels", "string", logs.map((l) => JSON.stringify(l.attributes)), refId),
    ],
  };
}

function traceFrame(traces: TraceSummary[], refId: string): Frame {
  return {
    refId,
    fields: [
      field("Start", "time", traces.map((t) => Date.parse(t.start_time)), refId),
      field("Trace", "string", traces.map((t) => t.trace_id), refId),
      field("Name", "string", traces.map((t) => t.name), refId),
      field("Service", "string", traces.map((t) => t.service), refId),
      { ...field("Duration", "number", traces.map((t) => t.duration_ms), refId), settings: { ...PLAIN, unit: "ms" } },
    ],
  };
}

function defaults(panel: Panel): Settings {
  const f = panel.field;
  return {
    unit: panel.unit, decimals: panel.decimals, min: panel.min, max: panel.max, displayName: f.display_name,
    percentage: f.percentage, steps: panel.thresholds, mappings: f.mappings, links: f.links, color: f.color,
    noValue: f.no_value ?? "", custom: f.custom,
  };
}

/** Asks all queries of a panel, applies its transformations and settles how each field is shown. */
export async function loadPanel(ask: Ask, signal: AbortSignal): Promise<PanelData> {
  const { panel } = ask;
  const out: PanelData = { frames: [], logs: null, traces: null, notices: [], asked: [] };
  // A query may show what another panel asks.
  const other = panel.queries.find((q) => q.panel_id !== null);
  const source = other ? ask.panels.find((p) => p.id === other.panel_id) : undefined;
  const queries = (source ?? panel).queries.filter((q) => !q.hidden && q.expr.trim() !== "");
  const at = windowOf(panel, ask.scope);
  const many = queries.length > 1;
  const parts = await Promise.all(queries.map(async (q): Promise<Frame[]> => {
    const own = q.interval ? windowOf({ ...panel, interval: q.interval }, ask.scope) : at;
    const filled = interpolate(q.expr, own);
    const expr = q.language === "promql" ? withFilters(filled, ask.filters) : filled;
    const began = performance.now();
    let frames: Frame[] = [];
    if (q.language === "logql" && !isLogMetric(expr)) {
      const { logs } = await get<{ logs: LogObject[] }>("/obs/logs", { query: expr, from: own.start, to: own.end + 1, limit: 500 }, signal);
      out.logs = [...(out.logs ?? []), ...logs];
      frames = [logFrame(logs, q.ref_id)];
    } else if (q.language === "logql") {
      frames = await logMetrics(q, expr, own, signal);
    } else if (q.language === "traceql") {
      const { traces } = await get<{ traces: TraceSummary[] }>("/obs/traces", { query: expr, from: own.start, to: own.end + 1, limit: 200 }, signal);
      out.traces = [...(out.traces ?? []), ...traces];
      frames = [traceFrame(traces, q.ref_id)];
    } else if (q.language === "promql") {
      const answer = await metrics(q, expr, panel, own, many, signal);
      frames = answer.frames;
      out.notices.push(...answer.notices);
    } else {
      out.notices.push(`Query ${q.ref_id} asks ${q.language}, which vm-obs does not speak.`);
    }
    out.asked.push({ ref: q.ref_id, language: q.language, expr, step: own.step, ms: performance.now() - began, rows: frames.reduce((n, f) => n + (f.fields[0]?.values.length ?? 0), 0) });
    return frames;
  }));
  let frames = parts.flat();
  if (frames.length > SERIES_MAX) {
    out.notices.push(`${frames.length} series; the first ${SERIES_MAX} are shown.`);
    frames = frames.slice(0, SERIES_MAX);
  }
  const done = transform(frames, panel.transformations);
  for (const id of done.unknown) out.notices.push(`Transformation ${id} is not known and was left out.`);
  out.frames = applySettings(done.frames, defaults(panel), panel.field.overrides);
  return out;
}

/** The number columns of all frames with the time column beside each. */
export function seriesOf(frames: Frame[]): { time: Field | undefined; value: Field }[] {
  return frames.flatMap((frame) => {
    const time = frame.fields.find((f) => f.type === "time");
    return frame.fields.filter((f) => f.type === "number").map((value) => ({ time, value }));
  });
}
