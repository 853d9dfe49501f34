import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { QueryEditor } from "../components/editor";
import { cssColor } from "../lib/color";
import { token } from "../state/theme";
import { at, exprOf, freeLetter, languageOf, newTarget, num, obj, objects, setAt, setExpr, setLanguage, str, type Json, type Obj } from "./board";
import { Choice, Color, Numeric, Text, Tick } from "./fields";

const KINDS: [string, string][] = [
  ["timeseries", "Time series"], ["stat", "Stat"], ["gauge", "Gauge"], ["bargauge", "Bar gauge"], ["table", "Table"], ["barchart", "Bar chart"], ["piechart", "Pie"],
  ["heatmap", "Heatmap"], ["histogram", "Histogram"], ["state-timeline", "State timeline"], ["status-history", "Status history"], ["logs", "Logs"], ["traces", "Traces"], ["nodeGraph", "Node graph"], ["text", "Text"],
];
const LANGUAGES: [string, string][] = [["promql", "PromQL"], ["logql", "LogQL"], ["traceql", "TraceQL"]];
const CALCS = ["lastNotNull", "last", "firstNotNull", "mean", "min", "max", "sum", "count", "range", "delta"];
const REDUCED = new Set(["stat", "gauge", "bargauge", "piechart"]);
const LEGENDS = new Set(["timeseries", "barchart", "piechart", "histogram", "state-timeline", "status-history"]);
const DEFAULTS = "fieldConfig.defaults";

interface Form {
  panel: Obj;
  variables: string[];
  change: (panel: Obj, key?: string) => void;
  run: () => void;
}

export function PanelForm(props: Form): JSX.Element {
  const { panel } = props;
  const kind = str(panel["type"]);
  const set = (path: string, value: Json | undefined) => props.change(setAt(panel, path, value), path);
  const get = (path: string) => at(panel, path);
  if (kind === "row") {
    return (
      <div class="stack">
        <Text label="Title" value={str(panel["title"])} change={(v) => set("title", v)} />
        <Repeat {...props} />
      </div>
    );
  }
  return (
    <div class="stack form">
      <fieldset>
        <legend>Panel</legend>
        <div class="fields">
          <Text label="Title" value={str(panel["title"])} change={(v) => set("title", v)} />
          <Choice label="Kind" value={kind} options={KINDS} change={(v) => props.change({ ...panel, type: v })} />
        </div>
        <Text label="Description" value={str(panel["description"])} change={(v) => set("description", v || undefined)} />
      </fieldset>
      {kind === "text" ? <TextForm {...props} /> : <Queries {...props} />}
      {kind !== "text" && (
        <fieldset>
          <legend>Values</legend>
          <div class="fields">
            <Text label="Unit" value={str(get(`${DEFAULTS}.unit`))} list="edit-units" placeholder="short" change={(v) => set(`${DEFAULTS}.unit`, v || undefined)} />
            <Numeric label="Decimals" value={num(get(`${DEFAULTS}.decimals`))} min={0} step="1" change={(v) => set(`${DEFAULTS}.decimals`, v)} />
            <Numeric label="Min" value={num(get(`${DEFAULTS}.min`))} change={(v) => set(`${DEFAULTS}.min`, v)} />
            <Numeric label="Max" value={num(get(`${DEFAULTS}.max`))} change={(v) => set(`${DEFAULTS}.max`, v)} />
            <Text label="Name of each series" value={str(get(`${DEFAULTS}.displayName`))} placeholder="${__field.labels.job}" change={(v) => set(`${DEFAULTS}.displayName`, v || undefined)} />
            <Text label="Shown where there is no value" value={str(get(`${DEFAULTS}.noValue`))} change={(v) => set(`${DEFAULTS}.noValue`, v || undefined)} />
          </div>
        </fieldset>
      )}
      {kind !== "text" && <Drawing {...props} />}
      {kind !== "text" && <Thresholds {...props} />}
      {kind !== "text" && <Mappings {...props} />}
      <fieldset><legend>Repeat</legend><Repeat {...props} /></fieldset>
      <PanelJson {...props} />
    </div>
  );
}

function TextForm(props: Form): JSX.Element {
  const { panel } = props;
  return (
    <fieldset>
      <legend>Text</legend>
      <Choice label="Written in" value={str(at(panel, "options.mode")) || "markdown"} options={["markdown", "html", "code"]} change={(v) => props.change(setAt(panel, "options.mode", v))} />
      <label class="field"><span>Content</span><textarea rows={8} value={str(at(panel, "options.content"))} onInput={(e) => props.change(setAt(panel, "options.content", e.currentTarget.value), "content")} /></label>
    </fieldset>
  );
}

function Queries(props: Form): JSX.Element {
  const { panel } = props;
  const targets = objects(panel["targets"]);
  const put = (next: Obj[], key?: string) => props.change({ ...panel, targets: next, ...(next[0]?.["datasource"] ? { datasource: next[0]["datasource"] } : {}) }, key);
  return (
    <fieldset>
      <legend>Queries</legend>
      {targets.map((t, i) => {
        const language = languageOf(t, panel);
        const letter = str(t["refId"]) || "A";
        const replace = (next: Obj, key?: string) => put(targets.map((x, j) => (j === i ? next : x)), key);
        return (
          <div class="asked" key={`${letter}${i}`} role="group" aria-label={`Query ${letter}`}>
            <div class="row nowrap">
              <b>{letter}</b>
              <select aria-label={`Language of query ${letter}`} value={language} onChange={(e) => replace(setLanguage(t, e.currentTarget.value))}>
                {LANGUAGES.map(([v, name]) => <option key={v} value={v}>{name}</option>)}
              </select>
              <span class="grow" />
              <button class="small" aria-label={`Delete query ${letter}`} onClick={() => put(targets.filter((_, j) => j !== i))}>Delete</button>
            </div>
            <QueryEditor id={`edit-query-${letter}`} label={`Query ${letter}`} language={language} value={exprOf(t, language)} rows={3} input={(text) => replace(setExpr(t, language, text), `expr${letter}`)} run={props.run} />
            <div class="fields">
              <Text label="Legend" value={str(t["legendFormat"])} placeholder="{{label}}" change={(v) => replace({ ...t, legendFormat: v }, `legend${letter}`)} />
              <Text label="Least step" value={str(t["interval"])} placeholder="1m" change={(v) => replace(setAt(t, "interval", v || undefined), `interval${letter}`)} />
            </div>
            <div class="row">
              <Tick label="Only the newest value" value={t["instant"] === true && t["range"] !== true} change={(v) => replace({ ...t, instant: v, range: !v, ...(language === "logql" ? { queryType: v ? "instant" : "range" } : {}) })} />
              <Tick label="Hide" value={t["hide"] === true} change={(v) => replace({ ...t, hide: v })} />
            </div>
          </div>
        );
      })}
      <button class="small" onClick={() => put([...targets, newTarget(freeLetter(targets), targets[0] ? languageOf(targets[0], panel) : "promql")])}>Add a query</button>
    </fieldset>
  );
}

function Drawing(props: Form): JSX.Element {
  const { panel } = props;
  const kind = str(panel["type"]);
  const set = (path: string, value: Json | undefined) => props.change(setAt(panel, path, value), path);
  const custom = (name: string) => at(panel, `${DEFAULTS}.custom.${name}`);
  const setCustom = (name: string, value: Json | undefined) => set(`${DEFAULTS}.custom.${name}`, value);
  const legend = obj(at(panel, "options.legend"));
  const mode = str(at(panel, `${DEFAULTS}.color.mode`));
  return (
    <fieldset>
      <legend>Drawing</legend>
      <div class="fields">
        {kind === "timeseries" && (
          <>
            <Choice label="Style" value={str(custom("drawStyle")) || "line"} options={["line", "bars", "points"]} change={(v) => setCustom("drawStyle", v)} />
            <Numeric label="Line width" value={num(custom("lineWidth"))} min={0} step="1" change={(v) => setCustom("lineWidth", v)} />
            <Numeric label="Fill, percent" value={num(custom("fillOpacity"))} min={0} step="5" change={(v) => setCustom("fillOpacity", v)} />
            <Choice label="Stack" value={str(at(panel, `${DEFAULTS}.custom.stacking.mode`)) || "none"} options={["none", "normal", "percent"]} change={(v) => setCustom("stacking", { mode: v, group: "A" })} />
            <Choice label="Interpolation" value={str(custom("lineInterpolation")) || "linear"} options={["linear", "smooth", "stepAfter", "stepBefore"]} change={(v) => setCustom("lineInterpolation", v)} />
            <Choice label="Thresholds on the chart" value={str(at(panel, `${DEFAULTS}.custom.thresholdsStyle.mode`)) || "off"} options={["off", "line", "area", "line+area", "dashed"]} change={(v) => setCustom("thresholdsStyle", { mode: v })} />
            <Text label="Axis label" value={str(custom("axisLabel"))} change={(v) => setCustom("axisLabel", v || undefined)} />
          </>
        )}
        {REDUCED.has(kind) && (
          <Choice label="Value shown" value={str(objectsText(at(panel, "options.reduceOptions.calcs"))) || "lastNotNull"} options={CALCS} change={(v) => set("options.reduceOptions", { ...obj(at(panel, "options.reduceOptions")), calcs: [v] })} />
        )}
        {kind === "stat" && (
          <>
            <Choice label="Colour of" value={str(at(panel, "options.colorMode")) || "value"} options={["none", "value", "background"]} change={(v) => set("options.colorMode", v)} />
            <Choice label="Spark line" value={str(at(panel, "options.graphMode")) || "none"} options={["none", "area"]} change={(v) => set("options.graphMode", v)} />
          </>
        )}
        {kind === "bargauge" && <Choice label="Direction" value={str(at(panel, "options.orientation")) || "auto"} options={["auto", "horizontal", "vertical"]} change={(v) => set("options.orientation", v)} />}
        {kind === "piechart" && <Choice label="Shape" value={str(at(panel, "options.pieType")) || "pie"} options={["pie", "donut"]} change={(v) => set("options.pieType", v)} />}
        <Choice label="Colours" value={mode || "palette-classic"} options={[["palette-classic", "one for each series"], ["thresholds", "by thresholds"], ["fixed", "one colour"]]} change={(v) => set(`${DEFAULTS}.color`, v === "fixed" ? { mode: v, fixedColor: "green" } : { mode: v })} />
        {mode === "fixed" && <Color label="Colour" value={str(at(panel, `${DEFAULTS}.color.fixedColor`))} shown={cssColor(str(at(panel, `${DEFAULTS}.color.fixedColor`)), token)} change={(v) => set(`${DEFAULTS}.color.fixedColor`, v)} />}
        {LEGENDS.has(kind) && (
          <>
            <Choice label="Legend" value={legend["showLegend"] === false ? "hidden" : str(legend["displayMode"]) || "list"} options={["list", "table", "hidden"]} change={(v) => set("options.legend", { ...legend, showLegend: v !== "hidden", displayMode: v === "hidden" ? "list" : v })} />
            <Choice label="Legend stands" value={str(legend["placement"]) || "bottom"} options={["bottom", "right"]} change={(v) => set("options.legend", { ...legend, placement: v })} />
            <Text label="Figures in the legend" value={(Array.isArray(legend["calcs"]) ? legend["calcs"] : []).map(String).join(", ")} placeholder="mean, max" change={(v) => set("options.legend", { ...legend, calcs: v.split(",").map((x) => x.trim()).filter(Boolean) })} />
          </>
        )}
      </div>
    </fieldset>
  );
}

function objectsText(value: Json | undefined): string {
  return Array.isArray(value) ? String(value[0] ?? "") : "";
}

function Thresholds(props: Form): JSX.Element {
  const { panel } = props;
  const path = `${DEFAULTS}.thresholds`;
  const thresholds = obj(at(panel, path));
  const steps = objects(thresholds["steps"]);
  const put = (next: Obj[], key?: string) => props.change(setAt(panel, path, { mode: str(thresholds["mode"]) || "absolute", steps: next.map((s, i) => (i === 0 ? { ...s, value: null } : s)) }), key);
  return (
    <fieldset>
      <legend>Thresholds</legend>
      {steps.map((s, i) => (
        <div class="row nowrap" key={i}>
          {i === 0 ? <span class="field grow"><span>Base</span></span> : <Numeric label={`From ${i}`} value={num(s["value"])} change={(v) => put(steps.map((x, j) => (j === i ? { ...x, value: v ?? 0 } : x)), `threshold${i}`)} />}
          <Color label={`Colour ${i}`} value={str(s["color"])} shown={cssColor(str(s["color"]), token)} change={(v) => put(steps.map((x, j) => (j === i ? { ...x, color: v } : x)), `thresholdcolor${i}`)} />
          <button class="small" aria-label={`Delete threshold ${i}`} onClick={() => put(steps.filter((_, j) => j !== i))}>✕</button>
        </div>
      ))}
      <div class="row">
        <button class="small" onClick={() => put(steps.length ? [...steps, { value: (num(steps.at(-1)?.["value"]) ?? 0) + 10, color: "red" }] : [{ value: null, color: "green" }, { value: 80, color: "red" }])}>Add a threshold</button>
        <Tick label="Percent of min to max" value={str(thresholds["mode"]) === "percentage"} change={(v) => props.change(setAt(panel, path, { ...thresholds, mode: v ? "percentage" : "absolute", steps }))} />
      </div>
    </fieldset>
  );
}

/** One line of the form: Grafana keeps all plain values in one mapping. */
interface Line {
  kind: string;
  match: string;
  text: string;
  color: string;
}

function linesOf(mappings: Obj[]): Line[] {
  return mappings.flatMap((m): Line[] => {
    const options = obj(m["options"]);
    const line = (match: string, result: Obj): Line => ({ kind: str(m["type"]), match, text: str(result["text"]), color: str(result["color"]) });
    const result = obj(options["result"]);
    switch (str(m["type"])) {
      case "value": return Object.entries(options).map(([value, r]) => line(value, obj(r)));
      case "range": return [line(`${options["from"] ?? ""}..${options["to"] ?? ""}`, result)];
      case "regex": return [line(str(options["pattern"]), result)];
      default: return [line(str(options["match"]), result)];
    }
  });
}

function mappingsOf(lines: Line[]): Obj[] {
  const out: Obj[] = [];
  lines.forEach((l, index) => {
    const result: Obj = { index, ...(l.text ? { text: l.text } : {}), ...(l.color ? { color: l.color } : {}) };
    if (l.kind === "value") {
      const last = out.at(-1);
      if (last?.["type"] === "value" && !(l.match in obj(last["options"]))) last["options"] = { ...obj(last["options"]), [l.match]: result };
      else out.push({ type: "value", options: { [l.match]: result } });
    } else if (l.kind === "range") {
      const end = (t: string | undefined) => (t === undefined || t.trim() === "" || Number.isNaN(Number(t)) ? null : Number(t));
      const [from, to] = l.match.split("..");
      out.push({ type: "range", options: { from: end(from), to: end(to), result } });
    } else if (l.kind === "regex") out.push({ type: "regex", options: { pattern: l.match, result } });
    else out.push({ type: "special", options: { match: l.match, result } });
  });
  return out;
}

function Mappings(props: Form): JSX.Element {
  const { panel } = props;
  const path = `${DEFAULTS}.mappings`;
  const [lines, setLines] = useState(() => linesOf(objects(at(panel, path))));
  const put = (next: Line[], key?: string) => {
    setLines(next);
    props.change(setAt(panel, path, next.length ? mappingsOf(next) : undefined), key);
  };
  const edit = (i: number, change: Partial<Line>, key: string) => put(lines.map((l, j) => (j === i ? { ...l, ...change } : l)), `${key}${i}`);
  return (
    <fieldset>
      <legend>Values as words</legend>
      {lines.map((l, i) => (
        <div class="row nowrap" key={i}>
          <Choice label={`If ${i + 1}`} value={l.kind} options={[["value", "is"], ["range", "lies in"], ["regex", "matches"], ["special", "is special"]]} change={(v) => edit(i, { kind: v, match: v === "special" ? "null" : l.match }, "mapkind")} />
          <Text label="Value" value={l.match} placeholder={l.kind === "range" ? "0..5" : l.kind === "special" ? "null" : "1"} change={(v) => edit(i, { match: v }, "map")} />
          <Text label="Text" value={l.text} change={(v) => edit(i, { text: v }, "maptext")} />
          <Color label="Colour" value={l.color} shown={cssColor(l.color, token)} change={(v) => edit(i, { color: v }, "mapcolor")} />
          <button class="small" aria-label={`Delete mapping ${i + 1}`} onClick={() => put(lines.filter((_, j) => j !== i))}>✕</button>
        </div>
      ))}
      <button class="small" onClick={() => put([...lines, { kind: "value", match: "0", text: "", color: "" }])}>Add a mapping</button>
    </fieldset>
  );
}

function Repeat(props: Form): JSX.Element {
  const { panel } = props;
  return (
    <div class="fields">
      <Choice label="Once for each value of" value={str(panel["repeat"])} options={[["", "no variable"], ...props.variables.map((v): [string, string] => [v, v])]} change={(v) => props.change(setAt(panel, "repeat", v || undefined))} />
      {str(panel["repeat"]) !== "" && str(panel["type"]) !== "row" && (
        <>
          <Choice label="Copies stand" value={str(panel["repeatDirection"]) || "h"} options={[["h", "side by side"], ["v", "one below the other"]]} change={(v) => props.change(setAt(panel, "repeatDirection", v))} />
          <Numeric label="Most in a line" value={num(panel["maxPerRow"])} min={1} step="1" change={(v) => props.change(setAt(panel, "maxPerRow", v))} />
        </>
      )}
    </div>
  );
}

/** Overrides, transformations and all else: the panel's own JSON. */
function PanelJson(props: Form): JSX.Element {
  const [text, setText] = useState<string | null>(null);
  const [error, setError] = useState("");
  const apply = () => {
    try {
      const parsed = JSON.parse(text ?? "") as Json;
      if (Object.keys(obj(parsed)).length === 0) throw new Error("a panel is an object");
      props.change({ ...obj(parsed), id: props.panel["id"] ?? 0 });
      setError("");
      setText(null);
    } catch (e) {
      setError(e instanceof Error ? e.message : String(e));
    }
  };
  return (
    <details onToggle={(e) => setText(e.currentTarget.open ? JSON.stringify(props.panel, null, 2) : null)}>
      <summary>JSON of this panel: overrides, transformations, links</summary>
      {text !== null && (
        <>
          <textarea class="mono" aria-label="JSON of this panel" rows={16} spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} />
          {error && <p class="bad" role="alert">{error}</p>}
          <button class="small" onClick={apply}>Apply the JSON</button>
        </>
      )}
    </details>
  );
}
