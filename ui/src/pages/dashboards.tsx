import type { JSX } from "preact";
import { get } from "../api/client";
import type { Dashboard, DashboardSummary } from "../api/types";
import { Page } from "../components/shell";
import { Card, View } from "../components/ui";
import { PanelView } from "../panels/panel";
import { useLoad } from "../state/load";
import { query, setQuery } from "../state/route";

export function Dashboards(): JSX.Element {
  const all = useLoad("all", (signal) => get<{ dashboards: DashboardSummary[] }>("/obs/dashboards", {}, signal));
  return (
    <Page title="Dashboards" ranged={false}>
      <Card flush>
        <View of={all} empty={(d) => d.dashboards.length === 0} none="No dashboard is installed; packs bring theirs.">
          {(d) => (
            <table>
              <thead><tr><th>Dashboard</th><th>Pack</th><th>Tags</th><th class="num">Panels</th></tr></thead>
              <tbody>
                {d.dashboards.map((b) => <tr key={b.id}><td><a href={`/dashboards/${b.id}`}>{b.title}</a></td><td>{b.pack}</td><td class="muted">{b.tags.join(", ")}</td><td class="num">{b.panels}</td></tr>)}
              </tbody>
            </table>
          )}
        </View>
      </Card>
    </Page>
  );
}

export function DashboardPage(props: { id: string }): JSX.Element {
  const board = useLoad(props.id, (signal) => get<Dashboard>(`/obs/dashboards/${props.id}`, {}, signal));
  const variables: Record<string, string> = {};
  for (const v of board.data?.variables ?? []) variables[v.name] = query.value.get(`var-${v.name}`) ?? v.current ?? v.options[0] ?? ".*";
  return (
    <Page title={board.data?.title ?? "Dashboard"} actions={<a href={`/obs/dashboards/${props.id}/grafana`} target="_blank" rel="noreferrer">Grafana JSON</a>}>
      <View of={board}>
        {(d) => (
          <div class="stack">
            {d.variables.length > 0 && (
              <div class="row">
                {d.variables.map((v) => (
                  <label key={v.name} class="row"><span class="muted">{v.label ?? v.name}</span>
                    <input list={`opt-${v.name}`} value={variables[v.name]} onChange={(e) => setQuery({ [`var-${v.name}`]: e.currentTarget.value })} />
                    <datalist id={`opt-${v.name}`}>{v.options.map((o) => <option key={o} value={o} />)}</datalist>
                  </label>
                ))}
              </div>
            )}
            <div style="display:grid;gap:12px;grid-template-columns:repeat(24,minmax(0,1fr))">
              {d.panels.map((p) => p.kind === "row" ? (
                <h2 key={p.id} style="grid-column:1/-1;margin:8px 0 0;font-size:14px">{p.title}</h2>
              ) : (
                <section class="card" key={p.id} style={`grid-column:span ${Math.max(4, Math.min(24, p.grid.w))}`} title={p.description ?? ""}>
                  <h2>{p.title}</h2>
                  <PanelView panel={p} variables={variables} />
                </section>
              ))}
            </div>
          </div>
        )}
      </View>
    </Page>
  );
}
