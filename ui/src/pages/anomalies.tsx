import type { JSX } from "preact";
import { get } from "../api/client";
import type { Anomaly } from "../api/types";
import { Page } from "../components/shell";
import { Card, TableView } from "../components/ui";
import { formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { useLoad } from "../state/load";
import { rangeText, now } from "../state/range";

export function Anomalies(): JSX.Element {
  const found = useLoad(`${rangeText.value}#${now.value}`, (signal) => get<{ anomalies: Anomaly[] }>("/obs/anomalies", { last: rangeText.value }, signal));
  return (
    <Page title="Anomalies">
      <Card flush>
        <TableView of={found} head={["Time", "Metric", "Node", "#Observed", "#Expected", "#Deviation", "#Confidence", "Possible causes"]} rows={(d) => d.anomalies} none="Nothing unusual in this time range." row={(a) => (
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
        )} />
      </Card>
    </Page>
  );
}
