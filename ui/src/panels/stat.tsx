import type { JSX } from "preact";
import type { Panel } from "../api/types";
import { cssColor, inkOn } from "../lib/color";
import { numberOf, type Cell, type Field, type Frame } from "../lib/frame";
import { reduce } from "../lib/reduce";
import { displayName, show, stepColor } from "../lib/shown";
import { formatValue } from "../lib/units";
import { seriesColor, token } from "../state/theme";
import { seriesOf } from "./data";

export interface Single {
  name: string;
  value: Cell;
  text: string;
  color: string;
  f: Field;
}

/** What a panel of single values shows: each series by its reducer, or every row of a table. */
export function singles(panel: Panel, frames: Frame[]): Single[] {
  const o = (panel.options["reduceOptions"] ?? {}) as { calcs?: string[]; fields?: string; values?: boolean; limit?: number };
  const calc = o.calcs?.[0] ?? "lastNotNull";
  const only = o.fields ? new RegExp(/^\/(.*)\/$/.exec(o.fields)?.[1] ?? ".*") : null;
  const series = seriesOf(frames).filter(({ value }) => !only || only.test(displayName(value)) || only.test(value.name));
  const one = (f: Field, value: Cell, name: string): Single => {
    const shown = show(value, f.settings, token);
    return { name, value, text: shown.text, color: shown.color, f };
  };
  if (o.values) {
    return series.flatMap(({ value: f }) => {
      const frame = frames.find((x) => x.fields.includes(f));
      const labels = frame?.fields.filter((x) => x.type === "string") ?? [];
      return f.values.slice(0, o.limit ?? 25).map((v, r) => one(f, v, labels.map((l) => l.values[r]).join(" ") || displayName(f)));
    });
  }
  // A table's one value column is as many values as it has rows.
  const tables = frames.filter((x) => x.fields.some((c) => c.type === "string"));
  if (tables.length === frames.length && frames.length === 1 && series.length === 1 && (series[0]?.value.values.length ?? 0) > 1 && panel.kind !== "stat") {
    const frame = tables[0];
    const f = series[0]?.value;
    if (frame && f) return f.values.map((v, r) => one(f, v, frame.fields.filter((x) => x.type === "string").map((l) => l.values[r]).join(" ")));
  }
  return series.map(({ value: f }) => one(f, reduce(f.values, calc), displayName(f)));
}

function Spark(props: { f: Field; color: string; height: number }): JSX.Element | null {
  const values = props.f.values.map((v) => numberOf(v));
  const all = values.filter((v): v is number => v !== null && Number.isFinite(v));
  if (all.length < 3) return null;
  const low = Math.min(...all);
  const span = Math.max(...all) - low || 1;
  const points = values.map((v, i) => (v === null ? null : `${((i / (values.length - 1)) * 100).toFixed(2)},${(28 - ((v - low) / span) * 26).toFixed(2)}`)).filter((p) => p !== null);
  const from = points[0]?.split(",")[0] ?? "0";
  const to = points.at(-1)?.split(",")[0] ?? "100";
  return (
    <svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" style={`height:${props.height}px`} aria-hidden="true">
      <path d={`M${from},30L${points.join("L")}L${to},30Z`} fill={props.color} opacity=".16" />
      <path d={`M${points.join("L")}`} fill="none" stroke={props.color} stroke-width="1.5" vector-effect="non-scaling-stroke" />
    </svg>
  );
}

/** How many stand beside one another, so that each is wider than tall. */
function columnsFor(count: number, height: number, width: number): number {
  return Math.max(1, Math.min(count, Math.round(Math.sqrt((count * width * 44) / Math.max(1, height) / 1.6))));
}

export function StatPanel(props: { panel: Panel; frames: Frame[]; height: number }): JSX.Element {
  const o = props.panel.options;
  const all = singles(props.panel, props.frames);
  const mode = String(o["colorMode"] ?? "value");
  const text = String(o["textMode"] ?? "auto");
  const graph = o["graphMode"] === "area";
  const columns = o["orientation"] === "horizontal" ? 1 : columnsFor(Math.min(60, all.length), props.height, props.panel.grid.w);
  const lines = Math.ceil(Math.min(60, all.length) / columns);
  return (
    <div class="stats" style={`height:${props.height}px;grid-template-columns:repeat(${columns},minmax(0,1fr));grid-auto-rows:minmax(36px,1fr)`}>
      {all.slice(0, 60).map((s) => {
        const color = s.color || "var(--text)";
        const filled = mode.startsWith("background") && s.color;
        const named = text === "name" || text === "value_and_name" || (text === "auto" && all.length > 1);
        const size = Math.max(13, Math.min(38, props.height / lines / (named ? 3 : 2.1), (props.panel.grid.w * 50) / columns / Math.max(4, s.text.length)));
        return (
          <div class="one" key={s.name} style={filled ? `background:${color};color:${inkOn(s.color)}` : ""}>
            {named && <div class="label" title={s.name}>{s.name}</div>}
            {text !== "name" && text !== "none" && <div class="value" style={`font-size:${size.toFixed(0)}px;${filled || mode === "none" ? "" : `color:${color}`}`}>{s.text}</div>}
            {graph && props.height / lines > 76 && <Spark f={s.f} color={filled ? inkOn(s.color) : s.color || seriesColor(0)} height={Math.round((props.height / lines) * 0.34)} />}
          </div>
        );
      })}
      {all.length > 60 && <span class="muted">{all.length - 60} more</span>}
    </div>
  );
}

function arc(from: number, to: number, r: number): string {
  // The dial opens to the bottom: 240 degrees.
  const point = (t: number) => {
    const a = (150 + 240 * t) * (Math.PI / 180);
    return `${(50 + r * Math.cos(a)).toFixed(2)},${(52 + r * Math.sin(a)).toFixed(2)}`;
  };
  return `M${point(from)}A${r},${r} 0 ${(to - from) * 240 > 180 ? 1 : 0} 1 ${point(to)}`;
}

/** Limits of a gauge: the field's own, or round ones about the values. */
function limits(s: Single, all: Single[]): [number, number] {
  const { min, max, unit, steps, percentage } = s.f.settings;
  const values = all.map((x) => numberOf(x.value) ?? 0).filter(Number.isFinite);
  const top = Math.max(...values, ...(percentage ? [] : steps.map((t) => t.value ?? -Infinity)), 0);
  return [min ?? Math.min(0, ...values), max ?? (unit === "percent" ? 100 : unit === "percentunit" ? 1 : top > 0 ? top : 1)];
}

export function GaugePanel(props: { panel: Panel; frames: Frame[]; height: number }): JSX.Element {
  const all = singles(props.panel, props.frames).slice(0, 24);
  return (
    <div class="stats" style={`height:${props.height}px;grid-template-columns:repeat(${columnsFor(all.length, props.height, props.panel.grid.w)},minmax(0,1fr));grid-auto-rows:minmax(60px,1fr)`}>
      {all.map((s) => {
        const [low, high] = limits(s, all);
        const share = (v: number) => Math.max(0, Math.min(1, (v - low) / (high - low || 1)));
        const v = numberOf(s.value);
        const { steps, percentage } = s.f.settings;
        const at = (t: number | null) => (t === null ? 0 : percentage ? t / 100 : share(t));
        const color = stepColor(v, s.f.settings, token, low, high) || s.color || "var(--accent)";
        return (
          <div class="one" key={s.name}>
            <svg viewBox="0 0 100 88" style="width:100%;height:100%;min-height:0;flex:1" role="meter" aria-label={s.name} aria-valuenow={v ?? 0} aria-valuemin={low} aria-valuemax={high}>
              <path d={arc(0, 1, 38)} fill="none" stroke="var(--raised)" stroke-width="9" />
              {v !== null && share(v) > 0 && <path d={arc(0, Math.max(0.005, share(v)), 38)} fill="none" stroke={color} stroke-width="9" />}
              {steps.map((t, i) => {
                const end = steps[i + 1] ? at(steps[i + 1]?.value ?? null) : 1;
                return end > at(t.value) ? <path key={i} d={arc(Math.max(0, at(t.value)), Math.min(1, end), 45)} fill="none" stroke={cssColor(t.color, token)} stroke-width="2" /> : null;
              })}
              <text x="50" y="57" text-anchor="middle" fill={color} font-size={Math.min(17, 96 / Math.max(5, s.text.length))} font-weight="650">{s.text}</text>
              <text x="20" y="84" text-anchor="middle" fill="var(--muted)" font-size="6.5">{formatValue(low, s.f.settings.unit)}</text>
              <text x="80" y="84" text-anchor="middle" fill="var(--muted)" font-size="6.5">{formatValue(high, s.f.settings.unit)}</text>
            </svg>
            {all.length > 1 && <div class="label" title={s.name}>{s.name}</div>}
          </div>
        );
      })}
    </div>
  );
}

export function BarGaugePanel(props: { panel: Panel; frames: Frame[]; height: number }): JSX.Element {
  const all = singles(props.panel, props.frames);
  const upright = props.panel.options["orientation"] === "vertical";
  const bar = (s: Single) => {
    const [low, high] = limits(s, all);
    const v = numberOf(s.value);
    return { share: v === null ? 0 : Math.max(0, Math.min(1, (v - low) / (high - low || 1))) * 100, color: stepColor(v, s.f.settings, token, low, high) || s.color || "var(--accent)" };
  };
  if (upright) {
    return (
      <div class="stats" style={`height:${props.height}px;grid-auto-flow:column;grid-auto-columns:minmax(48px,1fr)`}>
        {all.slice(0, 40).map((s) => {
          const { share, color } = bar(s);
          return <div class="one upright" key={s.name}><b style={`color:${color}`}>{s.text}</b><div class="well"><i style={`height:${share}%;background:${color}`} /></div><div class="label" title={s.name}>{s.name}</div></div>;
        })}
      </div>
    );
  }
  return (
    <div class="bars" style={`max-height:${props.height}px`} tabIndex={0} role="group" aria-label="Values">
      {all.slice(0, 100).map((s) => {
        const { share, color } = bar(s);
        return (
          <div class="line" key={s.name}>
            <span class="name" title={s.name}>{s.name}</span>
            <div class="bar wide"><i style={`width:${share}%;background:${color}`} /></div>
            <b style={`color:${color}`}>{s.text}</b>
          </div>
        );
      })}
      {all.length > 100 && <span class="muted">{all.length - 100} more</span>}
    </div>
  );
}

export function PiePanel(props: { panel: Panel; frames: Frame[]; height: number }): JSX.Element {
  const all = singles(props.panel, props.frames).filter((s) => (numberOf(s.value) ?? 0) > 0);
  const sum = all.reduce((n, s) => n + (numberOf(s.value) ?? 0), 0);
  const donut = props.panel.options["pieType"] === "donut";
  const tint = (s: Single, i: number) => (s.f.settings.color?.mode === "fixed" || s.f.settings.mappings.length ? s.color : "") || seriesColor(i);
  let at = -Math.PI / 2;
  const point = (a: number) => `${(50 + 46 * Math.cos(a)).toFixed(3)},${(50 + 46 * Math.sin(a)).toFixed(3)}`;
  return (
    <div class="pie" style={`height:${props.height}px`}>
      <svg viewBox="0 0 100 100" role="img" aria-label={`Shares of ${all.map((s) => s.name).slice(0, 6).join(", ")}`}>
        {all.map((s, i) => {
          const share = (numberOf(s.value) ?? 0) / (sum || 1);
          const from = at;
          at += share * 2 * Math.PI;
          const title = <title>{`${s.name}: ${s.text} (${(share * 100).toFixed(1)} %)`}</title>;
          if (share > 0.9999) return <circle key={s.name} cx="50" cy="50" r="46" fill={tint(s, i)}>{title}</circle>;
          return <path key={s.name} d={`M50,50L${point(from)}A46,46 0 ${share > 0.5 ? 1 : 0} 1 ${point(at)}Z`} fill={tint(s, i)} stroke="var(--surface)" stroke-width=".6">{title}</path>;
        })}
        {donut && <circle cx="50" cy="50" r="27" fill="var(--surface)" />}
      </svg>
      <div class="legend" tabIndex={0} role="group" aria-label="Legend">
        {all.slice(0, 60).map((s, i) => <div class="row nowrap" key={s.name}><i class="swatch" style={`background:${tint(s, i)};height:10px`} /><span class="grow" title={s.name}>{s.name}</span><b>{s.text}</b><span class="muted">{(((numberOf(s.value) ?? 0) / (sum || 1)) * 100).toFixed(0)} %</span></div>)}
      </div>
    </div>
  );
}
