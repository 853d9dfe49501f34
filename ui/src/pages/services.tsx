import type { JSX } from "preact";
import { get } from "../api/client";
import { Page } from "../components/shell";
import { Card, TableView, View } from "../components/ui";
import type { Graph, GraphNode } from "../lib/graph";
import { quote } from "../lib/labels";
import { formatValue } from "../lib/units";
import { NodeGraph } from "../panels/nodegraph";
import { useLoad } from "../state/load";
import { range } from "../state/range";

interface Edge {
  parent: string;
  child: string;
  callCount: number;
}

/** Who calls whom, as the traces of the range tell. */
export function Services(): JSX.Element {
  const { start, end } = range.value;
  const span = Math.max(1, end - start);
  const found = useLoad(`${start}#${end}`, (signal) => get<{ data: Edge[] }>("/jaeger/api/dependencies", { endTs: end * 1000, lookback: span * 1000 }, signal));
  const graph = (edges: Edge[]): Graph => {
    const nodes = new Map<string, GraphNode>();
    for (const e of edges) for (const id of [e.parent, e.child]) {
      const calls = edges.filter((x) => x.child === id).reduce((n, x) => n + x.callCount, 0);
      nodes.set(id, { id, title: id, note: calls ? `${formatValue(calls / span, "reqps")} in` : "calls others", bad: 0, x: 0, y: 0, href: `/explore/traces?query=${encodeURIComponent(`{resource.service.name=${quote(id)}}`)}` });
    }
    return { nodes: [...nodes.values()], edges: edges.map((e) => ({ from: e.parent, to: e.child, note: formatValue(e.callCount), bad: 0 })) };
  };
  return (
    <Page title="Service map">
      <div class="stack">
        <Card>
          <View of={found} empty={(d) => d.data.length === 0} none="No service called another one in this range.">{(d) => <NodeGraph graph={graph(d.data)} height={520} />}</View>
        </Card>
        <Card title="Calls" flush>
          <TableView of={found} head={["From", "To", "#Calls", "#Rate"]} rows={(d) => d.data.toSorted((a, b) => b.callCount - a.callCount)} none="No calls." row={(e) => (
            <tr key={`${e.parent}>${e.child}`}><td>{e.parent}</td><td>{e.child}</td><td class="num">{e.callCount}</td><td class="num">{formatValue(e.callCount / span, "reqps")}</td></tr>
          )} />
        </Card>
      </div>
    </Page>
  );
}
