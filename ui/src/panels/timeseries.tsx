import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import uPlot from "uplot";
import type { Series } from "../api/types";
import { formatClock, formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { zoom } from "../state/range";
import { seriesColor, theme, token } from "../state/theme";

export interface Line extends Series {
  name: string;
}

interface Props {
  lines: Line[];
  unit?: string;
  height?: number;
  fill?: boolean;
  bars?: boolean;
  legend?: boolean;
  min?: number | null;
  max?: number | null;
  thresholds?: { value: number | null; color: string }[];
}

const LINES_MAX = 60;

function columns(lines: Line[]): uPlot.AlignedData {
  const times = lines[0]?.times ?? [];
  return [times, ...lines.map((l) => l.values)] as uPlot.AlignedData;
}

/** One or two values make no line that the eye could see; they are drawn as points. */
function lonely(line: Line): boolean {
  let seen = 0;
  for (const v of line.values) if (v !== null && ++seen > 2) return false;
  return true;
}

/** Lines over time; drag to zoom into a window, hover for the values at one instant. */
export function TimeSeries(props: Props): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const [tip, setTip] = useState<{ left: number; top: number; at: number } | null>(null);
  const lines = useMemo(() => props.lines.slice(0, LINES_MAX), [props.lines]);
  const height = props.height ?? 220;
  const unit = props.unit ?? "";
  const shape = `${lines.map((l) => l.name).join("|")}#${theme.value}#${unit}#${height}#${[...hidden].join("|")}`;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const axis = { stroke: token("--muted"), grid: { stroke: token("--grid"), width: 1 }, ticks: { stroke: token("--grid"), width: 1 } };
    const options: uPlot.Options = {
      width: Math.max(120, element.clientWidth),
      height,
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true },
        y: {
          range: (_u, low, high) => {
            const bottom = props.min ?? (low >= 0 ? 0 : low);
            const top = props.max ?? (high === bottom ? bottom + 1 : high + (high - bottom) * 0.08);
            return [bottom, top];
          },
        },
      },
      axes: [
        { ...axis, space: 72, values: (_u, splits) => splits.map((s) => formatClock(s * 1000).replace(/:00$/, "")) },
        { ...axis, size: 88, values: (_u, splits) => splits.map((v) => formatValue(v, unit)) },
      ],
      series: [
        {},
        ...lines.map((l, i) => {
          const color = seriesColor(i);
          const series: uPlot.Series = { label: l.name, stroke: color, width: 1.6, show: !hidden.has(l.name), spanGaps: false, points: { show: lonely(l) } };
          if (props.fill || props.bars) series.fill = `${color}26`;
          if (props.bars && uPlot.paths.bars) {
            series.paths = uPlot.paths.bars({ size: [0.9, 40] });
            series.fill = `${color}cc`;
          }
          return series;
        }),
      ],
      hooks: {
        setCursor: [(u) => {
          const { left, top, idx } = u.cursor;
          setTip(idx === null || idx === undefined || (left ?? -1) < 0 ? null : { left: left ?? 0, top: top ?? 0, at: idx });
        }],
        setSelect: [(u) => {
          if (u.select.width > 4) zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
        }],
        draw: [(u) => drawThresholds(u, props.thresholds ?? [])],
      },
    };
    const plot = new uPlot(options, columns(lines), element);
    chart.current = plot;
    const observer = new ResizeObserver(() => plot.setSize({ width: Math.max(120, element.clientWidth), height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
      chart.current = null;
    };
  }, [shape]);

  useEffect(() => {
    chart.current?.setData(columns(lines));
  }, [lines]);

  const toggle = (name: string) => {
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    setHidden(next);
  };
  const lastOf = (l: Line) => l.values.findLast((v) => v !== null) ?? null;
  return (
    <div class="chart">
      <div ref={box} role="img" aria-label={`Chart of ${lines.map((l) => l.name).slice(0, 5).join(", ")}`} />
      {tip && <Tip lines={lines} hidden={hidden} at={tip.at} left={tip.left} top={tip.top} unit={unit} />}
      {props.legend !== false && (
        <div class="legend">
          {lines.map((l, i) => (
            <button key={l.name} aria-pressed={!hidden.has(l.name)} onClick={() => toggle(l.name)}>
              <i class="swatch" style={`background:${seriesColor(i)}`} />
              <span>{l.name}</span> <b>{formatValue(lastOf(l), unit)}</b>
            </button>
          ))}
          {props.lines.length > LINES_MAX && <span class="muted">{props.lines.length - LINES_MAX} more series are not drawn</span>}
        </div>
      )}
    </div>
  );
}

function Tip(props: { lines: Line[]; hidden: ReadonlySet<string>; at: number; left: number; top: number; unit: string }): JSX.Element {
  const time = props.lines[0]?.times[props.at] ?? 0;
  const rows = props.lines
    .map((l, i) => ({ name: l.name, value: l.values[props.at] ?? null, color: seriesColor(i) }))
    .filter((r) => r.value !== null && !props.hidden.has(r.name))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0))
    .slice(0, 12);
  return (
    <div class="tip" style={`left:${props.left + 104}px;top:${props.top + 8}px`}>
      <div class="muted">{formatTime(time * 1000)}</div>
      {rows.map((r) => (
        <div class="row" key={r.name}><i class="swatch" style={`background:${r.color}`} /><span class="grow">{r.name}</span><b>{formatValue(r.value, props.unit)}</b></div>
      ))}
    </div>
  );
}

function drawThresholds(u: uPlot, thresholds: { value: number | null; color: string }[]): void {
  const { ctx, bbox } = u;
  for (const t of thresholds) {
    if (t.value === null) continue;
    const y = u.valToPos(t.value, "y", true);
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.save();
    ctx.strokeStyle = t.color === "green" ? token("--ok") : t.color === "red" ? token("--bad") : token("--warn");
    ctx.setLineDash([6, 5]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }
}
