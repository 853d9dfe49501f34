import { useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { formatTime } from "../lib/time";
import { now, PRESETS, range, rangeText, setLast, zoom } from "../state/range";
import { query } from "../state/route";

/** `2025-12-06 14:30`, an ISO instant or Unix seconds, in UTC; `null` if it is none of them. */
export function parseInstant(text: string): number | null {
  const t = text.trim();
  if (/^\d{9,11}$/.test(t)) return Number(t);
  const iso = t.replace(" UTC", "Z").replace(" ", "T");
  const at = Date.parse(/(Z|[+-]\d\d:?\d\d)$/.test(iso) ? iso : `${iso.length === 10 ? `${iso}T00:00` : iso}Z`);
  return Number.isNaN(at) ? null : at / 1000;
}

/** The range of the page: a preset, any duration, or two instants; and steps back, on and out. */
export function TimePicker(): JSX.Element {
  const box = useRef<HTMLDetailsElement>(null);
  const fixed = query.value.has("from");
  const { start, end } = range.value;
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const [error, setError] = useState("");
  const span = end - start;
  const shift = (by: number) => zoom(start + by * span, end + by * span);
  const apply = (e: Event) => {
    e.preventDefault();
    const [a, b] = [parseInstant(from), to.trim() === "" || to.trim() === "now" ? now.value / 1000 : parseInstant(to)];
    if (a === null || b === null || b <= a) {
      setError("write two instants such as 2025-12-06 14:30, the second one later");
      return;
    }
    setError("");
    zoom(a, b);
    if (box.current) box.current.open = false;
  };
  return (
    <div class="row nowrap" role="group" aria-label="Time range">
      <button aria-label="Earlier" title="Earlier ( [ )" onClick={() => shift(-0.5)}>‹</button>
      <div class="seg presets">
        {PRESETS.map((p) => <button key={p} aria-pressed={!fixed && rangeText.value === p} onClick={() => setLast(p)}>{p}</button>)}
      </div>
      <details class="menu" ref={box} onKeyDown={(e) => { if (e.key === "Escape") e.currentTarget.open = false; }}
        onToggle={(e) => {
          if (!e.currentTarget.open) return;
          setFrom(formatTime(start * 1000).slice(0, 19));
          setTo(formatTime(end * 1000).slice(0, 19));
        }}>
        <summary class="button">{fixed ? `${formatTime(start * 1000).slice(5, 16)} – ${formatTime(end * 1000).slice(5, 16)} UTC` : PRESETS.includes(rangeText.value) ? "Custom" : `last ${rangeText.value}`}</summary>
        <form onSubmit={apply}>
          <label><span>From (UTC)</span><input value={from} onInput={(e) => setFrom(e.currentTarget.value)} /></label>
          <label><span>To (UTC)</span><input value={to} onInput={(e) => setTo(e.currentTarget.value)} /></label>
          {error && <p class="bad">{error}</p>}
          <div class="row end"><button class="primary">Apply</button></div>
          <label><span>Or the last, such as 90m or 2d</span>
            <input placeholder={rangeText.value} onKeyDown={(e) => { if (e.key === "Enter") { e.preventDefault(); setLast(e.currentTarget.value.trim()); } }} /></label>
        </form>
      </details>
      <button aria-label="Later" title="Later ( ] )" onClick={() => shift(0.5)}>›</button>
      <button aria-label="Zoom out" title="Zoom out ( - )" onClick={() => zoom(start - span / 2, end + span / 2)}>−</button>
    </div>
  );
}
