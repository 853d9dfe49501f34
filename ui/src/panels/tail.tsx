import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import type { LogObject } from "../api/types";
import { LogTable } from "./logs";

const LINES_MAX = 500;

interface Message {
  streams: { stream: Record<string, string>; values: [string, string][] }[];
  dropped_entries?: unknown[];
}

function read(message: Message): LogObject[] {
  return message.streams.flatMap(({ stream, values }) => values.map(([ns, line]): LogObject => {
    const { service_name = "", detected_level = stream["level"] ?? "", node = "", trace_id, ...rest } = stream;
    const log: LogObject = { log_id: ns + line.slice(0, 24), timestamp: new Date(Number(ns.slice(0, -6))).toISOString(), level: detected_level, service: service_name, node, message: line, attributes: rest };
    return trace_id ? { ...log, trace_id } : log;
  }));
}

/** Log lines as they arrive, newest first, over Loki's web socket. */
export function LiveTail(props: { expr: string }): JSX.Element {
  const [lines, setLines] = useState<LogObject[]>([]);
  const [state, setState] = useState("connecting …");
  const [dropped, setDropped] = useState(0);
  const [paused, setPaused] = useState(false);
  useEffect(() => {
    if (paused) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/loki/api/v1/tail?limit=100&query=${encodeURIComponent(props.expr)}`);
    socket.onopen = () => setState("following");
    socket.onerror = () => setState("the connection failed; is it a query for lines?");
    socket.onclose = () => setState((s) => (s === "following" ? "closed by the server" : s));
    socket.onmessage = (e) => {
      const message = JSON.parse(String(e.data)) as Message;
      setDropped((n) => n + (message.dropped_entries?.length ?? 0));
      const fresh = read(message).toSorted((a, b) => b.timestamp.localeCompare(a.timestamp));
      if (fresh.length) setLines((old) => [...fresh, ...old].slice(0, LINES_MAX));
    };
    return () => {
      socket.onclose = null;
      socket.close();
    };
  }, [props.expr, paused]);
  return (
    <div>
      <div class="row" style="padding:10px 14px">
        <span role="status" class={state === "following" && !paused ? "ok" : "muted"}>{paused ? "paused" : state}</span>
        <span class="muted grow">{lines.length} lines{lines.length === LINES_MAX && ", older ones are let go"}{dropped > 0 && `, ${dropped} dropped by the server`}</span>
        <button class="small" onClick={() => setPaused(!paused)}>{paused ? "Go on" : "Pause"}</button>
        <button class="small" onClick={() => setLines([])}>Clear</button>
      </div>
      <LogTable logs={lines} />
      {lines.length === 0 && <div class="note">Nothing yet.</div>}
    </div>
  );
}
