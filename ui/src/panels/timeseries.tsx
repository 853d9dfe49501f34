import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import uPlot from "uplot";
import type { Series } from "../api/types";
import { cssColor } from "../lib/color";
import type { Step } from "../lib/frame";
import { reduce, reducerTitle } from "../lib/reduce";
import { formatClock, formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { events, type Mark } from "../state/events";
import { zoom } from "../state/range";
import { seriesColor, theme, token } from "../state/theme";
import { drawMarks, Marks, placesOf, type Place } from "./marks";

/** How one line is drawn; what is left out takes the chart's. */
export interface Look {
  unit?: string;
  decimals?: number;
  color?: string;
  width?: number;
  /** Percent. */
  fill?: number;
  right?: boolean;
  dash?: number[];
  bars?: boolean;
  points?: boolean;
  steps?: boolean;
  spanGaps?: boolean;
  /** Lines of one group are stacked. */
  stack?: string;
  percent?: boolean;
  inLegend?: boolean;
  negative?: boolean;
}

export interface Line extends Series {
  name: string;
  look?: Look;
}

interface Props {
  lines: Line[];
  unit?: string;
  height?: number;
  fill?: boolean;
  bars?: boolean;
  legend?: boolean;
  /** With reducers the legend is a table. */
  calcs?: string[];
  side?: boolean;
  table?: boolean;
  min?: number | null;
  max?: number | null;
  softMax?: number | null;
  log?: boolean;
  thresholds?: Step[];
  /** `line`, `area`, `line+area` and so on; `off` draws none. */
  thresholdsStyle?: string;
  marks?: Mark[];
  label?: string;
}

/** With the events of the page. */
interface Drawn extends Props {
  marks: Mark[];
}

const LINES_MAX = 100;
const LEGEND_MAX = 60;

/** Values on one axis of times: queries may have different steps. */
function columns(lines: Line[]): (number | null)[][] {
  const first = lines[0]?.times ?? [];
  const same = lines.every((l) => l.times === first || (l.times.length === first.length && l.times[0] === first[0] && l.times.at(-1) === first.at(-1)));
  const signed = (l: Line) => (l.look?.negative ? l.values.map((v) => (v === null ? null : -v)) : l.values);
  if (same) return [first, ...lines.map(signed)];
  return uPlot.join(lines.map((l) => [l.times, signed(l)] as uPlot.AlignedData)) as (number | null)[][];
}

/** Adds up the lines of each group from the bottom; a hole counts as nothing there. */
function stacked(data: (number | null)[][], lines: Line[], hidden: ReadonlySet<string>): (number | null)[][] {
  const groups = new Map<string, number[]>();
  const totals = new Map<string, number[]>();
  const count = data[0]?.length ?? 0;
  lines.forEach((l, i) => {
    const group = l.look?.stack;
    if (!group || !l.look?.percent || hidden.has(l.name)) return;
    const sum = totals.get(group) ?? new Array<number>(count).fill(0);
    data[i + 1]?.forEach((v, at) => (sum[at] = (sum[at] ?? 0) + Math.abs(v ?? 0)));
    totals.set(group, sum);
  });
  return data.map((column, i) => {
    const line = lines[i - 1];
    const group = line?.look?.stack;
    if (i === 0 || !group || hidden.has(line.name)) return column;
    const below = groups.get(group) ?? new Array<number>(count).fill(0);
    const total = totals.get(group);
    const out = column.map((v, at) => {
      const own = total ? (v === null ? null : v / (total[at] || 1)) : v;
      return own === null ? null : (below[at] ?? 0) + own;
    });
    groups.set(group, below.map((b, at) => out[at] ?? b));
    return out;
  });
}

/** One or two values make no line that the eye could see; they are drawn as points. */
function lonely(line: Line): boolean {
  let seen = 0;
  for (const v of line.values) if (v !== null && ++seen > 2) return false;
  return seen > 0;
}

function shade(color: string, percent: number): string {
  return color.startsWith("#") && color.length === 7 ? `${color}${Math.round((Math.min(100, percent) / 100) * 255).toString(16).padStart(2, "0")}` : color.replace(/^rgb\((.*)\)$/, `rgba($1,${percent / 100})`);
}

export function colorOf(line: Line, i: number): string {
  return line.look?.color || seriesColor(i);
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
  const data = useMemo(() => columns(lines), [lines]);
  const drawn = useMemo(() => stacked(data, lines, hidden), [data, lines, hidden]);
  const [places, setPlaces] = useState<Place[]>([]);
  const own = props.marks;
  const marks = useMemo(() => [...(own ?? []), ...events.value], [own, events.value]);
  const limits = useRef<Drawn>({ ...props, marks });
  limits.current = { ...props, marks };
  const shape = `${lines.map((l) => `${l.name}${JSON.stringify(l.look ?? {})}`).join("|")}#${theme.value}#${unit}#${height}#${[...hidden].join("|")}#${props.log}#${props.thresholdsStyle}`;

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const began = performance.now();
    let measured = false;
    const options = chartOptions(lines, hidden, unit, height, limits, setTip);
    options.width = Math.max(120, element.clientWidth);
    // How long a chart takes is on record, for whoever asks the browser.
    (options.hooks?.draw as (() => void)[] | undefined)?.push(() => {
      if (!measured) performance.measure("chart-draw", { start: began, end: performance.now(), detail: drawn.reduce((n, c) => n + c.length, 0) - (drawn[0]?.length ?? 0) });
      measured = true;
    });
    // A chart draws often; its marks are moved when they are elsewhere.
    let before = "";
    (options.hooks?.draw as ((u: uPlot) => void)[] | undefined)?.push((u) => {
      const now = placesOf(u, limits.current.marks);
      const key = JSON.stringify(now);
      if (key !== before) queueMicrotask(() => setPlaces(now));
      before = key;
    });
    const plot = new uPlot(options, drawn as uPlot.AlignedData, element);
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
    const plot = chart.current;
    if (plot && plot.data !== (drawn as uPlot.AlignedData)) plot.setData(drawn as uPlot.AlignedData);
  }, [drawn]);

  useEffect(() => chart.current?.redraw(false), [marks]);

  const toggle = (name: string, alone: boolean) => {
    if (alone) {
      const others = lines.map((l) => l.name).filter((n) => n !== name);
      setHidden(hidden.size === others.length && !hidden.has(name) ? new Set() : new Set(others));
      return;
    }
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    setHidden(next);
  };
  return (
    <div class={`chart ${props.side ? "beside" : ""}`}>
      <div ref={box} role="img" aria-label={props.label ?? `Chart of ${lines.map((l) => l.name).slice(0, 5).join(", ")}`} />
      <Marks places={places} />
      {tip && <Tip lines={lines} data={data} hidden={hidden} at={tip.at} left={tip.left} top={tip.top} unit={unit} />}
      {props.legend !== false && <Legend lines={lines} hidden={hidden} toggle={toggle} unit={unit} calcs={props.calcs ?? []} table={props.table ?? false} height={props.side ? height : 108} more={props.lines.length - lines.length} />}
    </div>
  );
}

function chartOptions(lines: Line[], hidden: ReadonlySet<string>, unit: string, height: number, limits: { current: Drawn }, setTip: (t: { left: number; top: number; at: number } | null) => void): uPlot.Options {
  const axis = { stroke: token("--muted"), grid: { stroke: token("--grid"), width: 1 }, ticks: { stroke: token("--grid"), width: 1 }, font: "11px system-ui, sans-serif" };
  const rangeOf = (side: "left" | "right"): uPlot.Scale.Range => (_u, low, high) => {
    const p = limits.current;
    if (low === null || high === null || !Number.isFinite(low)) return [p.min ?? 0, p.max ?? 1];
    if (p.log) return [Math.max(low, 1e-9) / 1.2, Math.max(high, 1e-9) * 1.2];
    const bottom = side === "left" && p.min !== null && p.min !== undefined ? p.min : low >= 0 ? 0 : low - (high - low) * 0.05;
    let top = side === "left" && p.max !== null && p.max !== undefined ? p.max : Math.max(high, side === "left" ? (p.softMax ?? -Infinity) : -Infinity);
    if (top <= bottom) top = bottom + (bottom === 0 ? 1 : Math.abs(bottom) * 0.1);
    return [bottom, side === "left" && p.max !== null && p.max !== undefined ? top : top + (top - bottom) * 0.06];
  };
  const rightUnit = lines.find((l) => l.look?.right)?.look?.unit ?? unit;
  const leftUnit = lines.find((l) => !l.look?.right)?.look?.unit ?? unit;
  const percent = lines.some((l) => l.look?.percent);
  const labels = (u: string): uPlot.Axis.Values => (_u, splits) => splits.map((v) => (v === null ? "" : formatValue(v, percent ? "percentunit" : u)));
  const width = (self: uPlot, values: string[] | null): number => {
    if (!values?.length) return 40;
    self.ctx.save();
    self.ctx.font = axis.font;
    const widest = Math.max(...values.map((v) => self.ctx.measureText(v ?? "").width));
    self.ctx.restore();
    return Math.ceil(widest) + 20;
  };
  const axes: uPlot.Axis[] = [
    { ...axis, space: 72, values: (u, splits) => {
      const days = (u.scales["x"]?.max ?? 0) - (u.scales["x"]?.min ?? 0) > 129_600;
      return splits.map((s) => (days ? formatTime(s * 1000).slice(5, 16) : formatClock(s * 1000).replace(/:00$/, "")));
    } },
    { ...axis, scale: "y", size: width, values: labels(leftUnit) },
  ];
  const scales: uPlot.Scales = { x: { time: true }, y: { range: rangeOf("left"), distr: limits.current.log ? 3 : 1 } };
  if (lines.some((l) => l.look?.right)) {
    scales["right"] = { range: rangeOf("right") };
    axes.push({ ...axis, scale: "right", side: 1, size: width, values: labels(rightUnit), grid: { show: false } });
  }
  const series = lines.map((l, i): uPlot.Series => {
    const look = l.look ?? {};
    const color = colorOf(l, i);
    const bars = look.bars ?? limits.current.bars ?? false;
    const fill = look.fill ?? (limits.current.fill ? 15 : bars ? 80 : 0);
    const s: uPlot.Series = {
      label: l.name, scale: look.right ? "right" : "y", stroke: color, width: look.width ?? 1.6, show: !hidden.has(l.name),
      spanGaps: look.spanGaps ?? false, points: { show: look.points || lonely(l), size: look.points ? 5 : 6 },
    };
    if (fill > 0) s.fill = shade(color, fill);
    if (look.dash) s.dash = look.dash;
    if (bars && uPlot.paths.bars) s.paths = uPlot.paths.bars({ size: [0.9, 40] });
    else if (look.steps && uPlot.paths.stepped) s.paths = uPlot.paths.stepped({ align: 1 });
    return s;
  });
  // Between stacked lines the area belongs to the upper one.
  const bands: uPlot.Band[] = [];
  const last = new Map<string, number>();
  lines.forEach((l, i) => {
    const group = l.look?.stack;
    if (!group || hidden.has(l.name)) return;
    const below = last.get(group);
    if (below !== undefined) bands.push({ series: [i + 1, below] });
    last.set(group, i + 1);
  });
  return {
    width: 120, height, scales, axes, bands,
    cursor: { drag: { x: true, y: false }, points: { size: 6 }, sync: { key: "page", scales: ["x", null] } },
    series: [{}, ...series],
    hooks: {
      setCursor: [(u) => {
        const { left, top, idx } = u.cursor;
        const own = u.over.matches(":hover");
        setTip(!own || idx === null || idx === undefined || (left ?? -1) < 0 ? null : { left: left ?? 0, top: top ?? 0, at: idx });
      }],
      setSelect: [(u) => {
        if (u.select.width > 4 && u.over.matches(":hover")) zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
      }],
      drawClear: [(u) => drawThresholds(u, limits.current, "area")],
      draw: [(u) => drawThresholds(u, limits.current, "line"), (u) => drawMarks(u, limits.current.marks)],
    },
  };
}

function Legend(props: { lines: Line[]; hidden: ReadonlySet<string>; toggle: (name: string, alone: boolean) => void; unit: string; calcs: string[]; table: boolean; height: number; more: number }): JSX.Element {
  const [sort, setSort] = useState<{ calc: string; up: boolean } | null>(null);
  const rows = useMemo(() => {
    const all = props.lines.map((line, i) => ({ line, i })).filter(({ line }) => line.look?.inLegend !== false);
    if (sort) {
      const value = (l: Line) => Number(reduce(l.values, sort.calc) ?? -Infinity);
      all.sort((a, b) => (value(a.line) - value(b.line)) * (sort.up ? 1 : -1));
    }
    return all;
  }, [props.lines, sort]);
  const show = (l: Line, calc: string) => formatValue(Number(reduce(l.values, calc) ?? NaN), l.look?.unit ?? props.unit, l.look?.decimals);
  const entry = (line: Line, i: number) => (
    <button key={line.name} aria-pressed={!props.hidden.has(line.name)} title={`${line.name} (Ctrl: only this one)`} onClick={(e) => props.toggle(line.name, e.ctrlKey || e.metaKey)}>
      <i class="swatch" style={`background:${colorOf(line, i)}`} /><span>{line.name}{line.look?.right && <span class="muted"> (right)</span>}</span>
      {!props.table && (props.calcs.length ? props.calcs : ["lastNotNull"]).map((c) => <b key={c}>{props.calcs.length > 0 && <span class="muted">{reducerTitle(c)} </span>}{show(line, c)}</b>)}
    </button>
  );
  return (
    <div class="legend" style={`max-height:${props.height}px`} tabIndex={0} role="group" aria-label="Legend">
      {props.table ? (
        <table>
          <thead><tr><th>Name</th>{props.calcs.map((c) => <th class="num" key={c} aria-sort={sort?.calc === c ? (sort.up ? "ascending" : "descending") : "none"}><button onClick={() => setSort({ calc: c, up: sort?.calc === c && !sort.up })}>{reducerTitle(c)}{sort?.calc === c && (sort.up ? " ▴" : " ▾")}</button></th>)}</tr></thead>
          <tbody>{rows.slice(0, LEGEND_MAX).map(({ line, i }) => <tr key={line.name}><td>{entry(line, i)}</td>{props.calcs.map((c) => <td class="num" key={c}>{show(line, c)}</td>)}</tr>)}</tbody>
        </table>
      ) : rows.slice(0, LEGEND_MAX).map(({ line, i }) => entry(line, i))}
      {props.more > 0 && <span class="muted">{props.more} more series are not drawn</span>}
    </div>
  );
}

function Tip(props: { lines: Line[]; data: (number | null)[][]; hidden: ReadonlySet<string>; at: number; left: number; top: number; unit: string }): JSX.Element {
  const time = props.data[0]?.[props.at] ?? 0;
  const rows = props.lines
    .map((l, i) => ({ name: l.name, value: props.data[i + 1]?.[props.at] ?? null, color: colorOf(l, i), look: l.look }))
    .filter((r) => r.value !== null && !props.hidden.has(r.name))
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
  const flip = props.left > 420;
  return (
    <div class="tip" style={`${flip ? `right:calc(100% - ${props.left + 40}px)` : `left:${props.left + 90}px`};top:${props.top + 8}px`}>
      <div class="muted">{formatTime((time ?? 0) * 1000)}</div>
      {rows.slice(0, 12).map((r) => (
        <div class="row nowrap" key={r.name}><i class="swatch" style={`background:${r.color}`} /><span class="grow">{r.name}</span><b>{formatValue(r.value, r.look?.unit ?? props.unit, r.look?.decimals)}</b></div>
      ))}
      {rows.length > 12 && <div class="muted">and {rows.length - 12} more</div>}
    </div>
  );
}

function drawThresholds(u: uPlot, p: Props, part: "line" | "area"): void {
  const style = p.thresholdsStyle ?? "line";
  const steps = p.thresholds ?? [];
  if (style === "off" || !style.includes(part)) return;
  const { ctx, bbox } = u;
  const at = (v: number) => Math.max(bbox.top, Math.min(bbox.top + bbox.height, u.valToPos(v, "y", true)));
  ctx.save();
  steps.forEach((t, i) => {
    const color = cssColor(t.color, token);
    if (!color || color === "transparent") return;
    if (part === "area") {
      const next = steps[i + 1]?.value ?? null;
      const bottom = t.value === null ? bbox.top + bbox.height : at(t.value);
      const top = next === null ? bbox.top : at(next);
      ctx.globalAlpha = 0.12;
      ctx.fillStyle = color;
      ctx.fillRect(bbox.left, top, bbox.width, bottom - top);
    } else if (t.value !== null) {
      const y = u.valToPos(t.value, "y", true);
      if (y < bbox.top || y > bbox.top + bbox.height) return;
      ctx.strokeStyle = color;
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash(style.includes("dashed") || style === "line" ? [6, 5] : []);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
  });
  ctx.restore();
}
