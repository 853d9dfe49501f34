import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, promInstant, promRange } from "../api/client";
import { Earlier, QueryEditor, remember } from "../components/editor";
import { Page } from "../components/shell";
import { Card, Chips, View } from "../components/ui";
import { seriesName } from "../lib/labels";
import { formatValue } from "../lib/units";
import { TimeSeries } from "../panels/timeseries";
import { useLoad } from "../state/load";
import { range } from "../state/range";
import { query, setQuery } from "../state/route";

const CATEGORIES = ["", "system", "application", "business", "security", "mesh"];
const START = '100 * (1 - sum by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m])) / sum by (instance) (rate(node_cpu_seconds_total[1m])))';

interface MetricName {
  name: string;
  category: string;
  kind: string;
  help: string;
}

export function MetricsExplore(): JSX.Element {
  const expr = query.value.get("query") ?? START;
  const [text, setText] = useState(expr);
  const [find, setFind] = useState("");
  const category = query.value.get("category") ?? "";
  const { start, end, step } = range.value;
  const run = (q: string) => {
    setText(q);
    remember("promql", q);
    setQuery({ query: q }, false);
  };
  const chart = useLoad(`${expr}#${start}#${end}`, (signal) => promRange(expr, start, end, step, signal));
  const table = useLoad(`${expr}#${end}`, (signal) => promInstant(expr, signal));
  const names = useLoad(`names#${category}`, (signal) => get<{ metrics: MetricName[] }>("/obs/metrics/names", { category }, signal));
  const shown = (names.data?.metrics ?? []).filter((m) => m.name.includes(find.trim()));
  return (
    <Page title="Metrics" events>
      <div class="grid">
        <div class="span-9 stack">
          <form class="card" onSubmit={(e) => { e.preventDefault(); run(text); }}>
            <label for="promql" class="muted">PromQL, or shorthand such as <code>cpu_percent &gt; 80 for 5m</code></label>
            <QueryEditor id="promql" language="promql" value={text} input={setText} run={run} />
            <div class="row end" style="margin-top:8px"><span class="muted grow">Enter runs, Ctrl+Space offers words, Ctrl+↑ brings back earlier queries, drag over the chart zooms</span><Earlier language="promql" take={run} /><button class="primary">Run</button></div>
          </form>
          <Card>
            <View of={chart} empty={(d) => d.series.length === 0} none="The query is valid and matches nothing in this range.">
              {(d) => (
                <>
                  {d.warnings.map((w) => <p class="warn" key={w}>{w}</p>)}
                  <TimeSeries height={320} lines={d.series.map((s) => ({ ...s, name: seriesName(s.labels) }))} />
                </>
              )}
            </View>
          </Card>
          <Card title="Values now" flush>
            <View of={table} empty={(d) => d.series.length === 0} none="No value right now.">
              {(d) => (
                <table>
                  <thead><tr><th>Series</th><th class="num">Value</th></tr></thead>
                  <tbody>
                    {d.series.slice(0, 200).map((s) => (
                      <tr key={seriesName(s.labels)}><td><code>{s.labels["__name__"] ?? ""}</code> <Chips labels={Object.fromEntries(Object.entries(s.labels).filter(([k]) => k !== "__name__"))} /></td><td class="num">{formatValue(s.values[0])}</td></tr>
                    ))}
                  </tbody>
                </table>
              )}
            </View>
          </Card>
        </div>
        <div class="span-3">
          <Card title="Metric names" hint={String(shown.length)}>
            <div class="row">
              <input aria-label="Filter metric names" class="grow" placeholder="Filter" value={find} onInput={(e) => setFind(e.currentTarget.value)} />
              <select aria-label="Category" value={category} onChange={(e) => setQuery({ category: e.currentTarget.value })}>
                {CATEGORIES.map((c) => <option key={c} value={c}>{c || "all"}</option>)}
              </select>
            </div>
            <View of={names} empty={() => shown.length === 0} none="No metric of that name.">
              {() => (
                <div style="max-height:70vh;overflow:auto;margin-top:8px">
                  {shown.slice(0, 500).map((m) => (
                    <div key={m.name} title={m.help}><a href={`/explore/metrics?query=${encodeURIComponent(m.kind === "counter" ? `rate(${m.name}[1m])` : m.name)}`} class="mono" onClick={() => setText(m.kind === "counter" ? `rate(${m.name}[1m])` : m.name)}>{m.name}</a></div>
                  ))}
                </div>
              )}
            </View>
          </Card>
        </div>
      </div>
    </Page>
  );
}
