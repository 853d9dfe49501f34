import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, send } from "../api/client";
import type { DashboardList, DashboardSummary } from "../api/types";
import { Page } from "../components/shell";
import { Card, TableView } from "../components/ui";
import { useLoad } from "../state/load";
import { go, query, setQuery } from "../state/route";

function origin(b: DashboardSummary): string {
  const saved = b.origin === "saved" ? `saved, version ${b.version}` : "";
  if (b.origin === "pack") return `pack ${b.pack}`;
  if (b.origin === "file") return b.provider ? `files of ${b.provider}` : (b.file ?? "file");
  return saved;
}

export function Dashboards(): JSX.Element {
  const all = useLoad("all", (signal) => get<DashboardList>("/obs/dashboards", {}, signal));
  const [importing, setImporting] = useState(false);
  const find = query.value.get("find") ?? "";
  const shown = (d: DashboardList) => d.dashboards.filter((b) => `${b.title} ${b.tags.join(" ")} ${b.pack ?? ""}`.toLowerCase().includes(find.toLowerCase()));
  const faulty = all.data?.faulty ?? [];
  const notices = all.data?.notices ?? [];
  return (
    <Page title="Dashboards" ranged={false} actions={
      <>
        <button onClick={() => setImporting(true)}>Import</button>
        <a class="button" href="/dashboards/new?edit=1">New dashboard</a>
      </>
    }>
      <div class="stack">
        {faulty.map((f) => (
          <div class="banner" role="alert" key={f.file}>
            <b>{f.file}</b> {f.older_shown ? "has turned faulty; the dashboard before is still shown." : "cannot be shown."}
            <ul>{f.problems.slice(0, 5).map((p, i) => <li key={i}>{p.line > 0 && `line ${p.line}: `}{p.message} <span class="muted">Expected: {p.expected}.</span></li>)}</ul>
          </div>
        ))}
        <input aria-label="Find a dashboard" placeholder="Find" value={find} onInput={(e) => setQuery({ find: e.currentTarget.value })} />
        <Card flush>
          <TableView of={all} head={["Dashboard", "From", "Tags", "#Panels", ""]} rows={shown} none={find ? "No dashboard of that name." : "No dashboard is installed; packs bring theirs."} row={(b) => (
            <tr key={b.id}><td><a href={`/dashboards/${b.id}`}>{b.title}</a></td><td>{origin(b)}</td><td class="muted">{b.tags.join(", ")}</td><td class="num">{b.panels}</td><td><a href={`/dashboards/${b.id}?edit=1`} aria-label={`Edit ${b.title}`}>Edit</a></td></tr>
          )} />
        </Card>
        {notices.length > 0 && <details><summary class="muted">{notices.length} notices of provisioning</summary><ul>{notices.map((n) => <li key={n} class="muted">{n}</li>)}</ul></details>}
      </div>
      {importing && <Import close={() => setImporting(false)} />}
    </Page>
  );
}

/** Grafana JSON of any generation, from a file or pasted. */
function Import(props: { close: () => void }): JSX.Element {
  const [text, setText] = useState("");
  const [error, setError] = useState("");
  const submit = (e: Event) => {
    e.preventDefault();
    try {
      const doc: unknown = JSON.parse(text);
      send<{ id: string }>("POST", "/obs/dashboards?message=imported%20in%20the%20portal", doc).then((saved) => go(`/dashboards/${saved.id}`), (x: unknown) => setError(x instanceof Error ? x.message : String(x)));
    } catch (x) {
      setError(x instanceof Error ? x.message : String(x));
    }
  };
  return (
    <dialog class="wide" ref={(d) => { if (d && !d.open) d.showModal(); }} onClose={props.close} aria-label="Import a dashboard">
      <form onSubmit={submit}>
        <h2 style="margin:0 0 8px">Import a dashboard</h2>
        <label><span>Grafana JSON file</span><input type="file" accept=".json,application/json" onChange={(e) => void e.currentTarget.files?.[0]?.text().then(setText)} /></label>
        <label><span>Or its text</span><textarea class="mono" rows={12} spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} /></label>
        {error && <div class="note error" role="alert">{error}</div>}
        <div class="row end" style="margin-top:10px"><button type="button" onClick={props.close}>Cancel</button><button class="primary" disabled={text.trim() === ""}>Import</button></div>
      </form>
    </dialog>
  );
}
