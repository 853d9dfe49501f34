import type { JSX } from "preact";
import { get } from "../api/client";
import type { Slo } from "../api/types";
import { Page } from "../components/shell";
import { Badge, Budget, Card, View, budgetLeft } from "../components/ui";
import { formatValue } from "../lib/units";
import { BurnDown } from "../panels/burndown";
import { QueryChart } from "../panels/query";
import { useLoad } from "../state/load";
import { now } from "../state/range";
import { query } from "../state/route";

/** The burn-down of one objective; what else the address holds stays. */
function address(id: string | null): string {
  const next = new URLSearchParams(query.value);
  if (id === null) next.delete("id");
  else next.set("id", id);
  return `/slos${next.size ? `?${next.toString()}` : ""}`;
}

function Picked(props: { slos: Slo[]; id: string }): JSX.Element {
  const slo = props.slos.find((s) => s.slo_id === props.id);
  const close = <a href={address(null)}>All objectives</a>;
  if (!slo) return <div class="note error span-12" role="alert">There is no objective {props.id}. {close}</div>;
  return <BurnDown key={slo.slo_id} slo={slo} close={close} />;
}

const percent = (v: number | null, digits = 3) => (v === null ? "–" : `${(v * 100).toFixed(digits)} %`);

export function Slos(): JSX.Element {
  const slos = useLoad(String(now.value), (signal) => get<{ slos: Slo[] }>("/obs/slos", {}, signal));
  const picked = query.value.get("id");
  return (
    <Page title="Service level objectives">
      <View of={slos} empty={(d) => d.slos.length === 0} none="No SLO is defined. `vm-obs slo create FILE` defines one.">
        {(d) => (
          <div class="grid">
            {picked !== null && <Picked slos={d.slos} id={picked} />}
            {d.slos.map((s) => (
              <section class="card span-6" key={s.slo_id} style={picked === s.slo_id ? "border-color:var(--accent)" : ""}>
                <div class="row"><h2 style="margin:0;font-size:15px" class="grow"><a href={address(s.slo_id)} aria-label={`Burn-down of ${s.name}`}>{s.name}</a></h2><Badge word={s.status} /></div>
                <div class="muted mono">{s.slo_id}</div>
                <p class="muted" style="margin:4px 0 10px">{s.description}</p>
                <Budget percent={budgetLeft(s)} />
                <dl class="kv" style="margin-top:10px">
                  <dt>objective</dt><dd>{percent(s.target)} over {s.window}</dd>
                  <dt>achieved</dt><dd class={s.achieved !== null && s.achieved < s.target ? "bad" : "ok"}>{percent(s.achieved, 4)}</dd>
                  <dt>budget left</dt><dd>{budgetLeft(s) === null ? "–" : `${budgetLeft(s)?.toFixed(1)} % of ${s.error_budget.total_minutes.toFixed(1)} min`}</dd>
                  {s.breakdown && <><dt>events</dt><dd>{formatValue(s.breakdown.bad_requests)} bad of {formatValue(s.breakdown.total_requests)}</dd></>}
                  <dt>trend</dt><dd>{s.trend}</dd>
                  {s.burn_rates && <><dt>burn rate</dt><dd>{Object.entries(s.burn_rates).map(([w, b]) => `${w} ${b === null ? "–" : `${b.toFixed(2)}×`}`).join("  ·  ")}</dd></>}
                </dl>
              </section>
            ))}
            <QueryChart span={12} title="Error budget remaining" unit="percent" queries={[{ expr: "slo_error_budget_remaining_percent", legend: "{{slo}}" }]} />
            <Card><span class="muted">A budget of events is counted in events and also shown as minutes of the window. An SLO whose achieved ratio is below its objective is missed.</span></Card>
          </div>
        )}
      </View>
    </Page>
  );
}
