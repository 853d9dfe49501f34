import { useState } from "preact/hooks";
import type { JSX } from "preact";
import type { LogObject } from "../api/types";
import { formatTime } from "../lib/time";

/** Log lines, newest first; a line opens to its fields and leads to its trace. */
export function LogTable(props: { logs: LogObject[]; short?: boolean }): JSX.Element {
  const [open, setOpen] = useState<string | null>(null);
  return (
    <table class="log">
      <tbody>
        {props.logs.map((log, i) => {
          const id = `${log.log_id}#${i}`;
          return (
            <>
              <tr key={id} tabIndex={0} onClick={() => setOpen(open === id ? null : id)} onKeyDown={(e) => e.key === "Enter" && setOpen(open === id ? null : id)}>
                <td class="muted">{formatTime(log.timestamp, true).slice(props.short ? 11 : 0, -4)}</td>
                <td class={`lvl-${log.level}`}>{log.level}</td>
                <td class="info">{log.service}</td>
                <td class="msg">{log.message}</td>
              </tr>
              {open === id && (
                <tr class="detail" key={`${id}d`}>
                  <td colSpan={4}>
                    <dl class="kv">
                      <dt>time</dt><dd>{log.timestamp}</dd>
                      <dt>node</dt><dd>{log.node || "–"}</dd>
                      {log.caller && <><dt>caller</dt><dd>{log.caller}</dd></>}
                      {log.trace_id && <><dt>trace</dt><dd><a href={`/trace/${log.trace_id}`}>{log.trace_id}</a></dd></>}
                      {Object.entries(log.attributes).map(([k, v]) => (
                        <><dt>{k}</dt><dd>{typeof v === "string" ? v : JSON.stringify(v)}</dd></>
                      ))}
                    </dl>
                    <p><a href={`/correlate?timestamp=${encodeURIComponent(log.timestamp)}`}>What else happened around this time</a></p>
                  </td>
                </tr>
              )}
            </>
          );
        })}
      </tbody>
    </table>
  );
}
