// A dashboard with every kind of panel over the demo world, in the shape that the server gives.

const STEPS = [{ value: null, color: "green" }, { value: 20, color: "yellow" }, { value: 80, color: "red" }];
let next = 0;

function panel(kind, title, queries, more = {}) {
  next += 1;
  const { field = {}, custom = {}, grid, ...rest } = more;
  return {
    id: next, title, description: "", kind, known: true, row: null, collapsed: false,
    grid: grid ?? { x: ((next - 1) % 3) * 8, y: Math.floor((next - 1) / 3) * 8, w: 8, h: 8 },
    unit: "", decimals: null, thresholds: STEPS, min: null, max: null, text: null,
    queries: queries.map((q, i) => ({ ref_id: "ABC"[i], language: "promql", legend: "", instant: false, hidden: false, interval: "", panel_id: null, format: null, range: null, ...q })),
    field: { display_name: "", percentage: false, mappings: [], links: [], custom, color: null, no_value: null, overrides: [], ...field },
    options: {}, transformations: [], repeat: null, links: [], interval: null, max_data_points: null, time_from: null, time_shift: null, transparent: null, ...rest,
  };
}

const CPU = 'sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[1m])) * 100';

export function gallery() {
  next = 0;
  return {
    id: "gallery", title: "Every kind of panel", description: "", tags: [], time: { from: "now-15m", to: "now" }, refresh: "", links: [],
    annotations: [{ name: "Scrapes begin", enabled: true, hidden: false, color: "purple", language: "promql", expr: "changes(up[1m]) > bool 0", title: null, text: null }],
    variables: [
      { name: "job", label: "Job", kind: "query", query: "label_values(up, job)", regex: "", multi: true, include_all: true, all_value: "", hidden: false, values: ["$__all"], current: null, options: [], texts: [], sort: 1 },
      { name: "top", label: "Top", kind: "custom", query: "3,5", regex: "", multi: false, include_all: false, all_value: "", hidden: false, values: ["5"], current: null, options: ["3", "5"], texts: ["three", "five"], sort: null },
      { name: "note", label: "Note", kind: "textbox", query: "", regex: "", multi: false, include_all: false, all_value: "", hidden: false, values: ["hello"], current: null, options: [], texts: [], sort: null },
      { name: "filters", label: "Filters", kind: "adhoc", query: "", regex: "", multi: false, include_all: false, all_value: "", hidden: false, values: [], current: null, options: [], texts: [], sort: null },
    ],
    panels: [
      panel("timeseries", "Stacked, legend as a table", [{ expr: CPU, legend: "{{mode}}" }], { unit: "percent", custom: { stacking: { mode: "normal", group: "A" }, fillOpacity: 40 }, options: { legend: { displayMode: "table", placement: "bottom", calcs: ["mean", "max"] } } }),
      panel("timeseries", "Right axis, thresholds, dashes", [{ expr: "node_memory_MemAvailable_bytes", legend: "free" }, { expr: "node_load1", legend: "load" }], { unit: "bytes", thresholds: [{ value: null, color: "transparent" }, { value: 5e9, color: "red" }], custom: { thresholdsStyle: { mode: "line+area" } }, field: { overrides: [{ matcher: { id: "byName", options: "load" }, properties: [{ id: "custom.axisPlacement", value: "right" }, { id: "unit", value: "short" }, { id: "color", value: { mode: "fixed", fixedColor: "orange" } }, { id: "custom.lineStyle", value: { fill: "dash" } }] }] } }),
      panel("timeseries", "Bars, legend at the side", [{ expr: "sum by (job) (scrape_samples_scraped)", legend: "{{job}}" }], { custom: { drawStyle: "bars", fillOpacity: 70 }, options: { legend: { displayMode: "list", placement: "right" } } }),
      panel("stat", "Single values", [{ expr: CPU, legend: "{{mode}}" }], { unit: "percent", decimals: 1, options: { graphMode: "area", colorMode: "value" } }),
      panel("stat", "State", [{ expr: 'up{job=~"$job"}', legend: "{{job}}" }], { options: { colorMode: "background" }, field: { mappings: [{ type: "value", options: { 0: { text: "down", color: "red" }, 1: { text: "up", color: "green" } } }] } }),
      panel("gauge", "Memory in use", [{ expr: "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)" }], { unit: "percent", min: 0, max: 100 }),
      panel("bargauge", "Samples of each job", [{ expr: "topk($top, sum by (job) (scrape_samples_scraped))", legend: "{{job}}", instant: true }]),
      panel("piechart", "Shares", [{ expr: "sum by (job) (scrape_samples_scraped)", legend: "{{job}}", instant: true }], { options: { pieType: "donut" } }),
      panel("table", "Table", [{ expr: 'sum by (job, instance) (up{job=~"$job"})', instant: true, format: "table" }, { expr: "sum by (job, instance) (scrape_duration_seconds)", instant: true, format: "table" }], {
        transformations: [{ id: "merge", options: {} }, { id: "organize", options: { excludeByName: { Time: true, __name__: true, node: true }, renameByName: { "Value #A": "State", "Value #B": "Took" } } }],
        field: { overrides: [{ matcher: { id: "byName", options: "Took" }, properties: [{ id: "unit", value: "s" }, { id: "custom.cellOptions", value: { type: "gauge" } }] }, { matcher: { id: "byName", options: "State" }, properties: [{ id: "mappings", value: [{ type: "value", options: { 1: { text: "up", color: "green" } } }] }] }] },
      }),
      panel("heatmap", "Heat map", [{ expr: "sum by (le) (rate(psi_step_duration_seconds_bucket[1m]))", legend: "{{le}}" }], { unit: "s" }),
      panel("state-timeline", "State timeline", [{ expr: "ceil(node_load1)", legend: "load" }, { expr: "up", legend: "{{job}}" }], { field: { mappings: [{ type: "value", options: { 0: { text: "down", color: "red" }, 1: { text: "up", color: "green" } } }] } }),
      panel("status-history", "Status history", [{ expr: "up", legend: "{{job}}" }], { interval: "30s" }),
      panel("barchart", "Bar chart", [{ expr: "sum by (job) (scrape_samples_scraped)", instant: true, format: "table" }]),
      panel("histogram", "Histogram", [{ expr: "scrape_duration_seconds" }], { unit: "s", options: { combine: true } }),
      panel("nodeGraph", "Node graph", [{ expr: 'label_replace(label_replace(sum by (job) (up), "source", "vm-obs", "", ""), "target", "$1", "job", "(.*)")', instant: true, format: "table" }]),
      panel("logs", "Log lines", [{ language: "logql", expr: '{service_name=~".+"}' }]),
      panel("traces", "Traces", [{ language: "traceql", expr: "{}" }]),
      panel("text", "Text", [], { text: "# A heading\n\nSome **bold** text, `code`, a [link](/alerts) and $note.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>window.hurt = 1</script>", options: { mode: "markdown" } }),
      panel("worldmap", "A kind that nobody knows", [{ expr: "up", instant: true }], { known: false }),
      panel("row", "Folded row", [], { collapsed: true, grid: { x: 0, y: 60, w: 24, h: 1 } }),
      panel("stat", "Repeated for $job", [{ expr: 'up{job="$job"}', legend: "{{job}}" }], { row: 20, repeat: { variable: "job", vertical: false, columns_max: 4 }, grid: { x: 0, y: 61, w: 6, h: 4 } }),
    ],
  };
}
