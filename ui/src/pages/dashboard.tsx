import { useEffect, useMemo } from "preact/hooks";
import type { JSX } from "preact";
import { get, promRange } from "../api/client";
import type { Annotation, Dashboard, LogObject } from "../api/types";
import { Page } from "../components/shell";
import { View } from "../components/ui";
import { VariablesBar } from "../components/variables";
import { cssColor } from "../lib/color";
import { seriesName } from "../lib/labels";
import { sections, type Placed, type Section } from "../lib/layout";
import { interpolate, type Filter, type Scope } from "../lib/variables";
import { PanelFrame } from "../panels/frame";
import type { Mark } from "../state/events";
import { useLoad } from "../state/load";
import { range, usualRange } from "../state/range";
import { query, setQuery } from "../state/route";
import { token } from "../state/theme";
import { resolve } from "../state/variables";

const CELL = 34;
const MARKS_MAX = 200;

/** Rising edges of a query, or the lines of a log, as marks on the time axis. */
async function marksOf(a: Annotation, scope: Scope, signal: AbortSignal): Promise<Mark[]> {
  const expr = interpolate(a.expr, scope);
  const color = cssColor(a.color, token) || token("--info");
  if (a.language === "logql") {
    const { logs } = await get<{ logs: LogObject[] }>("/obs/logs", { query: expr, from: scope.start, to: scope.end, limit: MARKS_MAX }, signal);
    return logs.map((l) => ({ time: Date.parse(l.timestamp) / 1000, text: l.message, color }));
  }
  if (a.language !== "promql") return [];
  const { series } = await promRange(expr, scope.start, scope.end, scope.step, signal);
  return series.flatMap((s) => s.times.filter((_, i) => (s.values[i] ?? 0) > 0 && !((s.values[i - 1] ?? 0) > 0)).map((time) => ({ time, text: a.title?.replace(/\{\{(\w+)\}\}/g, (_, l: string) => s.labels[l] ?? "") || seriesName(s.labels), color })));
}

/** The editor is a file of its own that is fetched when somebody edits. */
export function EditPage(props: { id: string }): JSX.Element {
  const loaded = useLoad("editor", async () => (await import("../edit/editor")).default);
  const Editor = loaded.data;
  return Editor ? <Editor id={props.id} /> : <Page title="Edit"><View of={loaded}>{() => null}</View></Page>;
}

export function DashboardPage(props: { id: string }): JSX.Element {
  const version = query.value.get("version") ?? "";
  const board = useLoad(`${props.id}#${version}`, (signal) => get<Dashboard>(`/obs/dashboards/${encodeURIComponent(props.id)}`, { version }, signal));
  const d = board.data;
  useEffect(() => {
    const last = /^now-(\w+)$/.exec(d?.time.from ?? "")?.[1];
    if (last && d?.time.to === "now") usualRange.value = last;
    return () => { usualRange.value = "5m"; };
  }, [d]);
  const base: Scope = { variables: [], values: {}, ...range.value };
  const params = new URLSearchParams(query.value);
  const filters = params.getAll("filter").flatMap((f): Filter[] => {
    const [key = "", op = "=", ...value] = f.split("|");
    return key ? [{ key, op, value: value.join("|") }] : [];
  });
  const chosen = (name: string) => (params.has(`var-${name}`) ? params.getAll(`var-${name}`) : null);
  const choice = [...params].filter(([k]) => k.startsWith("var-")).join("&");
  const step = Math.floor(base.end / 60);
  const resolved = useLoad(d ? `${props.id}#${choice}#${step}#${base.end - base.start}` : "", async (signal) => (d ? resolve(d.variables, chosen, base, signal) : null));
  const scope = resolved.data ? { ...resolved.data, start: base.start, end: base.end, step: base.step } : null;
  const off = new Set(params.getAll("off"));
  const live = (d?.annotations ?? []).filter((a) => !off.has(a.name) && (a.enabled || params.getAll("on").includes(a.name)));
  const marks = useLoad(scope && live.length ? `${live.map((a) => a.name).join()}#${base.start}#${base.end}#${choice}` : "", async (signal) => {
    if (!scope) return [];
    const all = await Promise.all(live.map((a) => marksOf(a, scope, signal).catch(() => [] as Mark[])));
    return all.flat().slice(0, MARKS_MAX);
  });
  const one = Number(params.get("panel"));
  const title = d && scope ? interpolate(d.title, scope) : (d?.title ?? "Dashboard");
  return (
    <Page title={title} events actions={
      <>
        {d?.links.map((l) => <a key={l.url} href={scope ? interpolate(l.url, scope) : l.url}>{l.title || l.url}</a>)}
        {one > 0 && <button onClick={() => setQuery({ panel: null }, false)}>Back to the dashboard</button>}
        <a class="button" href={`/dashboards/${encodeURIComponent(props.id)}?edit=1`}>Edit</a>
        <a href={`/obs/dashboards/${encodeURIComponent(props.id)}/grafana`} target="_blank" rel="noreferrer">Grafana JSON</a>
      </>
    }>
      <View of={board}>
        {(board_) => scope && (
          <div class="stack">
            {version && <div class="banner">Version {version} as it was saved. <a href={`/dashboards/${encodeURIComponent(props.id)}`}>The one shown now</a></div>}
            <div class="row">
              <VariablesBar variables={scope.variables} values={scope.values} filters={filters}
                change={(name, values) => setQuery({ [`var-${name}`]: values })}
                changeFilters={(next) => setQuery({ filter: next.map((f) => `${f.key}|${f.op}|${f.value}`) })} />
              {board_.annotations.filter((a) => !a.hidden).map((a) => (
                <label key={a.name} class="tick"><input type="checkbox" checked={live.includes(a)} onChange={(e) => setQuery(e.currentTarget.checked ? { off: [...off].filter((n) => n !== a.name), on: [...params.getAll("on"), a.name] } : { off: [...off, a.name], on: params.getAll("on").filter((n) => n !== a.name) })} /> {a.name}</label>
              ))}
            </div>
            <Panels board={board_} scope={scope} filters={filters} marks={marks.data ?? []} one={one} />
          </div>
        )}
      </View>
    </Page>
  );
}

function Panels(props: { board: Dashboard; scope: Scope; filters: Filter[]; marks: Mark[]; one: number }): JSX.Element {
  const { board, scope } = props;
  const all = useMemo(() => sections(board.panels, scope), [board, JSON.stringify(scope.values), JSON.stringify(scope.variables.map((v) => v.options))]);
  const frame = (p: Placed, height: number, full: boolean) => (
    <PanelFrame key={p.key} panel={p.panel} panels={board.panels} scope={{ ...scope, values: { ...scope.values, ...p.values } }} filters={props.filters} marks={props.marks} height={height} full={full} />
  );
  if (props.one > 0) {
    const found = all.flatMap((s) => s.panels).find((p) => p.panel.id === props.one);
    return found ? <div class="full">{frame(found, Math.max(320, window.innerHeight - 190), true)}</div> : <div class="note">There is no panel {props.one} in this dashboard.</div>;
  }
  if (all.every((s) => s.panels.length === 0)) return <div class="note">This dashboard has no panels.</div>;
  return <>{all.map((s) => <Part key={s.key} section={s} scope={scope} frame={frame} />)}</>;
}

function Part(props: { section: Section; scope: Scope; frame: (p: Placed, height: number, full: boolean) => JSX.Element }): JSX.Element {
  const { row, key, panels, values } = props.section;
  // The URL holds which rows differ from what the dashboard says.
  const flipped = query.value.getAll("row").includes(key);
  const open = !row || row.collapsed === flipped;
  const rows = query.value.getAll("row");
  return (
    <section class="part">
      {row && (
        <h2 class="fold"><button aria-expanded={open} onClick={() => setQuery({ row: flipped ? rows.filter((r) => r !== key) : [...rows, key] })}>
          <span aria-hidden="true">{open ? "▾" : "▸"}</span> {interpolate(row.title, { ...props.scope, values: { ...props.scope.values, ...values } }) || "Row"} {!open && <span class="muted">({panels.length} panels)</span>}
        </button></h2>
      )}
      {open && (
        <div class="board">
          {panels.map((p) => (
            <div key={p.key} class="cell" style={`--x:${p.x + 1};--w:${p.w};--y:${p.y + 1};--h:${p.h}`}>
              {props.frame(p, p.h <= 3 ? p.h * CELL - 38 : p.h * CELL - 62, false)}
            </div>
          ))}
        </div>
      )}
    </section>
  );
}
