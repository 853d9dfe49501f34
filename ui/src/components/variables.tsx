import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { ALL, type Filter, type Variable } from "../lib/variables";

/** The choices of a dashboard's variables, and its label filters. */
export function VariablesBar(props: {
  variables: Variable[];
  values: Record<string, string[]>;
  filters: Filter[];
  change: (name: string, values: string[]) => void;
  changeFilters: (filters: Filter[]) => void;
}): JSX.Element | null {
  const shown = props.variables.filter((v) => !v.hidden && v.kind !== "constant");
  if (shown.length === 0) return null;
  return (
    <div class="row variables" role="group" aria-label="Variables">
      {shown.map((v) => {
        const values = props.values[v.name] ?? [];
        const set = (next: string[]) => props.change(v.name, next);
        const label = v.label ?? v.name;
        if (v.kind === "adhoc") return <Filters key={v.name} label={label} filters={props.filters} change={props.changeFilters} />;
        if (v.kind === "textbox") return <label key={v.name}><span>{label}</span><input value={values[0] ?? ""} onChange={(e) => set([e.currentTarget.value])} /></label>;
        if (v.kind === "switch") return <label key={v.name}><span>{label}</span><input type="checkbox" checked={values[0] === v.options[0]} onChange={(e) => set([v.options[e.currentTarget.checked ? 0 : 1] ?? ""])} /></label>;
        return v.multi ? <Several key={v.name} variable={v} label={label} values={values} change={set} /> : (
          <label key={v.name}><span>{label}</span>
            <select value={values[0] ?? ""} onChange={(e) => set([e.currentTarget.value])}>
              {v.include_all && <option value={ALL}>All</option>}
              {!v.options.includes(values[0] ?? "") && values[0] !== ALL && <option value={values[0] ?? ""}>{values[0] || "–"}</option>}
              {v.options.filter((o) => o !== ALL).slice(0, 1000).map((o) => <option key={o} value={o}>{text(v, o)}</option>)}
            </select>
          </label>
        );
      })}
    </div>
  );
}

function text(v: Variable, option: string): string {
  return v.texts[v.options.indexOf(option)] ?? option;
}

function Several(props: { variable: Variable; label: string; values: string[]; change: (values: string[]) => void }): JSX.Element {
  const [find, setFind] = useState("");
  const v = props.variable;
  const all = props.values.includes(ALL);
  const summary = all ? "All" : props.values.length > 2 ? `${props.values.length} chosen` : props.values.map((o) => text(v, o)).join(", ") || "–";
  const options = v.options.filter((o) => o !== ALL && text(v, o).toLowerCase().includes(find.toLowerCase()));
  const toggle = (o: string, on: boolean) => {
    const next = on ? [...props.values.filter((x) => x !== ALL), o] : props.values.filter((x) => x !== o && x !== ALL);
    props.change(next.length ? next : v.include_all ? [ALL] : v.options.slice(0, 1));
  };
  return (
    <div class="label"><span>{props.label}</span>
      <details class="menu" onKeyDown={(e) => { if (e.key === "Escape") e.currentTarget.open = false; }} onFocusOut={(e) => { if (e.relatedTarget && !e.currentTarget.contains(e.relatedTarget as Node)) e.currentTarget.open = false; }}>
        <summary class="button" aria-label={`${props.label}: ${summary}`}>{summary}</summary>
        <div>
          {v.options.length > 8 && <input aria-label={`Find in ${props.label}`} placeholder="Find" value={find} onInput={(e) => setFind(e.currentTarget.value)} />}
          {v.include_all && <label class="tick"><input type="checkbox" checked={all} onChange={() => props.change(all ? v.options.slice(0, 1) : [ALL])} /> All</label>}
          {options.slice(0, 300).map((o) => <label class="tick" key={o}><input type="checkbox" checked={!all && props.values.includes(o)} onChange={(e) => toggle(o, e.currentTarget.checked)} /> {text(v, o)}</label>)}
          {options.length > 300 && <span class="muted">{options.length - 300} more</span>}
        </div>
      </details>
    </div>
  );
}

function Filters(props: { label: string; filters: Filter[]; change: (f: Filter[]) => void }): JSX.Element {
  const [typed, setTyped] = useState("");
  const [error, setError] = useState(false);
  const add = () => {
    const m = /^\s*([a-zA-Z_][\w.]*)\s*(=~|!~|!=|=)\s*"?(.*?)"?\s*$/.exec(typed);
    setError(!m);
    if (!m) return;
    props.change([...props.filters, { key: m[1] ?? "", op: m[2] ?? "=", value: m[3] ?? "" }]);
    setTyped("");
  };
  return (
    <div class="label"><span>{props.label}</span>
      {props.filters.map((f, i) => <button class="small mono" key={i} title="Take it away" onClick={() => props.change(props.filters.filter((_, at) => at !== i))}>{`${f.key}${f.op}"${f.value}" ✕`}</button>)}
      <input class="mono" aria-label={`Add to ${props.label}`} aria-invalid={error} placeholder='label="value"' value={typed} onInput={(e) => setTyped(e.currentTarget.value)} onKeyDown={(e) => { if (e.key === "Enter") { e.preventDefault(); add(); } }} />
    </div>
  );
}
