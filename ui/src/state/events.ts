import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get } from "../api/client";
import { useLoad } from "./load";
import { range } from "./range";
import { query, setQuery } from "./route";
import { token } from "./theme";

/** What happened at an instant: a mark on the time axis of a chart. */
export interface Mark {
  /** Seconds. */
  time: number;
  text: string;
  color: string;
  /** Where more is told. */
  href?: string;
}

interface Fired {
  alert_id: string;
  name: string;
  severity: string;
  status: string;
  fired_at: string;
}

interface Run {
  exercise: string;
  name: string;
  started_at: string;
  ended_at: string | null;
  outcome: string;
}

interface Changed {
  timestamp: string;
  subject?: string;
  summary?: string;
}

const EVENTS_MAX = 200;

/** The events of the page's range, for every chart on it. */
export const events = signal<readonly Mark[]>([]);
/** Off by `events=off` in the URL. */
export const eventsShown = computed(() => query.value.get("events") !== "off");

export function showEvents(shown: boolean): void {
  setQuery({ events: shown ? null : "off" });
}

const seconds = (time: string) => Date.parse(time) / 1000;

/** Where everything around an instant is told. */
export function around(time: number): string {
  return `/correlate?timestamp=${encodeURIComponent(new Date(time * 1000).toISOString())}&window=15m`;
}

async function load(start: number, end: number, signal_: AbortSignal): Promise<Mark[]> {
  const window_ = { from: start, to: end };
  const none = <T>(empty: T) => () => empty;
  const [fired, runs, changed] = await Promise.all([
    get<{ alerts: Fired[] }>("/obs/alerts", {}, signal_).catch(none({ alerts: [] as Fired[] })),
    get<{ exercises: Run[] }>("/obs/exercises", window_, signal_).catch(none({ exercises: [] as Run[] })),
    get<{ receipts: Changed[] }>("/obs/receipts", { ...window_, type: "obs_config_change", limit: 50 }, signal_).catch(none({ receipts: [] as Changed[] })),
  ]);
  const marks: Mark[] = [
    ...fired.alerts.filter((a) => a.status !== "pending").map((a) => ({
      time: seconds(a.fired_at), text: `Alert ${a.name} (${a.severity})`, color: token(a.severity === "critical" ? "--bad" : "--warn"), href: `/alerts?id=${encodeURIComponent(a.alert_id)}`,
    })),
    ...runs.exercises.flatMap((r) => {
      const what = `${r.exercise === "deployment" ? "Deployment" : `${r.exercise[0]?.toUpperCase() ?? ""}${r.exercise.slice(1)} run`} ${r.name}`;
      const mark = (time: string, text: string) => ({ time: seconds(time), text, color: token("--info"), href: `/exercises?kind=${encodeURIComponent(r.exercise)}` });
      const ends = r.ended_at && seconds(r.ended_at) > seconds(r.started_at);
      return [mark(r.started_at, ends || r.outcome === "running" ? `${what} begins` : `${what}: ${r.outcome}`), ...(ends && r.ended_at ? [mark(r.ended_at, `${what} ends: ${r.outcome}`)] : [])];
    }),
    ...changed.receipts.map((c) => ({ time: seconds(c.timestamp), text: `Configuration changed${c.summary ? `: ${c.summary}` : ""}`, color: token("--muted"), href: around(seconds(c.timestamp)) })),
  ];
  return marks.filter((m) => m.time >= start && m.time <= end).sort((a, b) => b.time - a.time).slice(0, EVENTS_MAX);
}

/** Loads the events of the page's range while the page is open. */
export function useEvents(wanted: boolean): void {
  const { start, end } = range.value;
  const on = wanted && eventsShown.value;
  // A live range moves every few seconds; what has happened need not be that new.
  const loaded = useLoad(on ? `${Math.floor(end / 15)}#${end - start}` : "", (signal_) => (on ? load(start, end, signal_) : Promise.resolve([])));
  useEffect(() => {
    events.value = on ? (loaded.data ?? []) : [];
  }, [on, loaded.data]);
  useEffect(() => () => { events.value = []; }, []);
}
