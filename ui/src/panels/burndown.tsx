import type { ComponentChildren, JSX } from "preact";
import { get } from "../api/client";
import type { BurnDownAnswer, Slo } from "../api/types";
import { Card, View, budgetLeft } from "../components/ui";
import { formatTime } from "../lib/time";
import { formatValue } from "../lib/units";
import { useLoad } from "../state/load";
import { TimeSeries, type Line } from "./timeseries";

/** What was left of an error budget over its window, with the lines at which it is low and gone. */
export function BurnDown(props: { slo: Slo; close: ComponentChildren }): JSX.Element {
  const id = props.slo.slo_id;
  const curve = useLoad(id, (signal) => get<BurnDownAnswer>(`/obs/slos/${encodeURIComponent(id)}/burndown`, {}, signal));
  return (
    <Card title={`Error budget of ${props.slo.name}`} hint={props.close}>
      <View of={curve} empty={(c) => c.points.length === 0} none="No event was counted in the window.">
        {(c) => <Curve curve={c} left={budgetLeft(props.slo)} />}
      </View>
    </Card>
  );
}

function Curve(props: { curve: BurnDownAnswer; left: number | null }): JSX.Element {
  const { curve } = props;
  const start = Date.parse(curve.start) / 1000;
  const end = Date.parse(curve.end) / 1000;
  const times = [start, ...curve.points.map((p) => Date.parse(p.at) / 1000)];
  const remaining = [100, ...curve.points.map((p) => p.remaining_percent)];
  const lines: Line[] = [
    { name: "remaining", labels: {}, times, values: remaining, look: { fill: 12, width: 2 } },
    // Who uses it up evenly has nothing left when the window ends.
    { name: "even use", labels: {}, times, values: times.map((t) => 100 * (1 - (t - start) / Math.max(1, end - start))), look: { dash: [5, 4], width: 1, inLegend: true } },
  ];
  const now = remaining.at(-1) ?? 100;
  const bad = curve.points.reduce((n, p) => n + p.total - p.good, 0);
  const total = curve.points.reduce((n, p) => n + p.total, 0);
  const told = `${now.toFixed(1)} % of the budget is left: ${formatValue(bad)} of ${formatValue(total)} events were bad since ${formatTime(start * 1000)}.`;
  return (
    <figure style="margin:0" data-burndown={curve.slo_id}>
      <TimeSeries
        lines={lines}
        unit="percent"
        height={240}
        max={100}
        min={Math.min(0, Math.floor(Math.min(...remaining) / 10) * 10)}
        label={`Error budget remaining, ${curve.window}`}
        thresholds={[{ value: null, color: "transparent" }, { value: 0, color: "red" }, { value: curve.at_risk_percent, color: "orange" }]}
        thresholdsStyle="dashed-line"
      />
      <figcaption>
        <p>{told} {curve.exhausts_at ? `At the pace of the last hour it is gone at ${formatTime(Date.parse(curve.exhausts_at))}.` : now > 0 ? "In the last hour nothing of it was used." : "Nothing is left of it."}</p>
        <p class="muted">Dashed lines: at risk below {curve.at_risk_percent} %, gone at 0 %. One point each {curve.slice_seconds / 60} minutes.</p>
        <details>
          <summary>As a table</summary>
          <div style="max-height:300px;overflow:auto" tabIndex={0} role="group" aria-label="Burn-down as a table">
            <table>
              <thead><tr><th>Until</th><th class="num">Bad</th><th class="num">Events</th><th class="num">Budget left</th></tr></thead>
              <tbody>{curve.points.map((p) => (
                <tr key={p.at}><td>{formatTime(Date.parse(p.at))}</td><td class="num">{formatValue(p.total - p.good)}</td><td class="num">{formatValue(p.total)}</td><td class="num">{p.remaining_percent.toFixed(1)} %</td></tr>
              ))}</tbody>
            </table>
          </div>
        </details>
      </figcaption>
    </figure>
  );
}
