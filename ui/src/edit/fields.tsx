import type { JSX } from "preact";

/** Labelled boxes that the editor's forms are made of. */
export function Text(props: { label: string; value: string; change: (v: string) => void; list?: string; placeholder?: string; mono?: boolean }): JSX.Element {
  return (
    <label class="field"><span>{props.label}</span>
      <input class={props.mono ? "mono" : ""} value={props.value} list={props.list} placeholder={props.placeholder} onInput={(e) => props.change(e.currentTarget.value)} />
    </label>
  );
}

export function Numeric(props: { label: string; value: number | null; change: (v: number | undefined) => void; step?: string; min?: number }): JSX.Element {
  return (
    <label class="field"><span>{props.label}</span>
      <input type="number" step={props.step ?? "any"} min={props.min} value={props.value ?? ""} onInput={(e) => {
        const v = e.currentTarget.value.trim();
        props.change(v === "" || Number.isNaN(Number(v)) ? undefined : Number(v));
      }} />
    </label>
  );
}

export function Choice(props: { label: string; value: string; options: (string | [string, string])[]; change: (v: string) => void }): JSX.Element {
  const options = props.options.map((o): [string, string] => (typeof o === "string" ? [o, o] : o));
  return (
    <label class="field"><span>{props.label}</span>
      <select value={props.value} onChange={(e) => props.change(e.currentTarget.value)}>
        {!options.some(([v]) => v === props.value) && <option value={props.value}>{props.value || "–"}</option>}
        {options.map(([v, text]) => <option key={v} value={v}>{text}</option>)}
      </select>
    </label>
  );
}

export function Tick(props: { label: string; value: boolean; change: (v: boolean) => void }): JSX.Element {
  return <label class="tick"><input type="checkbox" checked={props.value} onChange={(e) => props.change(e.currentTarget.checked)} /> {props.label}</label>;
}

/** A colour by its name or as `#rrggbb`, with the colour itself beside it. */
export function Color(props: { label: string; value: string; shown: string; change: (v: string) => void }): JSX.Element {
  return (
    <label class="field color"><span>{props.label}</span>
      <span class="row nowrap"><i class="dot" style={`background:${props.shown || "transparent"}`} /><input value={props.value} list="edit-colors" onInput={(e) => props.change(e.currentTarget.value)} /></span>
    </label>
  );
}
