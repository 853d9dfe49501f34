// Editing a dashboard. Loaded only when somebody does; the document is Grafana's JSON, and the
// server says with each change how it would be shown and what is wrong with it.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { ApiFailure, get, getText, send } from "../api/client";
import type { Dashboard, DashboardProblem as Problem, Panel } from "../api/types";
import { Page } from "../components/shell";
import { View } from "../components/ui";
import { VariablesBar } from "../components/variables";
import { interpolate, type Scope } from "../lib/variables";
import { PanelFrame } from "../panels/frame";
import { useLoad } from "../state/load";
import { range } from "../state/range";
import { go, query, setQuery } from "../state/route";
import { resolve } from "../state/variables";
import { addPanel, changePanel, duplicatePanel, EMPTY, findPanel, foldRow, gridOf, idOf, objects, panelsOf, placePanel, removePanel, str, type Grid, type Obj } from "./board";
import { useHistory, type History } from "./history";
import { PanelForm } from "./panelform";
import { Settings, Versions, WholeJson } from "./settings";

const CELL = 34;
const CHECK_MS = 250;
const UNITS = ["short", "none", "percent", "percentunit", "bytes", "decbytes", "Bps", "bps", "s", "ms", "µs", "ops", "reqps", "cps", "eps", "pps", "iops", "hertz", "celsius", "bool", "dateTimeAsIso"];
const COLORS = ["green", "dark-green", "yellow", "orange", "red", "dark-red", "blue", "light-blue", "purple", "text", "transparent", "#3fb68b"];

interface Checked {
  ok: boolean;
  fatal: boolean;
  problems: Problem[];
  view: Dashboard | null;
}

interface Start {
  doc: Obj;
  version: number;
  editable: boolean;
  file: string | null;
}

/** `id` is empty for a new dashboard. */
export default function Editor(props: { id: string }): JSX.Element {
  const start = useLoad(props.id, async (signal): Promise<Start> => {
    if (!props.id) return { doc: EMPTY, version: 0, editable: true, file: null };
    const path = `/obs/dashboards/${encodeURIComponent(props.id)}`;
    const [doc, shown] = await Promise.all([getText(`${path}/grafana`), get<Dashboard>(path, {}, signal)]);
    return { doc: JSON.parse(doc) as Obj, version: shown.version, editable: shown.editable, file: shown.file };
  });
  if (!start.data) return <Page title="Edit"><View of={start}>{() => null}</View></Page>;
  return <Opened id={props.id} start={start.data} />;
}

/** How the server would show the document, a moment after its last change. */
function useChecked(doc: Obj): { checked: Checked | null; error: string } {
  const [checked, setChecked] = useState<Checked | null>(null);
  const [error, setError] = useState("");
  useEffect(() => {
    let current = true;
    const timer = window.setTimeout(() => {
      send<Checked>("POST", "/obs/dashboards/check", doc).then(
        (found) => {
          if (!current) return;
          // Without a view the last one stays, so that the page does not go blank at a typing error.
          setChecked((old) => ({ ...found, view: found.view ?? old?.view ?? null }));
          setError("");
        },
        (e: unknown) => current && setError(e instanceof Error ? e.message : String(e)),
      );
    }, checked ? CHECK_MS : 0);
    return () => { current = false; window.clearTimeout(timer); };
  }, [doc]);
  return { checked, error };
}

const TABS: [string, string][] = [["panels", "Panels"], ["settings", "Settings and variables"], ["json", "JSON"], ["versions", "Versions"]];

function Opened(props: { id: string; start: Start }): JSX.Element {
  const history = useHistory(props.start.doc);
  const { doc, change } = history;
  const { checked, error } = useChecked(doc);
  const [version, setVersion] = useState(props.start.version);
  const [saving, setSaving] = useState<"no" | "asking" | "busy">("no");
  const [refused, setRefused] = useState("");
  const [said, setSaid] = useState("");
  const view = checked?.view ?? null;
  const base: Scope = { variables: [], values: {}, ...range.value };
  const params = query.value;
  const chosen = (name: string) => (params.has(`var-${name}`) ? params.getAll(`var-${name}`) : null);
  const variables = JSON.stringify(view?.variables ?? []);
  const resolved = useLoad(`${variables}#${[...params].filter(([k]) => k.startsWith("var-")).join("&")}#${Math.floor(base.end / 60)}`, async (signal) => resolve(view?.variables ?? [], chosen, base, signal));
  const scope: Scope = { ...(resolved.data ?? base), start: base.start, end: base.end, step: base.step };
  const tab = params.get("tab") ?? "panels";
  const selected = Number(params.get("panel")) || 0;
  const title = str(doc["title"]) || "Untitled";

  useEffect(() => {
    const warn = (e: BeforeUnloadEvent) => { if (history.dirty) e.preventDefault(); };
    const key = (e: KeyboardEvent) => {
      if (!(e.ctrlKey || e.metaKey)) return;
      const typing = (e.target as HTMLElement).matches("textarea, input:not([type=checkbox])");
      if (e.key === "s") { e.preventDefault(); setSaving("asking"); }
      if (typing) return;
      if (e.key === "z" && !e.shiftKey) { e.preventDefault(); history.undo(); }
      if (e.key === "y" || (e.key === "Z" && e.shiftKey)) { e.preventDefault(); history.redo(); }
    };
    window.addEventListener("beforeunload", warn);
    document.addEventListener("keydown", key);
    return () => { window.removeEventListener("beforeunload", warn); document.removeEventListener("keydown", key); };
  });

  const save = async (message: string, force: boolean, uid: string) => {
    setSaving("busy");
    setRefused("");
    const words = `message=${encodeURIComponent(message)}&force=${force}`;
    try {
      const done = await (props.id && !uid
        ? send<{ id: string; version: number }>("PUT", `/obs/dashboards/${encodeURIComponent(props.id)}?${words}&based_on=${version}`, doc)
        : send<{ id: string; version: number }>("POST", `/obs/dashboards?${words}&based_on=0`, { ...doc, uid: uid || str(doc["uid"]) }));
      history.saved();
      setVersion(done.version);
      setSaving("no");
      setSaid(`Saved as version ${done.version}.`);
      if (done.id !== props.id) go(`/dashboards/${done.id}?edit=1`);
    } catch (e) {
      setSaving("asking");
      setRefused(e instanceof ApiFailure || e instanceof Error ? e.message : String(e));
    }
  };
  const leave = () => {
    if (!history.dirty || window.confirm("Leave without saving? The changes are lost.")) {
      history.saved();
      go(props.id ? `/dashboards/${props.id}` : "/dashboards");
    }
  };
  const select = (id: number) => setQuery({ panel: id ? String(id) : null, tab: null }, false);
  const add = (kind: string) => {
    const [next, id] = addPanel(doc, kind);
    change(next);
    select(id);
  };
  const problems = checked?.problems.filter((p) => p.severity !== "info") ?? [];
  const panel = selected ? findPanel(doc, selected) : undefined;
  return (
    <Page title={`Edit: ${title}`} actions={
      <>
        <button disabled={!history.canUndo} onClick={history.undo} title="Undo (Ctrl+Z)">Undo</button>
        <button disabled={!history.canRedo} onClick={history.redo} title="Redo (Ctrl+Y)">Redo</button>
        <button onClick={leave}>{history.dirty ? "Discard" : "Close"}</button>
        <button class="primary" disabled={saving === "busy"} onClick={() => setSaving("asking")} title="Save (Ctrl+S)">Save</button>
      </>
    }>
      <datalist id="edit-units">{UNITS.map((u) => <option key={u} value={u} />)}</datalist>
      <datalist id="edit-colors">{COLORS.map((c) => <option key={c} value={c} />)}</datalist>
      <div class="row edit-tabs">
        <div class="row" role="tablist" aria-label="Parts of the dashboard">{TABS.filter(([name]) => name !== "versions" || props.id).map(([name, text]) => (
          <button key={name} role="tab" aria-selected={tab === name} onClick={() => setQuery({ tab: name === "panels" ? null : name, panel: null }, false)}>{text}</button>
        ))}</div>
        <span class="grow" />
        <span class="muted" role="status">{history.dirty ? "not saved yet" : said || (version ? `version ${version}` : "")}</span>
      </div>
      {!props.start.editable && <p class="warn">This dashboard comes from {props.start.file}; its provider does not allow changes here. It can be saved under another uid.</p>}
      {error && <div class="note error" role="alert">{error}</div>}
      <ProblemList problems={problems} select={select} doc={doc} />
      {tab === "settings" && <Settings doc={doc} change={change} />}
      {tab === "json" && <WholeJson key={history.canUndo ? "changed" : "first"} doc={doc} change={change} />}
      {tab === "versions" && props.id && <Versions id={props.id} change={change} />}
      {tab === "panels" && view && (
        <div class={panel ? "edit-split" : ""}>
          <div class="stack">
            <div class="row">
              <VariablesBar variables={scope.variables} values={scope.values} filters={[]} change={(name, values) => setQuery({ [`var-${name}`]: values })} changeFilters={() => undefined} />
              <span class="grow" />
              <button onClick={() => add("timeseries")}>Add a panel</button>
              <button onClick={() => add("text")}>Add a text</button>
              <button onClick={() => add("row")}>Add a row</button>
            </div>
            <Board doc={doc} view={view} scope={scope} selected={selected} history={history} select={select} />
            {panelsOf(doc).length === 0 && <div class="note">This dashboard has no panels yet.</div>}
          </div>
          {panel && (
            <aside class="edit-side" aria-label={`Settings of ${str(panel["title"]) || "the panel"}`}>
              <div class="row nowrap"><h2 class="grow">{str(panel["title"]) || "Panel"}</h2><button aria-label="Close the panel's settings" onClick={() => select(0)}>✕</button></div>
              <PanelForm key={selected} panel={panel} variables={objects(objectOf(doc, "templating")["list"]).map((v) => str(v["name"])).filter((n) => !n.startsWith("ds_"))} change={(next, key) => change(changePanel(doc, selected, () => next), key ? `${selected}.${key}` : "")} run={() => change({ ...doc })} />
            </aside>
          )}
        </div>
      )}
      {saving !== "no" && <SaveDialog busy={saving === "busy"} refused={refused} problems={problems} fresh={!props.id} locked={!props.start.editable} uid={str(doc["uid"])} save={save} close={() => { setSaving("no"); setRefused(""); }} />}
    </Page>
  );
}

function objectOf(doc: Obj, name: string): Obj {
  return (doc[name] ?? {}) as Obj;
}

function ProblemList(props: { problems: Problem[]; doc: Obj; select: (id: number) => void }): JSX.Element | null {
  if (props.problems.length === 0) return null;
  const errors = props.problems.filter((p) => p.severity === "error").length;
  const panelAt = (path: string): number => {
    const found = /^panels\[(\d+)\](?:\.panels\[(\d+)\])?/.exec(path);
    const outer = panelsOf(props.doc)[Number(found?.[1])];
    const inner = found?.[2] ? objects(outer?.["panels"])[Number(found[2])] : outer;
    return found && inner ? idOf(inner) : 0;
  };
  return (
    <details class="note problems" open={errors > 0}>
      <summary>{errors ? `${errors} error${errors > 1 ? "s" : ""}` : ""}{errors && errors < props.problems.length ? ", " : ""}{props.problems.length > errors ? `${props.problems.length - errors} warnings` : ""}</summary>
      <ul>{props.problems.slice(0, 50).map((p, i) => {
        const id = panelAt(p.path);
        return <li key={i}><b class={p.severity === "error" ? "bad" : "warn"}>{p.severity}</b> {p.message} <span class="muted">Expected: {p.expected}.</span> {id > 0 && <button class="small" onClick={() => props.select(id)}>Go to the panel</button>}</li>;
      })}</ul>
    </details>
  );
}

function SaveDialog(props: { busy: boolean; refused: string; problems: Problem[]; fresh: boolean; locked: boolean; uid: string; save: (message: string, force: boolean, uid: string) => Promise<void>; close: () => void }): JSX.Element {
  const [message, setMessage] = useState("");
  const [force, setForce] = useState(false);
  const [other, setOther] = useState(props.locked ? `${props.uid}-copy` : "");
  const submit = (e: Event) => {
    e.preventDefault();
    void props.save(message, force, other.trim());
  };
  return (
    <dialog ref={(d) => { if (d && !d.open) d.showModal(); }} onClose={props.close} aria-label="Save the dashboard">
      <form onSubmit={submit}>
        <h2 style="margin:0 0 8px">Save the dashboard</h2>
        <label><span>What was changed (for the versions and the receipt)</span><input value={message} onInput={(e) => setMessage(e.currentTarget.value)} /></label>
        <label><span>{props.fresh ? "Uid; empty makes one of the title" : "Save as another dashboard, under the uid"}</span><input value={other} required={props.locked} pattern="[A-Za-z0-9_\-]{0,40}" onInput={(e) => setOther(e.currentTarget.value)} /></label>
        {props.problems.some((p) => p.severity === "error") && <label class="tick"><input type="checkbox" checked={force} onChange={(e) => setForce(e.currentTarget.checked)} /> Save in spite of errors</label>}
        {props.refused && <div class="note error" role="alert">{props.refused}</div>}
        <div class="row end" style="margin-top:10px"><button type="button" onClick={props.close}>Cancel</button><button class="primary" disabled={props.busy}>Save</button></div>
      </form>
    </dialog>
  );
}

function Board(props: { doc: Obj; view: Dashboard; scope: Scope; selected: number; history: History; select: (id: number) => void }): JSX.Element {
  const { doc, view, scope, history } = props;
  const board = useRef<HTMLDivElement>(null);
  const shown = useMemo(() => new Map(view.panels.map((p) => [p.id, p])), [view]);
  return (
    <div class="board editing" ref={board}>
      {panelsOf(doc).map((p) => {
        const id = idOf(p);
        const g = gridOf(p);
        return (
          <div key={id} class={`cell ${id === props.selected ? "chosen" : ""}`} data-cell={id} style={`--x:${g.x + 1};--w:${g.w};--y:${g.y + 1};--h:${g.h}`}>
            <Cell json={p} panel={shown.get(id)} view={view} scope={scope} grid={g} board={board} history={history} doc={doc} select={props.select} chosen={id === props.selected} />
          </div>
        );
      })}
    </div>
  );
}

interface CellProps {
  json: Obj;
  panel: Panel | undefined;
  view: Dashboard;
  scope: Scope;
  grid: Grid;
  board: { current: HTMLDivElement | null };
  history: History;
  doc: Obj;
  select: (id: number) => void;
  chosen: boolean;
}

const ARROWS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function Cell(props: CellProps): JSX.Element {
  const { json, panel, grid, doc, history } = props;
  const id = idOf(json);
  const row = str(json["type"]) === "row";
  const title = str(json["title"]) || (row ? "Row" : "panel");
  const put = (to: Partial<Grid>, key: string) => history.change(placePanel(doc, id, to), key);
  // Arrow keys move, with Shift they resize: what the mouse can do, keys can.
  const arrows = (resize: boolean) => (e: KeyboardEvent) => {
    const by = ARROWS[e.key];
    if (!by) return;
    e.preventDefault();
    const [dx, dy] = by;
    if (resize || e.shiftKey) put({ w: grid.w + dx, h: grid.h + dy }, "");
    else put({ x: grid.x + dx, y: Math.max(0, grid.y + (dy > 0 ? Math.max(1, dy) : dy)) }, "");
  };
  const drag = (resize: boolean) => (e: PointerEvent) => {
    if (e.button !== 0 || !props.board.current) return;
    e.preventDefault();
    const handle = e.currentTarget as HTMLElement;
    handle.focus();
    handle.setPointerCapture(e.pointerId);
    const cell = props.board.current.clientWidth / 24;
    const from = { x: e.clientX, y: e.clientY, grid };
    const key = `drag${id}.${e.timeStamp}`;
    const move = (m: PointerEvent) => {
      const dx = Math.round((m.clientX - from.x) / cell);
      const dy = Math.round((m.clientY - from.y) / CELL);
      put(resize ? { w: from.grid.w + dx, h: from.grid.h + dy } : { x: from.grid.x + dx, y: from.grid.y + dy }, key);
    };
    const end = () => {
      handle.removeEventListener("pointermove", move);
      handle.removeEventListener("pointerup", end);
      handle.removeEventListener("pointercancel", end);
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("pointerup", end);
    handle.addEventListener("pointercancel", end);
  };
  const copy = () => {
    const [next, made] = duplicatePanel(doc, id);
    history.change(next);
    props.select(made);
  };
  const tools = (
    <div class="tools" role="toolbar" aria-label={`Tools of ${title}`}>
      <button class="small grip" aria-label={`Move ${title}`} title="Drag, or arrow keys; with Shift they resize" onPointerDown={drag(false)} onKeyDown={arrows(false)}>⠿</button>
      <button class="small" aria-pressed={props.chosen} aria-label={`Edit ${title}`} onClick={() => props.select(props.chosen ? 0 : id)}>Edit</button>
      {!row && <button class="small" aria-label={`Copy ${title}`} onClick={copy}>Copy</button>}
      {row && <button class="small" aria-label={`${json["collapsed"] === true ? "Unfold" : "Fold"} ${title}`} onClick={() => history.change(foldRow(doc, id))}>{json["collapsed"] === true ? "Unfold" : "Fold"}</button>}
      <button class="small" aria-label={`Delete ${title}`} onClick={() => { history.change(removePanel(doc, id)); if (props.chosen) props.select(0); }}>✕</button>
    </div>
  );
  if (row) return <div class="edit-row"><h2>{interpolate(title, props.scope)}{json["collapsed"] === true && <span class="muted"> ({objects(json["panels"]).length} panels folded away)</span>}</h2>{tools}</div>;
  return (
    <>
      {panel ? <PanelFrame panel={panel} panels={props.view.panels} scope={props.scope} filters={[]} marks={[]} height={grid.h * CELL - 62} full={false} revision={JSON.stringify({ ...panel, grid: null, title: "" })} /> : <div class="card panel"><div class="note">Not checked yet</div></div>}
      {tools}
      <button class="corner" aria-label={`Resize ${title}`} title="Drag, or arrow keys" onPointerDown={drag(true)} onKeyDown={arrows(true)} />
    </>
  );
}
