import { useEffect, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import type { Panel } from "../api/types";
import { View } from "../components/ui";
import { interpolate, type Filter, type Scope } from "../lib/variables";
import { formatDuration } from "../lib/time";
import { useLoad } from "../state/load";
import { path, setQuery } from "../state/route";
import { loadPanel, windowOf, type PanelData } from "./data";
import { PanelBody, TextBody } from "./panel";
import { TablePanel } from "./table";
import type { Mark } from "../state/events";

interface Props {
  panel: Panel;
  panels: Panel[];
  scope: Scope;
  filters: Filter[];
  marks: Mark[];
  /** Pixels for the body. */
  height: number;
  full: boolean;
  /** Another one asks anew: what the panel is may change while it is edited. */
  revision?: string;
}

const EXPLORE: Record<string, string> = { promql: "metrics", logql: "logs", traceql: "traces" };

/** Loads only once the panel comes into sight, so that a long dashboard asks for what is read. */
function useSeen(): [(e: HTMLElement | null) => void, boolean] {
  const [seen, setSeen] = useState(false);
  const watched = useRef<IntersectionObserver | null>(null);
  useEffect(() => () => watched.current?.disconnect(), []);
  return [
    (e) => {
      if (!e || watched.current) return;
      watched.current = new IntersectionObserver((all) => all.some((x) => x.isIntersecting) && setSeen(true), { rootMargin: "300px" });
      watched.current.observe(e);
    },
    seen,
  ];
}

/** One panel with its title, its menu and whatever state it is in. */
export function PanelFrame(props: Props): JSX.Element {
  const { panel, scope } = props;
  const [ref, seen] = useSeen();
  const title = interpolate(panel.title, scope);
  const text = panel.kind === "text";
  const key = seen && !text ? JSON.stringify([panel.id, scope.values, props.filters, scope.start, scope.end, scope.step, props.revision]) : "";
  const loaded = useLoad(key, async (signal): Promise<PanelData | null> => (key ? loadPanel(props, signal) : null));
  const [inspect, setInspect] = useState<"data" | "query" | "json" | null>(null);
  const data = loaded.data;
  const notices = data?.notices ?? [];
  const shifted = [panel.time_from && `last ${panel.time_from}`, panel.time_shift && `${panel.time_shift} earlier`].filter(Boolean).join(", ");
  return (
    <section ref={ref} class={`card panel ${panel.transparent ? "bare" : ""} ${props.height < 60 ? "tiny" : ""}`} aria-label={title || panel.kind} data-panel={panel.id} data-kind={panel.kind} data-state={text ? "done" : loaded.error ? "error" : data ? (data.frames.length ? "done" : "empty") : "loading"}>
      <header>
        <h2 title={panel.description ?? ""}>{title}{panel.description && <sup class="muted" aria-hidden="true"> i</sup>}</h2>
        {shifted && <span class="muted">{shifted}</span>}
        {notices.length > 0 && <span class="warn" role="img" aria-label={`Notice: ${notices.join(" ")}`} title={notices.join("\n")}>⚠</span>}
        {data && loaded.loading && <span class="muted" aria-hidden="true">…</span>}
        <Menu panel={panel} scope={scope} full={props.full} inspect={setInspect} />
      </header>
      <div style={`min-height:${Math.min(props.height, 30)}px`}>
        {text ? <TextBody panel={panel} scope={scope} height={props.height} /> : (
          <View of={loaded} empty={(d) => d === null} none={panel.queries.length ? "Loading …" : "This panel asks nothing."}>
            {(d) => d && <PanelBody panel={panel} data={d} scope={windowOf(panel, scope)} height={props.height} marks={props.marks} />}
          </View>
        )}
      </div>
      {inspect && <Inspect what={inspect} panel={panel} data={data} title={title} close={() => setInspect(null)} />}
    </section>
  );
}

function Menu(props: { panel: Panel; scope: Scope; full: boolean; inspect: (what: "data" | "query" | "json") => void }): JSX.Element {
  const { panel, scope } = props;
  const box = useRef<HTMLDetailsElement>(null);
  const first = panel.queries.find((q) => !q.hidden && EXPLORE[q.language]);
  const range = `from=${scope.start}&to=${scope.end}`;
  const close = (work: () => void) => () => {
    if (box.current) box.current.open = false;
    work();
  };
  return (
    <details class="menu" ref={box} onFocusOut={(e) => { if (!e.currentTarget.contains(e.relatedTarget as Node | null)) e.currentTarget.open = false; }}
      onKeyDown={(e) => { if (e.key === "Escape") e.currentTarget.open = false; }}>
      <summary aria-label={`Menu of ${panel.title || "panel"}`}>⋮</summary>
      <div>
        <button onClick={close(() => setQuery({ panel: props.full ? null : String(panel.id) }, false))}>{props.full ? "Back to the dashboard" : "Full screen"}</button>
        {first && <a href={`/explore/${EXPLORE[first.language] ?? ""}?query=${encodeURIComponent(interpolate(first.expr, windowOf(panel, scope)))}&${range}`}>Explore</a>}
        <a href={`${path.value}?edit=1&panel=${panel.id}`}>Edit</a>
        <button onClick={close(() => props.inspect("data"))}>Data</button>
        <button onClick={close(() => props.inspect("query"))}>Queries</button>
        <button onClick={close(() => props.inspect("json"))}>JSON</button>
        {panel.links.map((l) => <a key={l.url} href={interpolate(l.url, scope)}>{interpolate(l.title, scope) || l.url}</a>)}
      </div>
    </details>
  );
}

function csv(data: PanelData): string {
  const cell = (v: unknown) => (typeof v === "string" && /[",\n]/.test(v) ? `"${v.replaceAll('"', '""')}"` : String(v ?? ""));
  return data.frames.map((f) => [f.fields.map((c) => cell(c.name)).join(","), ...(f.fields[0]?.values ?? []).map((_, r) => f.fields.map((c) => cell(c.type === "time" ? new Date(Number(c.values[r])).toISOString() : c.values[r])).join(","))].join("\n")).join("\n\n");
}

function Inspect(props: { what: "data" | "query" | "json"; panel: Panel; data: PanelData | null; title: string; close: () => void }): JSX.Element {
  const [part, setPart] = useState(0);
  const frames = props.data?.frames ?? [];
  const frame = frames[Math.min(part, frames.length - 1)];
  return (
    <dialog class="wide" ref={(d) => { if (d && !d.open) d.showModal(); }} onClose={props.close} aria-label={`${props.what} of ${props.title}`}>
      <div class="row"><h2 class="grow" style="margin:0">{props.title || "Panel"}: {props.what}</h2><button onClick={props.close}>Close</button></div>
      {props.what === "data" && (frame ? (
        <>
          <div class="row" style="margin:8px 0">
            {frames.length > 1 && <select aria-label="Part" value={String(part)} onChange={(e) => setPart(Number(e.currentTarget.value))}>{frames.slice(0, 300).map((f, i) => <option key={i} value={String(i)}>{f.fields.at(-1)?.name ?? f.refId}</option>)}</select>}
            <span class="grow" />
            <a href={`data:text/csv;charset=utf-8,${encodeURIComponent(props.data ? csv(props.data).slice(0, 2_000_000) : "")}`} download={`${props.title || "panel"}.csv`}>CSV</a>
          </div>
          <TablePanel frames={[frame]} height={460} />
        </>
      ) : <div class="note">No data.</div>)}
      {props.what === "query" && (props.data?.asked ?? []).map((q) => (
        <div key={q.ref} style="margin-top:10px"><b>{q.ref}</b> <span class="muted">{q.language}, step {q.step} s, {q.rows} values in {formatDuration(q.ms)}</span><pre>{q.expr}</pre></div>
      ))}
      {props.what === "json" && <pre class="scroll" style="max-height:60vh" tabIndex={0}>{JSON.stringify(props.panel, null, 2)}</pre>}
    </dialog>
  );
}
