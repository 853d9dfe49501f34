import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import type { Panel } from "../api/types";
import { field, numberOf, type Frame } from "../lib/frame";
import { displayName, show } from "../lib/shown";
import { formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { seriesColor, token } from "../state/theme";
import { Drawing, fit } from "./canvas";
import { seriesOf } from "./data";
import { asTable } from "./table";

const BARS_MAX = 200;

/** Values of the series counted into about thirty buckets of a round width. */
export function histogramOf(panel: Panel, frames: Frame[]): Frame {
  const series = seriesOf(frames);
  const all = series.flatMap(({ value }) => value.values.map((v) => numberOf(v))).filter((v): v is number => v !== null && Number.isFinite(v));
  const low = Math.min(...all);
  const high = Math.max(...all);
  const rough = (high - low) / 30 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = Number(panel.options["bucketSize"]) || [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) || rough;
  const start = Math.floor(low / size) * size;
  const count = Math.min(BARS_MAX, Math.max(1, Math.floor((high - start) / size) + 1));
  const names = Array.from({ length: count }, (_, i) => formatValue(start + i * size, panel.unit));
  const counted = (values: (string | number | null)[]) => {
    const out = new Array<number>(count).fill(0);
    for (const v of values) {
      const x = numberOf(v);
      if (x !== null && Number.isFinite(x)) out[Math.min(count - 1, Math.floor((x - start) / size))]! += 1;
    }
    return out;
  };
  const columns = panel.options["combine"] ? [field("Count", "number", counted(all))] : series.map(({ value }) => field(displayName(value), "number", counted(value.values)));
  return { refId: "", fields: [field("Bucket", "string", names), ...columns] };
}

/** Bars by name; with several number columns they stand in groups or on one another. */
export function BarChartPanel(props: { panel: Panel; frames: Frame[]; height: number }): JSX.Element {
  const frame = useMemo(() => asTable(props.frames), [props.frames]);
  const o = props.panel.options;
  const wanted = frame.fields.find((f) => f.name === o["xField"] || displayName(f) === o["xField"]);
  const key = wanted ?? frame.fields.find((f) => f.type === "string") ?? frame.fields.find((f) => f.type === "time");
  const columns = frame.fields.filter((f) => f.type === "number" && f !== key);
  const count = Math.min(BARS_MAX, key?.values.length ?? columns[0]?.values.length ?? 0);
  const names = Array.from({ length: count }, (_, i) => (key ? (key.type === "time" ? formatTime(Number(key.values[i])).slice(5, 16) : String(key.values[i] ?? "")) : String(i + 1)));
  const stack = o["stacking"] === "normal" || o["stacking"] === "percent";
  const lying = o["orientation"] === "horizontal";
  const value = (c: number, i: number) => numberOf(columns[c]?.values[i]) ?? 0;
  const top = Math.max(...names.map((_, i) => (stack ? columns.reduce((n, _c, c) => n + Math.max(0, value(c, i)), 0) : Math.max(...columns.map((_c, c) => value(c, i))))), props.panel.max ?? 0, 1e-12);
  const low = Math.min(0, ...columns.flatMap((c) => c.values.map((v) => numberOf(v) ?? 0)));
  const tint = (c: number, i: number) => {
    const f = columns[c];
    const s = f ? show(f.values[i] ?? null, f.settings, token) : null;
    return (f?.settings.color?.mode && f.settings.color.mode !== "palette-classic" ? s?.color : "") || seriesColor(c);
  };
  const legend = columns.length > 1 ? 24 : 0;
  const inner = props.height - legend;
  const left = lying ? Math.min(200, 20 + Math.max(...names.map((n) => n.length), 0) * 6.2) : 58;
  const bottom = 22;
  const slot = (width: number) => (lying ? (inner - bottom) / Math.max(1, count) : (width - left) / Math.max(1, count));
  const unit = columns[0]?.settings.unit ?? "";
  return (
    <div>
      <Drawing height={inner} of={frame} label={`Bars of ${columns.map(displayName).slice(0, 5).join(", ")}`}
        draw={({ ctx, width, height }) => {
          const long = lying ? width - left - 8 : height - bottom - 6;
          const at = (v: number) => ((v - low) / (top - low)) * long;
          ctx.strokeStyle = token("--grid");
          ctx.fillStyle = token("--muted");
          for (let i = 0; i <= 4; i += 1) {
            const v = low + ((top - low) * i) / 4;
            ctx.beginPath();
            if (lying) {
              ctx.moveTo(left + at(v), 0);
              ctx.lineTo(left + at(v), height - bottom);
              ctx.textAlign = i === 4 ? "right" : "center";
              ctx.textBaseline = "alphabetic";
              ctx.fillText(formatValue(v, unit), left + at(v), height - 6);
            } else {
              const y = height - bottom - at(v);
              ctx.moveTo(left, y);
              ctx.lineTo(width, y);
              ctx.textAlign = "right";
              ctx.textBaseline = "middle";
              ctx.fillText(formatValue(v, unit), left - 6, Math.max(7, y));
            }
            ctx.stroke();
          }
          const wide = slot(width);
          const each = stack ? wide * 0.78 : (wide * 0.78) / Math.max(1, columns.length);
          const every = lying ? Math.ceil(13 / wide) : Math.ceil(46 / wide);
          names.forEach((name, i) => {
            let sum = 0;
            columns.forEach((_, c) => {
              const v = value(c, i);
              ctx.fillStyle = tint(c, i);
              const from = at(stack ? sum : Math.min(0, v));
              const size = Math.abs(at(v) - at(0));
              const along = i * wide + wide * 0.11 + (stack ? 0 : c * each);
              if (lying) ctx.fillRect(left + from, along, size, Math.max(1, each - 1));
              else ctx.fillRect(left + along, height - bottom - from - size, Math.max(1, each - 1), size);
              if (stack) sum += v;
            });
            if (i % every !== 0) return;
            ctx.fillStyle = token("--muted");
            if (lying) {
              ctx.textAlign = "right";
              ctx.textBaseline = "middle";
              ctx.fillText(fit(ctx, name, left - 12), left - 8, (i + 0.5) * wide);
            } else {
              ctx.textAlign = "center";
              ctx.textBaseline = "alphabetic";
              ctx.fillText(fit(ctx, name, wide * every - 4), left + (i + 0.5) * wide, height - 6);
            }
          });
        }}
        hit={(x, y, width) => {
          const i = Math.floor((lying ? y : x - left) / slot(width));
          if (i < 0 || i >= count || (!lying && x < left)) return null;
          return <><div class="muted">{names[i]}</div>{columns.slice(0, 12).map((f, c) => <div class="row nowrap" key={f.name}><i class="swatch" style={`background:${tint(c, i)}`} /><span class="grow">{displayName(f)}</span><b>{show(f.values[i] ?? null, f.settings, token).text}</b></div>)}</>;
        }} />
      {legend > 0 && <div class="legend flat">{columns.slice(0, 12).map((f, c) => <span key={f.name}><i class="swatch" style={`background:${tint(c, 0)};height:8px`} /> {displayName(f)}</span>)}</div>}
    </div>
  );
}
