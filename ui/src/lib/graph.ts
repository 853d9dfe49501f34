import { numberOf, type Frame } from "./frame";

export interface GraphNode {
  id: string;
  title: string;
  note: string;
  /** 0 to 1: how much of it is in error. */
  bad: number;
  /** Laid out, 0 to 1. */
  x: number;
  y: number;
  href?: string;
}

export interface GraphEdge {
  from: string;
  to: string;
  note: string;
  bad: number;
}

export interface Graph {
  nodes: GraphNode[];
  edges: GraphEdge[];
}

/**
 * Columns from left to right by the longest way from a root; cycles are cut where they close.
 * Within a column a node stands at the middle of those that lead to it.
 */
export function layOut(graph: Graph): Graph {
  const out = new Map<string, string[]>();
  for (const e of graph.edges) if (e.from !== e.to) out.set(e.from, [...(out.get(e.from) ?? []), e.to]);
  const level = new Map<string, number>();
  const path = new Set<string>();
  const visit = (id: string, at: number) => {
    if (path.has(id) || (level.get(id) ?? -1) >= at) return;
    level.set(id, at);
    path.add(id);
    for (const next of out.get(id) ?? []) visit(next, at + 1);
    path.delete(id);
  };
  const targets = new Set(graph.edges.map((e) => e.to));
  for (const n of graph.nodes) if (!targets.has(n.id)) visit(n.id, 0);
  for (const n of graph.nodes) if (!level.has(n.id)) visit(n.id, 0);
  const columns: GraphNode[][] = [];
  for (const n of graph.nodes) (columns[level.get(n.id) ?? 0] ??= []).push({ ...n });
  const filled = columns.filter((c) => c?.length);
  const placed = new Map<string, GraphNode>();
  filled.forEach((column, c) => {
    const middle = (n: GraphNode) => {
      const ys = graph.edges.filter((e) => e.to === n.id).map((e) => placed.get(e.from)?.y).filter((y) => y !== undefined);
      return ys.length ? ys.reduce((a, b) => a + b, 0) / ys.length : 0.5;
    };
    column.sort((a, b) => middle(a) - middle(b) || a.title.localeCompare(b.title));
    column.forEach((n, i) => {
      n.x = filled.length > 1 ? c / (filled.length - 1) : 0.5;
      n.y = (i + 0.5) / column.length;
      placed.set(n.id, n);
    });
  });
  return { nodes: [...placed.values()], edges: graph.edges };
}

/** Grafana's two frames: nodes with `id`, edges with `source` and `target`. */
export function graphOf(frames: Frame[]): Graph | null {
  const col = (f: Frame, ...names: string[]) => f.fields.find((c) => names.includes(c.name.toLowerCase()));
  const edgesIn = frames.find((f) => col(f, "source", "client", "from", "src") && col(f, "target", "server", "to", "dst"));
  if (!edgesIn) return null;
  const nodesIn = frames.find((f) => f !== edgesIn && col(f, "id"));
  const nodes = new Map<string, GraphNode>();
  const node = (id: string) => {
    if (!nodes.has(id)) nodes.set(id, { id, title: id, note: "", bad: 0, x: 0, y: 0 });
  };
  const text = (f: Frame, i: number, ...names: string[]) => String(col(f, ...names)?.values[i] ?? "");
  nodesIn?.fields[0]?.values.forEach((_, i) => {
    const id = text(nodesIn, i, "id");
    nodes.set(id, { id, title: text(nodesIn, i, "title") || id, note: text(nodesIn, i, "mainstat", "subtitle"), bad: numberOf(col(nodesIn, "arc__failed", "arc__error")?.values[i]) ?? 0, x: 0, y: 0 });
  });
  const edges: GraphEdge[] = [];
  const value = edgesIn.fields.find((f) => f.type === "number" && f.name.toLowerCase() !== "time");
  edgesIn.fields[0]?.values.forEach((_, i) => {
    const [from, to] = [text(edgesIn, i, "source", "client", "from", "src"), text(edgesIn, i, "target", "server", "to", "dst")];
    if (!from || !to) return;
    node(from);
    node(to);
    const v = numberOf(value?.values[i]);
    edges.push({ from, to, note: text(edgesIn, i, "mainstat") || (v === null ? "" : String(Math.round(v * 100) / 100)), bad: 0 });
  });
  return { nodes: [...nodes.values()], edges };
}
