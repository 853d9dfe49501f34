import { useMemo, useState } from "preact/hooks";
import type { JSX } from "preact";
import type { SpanObject, TraceAnalysis, TraceObject } from "../api/types";
import { Badge } from "../components/ui";
import { formatDuration, formatTime } from "../lib/time";
import { seriesColor } from "../state/theme";

interface Line {
  span: SpanObject;
  depth: number;
  start: number;
}

/** Spans in tree order, children by start; orphans and cycles end up at the root. */
function arrange(trace: TraceObject): Line[] {
  const ids = new Set(trace.spans.map((s) => s.span_id));
  const children = new Map<string | null, SpanObject[]>();
  for (const span of trace.spans) {
    const parent = span.parent_span_id !== null && ids.has(span.parent_span_id) ? span.parent_span_id : null;
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const lines: Line[] = [];
  const seen = new Set<string>();
  const walk = (parent: string | null, depth: number) => {
    const list = (children.get(parent) ?? []).sort((a, b) => a.start_time.localeCompare(b.start_time));
    for (const span of list) {
      if (seen.has(span.span_id)) continue;
      seen.add(span.span_id);
      lines.push({ span, depth, start: Date.parse(span.start_time) });
      walk(span.span_id, depth + 1);
    }
  };
  walk(null, 0);
  for (const span of trace.spans) if (!seen.has(span.span_id)) lines.push({ span, depth: 0, start: Date.parse(span.start_time) });
  return lines;
}

/** The spans of a trace on one time axis; the thin line under a bar is the critical path. */
export function Waterfall(props: { trace: TraceObject; analysis: TraceAnalysis | null }): JSX.Element {
  const [open, setOpen] = useState<string | null>(null);
  const lines = useMemo(() => arrange(props.trace), [props.trace]);
  const services = [...new Set(props.trace.spans.map((s) => s.service))].sort();
  const first = Math.min(...lines.map((l) => l.start));
  const total = Math.max(0.001, ...lines.map((l) => l.start + l.span.duration_ms - first));
  const critical = new Set(props.analysis?.critical_path.map((s) => s.span_id) ?? []);
  return (
    <div class="fall">
      {lines.map(({ span, depth, start }) => {
        const left = ((start - first) / total) * 100;
        const width = Math.max(0.15, (span.duration_ms / total) * 100);
        const color = span.status === "error" ? "var(--bad)" : seriesColor(services.indexOf(span.service));
        const expanded = open === span.span_id;
        return (
          <div key={span.span_id}>
            <button class="line" aria-expanded={expanded} onClick={() => setOpen(expanded ? null : span.span_id)}>
              <div class="name" style={`padding-left:${8 + depth * 14}px`}>
                <i class="swatch" style={`display:inline-block;background:${color};margin-right:6px;height:8px`} />
                <b>{span.service}</b> {span.name}
                {span.status === "error" && <span class="bad"> ✕</span>}
                {props.analysis?.bottleneck?.span_id === span.span_id && <span class="warn"> ◆ bottleneck</span>}
              </div>
              <div class="track">
                <i style={`left:${left}%;width:${width}%;background:${color}`} />
                {critical.has(span.span_id) && <i class="critical" style={`left:${left}%;width:${width}%`} />}
                <span style={left + width < 80 ? `left:calc(${left + width}% + 6px)` : `right:calc(${100 - left}% + 6px)`}>{formatDuration(span.duration_ms)}</span>
              </div>
            </button>
            {expanded && <Detail span={span} />}
          </div>
        );
      })}
    </div>
  );
}

function Detail(props: { span: SpanObject }): JSX.Element {
  const s = props.span;
  return (
    <div style="padding:8px 14px 12px 28px;border-bottom:1px solid var(--line)">
      <dl class="kv">
        <dt>span</dt><dd>{s.span_id}</dd>
        <dt>node</dt><dd>{s.node || "–"}</dd>
        <dt>start</dt><dd>{formatTime(s.start_time, true)}</dd>
        <dt>duration</dt><dd>{formatDuration(s.duration_ms)}{s.self_time_ms !== undefined && `, itself ${formatDuration(s.self_time_ms)}`}</dd>
        {s.kind && <><dt>kind</dt><dd>{s.kind}</dd></>}
        {s.status && <><dt>status</dt><dd><Badge word={s.status} /> {s.status_message}</dd></>}
        {Object.entries(s.attributes).map(([k, v]) => (
          <><dt>{k}</dt><dd>{typeof v === "string" ? v : JSON.stringify(v)}</dd></>
        ))}
      </dl>
      {(s.events ?? []).map((e) => (
        <div class="mono" key={e.timestamp + e.name}>{formatTime(e.timestamp, true)} {e.name} {JSON.stringify(e.attributes)}</div>
      ))}
      <p><a href={`/explore/logs?query=${encodeURIComponent(`{service_name="${s.service}"}`)}&from=${Math.floor(Date.parse(s.start_time) / 1000) - 30}&to=${Math.ceil((Date.parse(s.start_time) + s.duration_ms) / 1000) + 30}`}>Logs of {s.service} around this span</a></p>
    </div>
  );
}
