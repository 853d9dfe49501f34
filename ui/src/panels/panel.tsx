import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import type { Panel } from "../api/types";
import { Markdown } from "../components/markdown";
import { Badge } from "../components/ui";
import { cssColor } from "../lib/color";
import { numberOf, rowCount, type Field, type Frame } from "../lib/frame";
import { graphOf } from "../lib/graph";
import { displayName } from "../lib/shown";
import { formatDuration } from "../lib/time";
import { interpolate, type Scope } from "../lib/variables";
import { token } from "../state/theme";
import { BarChartPanel, histogramOf } from "./barchart";
import { seriesOf, type PanelData } from "./data";
import { HeatmapPanel } from "./heatmap";
import { LogTable } from "./logs";
import { NodeGraph } from "./nodegraph";
import { BarGaugePanel, GaugePanel, PiePanel, StatPanel } from "./stat";
import { TablePanel } from "./table";
import { TimelinePanel } from "./timeline";
import type { Mark } from "../state/events";
import { TimeSeries, type Line, type Look } from "./timeseries";

function look(f: Field): Look {
  const c = f.settings.custom;
  const stacking = (c["stacking"] ?? {}) as { mode?: string; group?: string };
  const style = (c["lineStyle"] ?? {}) as { fill?: string; dash?: number[] };
  const hide = (c["hideFrom"] ?? {}) as { legend?: boolean };
  const draw = c["drawStyle"];
  const out: Look = { unit: f.settings.unit, spanGaps: c["spanNulls"] === true || typeof c["spanNulls"] === "number", inLegend: hide.legend !== true };
  if (f.settings.decimals !== null) out.decimals = f.settings.decimals;
  const fixed = f.settings.color?.mode === "fixed" ? cssColor(f.settings.color.fixedColor, token) : "";
  if (fixed) out.color = fixed;
  const width = numberOf(c["lineWidth"] as number | undefined);
  if (width !== null) out.width = draw === "points" ? 0 : Math.max(draw === "bars" ? 0 : 1, width);
  const fill = numberOf(c["fillOpacity"] as number | undefined);
  if (fill !== null) out.fill = fill;
  if (c["axisPlacement"] === "right") out.right = true;
  if (style.fill === "dash" || style.fill === "dot") out.dash = style.dash ?? (style.fill === "dot" ? [1, 4] : [8, 6]);
  if (draw === "bars") out.bars = true;
  if (draw === "points" || c["showPoints"] === "always") out.points = true;
  if (String(c["lineInterpolation"] ?? "").startsWith("step")) out.steps = true;
  if (stacking.mode === "normal" || stacking.mode === "percent") {
    out.stack = stacking.group || "A";
    out.percent = stacking.mode === "percent";
  }
  if (c["transform"] === "negative-Y") out.negative = true;
  return out;
}

/** The lines of a chart: number columns that are not hidden, each with its own look. */
export function linesOf(frames: Frame[]): Line[] {
  const seen = new Map<string, number>();
  return seriesOf(frames).flatMap(({ time, value }): Line[] => {
    if (!time || (value.settings.custom["hideFrom"] as { viz?: boolean } | undefined)?.viz) return [];
    // Lines are told apart by their name.
    const plain = displayName(value);
    const times = (seen.get(plain) ?? 0) + 1;
    seen.set(plain, times);
    return [{ name: times > 1 ? `${plain} (${times})` : plain, labels: value.labels, times: time.values.map((t) => Number(t) / 1000), values: value.values.map((v) => numberOf(v)), look: look(value) }];
  });
}

function Lines(props: { panel: Panel; frames: Frame[]; height: number; marks: Mark[] }): JSX.Element {
  const { panel } = props;
  const lines = useMemo(() => linesOf(props.frames), [props.frames]);
  const legend = (panel.options["legend"] ?? {}) as { showLegend?: boolean; displayMode?: string; placement?: string; calcs?: string[] };
  const shown = legend.showLegend !== false && legend.displayMode !== "hidden";
  const side = shown && legend.placement === "right";
  const table = shown && legend.displayMode === "table" && (legend.calcs?.length ?? 0) > 0;
  const style = (panel.field.custom["thresholdsStyle"] ?? {}) as { mode?: string };
  const scale = (panel.field.custom["scaleDistribution"] ?? {}) as { type?: string };
  const below = shown && !side ? Math.min(table ? 26 + lines.length * 22 : Math.ceil(lines.length / 2) * 20, table ? Math.max(70, props.height * 0.36) : Math.min(66, props.height * 0.3)) : 0;
  return (
    <TimeSeries lines={lines} unit={panel.unit} height={Math.max(90, props.height - below - 8)} min={panel.min} max={panel.max} marks={props.marks}
      softMax={numberOf(panel.field.custom["axisSoftMax"] as number | undefined)} log={scale.type === "log"} legend={shown} side={side} table={table} calcs={legend.calcs ?? []}
      thresholds={panel.field.percentage ? [] : panel.thresholds} thresholdsStyle={style.mode ?? "off"} label={`${panel.title}: chart of ${lines.length} series`} />
  );
}

/** What a panel shows, by its kind; a kind that is not known is a table of its data. */
export function PanelBody(props: { panel: Panel; data: PanelData; scope: Scope; height: number; marks: Mark[] }): JSX.Element {
  const { panel, data, height } = props;
  const fill = (text: string) => interpolate(text, props.scope);
  const { frames } = data;
  const table = <TablePanel frames={frames} height={height} options={panel.options} fill={fill} />;
  const none = <div class="note">{panel.field.no_value || "No data in this range."}</div>;
  if ((panel.kind === "logs" && data.logs?.length === 0) || (panel.kind === "traces" && data.traces?.length === 0)) return none;
  if (panel.kind === "logs" && data.logs) return <div class="scroll" style={`max-height:${height}px`} tabIndex={0} role="region" aria-label="Log lines"><LogTable logs={data.logs} short /></div>;
  if (panel.kind === "traces" && data.traces) {
    return (
      <div class="scroll" style={`max-height:${height}px`} tabIndex={0} role="region" aria-label="Traces">
        <table><tbody>{data.traces.map((t) => <tr key={t.trace_id}><td><a href={`/trace/${t.trace_id}`}>{t.name}</a></td><td>{t.service}</td><td><Badge word={t.status} /></td><td class="num">{formatDuration(t.duration_ms)}</td></tr>)}</tbody></table>
      </div>
    );
  }
  if (frames.every((f) => rowCount(f) === 0)) {
    return none;
  }
  switch (panel.kind) {
    case "stat": return <StatPanel panel={panel} frames={frames} height={height} />;
    case "gauge": return <GaugePanel panel={panel} frames={frames} height={height} />;
    case "bargauge": return <BarGaugePanel panel={panel} frames={frames} height={height} />;
    case "piechart": return <PiePanel panel={panel} frames={frames} height={height} />;
    case "heatmap": return <HeatmapPanel panel={panel} frames={frames} height={height} />;
    case "state-timeline": return <TimelinePanel panel={panel} frames={frames} height={height} merged />;
    case "status-history": return <TimelinePanel panel={panel} frames={frames} height={height} merged={false} />;
    case "barchart": return <BarChartPanel panel={panel} frames={frames} height={height} />;
    case "histogram": {
      const buckets = frames.length > 0 && frames.every((f) => f.fields.some((c) => c.labels["le"] !== undefined));
      return buckets ? <HeatmapPanel panel={panel} frames={frames} height={height} /> : <BarChartPanel panel={panel} frames={[histogramOf(panel, frames)]} height={height} />;
    }
    case "nodeGraph": {
      const graph = graphOf(frames);
      return graph ? <NodeGraph graph={graph} height={height} /> : table;
    }
    case "timeseries":
      return linesOf(frames).length ? <Lines panel={panel} frames={frames} height={height} marks={props.marks} /> : table;
    case "table": return table;
    default:
      return <><p class="muted" style="margin:0 0 6px">{panel.known ? "The data of this panel" : `Panels of kind ${panel.kind} are shown as a table.`}</p><TablePanel frames={frames} height={height - 28} fill={fill} /></>;
  }
}

export function TextBody(props: { panel: Panel; scope: Scope; height: number }): JSX.Element {
  return <div class="scroll" style={`max-height:${props.height}px`} tabIndex={0} role="region" aria-label="Text"><Markdown text={interpolate(props.panel.text ?? "", props.scope)} mode={String(props.panel.options["mode"] ?? "markdown")} /></div>;
}
