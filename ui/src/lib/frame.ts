import type { Labels } from "./labels";

/** Tables of columns: what queries answer, transformations change and panels draw. */
export type Cell = number | string | null;
export type FieldType = "time" | "number" | "string";

export interface Field {
  name: string;
  type: FieldType;
  labels: Labels;
  /** Times are milliseconds. */
  values: Cell[];
  refId: string;
  settings: Settings;
}

export interface Frame {
  refId: string;
  fields: Field[];
}

export interface Step {
  value: number | null;
  color: string;
}

export interface Mapping {
  type: string;
  options: Record<string, unknown>;
}

export interface DataLink {
  title: string;
  url: string;
  targetBlank?: boolean;
}

/** How one field is shown, once the panel's defaults and overrides are put together. */
export interface Settings {
  unit: string;
  decimals: number | null;
  min: number | null;
  max: number | null;
  displayName: string;
  percentage: boolean;
  steps: Step[];
  mappings: Mapping[];
  links: DataLink[];
  color: { mode?: string; fixedColor?: string } | null;
  noValue: string;
  custom: Record<string, unknown>;
}

export const PLAIN: Settings = {
  unit: "", decimals: null, min: null, max: null, displayName: "", percentage: false,
  steps: [], mappings: [], links: [], color: null, noValue: "", custom: {},
};

export function field(name: string, type: FieldType, values: Cell[], refId = "", labels: Labels = {}): Field {
  return { name, type, values, refId, labels, settings: PLAIN };
}

export function rowCount(frame: Frame): number {
  return Math.max(0, ...frame.fields.map((f) => f.values.length));
}

/** A number where the cell is one or reads as one. */
export function numberOf(cell: Cell | undefined): number | null {
  if (typeof cell === "number") return cell;
  if (typeof cell !== "string" || cell.trim() === "") return null;
  const v = Number(cell);
  return Number.isNaN(v) ? null : v;
}

export function typeOf(values: Cell[]): FieldType {
  const first = values.find((v) => v !== null);
  return typeof first === "number" ? "number" : "string";
}

/** `/…/flags` or a plain text as a regular expression; one that matches nothing where it is broken. */
export function pattern(text: string): RegExp {
  const [, inner, flags] = /^\/(.*)\/([a-z]*)$/s.exec(text) ?? [null, text, ""];
  try {
    return new RegExp(inner ?? "", (flags ?? "").replace(/[^imsu]/g, ""));
  } catch {
    return /$^/;
  }
}
