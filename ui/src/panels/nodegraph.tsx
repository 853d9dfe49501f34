import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import { layOut, type Graph } from "../lib/graph";

const NODES_MAX = 150;

/** Nodes and the edges between them, from left to right. */
export function NodeGraph(props: { graph: Graph; height: number }): JSX.Element {
  const laid = useMemo(() => layOut({ nodes: props.graph.nodes.slice(0, NODES_MAX), edges: props.graph.edges }), [props.graph]);
  const columns = new Set(laid.nodes.map((n) => n.x)).size;
  const tallest = Math.max(1, ...[...new Set(laid.nodes.map((n) => n.x))].map((x) => laid.nodes.filter((n) => n.x === x).length));
  const width = Math.max(640, columns * 230);
  const height = Math.max(props.height, tallest * 62);
  const px = (x: number) => 95 + x * (width - 190);
  const py = (y: number) => y * height;
  const at = new Map(laid.nodes.map((n) => [n.id, n]));
  return (
    <div class="scroll" style={`max-height:${props.height}px`} tabIndex={0} role="region" aria-label="Graph">
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="xMidYMin meet" style={`display:block;margin:auto;width:100%;min-width:${Math.min(width, columns * 150)}px;max-width:${width * 1.25}px;height:auto`} role="group" aria-label={`Graph of ${laid.nodes.length} nodes and ${laid.edges.length} edges`}>
        <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0,0L8,4L0,8Z" fill="var(--muted)" /></marker></defs>
        {laid.edges.map((e) => {
          const [a, b] = [at.get(e.from), at.get(e.to)];
          if (!a || !b || a === b) return null;
          const back = b.x <= a.x;
          const [x1, y1, x2, y2] = [px(a.x) + (back ? -78 : 78), py(a.y), px(b.x) + (back ? 78 : -78), py(b.y)];
          const bend = back ? -60 : (x2 - x1) / 2;
          const tone = e.bad > 0.01 ? "var(--bad)" : "var(--muted)";
          return (
            <g key={`${e.from}>${e.to}`}>
              <path d={`M${x1},${y1}C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`} fill="none" stroke={tone} stroke-width="1.4" opacity=".75" marker-end="url(#tip)"><title>{`${e.from} → ${e.to}: ${e.note}`}</title></path>
              <text x={(x1 + x2) / 2} y={(y1 + y2) / 2 - 5} text-anchor="middle" font-size="10.5" fill="var(--muted)">{e.note}</text>
            </g>
          );
        })}
        {laid.nodes.map((n) => {
          const box = (
            <g>
              <rect x={px(n.x) - 78} y={py(n.y) - 21} width="156" height="42" rx="8" fill="var(--raised)" stroke={n.bad > 0.01 ? "var(--bad)" : "var(--line)"} stroke-width={n.bad > 0.01 ? 2 : 1} />
              <text x={px(n.x)} y={py(n.y) - (n.note ? 2 : -4)} text-anchor="middle" font-size="12.5" font-weight="600" fill="var(--text)">{n.title.length > 21 ? `${n.title.slice(0, 20)}…` : n.title}<title>{n.title}</title></text>
              {n.note && <text x={px(n.x)} y={py(n.y) + 13} text-anchor="middle" font-size="10.5" fill="var(--muted)">{n.note}</text>}
            </g>
          );
          return n.href ? <a key={n.id} href={n.href}>{box}</a> : <g key={n.id}>{box}</g>;
        })}
      </svg>
      {props.graph.nodes.length > NODES_MAX && <p class="muted">{props.graph.nodes.length - NODES_MAX} more nodes are not drawn</p>}
    </div>
  );
}
