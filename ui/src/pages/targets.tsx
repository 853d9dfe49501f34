import type { JSX } from "preact";
import { get, send } from "../api/client";
import type { DemoState, Health } from "../api/types";
import { Page } from "../components/shell";
import { Badge, Card, Chips, TableView, View } from "../components/ui";
import { formatAge, formatDuration } from "../lib/time";
import { useLoad } from "../state/load";
import { now } from "../state/range";

interface Target {
  job: string;
  instance: string;
  url: string;
  health: string;
  last_scrape: string | null;
  last_error: string;
  scrape_duration_ms: number;
  labels: Record<string, string>;
}

export function Targets(): JSX.Element {
  const tick = String(now.value);
  const targets = useLoad(tick, (signal) => get<{ targets: Target[] }>("/obs/targets", {}, signal));
  const health = useLoad(tick, (signal) => get<Health>("/obs/health", {}, signal));
  const demo = useLoad(tick, (signal) => get<DemoState>("/obs/demo", {}, signal));
  return (
    <Page title="Targets" ranged={false}>
      <div class="stack">
        {demo.data?.enabled && (
          <Card title="Demo world" hint={<button class="small" onClick={() => void send("POST", "/obs/demo/heal").then(demo.reload)}>Heal everything</button>}>
            <table><tbody>
              {demo.data.faults.map((f) => (
                <tr key={f.name}>
                  <td class="mono">{f.name}</td><td>{f.description}</td><td class="muted">{f.alerts.join(", ")}</td>
                  <td>{f.active ? <Badge word="firing" text="broken" /> : <button class="small" onClick={() => void send("POST", `/obs/demo/break/${f.name}`).then(demo.reload)}>Break</button>}</td>
                </tr>
              ))}
            </tbody></table>
          </Card>
        )}
        <Card title="Scrape targets" flush>
          <TableView of={targets} head={["Job", "Target", "Health", "Labels", "Last scrape", "#Took"]} rows={(d) => d.targets} none="Nothing is scraped; add scrape_configs to the configuration." row={(t) => (
            <tr key={t.url + t.job}>
              <td>{t.job}</td><td class="mono">{t.url}{t.last_error && <div class="bad">{t.last_error}</div>}</td><td><Badge word={t.health} /></td>
              <td><Chips labels={t.labels} /></td><td>{formatAge(t.last_scrape, now.value)}</td><td class="num">{formatDuration(t.scrape_duration_ms)}</td>
            </tr>
          )} />
        </Card>
        <Card title="Components" flush>
          <View of={health}>
            {(h) => (
              <table><tbody>
                {h.components.map((c) => <tr key={c.name}><td>{c.name}</td><td><Badge word={c.status} /></td><td class="muted">{c.detail}</td></tr>)}
              </tbody></table>
            )}
          </View>
        </Card>
      </div>
    </Page>
  );
}
