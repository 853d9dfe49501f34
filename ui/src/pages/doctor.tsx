import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, send } from "../api/client";
import type { DoctorAnswer, DoctorFinding } from "../api/types";
import { Page } from "../components/shell";
import { Badge, Card, Stat, View } from "../components/ui";
import { useLoad } from "../state/load";
import { query, setQuery } from "../state/route";

/** Whether everything works, as the doctor finds it; a run sends nothing and takes some seconds. */
export function Doctor(): JSX.Element {
  const last = useLoad("doctor", (signal) => get<DoctorAnswer>("/obs/doctor", {}, signal));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const run = async () => {
    setBusy(true);
    setError("");
    try {
      await send<DoctorAnswer>("POST", "/obs/doctor");
      last.reload();
    } catch (e) {
      setError(e instanceof Error ? e.message : String(e));
    }
    setBusy(false);
  };
  return (
    <Page title="Doctor" ranged={false} actions={<button class="primary" disabled={busy} onClick={() => void run()}>{busy ? "Looking …" : "Run the doctor"}</button>}>
      {error && <div class="note error" role="alert">{error}</div>}
      {busy && <p role="status" class="muted">The doctor looks at targets, dashboards, rules, alerts and objectives of this server.</p>}
      <View of={last} empty={(d) => d.report === null} none="The doctor has not run since this server started.">
        {(d) => d.report && <Report answer={d} />}
      </View>
    </Page>
  );
}

function Report(props: { answer: DoctorAnswer }): JSX.Element | null {
  const { report, run_at } = props.answer;
  const check = query.value.get("check") ?? "";
  if (!report) return null;
  const shown = report.findings.filter((f) => !check || f.check === check);
  return (
    <div class="grid">
      <Stat label="Findings" value={String(report.counts.findings)} tone={report.clean ? "ok" : "bad"} hint={`run at ${run_at ?? ""}`} />
      <Stat label="Checks that ran" value={String(report.counts.ran)} />
      <Stat label="Left out" value={String(report.counts.skipped)} tone={report.counts.skipped ? "warn" : ""} />
      <Card title="Checks" flush>
        <table>
          <thead><tr><th>Check</th><th>State</th><th class="num">Looked at</th><th class="num">Findings</th><th>Not looked at</th></tr></thead>
          <tbody>{report.checks.map((c) => (
            <tr key={c.check}>
              <td><button class="small" aria-pressed={check === c.check} onClick={() => setQuery({ check: check === c.check ? null : c.check })}>{c.check}</button></td>
              <td>{c.skipped ? <Badge word="muted" text="left out" /> : <Badge word={c.findings ? "error" : "ok"} text={c.findings ? "findings" : "sound"} />}</td>
              <td class="num">{c.subjects}</td><td class="num">{c.findings}</td>
              <td class="muted">{[c.skipped, ...c.not_checked].filter(Boolean).join("; ")}</td>
            </tr>
          ))}</tbody>
        </table>
      </Card>
      <div class="span-12 stack">
        {shown.length === 0 && <div class="note">{report.clean ? "Everything that was looked at works." : "This check found nothing."}</div>}
        {shown.map((f, i) => <Finding key={i} finding={f} />)}
      </div>
    </div>
  );
}

function Finding(props: { finding: DoctorFinding }): JSX.Element {
  const f = props.finding;
  return (
    <section class="card">
      <div class="row"><Badge word={f.severity} /><h2 class="grow" style="margin:0;font-size:15px">{f.subject}</h2><span class="muted mono">{f.check}/{f.code}</span></div>
      <dl class="kv" style="margin-top:8px">
        <dt>cause</dt><dd>{f.cause}</dd>
        <dt>mend</dt><dd>{f.mend}</dd>
        {f.evidence.map((e, i) => (
          <><dt key={i}>evidence</dt><dd>{e.file && `${e.file}${e.line ? `:${e.line}` : ""}: `}{e.query && <a href={`/explore/metrics?query=${encodeURIComponent(e.query)}`}>{e.query}</a>} {e.result}</dd></>
        ))}
      </dl>
    </section>
  );
}
