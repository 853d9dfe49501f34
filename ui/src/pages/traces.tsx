import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get } from "../api/client";
import type { TraceAnalysis, TraceObject, TraceSummary } from "../api/types";
import { Page } from "../components/shell";
import { Badge, Card, Stat, TableView, View } from "../components/ui";
import { formatDuration, formatTime } from "../lib/time";
import { Waterfall } from "../panels/waterfall";
import { useLoad } from "../state/load";
import { range } from "../state/range";
import { go, query, setQuery } from "../state/route";

export function TracesExplore(): JSX.Element {
  const q = query.value.get("query") ?? "{}";
  const [text, setText] = useState(q);
  const { start, end } = range.value;
  const run = (next: string) => {
    setText(next);
    setQuery({ query: next }, false);
  };
  const found = useLoad(`${q}#${start}#${end}`, (signal) =>
    get<{ traces: TraceSummary[] }>("/obs/traces", { query: q, from: start, to: end + 1, limit: 100 }, signal),
  );
  const longest = Math.max(1, ...(found.data?.traces ?? []).map((t) => t.duration_ms));
  return (
    <Page title="Traces">
      <div class="stack">
        <form class="card" onSubmit={(e) => {
          e.preventDefault();
          const id = text.trim().replace(/^trace-/, "");
          if (/^[0-9a-f]{16,32}$/i.test(id)) go(`/trace/${id}`);
          else run(text);
        }}>
          <label for="traceql" class="muted">TraceQL, or a trace id</label>
          <textarea id="traceql" rows={1} spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)}
            onKeyDown={(e) => { if (e.key === "Enter" && !e.shiftKey) { e.preventDefault(); e.currentTarget.form?.requestSubmit(); } }} />
          <div class="row" style="margin-top:8px">
            {["{status=error}", "{duration>500ms}", '{resource.service.name="treasury-engine"}'].map((s) => (
              <button type="button" class="small mono" key={s} onClick={() => run(s)}>{s}</button>
            ))}
            <span class="grow" />
            <button class="primary">Run</button>
          </div>
        </form>
        <Card flush>
          <TableView of={found} head={["Start", "Trace", "Services", "Status", "#Spans", "#Duration", ""]} rows={(d) => d.traces} none="The query is valid and matches no trace in this range." row={(t) => (
            <tr key={t.trace_id}>
              <td class="muted mono">{formatTime(t.start_time, true).slice(11, -4)}</td>
              <td><a href={`/trace/${t.trace_id}`}>{t.name}</a><div class="muted mono">{t.trace_id.slice(0, 16)}</div></td>
              <td>{t.services.join(", ")}</td>
              <td><Badge word={t.status} /></td>
              <td class="num">{t.span_count}</td>
              <td class="num">{formatDuration(t.duration_ms)}</td>
              <td style="width:20%"><div class="bar"><i class={t.status === "error" ? "bad" : ""} style={`width:${(t.duration_ms / longest) * 100}%`} /></div></td>
            </tr>
          )} />
        </Card>
      </div>
    </Page>
  );
}

export function TracePage(props: { id: string }): JSX.Element {
  const trace = useLoad(props.id, (signal) => get<TraceObject>(`/obs/traces/${props.id}`, {}, signal));
  const analysis = useLoad(`a${props.id}`, (signal) => get<TraceAnalysis>(`/obs/traces/${props.id}/analysis`, {}, signal));
  return (
    <Page title={trace.data ? trace.data.name : "Trace"} ranged={false}>
      <View of={trace}>
        {(t) => (
          <div class="grid">
            <Stat label="Duration" value={formatDuration(t.duration_ms)} />
            <Stat label="Status" value={t.status} tone={t.status === "error" ? "bad" : "ok"} />
            <Stat label="Spans" value={String(t.spans.length)} />
            <Stat label="Services" value={String(new Set(t.spans.map((s) => s.service)).size)} />
            <div class="card stat span-4"><div class="label">Bottleneck</div>
              <div><b>{analysis.data?.bottleneck ? `${analysis.data.bottleneck.service} ${analysis.data.bottleneck.name}` : "–"}</b></div>
              <div class="label">{analysis.data?.bottleneck && `${formatDuration(analysis.data.bottleneck.self_time_ms)} itself, ${analysis.data.bottleneck.share_percent.toFixed(0)} % of the trace`}</div>
            </div>
            <Card title="Waterfall" flush hint={<span>{formatTime(t.start_time, true)} · <span class="mono">{t.trace_id}</span> · <a href={`/correlate?timestamp=${encodeURIComponent(t.start_time)}`}>correlate</a></span>}>
              <Waterfall trace={t} analysis={analysis.data} />
            </Card>
          </div>
        )}
      </View>
    </Page>
  );
}
