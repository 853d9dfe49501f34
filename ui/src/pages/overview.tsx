import type { JSX } from "preact";
import { get } from "../api/client";
import type { AlertObject, Health, LedgerHead, LogObject, Slo, TraceSummary } from "../api/types";
import { Page } from "../components/shell";
import { Badge, Budget, Card, Stat, View, budgetLeft } from "../components/ui";
import { formatAge, formatDuration, formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { LogTable } from "../panels/logs";
import { QueryChart } from "../panels/query";
import { useLoad } from "../state/load";
import { now } from "../state/range";

/** Traces of the watched services; our own request spans only where there is nothing else. */
async function newestTraces(signal: AbortSignal): Promise<{ traces: TraceSummary[] }> {
  const ask = (query: string) => get<{ traces: TraceSummary[] }>("/obs/traces", { query, last: "1h", limit: 8 }, signal);
  const others = await ask('{resource.service.name != "vm-obs"}');
  return others.traces.length > 0 ? others : ask("{}");
}

/** How this node and everything it watches are doing, on one page. */
export function Overview(): JSX.Element {
  const tick = String(now.value);
  const health = useLoad(tick, (signal) => get<Health>("/obs/health", {}, signal));
  const alerts = useLoad(tick, (signal) => get<{ alerts: AlertObject[] }>("/obs/alerts", { status: "firing" }, signal));
  const slos = useLoad(tick, (signal) => get<{ slos: Slo[] }>("/obs/slos", {}, signal));
  const ledger = useLoad(tick, (signal) => get<LedgerHead>("/obs/ledger", {}, signal));
  const logs = useLoad(tick, (signal) => get<{ logs: LogObject[] }>("/obs/logs", { last: "15m", limit: 14 }, signal));
  const traces = useLoad(tick, newestTraces);
  const h = health.data;
  return (
    <Page title="Overview">
      {h && h.status !== "healthy" && (
        <div class="banner" role="alert">
          <b>{h.status}</b>: {h.components.filter((c) => c.status !== "healthy").map((c) => `${c.name} (${c.detail})`).join(", ")}
        </div>
      )}
      <div class="grid">
        <Stat label="System" value={h?.status ?? "…"} tone={h?.status === "healthy" ? "ok" : h ? "bad" : ""} hint={h ? `up ${formatDuration(h.uptime_seconds * 1000)}, version ${h.version}` : ""} />
        <Stat label="Alerts firing" value={h ? String(h.alerts.firing) : "…"} tone={h && h.alerts.firing > 0 ? "bad" : "ok"} hint={h ? `${h.alerts.pending} pending` : ""} href="/alerts" />
        <Stat label="Samples" value={h ? formatValue(h.ingest.samples_per_second, "cps") : "…"} hint={h ? `${formatValue(h.ingest.rejected_total, "short", 0)} rejected so far` : ""} href="/explore/metrics" />
        <Stat label="Log lines" value={h ? formatValue(h.ingest.log_lines_per_second, "cps") : "…"} href="/explore/logs" />
        <Stat label="Spans" value={h ? formatValue(h.ingest.spans_per_second, "cps") : "…"} href="/explore/traces" />
        <Stat label="Receipts" value={ledger.data ? String(ledger.data.size) : "…"} hint={ledger.data ? `last ${formatAge(ledger.data.last_receipt_at, now.value)}` : ""} href="/ledger" />

        <QueryChart title="CPU of the host" span={4} unit="percent" fill legend={false} min={0} queries={[{ expr: '100 * (1 - sum by (instance) (rate(node_cpu_seconds_total{mode="idle"}[1m])) / sum by (instance) (rate(node_cpu_seconds_total[1m])))', legend: "{{instance}}" }]} />
        <QueryChart title="Memory in use" span={4} unit="bytes" fill legend={false} min={0} queries={[{ expr: "node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes", legend: "{{instance}}" }]} />
        <QueryChart title="Network" span={4} unit="Bps" legend={false} queries={[
          { expr: "sum by (instance) (rate(node_network_receive_bytes_total[1m]))", legend: "received" },
          { expr: "-sum by (instance) (rate(node_network_transmit_bytes_total[1m]))", legend: "sent" },
        ]} />

        <Card title="Firing alerts" span={6} hint={<a href="/alerts">all alerts</a>}>
          <View of={alerts} empty={(d) => d.alerts.length === 0} none="Nothing is firing.">
            {(d) => (
              <table><tbody>
                {d.alerts.slice(0, 8).map((a) => (
                  <tr key={a.alert_id}>
                    <td><Badge word={a.severity} /></td>
                    <td><a href={`/alerts?id=${a.alert_id}`}>{a.name}</a><div class="muted">{a.annotations["summary"] ?? a.node}</div></td>
                    <td class="muted num">{formatAge(a.fired_at, now.value)}</td>
                  </tr>
                ))}
              </tbody></table>
            )}
          </View>
        </Card>
        <Card title="Service level objectives" span={6} hint={<a href="/slos">all SLOs</a>}>
          <View of={slos} empty={(d) => d.slos.length === 0} none="No SLO is defined.">
            {(d) => (
              <table><tbody>
                {d.slos.slice(0, 8).map((s) => (
                  <tr key={s.slo_id}>
                    <td><a href={`/slos?id=${encodeURIComponent(s.slo_id)}`}>{s.name}</a></td>
                    <td style="width:34%"><Budget percent={budgetLeft(s)} /></td>
                    <td class="num">{budgetLeft(s) === null ? "–" : `${budgetLeft(s)?.toFixed(1)} % left`}</td>
                    <td><Badge word={s.status} /></td>
                  </tr>
                ))}
              </tbody></table>
            )}
          </View>
        </Card>

        <Card title="Newest log lines" span={7} flush hint={<a href="/explore/logs">explore</a>}>
          <View of={logs} empty={(d) => d.logs.length === 0}>{(d) => <LogTable logs={d.logs} short />}</View>
        </Card>
        <Card title="Newest traces" span={5} flush hint={<a href="/explore/traces">explore</a>}>
          <View of={traces} empty={(d) => d.traces.length === 0}>
            {(d) => (
              <table><tbody>
                {d.traces.map((t) => (
                  <tr key={t.trace_id}>
                    <td><a href={`/trace/${t.trace_id}`}>{t.name}</a><div class="muted">{t.service}</div></td>
                    <td><Badge word={t.status} /></td>
                    <td class="num">{formatDuration(t.duration_ms)}<div class="muted">{formatAge(t.start_time, now.value)}</div></td>
                  </tr>
                ))}
              </tbody></table>
            )}
          </View>
        </Card>
        <Card title="Ledger head" span={12} hint={<a href="/ledger">verify</a>}>
          <View of={ledger}>
            {(l) => (
              <dl class="kv">
                <dt>origin</dt><dd>{l.origin}</dd>
                <dt>receipts</dt><dd>{l.size}{l.last_receipt_at && `, the last at ${formatTime(l.last_receipt_at)}`}</dd>
                <dt>root</dt><dd>{l.root_hash}</dd>
              </dl>
            )}
          </View>
        </Card>
      </div>
    </Page>
  );
}
