import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import type { Panel } from "../api/types";
import { inkOn } from "../lib/color";
import type { Cell, Field, Frame } from "../lib/frame";
import { displayName, show } from "../lib/shown";
import { formatDuration, formatTime } from "../lib/time";
import { seriesColor, token } from "../state/theme";
import { Drawing, fit } from "./canvas";
import { timeAxis } from "./heatmap";

interface Lane {
  name: string;
  f: Field;
  times: number[];
  /** Stretches of one value, from the first to the last column. */
  runs: { from: number; to: number; value: Cell }[];
}

function lanes(frames: Frame[], merged: boolean): Lane[] {
  return frames.flatMap((frame) => {
    const times = frame.fields.find((f) => f.type === "time")?.values.map(Number) ?? [];
    return frame.fields.filter((f) => f.type !== "time").map((f) => {
      const runs: Lane["runs"] = [];
      f.values.forEach((value, i) => {
        const last = runs.at(-1);
        if (merged && last && last.value === value) last.to = i;
        else runs.push({ from: i, to: i, value });
      });
      return { name: displayName(f), f, times, runs };
    });
  });
}

/** States over time: stretches of one value (`merged`), or one cell for each step. */
export function TimelinePanel(props: { panel: Panel; frames: Frame[]; height: number; merged: boolean }): JSX.Element {
  const all = useMemo(() => lanes(props.frames, props.merged && props.panel.options["mergeValues"] !== false), [props.frames, props.merged]);
  const shown = all.slice(0, 60);
  const left = Math.min(180, 24 + Math.max(0, ...shown.map((l) => l.name.length)) * 6.2);
  const height = Math.max(props.height, 24 + shown.length * 16);
  const lane = (height - 22) / Math.max(1, shown.length);
  const times = shown[0]?.times ?? [];
  const values = useMemo(() => [...new Set(all.flatMap((l) => l.runs.map((r) => r.value)))].filter((v) => v !== null), [all]);
  const tint = (l: Lane, v: Cell) => {
    const s = show(v, l.f.settings, token, l.f.type);
    return { text: s.text, color: v === null ? "" : s.color || seriesColor(Math.max(0, values.indexOf(v))) };
  };
  const x = (i: number, width: number) => left + ((width - left) * i) / Math.max(1, times.length);
  return (
    <div class="scroll" style={`max-height:${props.height}px`} tabIndex={0} role="region" aria-label="States over time">
      <Drawing height={height} of={all} label={`States of ${shown.map((l) => l.name).slice(0, 6).join(", ")}`}
        draw={({ ctx, width }) => {
          shown.forEach((l, row) => {
            const top = row * lane + lane * 0.08;
            const tall = lane * 0.84;
            ctx.fillStyle = token("--muted");
            ctx.textAlign = "right";
            ctx.textBaseline = "middle";
            ctx.fillText(fit(ctx, l.name, left - 12), left - 8, top + tall / 2);
            for (const r of l.runs) {
              const { text, color } = tint(l, r.value);
              if (!color) continue;
              const from = x(r.from, width);
              const wide = x(r.to + 1, width) - from;
              ctx.fillStyle = color;
              ctx.fillRect(from, top, Math.max(0.5, wide - (props.merged ? 0 : wide > 4 ? 1.5 : 0)), tall);
              if (wide > 34 && tall > 12) {
                ctx.fillStyle = color.startsWith("#") || color.startsWith("rgb") ? inkOn(color) : "#fff";
                ctx.textAlign = "center";
                ctx.fillText(fit(ctx, text, wide - 8), from + wide / 2, top + tall / 2);
              }
            }
          });
          timeAxis(ctx, times, left, width, height);
        }}
        hit={(px, py, width) => {
          const l = shown[Math.floor(py / lane)];
          const i = Math.floor(((px - left) / (width - left)) * times.length);
          const run = l?.runs.find((r) => i >= r.from && i <= r.to);
          if (!l || !run || px < left) return null;
          const [from, to] = [l.times[run.from] ?? 0, l.times[run.to + 1] ?? l.times[run.to] ?? 0];
          return <><div class="muted">{formatTime(from)}{to > from && ` for ${formatDuration(to - from)}`}</div><div>{l.name}: <b>{tint(l, run.value).text}</b></div></>;
        }} />
      {all.length > shown.length && <p class="muted">{all.length - shown.length} more are not drawn</p>}
    </div>
  );
}
