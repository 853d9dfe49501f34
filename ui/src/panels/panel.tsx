import type { JSX } from "preact";
import { get, promInstant, promRange } from "../api/client";
import type { LogObject, Panel, TraceSummary } from "../api/types";
import { View } from "../components/ui";
import { seriesName } from "../lib/labels";
import { formatDuration } from "../lib/time";
import { formatValue } from "../lib/units";
import { useLoad } from "../state/load";
import { range } from "../state/range";
import { LogTable } from "./logs";
import { TimeSeries, type Line } from "./timeseries";

/** Replaces `$name`, `${name}` and Grafana's interval macros. */
export function fillIn(expr: string, variables: Record<string, string>, step: number, span: number): string {
  const macros: Record<string, string> = {
    __rate_interval: `${Math.max(60, step * 4)}s`,
    __interval: `${step}s`,
    __interval_ms: String(step * 1000),
    __range: `${Math.round(span)}s`,
    __range_s: String(Math.round(span)),
    ...variables,
  };
  return expr.replace(/\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]/g, (whole, a?: string, b?: string, c?: string) => macros[a ?? b ?? c ?? ""] ?? whole);
}

const COLORS: Record<string, string> = { green: "var(--ok)", red: "var(--bad)", orange: "var(--warn)", yellow: "var(--warn)", blue: "var(--info)" };

function colorOf(v: number | null, thresholds: Panel["thresholds"]): string {
  let color = "";
  for (const t of thresholds) if (v !== null && (t.value === null || v >= t.value)) color = COLORS[t.color] ?? t.color;
  return color;
}

/** One panel of a dashboard. */
export function PanelView(props: { panel: Panel; variables: Record<string, string> }): JSX.Element {
  const { panel } = props;
  const { start, end, step } = range.value;
  const exprs = panel.queries.map((q) => ({ ...q, expr: fillIn(q.expr, props.variables, step, end - start) }));
  const logs = exprs.find((q) => q.language === "logql");
  const traces = exprs.find((q) => q.language === "traceql");
  if (panel.kind === "text") return <div class="md">{panel.text}</div>;
  if (logs && panel.kind === "logs") return <LogsPanel expr={logs.expr} />;
  if (traces) return <TracesPanel expr={traces.expr} />;
  return <MetricsPanel panel={panel} queries={exprs} />;
}

function MetricsPanel(props: { panel: Panel; queries: Panel["queries"] }): JSX.Element {
  const { panel, queries } = props;
  const { start, end, step } = range.value;
  const instant = ["table", "bargauge", "piechart"].includes(panel.kind);
  const loaded = useLoad(`${queries.map((q) => q.expr).join("\n")}#${start}#${end}`, async (signal) => {
    const all = await Promise.all(queries.map((q) => (instant ? promInstant(q.expr, signal) : promRange(q.expr, start, end, step, signal))));
    return all.flatMap((r, i): Line[] => r.series.map((s) => ({ ...s, name: seriesName(s.labels, queries[i]?.legend) })));
  });
  const last = (l: Line) => l.values.findLast((v) => v !== null) ?? null;
  const show = (v: number | null) => formatValue(v, panel.unit, panel.decimals ?? undefined);
  return (
    <View of={loaded} empty={(l) => l.length === 0} none="No data.">
      {(lines) => {
        switch (panel.kind) {
          case "stat":
          case "gauge":
            return (
              <div class="row" style="gap:24px;justify-content:space-around">
                {lines.slice(0, 12).map((l) => (
                  <div class="stat" key={l.name} style="text-align:center"><div class="value" style={`color:${colorOf(last(l), panel.thresholds)}`}>{show(last(l))}</div><div class="label">{lines.length > 1 ? l.name : ""}</div></div>
                ))}
              </div>
            );
          case "table":
          case "bargauge":
          case "piechart": {
            const top = Math.max(...lines.map((l) => Math.abs(last(l) ?? 0)), panel.max ?? 0, 1e-12);
            return (
              <table><tbody>
                {lines.slice(0, 100).map((l) => (
                  <tr key={l.name}><td>{l.name}</td>{panel.kind !== "table" && <td style="width:40%"><div class="bar"><i style={`width:${(Math.abs(last(l) ?? 0) / top) * 100}%;background:${colorOf(last(l), panel.thresholds)}`} /></div></td>}<td class="num">{show(last(l))}</td></tr>
                ))}
              </tbody></table>
            );
          }
          default:
            return <TimeSeries lines={lines} unit={panel.unit} height={Math.max(120, panel.grid.h * 30 - 90)} min={panel.min} max={panel.max} thresholds={panel.thresholds} fill />;
        }
      }}
    </View>
  );
}

function LogsPanel(props: { expr: string }): JSX.Element {
  const { start, end } = range.value;
  const loaded = useLoad(`${props.expr}#${start}#${end}`, (signal) => get<{ logs: LogObject[] }>("/obs/logs", { query: props.expr, from: start, to: end + 1, limit: 100 }, signal));
  return <View of={loaded} empty={(d) => d.logs.length === 0} none="No lines.">{(d) => <div style="max-height:320px;overflow:auto"><LogTable logs={d.logs} short /></div>}</View>;
}

function TracesPanel(props: { expr: string }): JSX.Element {
  const { start, end } = range.value;
  const loaded = useLoad(`${props.expr}#${start}#${end}`, (signal) => get<{ traces: TraceSummary[] }>("/obs/traces", { query: props.expr, from: start, to: end + 1, limit: 50 }, signal));
  return (
    <View of={loaded} empty={(d) => d.traces.length === 0} none="No traces.">
      {(d) => <table><tbody>{d.traces.map((t) => <tr key={t.trace_id}><td><a href={`/trace/${t.trace_id}`}>{t.name}</a></td><td>{t.service}</td><td class="num">{formatDuration(t.duration_ms)}</td></tr>)}</tbody></table>}
    </View>
  );
}
