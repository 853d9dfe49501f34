import type { Series } from "./types";
import { observeResponse } from "../lib/clock";
import type { Labels } from "../lib/labels";

/** What the server said when it refused; shown to the person as it is. */
export class ApiFailure extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

function encode(params: Record<string, string | number | undefined>): string {
  const pairs = Object.entries(params).filter(([, v]) => v !== undefined && v !== "");
  return pairs.length ? `?${new URLSearchParams(pairs.map(([k, v]) => [k, String(v)]))}` : "";
}

async function answer<T>(response: Response): Promise<T> {
  observeResponse(response);
  const text = await response.text();
  if (response.ok) return JSON.parse(text) as T;
  let message = text || response.statusText;
  try {
    const body = JSON.parse(text) as { error?: string | { message?: string } };
    message = (typeof body.error === "string" ? body.error : body.error?.message) ?? message;
  } catch {
    // A plain text error is shown as it came.
  }
  throw new ApiFailure(response.status, message);
}

export async function get<T>(
  path: string,
  params: Record<string, string | number | undefined> = {},
  signal?: AbortSignal,
): Promise<T> {
  return answer<T>(await fetch(path + encode(params), signal ? { signal } : {}));
}

/** Asks for the server's time; without an answer the browser's stands. */
export async function syncClock(): Promise<void> {
  await fetch("/-/healthy").then(observeResponse, () => undefined);
}

export async function getText(path: string): Promise<string> {
  const response = await fetch(path);
  if (!response.ok) throw new ApiFailure(response.status, await response.text());
  return response.text();
}

export async function send<T>(method: "POST" | "PUT" | "DELETE", path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "content-type": "application/json" };
  }
  return answer<T>(await fetch(path, init));
}

interface PromAnswer {
  data: {
    resultType: string;
    result: { metric: Labels; values?: [number, string][]; value?: [number, string] }[] | [number, string];
  };
  warnings?: string[];
}

export interface PromResult {
  series: Series[];
  warnings: string[];
}

/** A PromQL range query; missing steps are `null`, so that gaps stay gaps in a chart. */
export async function promRange(
  query: string,
  start: number,
  end: number,
  step: number,
  signal?: AbortSignal,
): Promise<PromResult> {
  const body = await get<PromAnswer>("/api/v1/query_range", { query, start, end, step }, signal);
  const count = Math.floor((end - start) / step + 1e-9) + 1;
  const times = Array.from({ length: count }, (_, i) => start + i * step);
  const result = Array.isArray(body.data.result) ? body.data.result : [];
  const series: Series[] = [];
  for (const r of result) {
    if (typeof r === "number" || typeof r === "string") continue;
    const values: (number | null)[] = new Array<number | null>(count).fill(null);
    for (const [t, v] of r.values ?? []) {
      const at = Math.round((t - start) / step);
      if (at >= 0 && at < count) values[at] = Number(v.replace("Inf", "Infinity"));
    }
    series.push({ labels: r.metric, times, values });
  }
  return { series, warnings: body.warnings ?? [] };
}

/** A PromQL instant query as one value a series. */
export async function promInstant(query: string, signal?: AbortSignal, time?: number): Promise<PromResult> {
  const body = await get<PromAnswer>("/api/v1/query", { query, time }, signal);
  const { resultType, result } = body.data;
  if (resultType === "scalar") {
    const [t, v] = result as [number, string];
    return { series: [{ labels: {}, times: [t], values: [Number(v)] }], warnings: [] };
  }
  const series = (result as { metric: Labels; value?: [number, string] }[]).map((r) => ({
    labels: r.metric,
    times: [r.value?.[0] ?? 0],
    values: [Number((r.value?.[1] ?? "NaN").replace("Inf", "Infinity"))],
  }));
  return { series, warnings: body.warnings ?? [] };
}

/** Asks for the names or values that a variable offers. */
export async function promList(path: string, params: Record<string, string | number | undefined>, signal?: AbortSignal): Promise<string[]> {
  return (await get<{ data: string[] }>(path, params, signal)).data;
}
