import { useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import type uPlot from "uplot";
import { formatTime } from "../lib/time";
import { around, type Mark } from "../state/events";

/** Marks that lie too near to each other to be told apart, at one place of the axis. */
export interface Place {
  /** Pixels from the left of the chart, and from its top to the axis. */
  x: number;
  y: number;
  marks: Mark[];
}

const NEAR_PX = 10;
const LISTED_MAX = 8;

/** Where the marks within the axis are, from the left to the right. */
export function placesOf(u: uPlot, marks: readonly Mark[]): Place[] {
  const { over } = u;
  const [left, y] = [over.offsetLeft, over.offsetTop + over.clientHeight];
  const places: Place[] = [];
  for (const mark of [...marks].sort((a, b) => a.time - b.time)) {
    const x = u.valToPos(mark.time, "x");
    if (!(x >= 0 && x <= over.clientWidth)) continue;
    const last = places.at(-1);
    if (last && left + x - last.x < NEAR_PX) last.marks.push(mark);
    else places.push({ x: left + x, y, marks: [mark] });
  }
  return places;
}

/** Draws the lines; the feet are links of the page and no part of the drawing. */
export function drawMarks(u: uPlot, marks: readonly Mark[]): void {
  const { ctx, bbox } = u;
  ctx.save();
  for (const m of marks) {
    const x = u.valToPos(m.time, "x", true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
    ctx.strokeStyle = m.color;
    ctx.globalAlpha = 0.8;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([3, 3]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function told(place: Place): string {
  return place.marks.slice(0, LISTED_MAX).map((m) => `${formatTime(m.time * 1000)} ${m.text}`).join("; ");
}

/** One stop of the Tab key for all marks of a chart; arrows go along them, Enter opens one. */
export function Marks(props: { places: Place[] }): JSX.Element | null {
  const { places } = props;
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(0);
  const [open, setOpen] = useState<number | null>(null);
  if (places.length === 0) return null;
  const stop = Math.min(at, places.length - 1);
  const move = (e: KeyboardEvent) => {
    if (e.key === "Escape") setOpen(null);
    const to = { ArrowLeft: stop - 1, ArrowRight: stop + 1, Home: 0, End: places.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    box.current?.querySelectorAll("a")[Math.max(0, Math.min(places.length - 1, to))]?.focus();
  };
  const shown = open === null ? undefined : places[open];
  return (
    <div class="marks" role="group" aria-label="Events on the chart" ref={box} onKeyDown={move}>
      {places.map((p, i) => {
        const first = p.marks[0];
        const href = p.marks.length === 1 && first?.href ? first.href : around(first?.time ?? 0);
        return (
          <a key={`${first?.time}${first?.text}`} href={href} tabIndex={i === stop ? 0 : -1} aria-label={told(p)} style={`left:${p.x}px;top:${p.y}px;--mark:${first?.color}`}
            onFocus={() => { setAt(i); setOpen(i); }} onBlur={() => setOpen(null)} onMouseEnter={() => setOpen(i)} onMouseLeave={() => setOpen(null)}>
            <i aria-hidden="true" />
          </a>
        );
      })}
      {shown && (
        <div class="tip" role="tooltip" style={`${shown.x > 420 ? `right:calc(100% - ${shown.x}px)` : `left:${shown.x}px`};bottom:calc(100% - ${shown.y - 6}px)`}>
          {shown.marks.slice(0, LISTED_MAX).map((m) => (
            <div key={`${m.time}${m.text}`}><span class="muted">{formatTime(m.time * 1000)}</span> <i class="swatch" style={`background:${m.color}`} /> {m.text}</div>
          ))}
          {shown.marks.length > LISTED_MAX && <div class="muted">and {shown.marks.length - LISTED_MAX} more</div>}
          <div class="muted">{shown.marks.length === 1 && shown.marks[0]?.href ? "Enter or click opens it" : "Enter or click shows what happened around it"}</div>
        </div>
      )}
    </div>
  );
}
