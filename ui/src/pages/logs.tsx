import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get } from "../api/client";
import type { LogObject, Series } from "../api/types";
import { Earlier, QueryEditor, remember } from "../components/editor";
import { Page } from "../components/shell";
import { Card, View } from "../components/ui";
import type { Labels } from "../lib/labels";
import { LogTable } from "../panels/logs";
import { LiveTail } from "../panels/tail";
import { TimeSeries } from "../panels/timeseries";
import { useLoad } from "../state/load";
import { range } from "../state/range";
import { query, setQuery } from "../state/route";

const START = '{service_name=~".+"}';

interface LokiMatrix {
  data: { result: { metric: Labels; values: [number, string][] }[] };
}

async function volume(expr: string, signal: AbortSignal): Promise<Series[]> {
  const { start, end } = range.value;
  const step = Math.max(1, Math.ceil((end - start) / 60));
  const q = `sum by (detected_level) (count_over_time(${expr} [${step}s]))`;
  const body = await get<LokiMatrix>("/loki/api/v1/query_range", { query: q, start, end, step }, signal);
  const times = Array.from({ length: Math.floor((end - start) / step) + 1 }, (_, i) => start + i * step);
  return body.data.result.map((r) => {
    const values: (number | null)[] = times.map(() => null);
    for (const [t, v] of r.values) {
      const at = Math.round((Number(t) - start) / step);
      if (at >= 0 && at < values.length) values[at] = Number(v);
    }
    return { labels: r.metric, times, values };
  });
}

export function LogsExplore(): JSX.Element {
  const expr = query.value.get("query") ?? START;
  const [text, setText] = useState(expr);
  const { start, end } = range.value;
  const live = query.value.get("tail") === "1";
  const run = (q: string) => {
    setText(q);
    remember("logql", q);
    setQuery({ query: q }, false);
  };
  const lines = useLoad(`${expr}#${start}#${end}`, (signal) =>
    get<{ logs: LogObject[]; truncated: boolean }>("/obs/logs", { query: expr, from: start, to: end + 1, limit: 300 }, signal),
  );
  const counts = useLoad(`v#${expr}#${start}#${end}`, (signal) => volume(expr, signal));
  const services = useLoad("services", (signal) => get<{ data: string[] }>("/loki/api/v1/label/service_name/values", {}, signal));
  return (
    <Page title="Logs" events>
      <div class="stack">
        <form class="card" onSubmit={(e) => { e.preventDefault(); run(text); }}>
          <label for="logql" class="muted">LogQL</label>
          <QueryEditor id="logql" language="logql" value={text} input={setText} run={run} />
          <div class="row" style="margin-top:8px">
            <select aria-label="Service" onChange={(e) => e.currentTarget.value && run(`{service_name=${JSON.stringify(e.currentTarget.value)}}`)}>
              <option value="">service …</option>
              {(services.data?.data ?? []).map((s) => <option key={s} value={s}>{s}</option>)}
            </select>
            <button type="button" class="small" onClick={() => run(`${text.trim()} | detected_level=~"error|fatal"`)}>errors only</button>
            <Earlier language="logql" take={run} />
            <span class="grow" />
            <button type="button" aria-pressed={live} onClick={() => setQuery({ tail: live ? null : "1" }, false)}>{live ? "Stop the tail" : "Live tail"}</button>
            <button class="primary">Run</button>
          </div>
        </form>
        {live ? <Card flush title="Live tail"><LiveTail expr={expr} /></Card> : <><Card title="Lines by level">
          <View of={counts} empty={(d) => d.length === 0} none="No lines in this range.">
            {(d) => <TimeSeries bars height={120} unit="short" lines={d.map((s) => ({ ...s, name: s.labels["detected_level"] ?? "lines" }))} />}
          </View>
        </Card>
        <Card flush>
          <View of={lines} empty={(d) => d.logs.length === 0} none="The query is valid and matches no line in this range.">
            {(d) => (
              <>
                <LogTable logs={d.logs} />
                {d.truncated && <p class="muted" style="padding:0 14px">Only the newest {d.logs.length} lines are shown; narrow the range or the query for more.</p>}
              </>
            )}
          </View>
        </Card></>}
      </div>
    </Page>
  );
}
