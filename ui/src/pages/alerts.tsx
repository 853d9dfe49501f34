import { useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, send } from "../api/client";
import type { AlertObject, Silence } from "../api/types";
import { Page } from "../components/shell";
import { Badge, Card, Chips, TableView } from "../components/ui";
import { formatAge, formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { useLoad } from "../state/load";
import { now } from "../state/range";
import { query, setQuery } from "../state/route";

const ME = "did:vm:user:sovereign";

export function Alerts(): JSX.Element {
  const status = query.value.get("status") ?? "";
  const tick = `${status}#${now.value}`;
  const alerts = useLoad(tick, (signal) => get<{ alerts: AlertObject[] }>("/obs/alerts", { status }, signal));
  const silences = useLoad(`s${now.value}`, (signal) => get<{ silences: Silence[] }>("/obs/silences", {}, signal));
  const [ack, setAck] = useState<AlertObject | null>(null);
  const [silence, setSilence] = useState<{ node: string; name: string } | null>(null);
  const id = query.value.get("id");
  const done = () => {
    setAck(null);
    setSilence(null);
    alerts.reload();
    silences.reload();
  };
  return (
    <Page title="Alerts" ranged={false} actions={
      <>
        <div class="seg" role="group" aria-label="Status">
          {["", "firing", "pending", "resolved"].map((s) => (
            <button key={s} aria-pressed={status === s} onClick={() => setQuery({ status: s })}>{s || "all"}</button>
          ))}
        </div>
        <button onClick={() => setSilence({ node: "", name: "" })}>New silence</button>
      </>
    }>
      <div class="stack">
        <Card flush>
          <TableView of={alerts} head={["Severity", "Alert", "Status", "#Value", "Since", "Delivered to", ""]} rows={(d) => d.alerts} none="No alert in this state." row={(a) => (
            <tr key={a.alert_id} style={id === a.alert_id ? "background:var(--raised)" : ""}>
              <td><Badge word={a.severity} /></td>
              <td>
                <b>{a.name}</b> <span class="muted mono">{a.alert_id}</span>
                <div>{a.annotations["summary"]}</div>
                <div class="mono muted">{a.rule.expression}</div>
                <Chips labels={a.labels} />
                {a.acknowledged && <div class="info">acknowledged by {a.acknowledged.by}: {a.acknowledged.comment}</div>}
              </td>
              <td><Badge word={a.status} />{a.silenced && <div class="muted">silenced</div>}</td>
              <td class="num">{formatValue(a.current_value)}</td>
              <td>{formatAge(a.fired_at, now.value)}{a.resolved_at && <div class="muted">resolved {formatAge(a.resolved_at, now.value)}</div>}</td>
              <td class="muted">{a.notified.join(", ") || "–"}</td>
              <td class="row">
                {a.status === "firing" && !a.acknowledged && <button class="small" onClick={() => setAck(a)}>Ack</button>}
                {a.status !== "resolved" && <button class="small" onClick={() => setSilence({ node: a.node, name: a.name })}>Silence</button>}
                <a href={`/correlate?timestamp=${encodeURIComponent(a.fired_at ?? "")}`}>correlate</a>
              </td>
            </tr>
          )} />
        </Card>
        <Card title="Silences" flush>
          <TableView of={silences} head={["Matches", "Reason", "By", "Ends", "Status", ""]} rows={(d) => d.silences} none="No silence." row={(s) => (
            <tr key={s.id}>
              <td class="mono">{s.matchers.map((m) => `${m.name}${m.op}"${m.value}"`).join(", ")}</td>
              <td>{s.reason}</td><td class="muted">{s.created_by}</td><td>{formatTime(s.ends_at)}</td><td><Badge word={s.status} /></td>
              <td>{s.status === "active" && <button class="small" onClick={() => void send("DELETE", `/obs/silences/${s.id}`).then(done)}>Expire</button>}</td>
            </tr>
          )} />
        </Card>
      </div>
      {ack && <AckDialog alert={ack} done={done} />}
      {silence && <SilenceDialog start={silence} done={done} />}
    </Page>
  );
}

function useDialog(): { ref: (d: HTMLDialogElement | null) => void; error: string | null; submit: (work: () => Promise<unknown>, done: () => void) => (e: Event) => void } {
  const shown = useRef(false);
  const [error, setError] = useState<string | null>(null);
  return {
    ref: (d) => {
      if (d && !shown.current) {
        shown.current = true;
        d.showModal();
      }
    },
    error,
    submit: (work, done) => (e) => {
      e.preventDefault();
      work().then(done, (failure: unknown) => setError(failure instanceof Error ? failure.message : String(failure)));
    },
  };
}

function AckDialog(props: { alert: AlertObject; done: () => void }): JSX.Element {
  const { ref, error, submit } = useDialog();
  const [comment, setComment] = useState("");
  const [by, setBy] = useState(ME);
  const [follow, setFollow] = useState(false);
  const work = () => send("POST", `/obs/alerts/${props.alert.alert_id}/ack`, { comment, by, follow_up_required: follow, escalation_suppressed: true });
  return (
    <dialog ref={ref} onClose={props.done} aria-label="Acknowledge alert">
      <form onSubmit={submit(work, props.done)}>
        <h2>Acknowledge {props.alert.name}</h2>
        <label><span>Comment</span><input required value={comment} onInput={(e) => setComment(e.currentTarget.value)} placeholder="investigating" /></label>
        <label><span>As</span><input required value={by} onInput={(e) => setBy(e.currentTarget.value)} /></label>
        <label><input type="checkbox" checked={follow} onChange={(e) => setFollow(e.currentTarget.checked)} /> needs a follow-up</label>
        {error && <p class="bad">{error}</p>}
        <div class="row end"><button type="button" onClick={props.done}>Cancel</button><button class="primary">Acknowledge</button></div>
      </form>
    </dialog>
  );
}

function SilenceDialog(props: { start: { node: string; name: string }; done: () => void }): JSX.Element {
  const { ref, error, submit } = useDialog();
  const [node, setNode] = useState(props.start.node);
  const [name, setName] = useState(props.start.name);
  const [duration, setDuration] = useState("1h");
  const [reason, setReason] = useState("");
  const [by, setBy] = useState(ME);
  const work = () => send("POST", "/obs/alerts/silence", {
    node: node || undefined,
    matchers: name ? [{ name: "alertname", op: "=", value: name }] : [],
    duration, reason, by,
  });
  return (
    <dialog ref={ref} onClose={props.done} aria-label="Create silence">
      <form onSubmit={submit(work, props.done)}>
        <h2>Silence</h2>
        <label><span>Node (empty: every node)</span><input value={node} onInput={(e) => setNode(e.currentTarget.value)} /></label>
        <label><span>Alert name (empty: every alert)</span><input value={name} onInput={(e) => setName(e.currentTarget.value)} /></label>
        <label><span>Duration</span><input required value={duration} onInput={(e) => setDuration(e.currentTarget.value)} /></label>
        <label><span>Reason</span><input required value={reason} onInput={(e) => setReason(e.currentTarget.value)} placeholder="maintenance" /></label>
        <label><span>As</span><input required value={by} onInput={(e) => setBy(e.currentTarget.value)} /></label>
        {error && <p class="bad">{error}</p>}
        <div class="row end"><button type="button" onClick={props.done}>Cancel</button><button class="primary">Silence</button></div>
      </form>
    </dialog>
  );
}
