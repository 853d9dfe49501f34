import "uplot/dist/uPlot.min.css";
import "./styles/portal.css";
import "./styles/edit.css";
import { render, type JSX } from "preact";
import { syncClock } from "./api/client";
import { Page, Side } from "./components/shell";
import { serverNow } from "./lib/clock";
import { Alerts } from "./pages/alerts";
import { Anomalies } from "./pages/anomalies";
import { Correlate } from "./pages/correlate";
import { DashboardPage, EditPage } from "./pages/dashboard";
import { Dashboards } from "./pages/dashboards";
import { Doctor } from "./pages/doctor";
import { Exercises } from "./pages/exercises";
import { Ledger } from "./pages/ledger";
import { LogsExplore } from "./pages/logs";
import { MetricsExplore } from "./pages/metrics";
import { Overview } from "./pages/overview";
import { Services } from "./pages/services";
import { Slos } from "./pages/slos";
import { Targets } from "./pages/targets";
import { TracePage, TracesExplore } from "./pages/traces";
import { now } from "./state/range";
import { path, query } from "./state/route";

function Body(): JSX.Element {
  const [, first = "", second = ""] = path.value.split("/");
  const typed = query.value.get("query") ?? "";
  switch (first) {
    case "":
      return <Overview />;
    case "explore":
      // The query is the key: following a link to another query opens a fresh editor on it.
      if (second === "metrics") return <MetricsExplore key={typed} />;
      if (second === "logs") return <LogsExplore key={typed} />;
      if (second === "traces") return <TracesExplore key={typed} />;
      break;
    case "trace":
      return <TracePage key={second} id={second} />;
    case "dashboards":
      if (second && query.value.get("edit") === "1") return <EditPage key={second} id={second === "new" ? "" : second} />;
      return second ? <DashboardPage key={second} id={second} /> : <Dashboards />;
    case "alerts":
      return <Alerts />;
    case "services":
      return <Services />;
    case "slos":
      return <Slos />;
    case "anomalies":
      return <Anomalies />;
    case "correlate":
      return <Correlate key={query.value.get("timestamp") ?? ""} />;
    case "ledger":
      return <Ledger />;
    case "exercises":
      return <Exercises />;
    case "doctor":
      return <Doctor />;
    case "targets":
      return <Targets />;
  }
  return <Page title="Not found" ranged={false}><div class="note">There is no page {path.value}. <a href="/">Overview</a></div></Page>;
}

function App(): JSX.Element {
  return (
    <div class="shell">
      <Side />
      <Body />
    </div>
  );
}

const root = document.getElementById("app");
if (root) {
  await syncClock();
  now.value = serverNow();
  root.textContent = "";
  render(<App />, root);
}
