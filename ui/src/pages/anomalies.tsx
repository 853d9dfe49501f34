import type { JSX } from "preact";
import { get } from "../api/client";
import type { Anomaly } from "../api/types";
import { Page } from "../components/shell";
import { Card, View } from "../components/ui";
import { formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { useLoad } from "../state/load";
import { rangeText, now } from "../state/range";

export function Anomalies(): JSX.Element {
  const found = useLoad(`${rangeText.value}#${now.value}`, (signal) => get<{ anomalies: Anomaly[] }>("/obs/anomalies", { last: rangeText.value }, signal));
  return (
    <Page title="Anomalies">
      <Card flush>
        <View of={found} empty={(d) => d.anomalies.length === 0} none="Nothing unusual in this time range.">
          {(d) => (
            <table>
              <thead><tr><th>Time</th><th>Metric</th><th>Node</th><th class="num">Observed</th><th class="num">Expected</th><th class="num">Deviation</th><th class="num">Confidence</th><th>Possible causes</th></tr></thead>
              <tbody>
                {d.anomalies.map((a) => (
                  <tr key={a.anomaly_id}>
                    <td class="mono">{formatTime(a.timestamp)}</td>
                    <td><a class="mono" href={`/explore/metrics?query=${encodeURIComponent(a.metric)}`}>{a.metric}</a></td>
                    <td>{a.node.replace("did:vm:node:", "")}</td>
                    <td class="num">{formatValue(a.observed_value)}</td>
                    <td class="num">{formatValue(a.expected_range.min)} … {formatValue(a.expected_range.max)}</td>
                    <td class="num">{a.deviation_sigma.toFixed(1)} σ</td>
                    <td class="num">{(a.confidence * 100).toFixed(1)} %</td>
                    <td class="muted">{a.possible_causes.join(", ")} <a href={`/correlate?timestamp=${encodeURIComponent(a.timestamp)}`}>correlate</a></td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </View>
      </Card>
    </Page>
  );
}
