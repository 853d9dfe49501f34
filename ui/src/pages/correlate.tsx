import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get } from "../api/client";
import type { TimelineEntry } from "../api/types";
import { Page } from "../components/shell";
import { Card, View } from "../components/ui";
import { serverNow } from "../lib/clock";
import { formatClock } from "../lib/time";
import { useLoad } from "../state/load";
import { query, setQuery } from "../state/route";

const KIND_TONE: Record<string, string> = { alert: "bad", anomaly: "warn", log: "info", trace: "ok", metric: "", receipt: "muted" };

export function Correlate(): JSX.Element {
  const [opened] = useState(() => new Date(serverNow()).toISOString().replace(/\.\d+/, ""));
  const timestamp = query.value.get("timestamp") || opened;
  const window_ = query.value.get("window") ?? "15m";
  const [at, setAt] = useState(timestamp);
  const [width, setWidth] = useState(window_);
  const found = useLoad(`${timestamp}#${window_}`, (signal) => get<{ entries: TimelineEntry[] }>("/obs/correlate", { timestamp, window: window_ }, signal));
  return (
    <Page title="Correlate" ranged={false}>
      <div class="stack">
        <form class="card row" onSubmit={(e) => { e.preventDefault(); setQuery({ timestamp: at, window: width }, false); }}>
          <label class="muted" for="at">Around</label><input id="at" class="mono" style="width:240px" value={at} onInput={(e) => setAt(e.currentTarget.value)} />
          <label class="muted" for="width">±</label><input id="width" style="width:80px" value={width} onInput={(e) => setWidth(e.currentTarget.value)} />
          <button class="primary">Show</button>
        </form>
        <Card flush>
          <View of={found} empty={(d) => d.entries.length === 0} none="Nothing noteworthy around this time.">
            {(d) => (
              <>
              <Lanes entries={d.entries} centre={Date.parse(timestamp)} />
              <ol class="timeline">
                {d.entries.map((e, i) => (
                  <li key={i}>
                    <span class="mono muted">{formatClock(e.time)}</span>
                    <span class={KIND_TONE[e.kind] ?? ""}>{e.kind}</span>
                    <span>{e.link?.startsWith("/") ? <a href={e.link}>{e.text}</a> : e.text}</span>
                    <span class="muted" title="relevance">{e.score.toFixed(2)}</span>
                  </li>
                ))}
              </ol>
              </>
            )}
          </View>
        </Card>
      </div>
    </Page>
  );
}

const KINDS = ["alert", "anomaly", "metric", "log", "trace", "receipt"];

/** What happened, by kind, on one axis; the middle line is the instant that was asked for. */
function Lanes(props: { entries: TimelineEntry[]; centre: number }): JSX.Element {
  const times = props.entries.map((e) => Date.parse(e.time));
  const half = Math.max(1000, ...times.map((t) => Math.abs(t - props.centre)));
  const kinds = KINDS.filter((k) => props.entries.some((e) => e.kind === k));
  const x = (t: number) => `${14 + 84 * ((t - props.centre + half) / (2 * half))}%`;
  return (
    <svg class="lanes" height={kinds.length * 24 + 22} width="100%" role="img" aria-label={`${props.entries.length} events around ${formatClock(props.centre)}`}>
      <line x1={x(props.centre)} x2={x(props.centre)} y1="4" y2={kinds.length * 24} stroke="var(--accent)" stroke-dasharray="4 3" />
      {kinds.map((k, i) => (
        <g key={k}>
          <text x="12" y={i * 24 + 17} fill="var(--muted)" font-size="12">{k}</text>
          <line x1="14%" x2="98%" y1={i * 24 + 13} y2={i * 24 + 13} stroke="var(--grid)" />
          {props.entries.map((e, at) => e.kind === k && (
            <circle key={at} cx={x(times[at] ?? 0)} cy={i * 24 + 13} r={3 + 4 * Math.max(0, Math.min(1, e.score))} fill={`var(--${KIND_TONE[k] || "text"})`} opacity=".75"><title>{`${formatClock(e.time)} ${e.text}`}</title></circle>
          ))}
        </g>
      ))}
      {[-1, -0.5, 0, 0.5, 1].map((s) => <text key={s} x={x(props.centre + s * half)} y={kinds.length * 24 + 16} text-anchor={s === 1 ? "end" : "middle"} fill="var(--muted)" font-size="11">{formatClock(props.centre + s * half)}</text>)}
    </svg>
  );
}
