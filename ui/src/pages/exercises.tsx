import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, getText, send } from "../api/client";
import { Markdown } from "../components/markdown";
import { Page } from "../components/shell";
import { Badge, Card, TableView, View } from "../components/ui";
import { formatDuration, formatTime } from "../lib/time";
import { useLoad } from "../state/load";
import { now } from "../state/range";
import { query, setQuery } from "../state/route";

interface Exercise {
  exercise: string;
  run_id: string;
  name: string;
  target: string;
  started_at: string;
  ended_at: string | null;
  outcome: string;
  summary: string;
  receipt_seq: number;
}

interface ReportEntry {
  kind: string;
  report_id: string;
  name: string;
  timestamp: string;
  subject: string;
  outcome: string;
  receipt_seq: number;
  files: string[];
}

interface Sample {
  metric: Record<string, string>;
  value: [number, string];
}

const KINDS = ["deployment", "chaos", "load", "gate", "probe"];
const PERIODS = ["daily", "weekly", "monthly"];
const WINDOWS = ["1h", "24h", "7d", "30d"];
const TONES: Record<string, string> = { passed: "ok", running: "info", failed: "error", aborted: "warning", interrupted: "warning" };
const COLORS: Record<string, string> = { passed: "ok", running: "info", failed: "bad" };

/** Load tests, chaos experiments, gates, probes and reports, with what they set off beside them. */
export function Exercises(): JSX.Element {
  const window_ = query.value.get("window") ?? "7d";
  const kind = query.value.get("kind") ?? "";
  const shown = query.value.get("report") ?? "";
  const tick = String(now.value);
  const runs = useLoad(`${tick}#${window_}`, (signal) => get<{ exercises: Exercise[] }>("/obs/exercises", { last: window_ }, signal));
  const probes = useLoad(tick, (signal) => get<{ data: { result: Sample[] } }>("/api/v1/query", { query: "probe_success" }, signal));
  const took = useLoad(tick, (signal) => get<{ data: { result: Sample[] } }>("/api/v1/query", { query: "probe_duration_seconds" }, signal));
  const reports = useLoad(tick, (signal) => get<{ reports: ReportEntry[] }>("/obs/reports", {}, signal));
  const duration = (m: Record<string, string>) => took.data?.data.result.find((s) => s.metric["job"] === m["job"] && s.metric["instance"] === m["instance"])?.value[1];
  return (
    <Page title="Exercises" ranged={false}>
      <div class="stack">
        <div class="row" role="group" aria-label="Window">
          {WINDOWS.map((w) => <button key={w} class="small" aria-pressed={w === window_} onClick={() => setQuery({ window: w })}>{w}</button>)}
          <span class="muted">Runs of</span>
          {KINDS.map((k) => <button key={k} class="small" aria-pressed={k === kind} onClick={() => setQuery({ kind: k === kind ? null : k })}>{k}</button>)}
        </div>
        <Card title="Runs" flush>
          <View of={runs} empty={(d) => d.exercises.length === 0} none="Nothing was exercised in this window. Begin with vm-obs load ci, vm-obs chaos run or vm-obs gate.">
            {(d) => <Runs all={d.exercises.filter((e) => !kind || e.exercise === kind)} />}
          </View>
        </Card>
        <Card title="Probes" flush>
          <TableView of={probes} head={["Probe", "Target", "Module", "State", "#Took"]} rows={(d) => d.data.result} none="Nothing is probed; add probes to the configuration." row={(s) => (
            <tr key={`${s.metric["job"]} ${s.metric["instance"]}`}>
              <td><a href={`/explore/metrics?query=${encodeURIComponent(`probe_success{job="${s.metric["job"] ?? ""}"}`)}`}>{s.metric["job"]}</a></td>
              <td class="mono">{s.metric["instance"]}</td><td>{s.metric["module"] ?? "transaction"}</td>
              <td><Badge word={s.value[1] === "1" ? "up" : "down"} /></td><td class="num">{formatDuration(Number(duration(s.metric) ?? 0) * 1000)}</td>
            </tr>
          )} />
        </Card>
        <Reports all={reports} shown={shown} />
      </div>
    </Page>
  );
}

function Runs(props: { all: Exercise[] }): JSX.Element {
  return (
    <>
      <Lanes all={props.all} />
      <table>
        <thead><tr><th>Kind</th><th>Name</th><th>Target</th><th>Started</th><th class="num">Took</th><th>Outcome</th><th>Around it</th><th class="num">Receipt</th></tr></thead>
        <tbody>{[...props.all].reverse().map((e) => (
          <tr key={e.run_id}>
            <td>{e.exercise}</td><td>{e.name}<div class="muted">{e.summary}</div></td><td class="mono">{e.target}</td><td>{formatTime(e.started_at)}</td>
            <td class="num">{e.ended_at ? formatDuration(Date.parse(e.ended_at) - Date.parse(e.started_at)) : ""}</td>
            <td><Badge word={TONES[e.outcome] ?? "muted"} text={e.outcome} /></td>
            <td><a href={`/correlate?timestamp=${encodeURIComponent(e.started_at)}&window=15m`}>time line</a></td>
            <td class="num">{e.receipt_seq}</td>
          </tr>
        ))}</tbody>
      </table>
    </>
  );
}

/** One lane by kind, a bar by run, from its begin to its end. */
function Lanes(props: { all: Exercise[] }): JSX.Element | null {
  const kinds = KINDS.filter((k) => props.all.some((e) => e.exercise === k));
  if (!kinds.length) return null;
  const end = (e: Exercise) => (e.ended_at ? Date.parse(e.ended_at) : now.value);
  const from = Math.min(...props.all.map((e) => Date.parse(e.started_at)));
  const to = Math.max(from + 1000, ...props.all.map(end));
  const x = (t: number) => 14 + (84 * (t - from)) / (to - from);
  return (
    <svg class="lanes" height={kinds.length * 24 + 22} width="100%" role="img" aria-label={`${props.all.length} runs from ${formatTime(from)} to ${formatTime(to)}`}>
      {kinds.map((k, i) => (
        <g key={k}>
          <text x="12" y={i * 24 + 17} fill="var(--muted)" font-size="12">{k}</text>
          <line x1="14%" x2="98%" y1={i * 24 + 13} y2={i * 24 + 13} stroke="var(--grid)" />
          {props.all.filter((e) => e.exercise === k).map((e) => (
            <rect key={e.run_id} x={`${x(Date.parse(e.started_at))}%`} width={`${Math.max(0.4, x(end(e)) - x(Date.parse(e.started_at)))}%`} y={i * 24 + 7} height="12" rx="3" fill={`var(--${COLORS[e.outcome] ?? "warn"})`} opacity=".8"><title>{`${e.name}: ${e.outcome}`}</title></rect>
          ))}
        </g>
      ))}
      <text x="14%" y={kinds.length * 24 + 16} fill="var(--muted)" font-size="11">{formatTime(from)}</text>
      <text x="98%" y={kinds.length * 24 + 16} text-anchor="end" fill="var(--muted)" font-size="11">{formatTime(to)}</text>
    </svg>
  );
}

function Reports(props: { all: ReturnType<typeof useLoad<{ reports: ReportEntry[] }>>; shown: string }): JSX.Element {
  const [busy, setBusy] = useState("");
  const [error, setError] = useState("");
  const make = async (period: string) => {
    setBusy(period);
    setError("");
    try {
      const made = await send<{ report_id: string }>("POST", `/obs/reports/${period}`);
      setQuery({ report: `${period}/${made.report_id}` });
      props.all.reload();
    } catch (e) {
      setError(e instanceof Error ? e.message : String(e));
    }
    setBusy("");
  };
  return (
    <>
      <Card title="Reports" flush hint={PERIODS.map((p) => <button key={p} class="small" disabled={busy !== ""} onClick={() => void make(p)}>{busy === p ? "Making …" : `Make ${p} report`}</button>)}>
        {error && <div class="note error" role="alert">{error}</div>}
        <TableView of={props.all} head={["Report", "Made", "Of", "Outcome", "Files", "#Receipt"]} rows={(d) => d.reports} none="No report was made yet; daily, weekly and monthly ones are made by themselves." row={(r) => {
          const place = `${r.kind}/${r.name}`;
          return (
            <tr key={r.receipt_seq}>
              <td><button class="small" aria-pressed={props.shown === place} disabled={!r.files.includes("md")} onClick={() => setQuery({ report: props.shown === place ? null : place })}>{r.report_id}</button></td>
              <td>{formatTime(r.timestamp)}</td><td>{r.subject}</td><td><Badge word={/^(healthy|0 findings)/.test(r.outcome) ? "ok" : "warning"} text={r.outcome} /></td>
              <td>{r.files.map((f) => <a key={f} style="margin-right:8px" href={`/obs/reports/${place}.${f}`} target="_blank" rel="noreferrer" {...(f === "html" ? {} : { download: `${r.name}.${f}` })}>{f}</a>)}</td>
              <td class="num">{r.receipt_seq}</td>
            </tr>
          );
        }} />
      </Card>
      {props.shown && <Text key={props.shown} place={props.shown} />}
    </>
  );
}

function Text(props: { place: string }): JSX.Element {
  const text = useLoad(props.place, () => getText(`/obs/reports/${props.place}.md`));
  return <Card><View of={text}>{(t) => <Markdown text={t} />}</View></Card>;
}
