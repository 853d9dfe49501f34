import type { JSX } from "preact";
import { get } from "../api/client";
import type { DashboardSummary } from "../api/types";
import { Page } from "../components/shell";
import { Card, TableView } from "../components/ui";
import { useLoad } from "../state/load";

export function Dashboards(): JSX.Element {
  const all = useLoad("all", (signal) => get<{ dashboards: DashboardSummary[] }>("/obs/dashboards", {}, signal));
  return (
    <Page title="Dashboards" ranged={false}>
      <Card flush>
        <TableView of={all} head={["Dashboard", "Pack", "Tags", "#Panels"]} rows={(d) => d.dashboards} none="No dashboard is installed; packs bring theirs." row={(b) => (
          <tr key={b.id}><td><a href={`/dashboards/${b.id}`}>{b.title}</a></td><td>{b.pack}</td><td class="muted">{b.tags.join(", ")}</td><td class="num">{b.panels}</td></tr>
        )} />
      </Card>
    </Page>
  );
}
