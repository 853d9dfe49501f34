import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import type { Panel } from "../api/types";
import { blend } from "../lib/color";
import { numberOf, type Frame } from "../lib/frame";
import { displayName } from "../lib/shown";
import { formatClock, formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { theme, token } from "../state/theme";
import { seriesOf } from "./data";
import { Drawing, fit } from "./canvas";

interface Grid {
  times: number[];
  rows: { name: string; bound: number }[];
  /** `cells[row][column]`; NaN where there is nothing. */
  cells: number[][];
  top: number;
}

const BUCKETS = 24;
const RAMP = { dark: ["#14213a", "#2a5ea8", "#38a89d", "#e6b450", "#f2716f"], light: ["#e8eef6", "#8ab8e0", "#2f9e8f", "#d99a2b", "#b3261e"] };

/** The upper bound of a bucket: its `le` label or a name that is a number. */
function bound(labels: Record<string, string>, name: string): number {
  const text = labels["le"] ?? name;
  return text === "+Inf" ? Infinity : Number(text);
}

/** Series are buckets by their bound, or, where they are plain series, their values are counted. */
export function gridOf(frames: Frame[], options: Record<string, unknown>): Grid {
  const series = seriesOf(frames);
  const times = series[0]?.time?.values.map((t) => Number(t)) ?? [];
  const bounds = series.map(({ value }) => bound(value.labels, displayName(value)));
  const named = bounds.every((b) => !Number.isNaN(b));
  const calculate = options["calculate"] === true;
  if (!calculate && (named || series.length > 1)) {
    const order = series.map((_, i) => i);
    if (named) order.sort((a, b) => (bounds[a] ?? 0) - (bounds[b] ?? 0));
    const rows = order.map((i) => ({ name: series[i] ? displayName(series[i].value) : "", bound: bounds[i] ?? NaN }));
    let cells = order.map((i) => times.map((_, at) => numberOf(series[i]?.value.values[at]) ?? NaN));
    // `le` buckets count everything below them; a cell is what one bucket adds.
    if (named && series.every(({ value }) => value.labels["le"] !== undefined)) {
      const whole = cells;
      const rises = times.every((_, at) => whole.every((row, r) => r === 0 || !((row[at] ?? 0) < (whole[r - 1]?.[at] ?? 0) * 0.999)));
      if (rises) cells = whole.map((row, r) => row.map((v, at) => (r === 0 ? v : v - (whole[r - 1]?.[at] ?? 0))));
    }
    return { times, rows, cells, top: Math.max(...cells.flat().filter(Number.isFinite), 1e-12) };
  }
  const all = series.flatMap(({ value }) => value.values.map((v) => numberOf(v) ?? NaN)).filter(Number.isFinite);
  const low = Math.min(...all, 0);
  const high = Math.max(...all, low + 1e-9);
  const columns = Math.min(times.length, 120);
  const cells = Array.from({ length: BUCKETS }, () => new Array<number>(columns).fill(0));
  for (const { value } of series) {
    value.values.forEach((v, at) => {
      const x = numberOf(v);
      if (x === null || !Number.isFinite(x)) return;
      const row = cells[Math.min(BUCKETS - 1, Math.floor(((x - low) / (high - low)) * BUCKETS))];
      const column = Math.floor((at / times.length) * columns);
      if (row) row[column] = (row[column] ?? 0) + 1;
    });
  }
  const rows = cells.map((_, r) => ({ name: "", bound: low + ((high - low) * (r + 1)) / BUCKETS }));
  return { times: Array.from({ length: columns }, (_, i) => times[Math.floor((i / columns) * times.length)] ?? 0), rows, cells, top: Math.max(...cells.flat(), 1) };
}

export function HeatmapPanel(props: { panel: Panel; frames: Frame[]; height: number }): JSX.Element {
  const grid = useMemo(() => gridOf(props.frames, props.panel.options), [props.frames]);
  const axis = (props.panel.options["yAxis"] ?? {}) as { unit?: string };
  const unit = axis.unit || props.panel.unit;
  const label = (r: { name: string; bound: number }) => (Number.isFinite(r.bound) ? formatValue(r.bound, unit) : r.name === "+Inf" || r.bound === Infinity ? "+Inf" : r.name);
  const left = 70;
  const bottom = 20;
  const colors = RAMP[theme.value];
  const place = (width: number) => ({ w: (width - left) / Math.max(1, grid.times.length), h: (props.height - bottom) / Math.max(1, grid.rows.length) });
  return (
    <Drawing height={props.height} of={grid} label={`Heat map of ${grid.rows.length} buckets`}
      draw={({ ctx, width, height }) => {
        const { w, h } = place(width);
        grid.cells.forEach((row, r) => row.forEach((v, c) => {
          if (!(v > 0)) return;
          // The square root keeps small counts visible beside large ones.
          ctx.fillStyle = blend(colors, 0.08 + 0.92 * Math.sqrt(v / grid.top));
          ctx.fillRect(left + c * w, height - bottom - (r + 1) * h, Math.max(1, w - (w > 4 ? 1 : 0)), Math.max(1, h - (h > 4 ? 1 : 0)));
        }));
        ctx.fillStyle = token("--muted");
        ctx.textBaseline = "middle";
        ctx.textAlign = "right";
        const every = Math.ceil(14 / h);
        grid.rows.forEach((r, i) => i % every === 0 && ctx.fillText(fit(ctx, label(r), left - 8), left - 6, height - bottom - (i + 0.5) * h));
        timeAxis(ctx, grid.times, left, width, height);
      }}
      hit={(x, y, width) => {
        const { w, h } = place(width);
        const c = Math.floor((x - left) / w);
        const r = Math.floor((props.height - bottom - y) / h);
        const [v, row, t] = [grid.cells[r]?.[c], grid.rows[r], grid.times[c]];
        if (v === undefined || !row || t === undefined || x < left) return null;
        const below = grid.rows[r - 1];
        return <><div class="muted">{formatTime(t)}</div><div>{below && Number.isFinite(below.bound) ? `${label(below)} … ` : "up to "}{label(row)}: <b>{Number.isFinite(v) ? formatValue(v) : "–"}</b></div></>;
      }} />
  );
}

export function timeAxis(ctx: CanvasRenderingContext2D, times: number[], left: number, width: number, height: number): void {
  const first = times[0] ?? 0;
  const last = times.at(-1) ?? first;
  const days = last - first > 1.3e8;
  const count = Math.max(1, Math.floor((width - left) / 110));
  ctx.fillStyle = token("--muted");
  ctx.textBaseline = "alphabetic";
  ctx.textAlign = "center";
  for (let i = 0; i < count; i += 1) {
    const at = (i + 0.5) / count;
    const t = first + (last - first) * at;
    ctx.fillText(days ? formatTime(t).slice(5, 16) : formatClock(t).slice(0, 5), left + (width - left) * at, height - 5);
  }
}
