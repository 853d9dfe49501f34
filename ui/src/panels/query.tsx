import type { JSX } from "preact";
import { promRange } from "../api/client";
import { Card, View } from "../components/ui";
import { seriesName } from "../lib/labels";
import { useLoad } from "../state/load";
import { range } from "../state/range";
import { TimeSeries, type Line } from "./timeseries";

/** A chart of PromQL queries over the page's range. */
export function QueryChart(props: {
  title: string;
  queries: { expr: string; legend?: string }[];
  unit?: string;
  span?: number;
  height?: number;
  fill?: boolean;
  legend?: boolean;
  min?: number | null;
  max?: number | null;
}): JSX.Element {
  const { start, end, step } = range.value;
  const key = `${props.queries.map((q) => q.expr).join("\n")}#${start}#${end}#${step}`;
  const loaded = useLoad(key, async (signal) => {
    const all = await Promise.all(props.queries.map((q) => promRange(q.expr, start, end, step, signal)));
    return all.flatMap((r, i): Line[] =>
      r.series.map((s) => ({ ...s, name: seriesName(s.labels, props.queries[i]?.legend) })),
    );
  });
  return (
    <Card title={props.title} span={props.span ?? 6}>
      <View of={loaded} empty={(l) => l.length === 0} none="No data in this range.">
        {(lines) => (
          <TimeSeries
            lines={lines}
            unit={props.unit ?? ""}
            height={props.height ?? 180}
            fill={props.fill ?? false}
            legend={props.legend ?? true}
            min={props.min ?? null}
            max={props.max ?? null}
          />
        )}
      </View>
    </Card>
  );
}
