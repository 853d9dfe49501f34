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
            )}
          </View>
        </Card>
      </div>
    </Page>
  );
}
