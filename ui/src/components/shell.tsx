import type { ComponentChildren, JSX } from "preact";
import { eventsShown, showEvents, useEvents } from "../state/events";
import { now, refreshing } from "../state/range";
import { path, query } from "../state/route";
import { theme } from "../state/theme";
import { serverNow } from "../lib/clock";
import { KeysHelp } from "./keys";
import { TimePicker } from "./timepicker";

const LINKS: [string, [string, string][]][] = [
  ["", [["/", "Overview"], ["/dashboards", "Dashboards"]]],
  ["Explore", [["/explore/metrics", "Metrics"], ["/explore/logs", "Logs"], ["/explore/traces", "Traces"], ["/services", "Service map"], ["/correlate", "Correlate"]]],
  ["Reliability", [["/alerts", "Alerts"], ["/slos", "SLOs"], ["/anomalies", "Anomalies"], ["/exercises", "Exercises"]]],
  ["Proof", [["/ledger", "Ledger"]]],
  ["System", [["/targets", "Targets"], ["/doctor", "Doctor"]]],
];

function current(href: string): boolean {
  return href === "/" ? path.value === "/" : path.value === href || path.value.startsWith(`${href}/`) || (href === "/explore/traces" && path.value.startsWith("/trace/"));
}

export function Side(): JSX.Element {
  const last = query.value.get("last");
  const keep = last ? `?last=${last}` : "";
  return (
    <aside class="side">
      <a class="brand" href="/"><img src="/portal/favicon.svg" alt="" />vm-obs</a>
      <nav aria-label="Main">
        {LINKS.map(([title, links]) => (
          <div key={title}>
            {title && <h2>{title}</h2>}
            {links.map(([href, text]) => (
              <a key={href} href={href + keep} aria-current={current(href) ? "page" : undefined}>{text}</a>
            ))}
          </div>
        ))}
      </nav>
      <div class="foot">
        <button class="small" onClick={() => (theme.value = theme.value === "dark" ? "light" : "dark")}>
          {theme.value === "dark" ? "Light" : "Dark"} theme
        </button>
      </div>
    </aside>
  );
}

export function Page(props: { title: string; ranged?: boolean; events?: boolean; actions?: ComponentChildren; children: ComponentChildren }): JSX.Element {
  useEvents(props.events === true);
  document.title = `${props.title} · vm-obs`;
  return (
    <main>
      <header class="top">
        <h1>{props.title}</h1>
        {props.actions}
        {props.events && <label class="tick" title="Alerts, runs, deployments and changes of the configuration, as marks on the charts"><input type="checkbox" checked={eventsShown.value} onChange={(e) => showEvents(e.currentTarget.checked)} /> Events</label>}
        {props.ranged !== false && (
          <TimePicker />
        )}
        <button
          aria-pressed={refreshing.value}
          title="Refresh every 5 seconds"
          onClick={() => {
            refreshing.value = !refreshing.value;
            now.value = serverNow();
          }}
        >
          {refreshing.value ? "Live" : "Paused"}
        </button>
      </header>
      {props.children}
      <KeysHelp />
    </main>
  );
}
