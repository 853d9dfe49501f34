import type { ComponentChildren, JSX } from "preact";
import type { Loaded } from "../state/load";

/** Shows a view in whichever of its states it is. */
export function View<T>(props: {
  of: Loaded<T>;
  empty?: (data: T) => boolean;
  none?: ComponentChildren;
  children: (data: T) => ComponentChildren;
}): JSX.Element {
  const { data, error, loading } = props.of;
  if (data === null && loading) return <div class="note" role="status">Loading …</div>;
  if (data === null && error !== null) return <div class="note error" role="alert">{error}</div>;
  if (data === null) return <div class="note">Nothing here.</div>;
  return (
    <>
      {error !== null && <div class="note error" role="alert">{`Not up to date: ${error}`}</div>}
      {props.empty?.(data) ? <div class="note">{props.none ?? "Nothing in this time range."}</div> : props.children(data)}
    </>
  );
}

const TONES: Record<string, string> = {
  ok: "ok", met: "ok", healthy: "ok", up: "ok", resolved: "ok", active: "info", normal: "ok",
  info: "info", unset: "muted", unknown: "muted", expired: "muted", no_data: "muted",
  warning: "warn", warn: "warn", pending: "warn", at_risk: "warn", degraded: "warn", high: "warn",
  critical: "bad", error: "bad", fatal: "bad", firing: "bad", missed: "bad", down: "bad", unhealthy: "bad",
};

export function tone(word: string): string {
  return TONES[word] ?? "muted";
}

export function Badge(props: { word: string; text?: string }): JSX.Element {
  return <span class={`badge ${tone(props.word)}`}>{(props.text ?? props.word).replaceAll("_", " ")}</span>;
}

export function Stat(props: { label: string; value: string; tone?: string; hint?: string; href?: string }): JSX.Element {
  const inner = (
    <>
      <div class="label">{props.label}</div>
      <div class={`value ${props.tone ?? ""}`}>{props.value}</div>
      {props.hint && <div class="label">{props.hint}</div>}
    </>
  );
  return props.href ? <a class="card stat span-2" href={props.href} style="color:inherit">{inner}</a> : <div class="card stat span-2">{inner}</div>;
}

export function Card(props: { title?: string; hint?: ComponentChildren; span?: number; flush?: boolean; children: ComponentChildren }): JSX.Element {
  return (
    <section class={`card span-${props.span ?? 12} ${props.flush ? "flush" : ""}`}>
      {props.title && <h2>{props.title}{props.hint && <span class="hint">{props.hint}</span>}</h2>}
      {props.children}
    </section>
  );
}

export function Chips(props: { labels: Record<string, unknown> }): JSX.Element {
  return (
    <>
      {Object.entries(props.labels).map(([k, v]) => (
        <span class="label-chip" key={k}>{k}={typeof v === "string" ? v : JSON.stringify(v)}</span>
      ))}
    </>
  );
}

/** What is left of an objective's budget; `null` where there are no events to judge by. */
export function budgetLeft(slo: { status: string; error_budget: { remaining_percent: number | null } }): number | null {
  return slo.status === "no_data" ? null : slo.error_budget.remaining_percent;
}

export function Budget(props: { percent: number | null }): JSX.Element {
  const p = props.percent;
  const shown = Math.max(0, Math.min(100, p ?? 0));
  return (
    <div class="bar" role="meter" aria-label="error budget remaining" aria-valuenow={shown} aria-valuemin={0} aria-valuemax={100}>
      <i class={p === null || p < 0 ? "bad" : p < 25 ? "warn" : ""} style={`width:${shown}%`} />
    </div>
  );
}

/** A table of what was loaded, one row for each of `rows`; a heading that starts with `#` is of numbers. */
export function TableView<T, R>(props: {
  of: Loaded<T>;
  head: string[];
  rows: (data: T) => R[];
  none: ComponentChildren;
  row: (row: R) => JSX.Element;
}): JSX.Element {
  return (
    <View of={props.of} empty={(d) => props.rows(d).length === 0} none={props.none}>
      {(d) => (
        <table>
          <thead><tr>{props.head.map((h, i) => (h.startsWith("#") ? <th class="num" key={i}>{h.slice(1)}</th> : <th key={i}>{h}</th>))}</tr></thead>
          <tbody>{props.rows(d).map(props.row)}</tbody>
        </table>
      )}
    </View>
  );
}
