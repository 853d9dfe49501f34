import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { theme } from "../state/theme";

export interface Pen {
  ctx: CanvasRenderingContext2D;
  width: number;
  height: number;
}

/** A canvas that follows its box and the theme; `hit` says what lies under the pointer. */
export function Drawing(props: {
  height: number;
  label: string;
  of: unknown;
  draw: (pen: Pen) => void;
  hit?: (x: number, y: number, width: number) => ComponentChildren;
  click?: (x: number, y: number, width: number) => void;
}): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [tip, setTip] = useState<{ x: number; y: number; body: ComponentChildren } | null>(null);
  const draw = useRef(props.draw);
  draw.current = props.draw;
  useEffect(() => {
    const box = canvas.current?.parentElement;
    if (!box) return;
    const observer = new ResizeObserver(() => setWidth(box.clientWidth));
    observer.observe(box);
    setWidth(box.clientWidth);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    const c = canvas.current;
    const ctx = c?.getContext("2d");
    if (!c || !ctx || width === 0) return;
    const dpr = window.devicePixelRatio || 1;
    c.width = Math.round(width * dpr);
    c.height = Math.round(props.height * dpr);
    ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
    ctx.clearRect(0, 0, width, props.height);
    ctx.font = "11px system-ui, sans-serif";
    draw.current({ ctx, width, height: props.height });
  }, [width, props.height, props.of, theme.value]);
  const at = (e: MouseEvent): [number, number] => {
    const r = canvas.current?.getBoundingClientRect();
    return [e.clientX - (r?.left ?? 0), e.clientY - (r?.top ?? 0)];
  };
  return (
    <div class="drawing" style={`height:${props.height}px`}>
      <canvas ref={canvas} role="img" aria-label={props.label} style={`width:100%;height:${props.height}px;display:block`}
        onMouseMove={(e) => {
          const [x, y] = at(e);
          const body = props.hit?.(x, y, width);
          setTip(body ? { x, y, body } : null);
        }}
        onMouseLeave={() => setTip(null)}
        onClick={(e) => props.click?.(...at(e), width)} />
      {tip && <div class="tip" style={tip.x > width / 2 ? `right:${width - tip.x + 12}px;top:${tip.y + 12}px` : `left:${tip.x + 12}px;top:${tip.y + 12}px`}>{tip.body}</div>}
    </div>
  );
}

/** The text cut to a width, with an ellipsis. */
export function fit(ctx: CanvasRenderingContext2D, text: string, width: number): string {
  if (ctx.measureText(text).width <= width) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const mid = Math.ceil((low + high) / 2);
    if (ctx.measureText(`${text.slice(0, mid)}…`).width <= width) low = mid;
    else high = mid - 1;
  }
  return low > 0 ? `${text.slice(0, low)}…` : "";
}
