import { useMemo, useState } from "preact/hooks";
import type { JSX } from "preact";
import { inkOn } from "../lib/color";
import { field, numberOf, rowCount, type Field, type Frame } from "../lib/frame";
import { displayName, fillLink, show } from "../lib/shown";
import { transform } from "../lib/transform";
import { token } from "../state/theme";

const ROWS_MAX = 500;

/** Series become rows with their last value; several tables are joined or merged. */
export function asTable(frames: Frame[]): Frame {
  const [first] = frames;
  if (!first) return { refId: "", fields: [] };
  if (frames.length === 1) return first;
  if (frames.every((f) => f.fields.some((c) => c.type === "string"))) return transform(frames, [{ id: "merge", options: {} }]).frames[0] ?? first;
  if (frames.every((f) => rowCount(f) <= 1)) {
    const values = frames.map((f) => f.fields.find((c) => c.type === "number"));
    const settings = values.find((v) => v)?.settings;
    const value = field("Value", "number", values.map((v) => v?.values[0] ?? null));
    return { refId: first.refId, fields: [field("Series", "string", values.map((v) => (v ? displayName(v) : ""))), settings ? { ...value, settings } : value] };
  }
  return transform(frames, [{ id: "joinByField", options: {} }]).frames[0] ?? first;
}

export function TablePanel(props: { frames: Frame[]; height: number; options?: Record<string, unknown>; fill?: (text: string) => string }): JSX.Element {
  const frame = useMemo(() => asTable(props.frames), [props.frames]);
  const wanted = (props.options?.["sortBy"] as { displayName?: string; desc?: boolean }[] | undefined)?.[0];
  const [sort, setSort] = useState<{ name: string; desc: boolean } | null>(wanted?.displayName ? { name: wanted.displayName, desc: wanted.desc ?? false } : null);
  const columns = frame.fields.filter((f) => f.settings.custom["hidden"] !== true && !(f.settings.custom["hideFrom"] as { viz?: boolean } | undefined)?.viz);
  const rows = useMemo(() => {
    const all = Array.from({ length: rowCount(frame) }, (_, i) => i);
    const by = frame.fields.find((f) => displayName(f) === sort?.name || f.name === sort?.name);
    if (by) {
      all.sort((a, b) => {
        const [x, y] = [by.values[a] ?? null, by.values[b] ?? null];
        if (x === null || y === null) return x === y ? 0 : x === null ? 1 : -1;
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
        return sort?.desc ? -order : order;
      });
    }
    return all;
  }, [frame, sort]);
  const top = new Map(columns.map((f) => [f, f.settings.max ?? Math.max(...f.values.map((v) => Math.abs(numberOf(v) ?? 0)), 1e-12)]));
  const cell = (f: Field, r: number): JSX.Element => {
    const v = f.values[r];
    const shown = show(v, f.settings, token, f.type);
    const kind = ((f.settings.custom["cellOptions"] ?? {}) as { type?: string }).type ?? String(f.settings.custom["displayMode"] ?? "auto");
    const color = shown.mapped || kind.startsWith("color") || kind === "gauge" ? shown.color : "";
    const link = f.settings.links[0];
    const inner = link ? <a href={fillLink(link.url, v ?? null, f, frame, r, props.fill ?? ((t) => t))} title={link.title}>{shown.text}</a> : shown.text;
    const style = color && kind.includes("background") ? `background:${color};color:${inkOn(color)}` : color ? `color:${color}` : "";
    const classes = `${f.type === "number" ? "num" : ""}${f.type === "time" ? "nowrap" : ""}`;
    if (kind === "gauge" || kind.includes("gauge")) {
      const share = Math.min(100, (Math.abs(numberOf(v) ?? 0) / (top.get(f) ?? 1)) * 100);
      return <td class={classes} key={f.name}><div class="row nowrap"><div class="bar wide grow"><i style={`width:${share}%;background:${shown.color || "var(--accent)"}`} /></div><span style={style}>{inner}</span></div></td>;
    }
    return <td class={classes} style={style} key={f.name}>{inner}</td>;
  };
  return (
    <div class="scroll" style={`max-height:${props.height}px`} tabIndex={0} role="region" aria-label="Table">
      <table class="data">
        {props.options?.["showHeader"] !== false && (
          <thead><tr>{columns.map((f) => {
            const name = displayName(f);
            const width = numberOf(f.settings.custom["width"] as number | undefined);
            return (
              <th key={f.name} class={f.type === "number" ? "num" : ""} style={width ? `min-width:${Math.min(width, 320)}px` : ""} aria-sort={sort?.name === name ? (sort.desc ? "descending" : "ascending") : "none"}>
                <button onClick={() => setSort({ name, desc: sort?.name === name ? !sort.desc : f.type === "number" })}>{name}{sort?.name === name && (sort.desc ? " ▾" : " ▴")}</button>
              </th>
            );
          })}</tr></thead>
        )}
        <tbody>{rows.slice(0, ROWS_MAX).map((r) => <tr key={r}>{columns.map((f) => cell(f, r))}</tr>)}</tbody>
      </table>
      {rows.length > ROWS_MAX && <p class="muted">{rows.length - ROWS_MAX} more rows are not shown</p>}
    </div>
  );
}
