import type { DataLink, Mapping, Step } from "../lib/frame";
import type { Labels } from "../lib/labels";
import type { Transformation } from "../lib/transform";
import type { Variable } from "../lib/variables";

export interface Series {
  labels: Labels;
  /** Seconds. */
  times: number[];
  values: (number | null)[];
}

export interface LogObject {
  log_id: string;
  timestamp: string;
  level: string;
  service: string;
  node: string;
  message: string;
  attributes: Record<string, unknown>;
  trace_id?: string;
  span_id?: string;
  caller?: string;
}

export interface TraceSummary {
  trace_id: string;
  name: string;
  service: string;
  start_time: string;
  duration_ms: number;
  status: string;
  span_count: number;
  services: string[];
  error_count: number;
}

export interface SpanObject {
  span_id: string;
  parent_span_id: string | null;
  name: string;
  service: string;
  node: string;
  start_time: string;
  end_time?: string;
  duration_ms: number;
  status?: string;
  status_message?: string;
  kind?: string;
  self_time_ms?: number;
  attributes: Record<string, unknown>;
  events?: { timestamp: string; name: string; attributes: Record<string, unknown> }[];
}

export interface TraceObject {
  trace_id: string;
  name: string;
  start_time: string;
  end_time: string;
  duration_ms: number;
  status: string;
  spans: SpanObject[];
  tags: string[];
}

export interface TraceAnalysis {
  bottleneck: { span_id: string; name: string; service: string; self_time_ms: number; share_percent: number } | null;
  critical_path: { span_id: string; name: string; service: string; self_time_ms: number; share_percent: number }[];
  text: string;
}

export interface AlertObject {
  alert_id: string;
  name: string;
  severity: string;
  status: string;
  fired_at: string | null;
  node: string;
  rule: { expression: string; threshold: number | null; duration: string };
  current_value: number | null;
  labels: Labels;
  annotations: Labels;
  notified: string[];
  acknowledged: { by: string; at: string; comment: string } | null;
  silenced: boolean;
  resolved_at: string | null;
}

export interface Silence {
  id: string;
  matchers: { name: string; op: string; value: string }[];
  starts_at: string;
  ends_at: string;
  reason: string;
  created_by: string;
  status: string;
}

export interface Slo {
  slo_id: string;
  name: string;
  description: string;
  service?: string;
  target: number;
  window: string;
  achieved: number | null;
  status: string;
  error_budget: { total_minutes: number; consumed_minutes: number | null; remaining_percent: number | null };
  breakdown: { total_requests: number; good_requests: number; bad_requests: number } | null;
  trend: string;
  burn_rates?: Record<string, number | null>;
}

/** What was left of an error budget, slice by slice. */
export interface BurnDownAnswer {
  slo_id: string;
  target: number;
  window: string;
  start: string;
  end: string;
  slice_seconds: number;
  at_risk_percent: number;
  points: { at: string; good: number; total: number; remaining_percent: number }[];
  exhausts_at: string | null;
}

export interface Anomaly {
  anomaly_id: string;
  timestamp: string;
  metric: string;
  node: string;
  expected_range: { min: number; max: number };
  observed_value: number;
  deviation_sigma: number;
  confidence: number;
  detection_method: string;
  possible_causes: string[];
  correlated_events: string[];
}

export interface LedgerHead {
  origin: string;
  size: number;
  root_sha256: string;
  root_hash: string;
  checkpoint: string;
  log_vkey: string;
  last_receipt_at: string | null;
  receipts_by_type: Record<string, number>;
  sealed_hours: Record<string, number>;
  unproven_tail: number;
  witnessed: boolean;
}

export interface Verdict {
  exit_code: number;
  verdict: string;
  text: string;
  findings: { code: string; seq: number | null; path: string | null; message: string }[];
  receipts: number;
  files: number;
}

export type Receipt = Record<string, unknown> & { type: string; seq: number; timestamp: string };

export interface TimelineEntry {
  time: string;
  kind: string;
  text: string;
  node: string | null;
  service: string | null;
  score: number;
  link: string | null;
}

export interface Health {
  status: string;
  version: string;
  uptime_seconds: number;
  now: string;
  components: { name: string; status: string; detail: string }[];
  ingest: {
    samples_per_second: number;
    log_lines_per_second: number;
    spans_per_second: number;
    rejected_total: number;
  };
  storage: Record<string, unknown> & { free_bytes?: number };
  alerts: { firing: number; pending: number };
  ledger: { size: number };
  packs: string[];
  demo: boolean;
}

export interface DashboardSummary {
  id: string;
  title: string;
  tags: string[];
  pack: string | null;
  panels: number;
  origin: "pack" | "file" | "saved";
  file: string | null;
  provider: string | null;
  editable: boolean;
  version: number;
  covers: boolean;
}

export interface DashboardProblem {
  severity: string;
  code: string;
  path: string;
  line: number;
  message: string;
  expected: string;
  fatal: boolean;
}

export interface DashboardList {
  dashboards: DashboardSummary[];
  faulty: { file: string; older_shown: boolean; problems: DashboardProblem[] }[];
  notices: string[];
}

export interface PanelQuery {
  ref_id: string;
  language: string;
  expr: string;
  legend: string;
  instant: boolean;
  hidden: boolean;
  interval: string;
  panel_id: number | null;
  format: string | null;
  range: boolean | null;
}

export interface Panel {
  id: number;
  title: string;
  kind: string;
  known: boolean;
  row: number | null;
  collapsed: boolean;
  grid: { x: number; y: number; w: number; h: number };
  unit: string;
  decimals: number | null;
  thresholds: Step[];
  min: number | null;
  max: number | null;
  text: string | null;
  description?: string | null;
  queries: PanelQuery[];
  field: {
    display_name: string;
    percentage: boolean;
    mappings: Mapping[];
    links: DataLink[];
    custom: Record<string, unknown>;
    color: { mode?: string; fixedColor?: string } | null;
    no_value: string | null;
    overrides: { matcher: { id: string; options?: unknown }; properties: { id: string; value: unknown }[] }[];
  };
  options: Record<string, unknown>;
  transformations: Transformation[];
  repeat: { variable: string; vertical: boolean; columns_max: number | null } | null;
  links: DataLink[];
  interval: string | null;
  max_data_points: number | null;
  time_from: string | null;
  time_shift: string | null;
  transparent: boolean | null;
}

export interface Annotation {
  name: string;
  enabled: boolean;
  hidden: boolean;
  color: string;
  language: string;
  expr: string;
  title: string | null;
  text: string | null;
}

export interface Dashboard {
  id: string;
  title: string;
  description: string;
  tags: string[];
  time: { from: string; to: string };
  refresh: string;
  links: DataLink[];
  annotations: Annotation[];
  variables: Variable[];
  panels: Panel[];
  origin: string;
  file: string | null;
  editable: boolean;
  version: number;
  covers: boolean;
}

export interface DemoState {
  enabled: boolean;
  faults: { name: string; description: string; active: boolean; alerts: string[] }[];
}

export interface DoctorFinding {
  check: string;
  code: string;
  severity: string;
  subject: string;
  cause: string;
  mend: string;
  evidence: { query: string | null; result: string | null; file: string | null; line: number | null }[];
}

export interface DoctorAnswer {
  run_at: string | null;
  report: {
    clean: boolean;
    counts: { findings: number; ran: number; skipped: number };
    checks: { check: string; state: string; subjects: number; findings: number; skipped: string | null; not_checked: string[] }[];
    findings: DoctorFinding[];
  } | null;
}
