//! PNG of panels and dashboards: the panel's queries are asked as the portal asks them, and drawn
//! by `obs-draw`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use obs_dash::{
    Dashboard, Language, Panel, PanelKind, PanelQuery, QueryScope, VariableKind, filled,
    panel_queries,
};
use obs_draw::{
    Answer, LogLine, Picture, Placed, Rows, Series, Theme, Window, dashboard_png, panel_png,
};
use obs_logql::Value as LogValue;
use obs_promql::Value as PromValue;
use obs_types::{Direction, QueryContext, TimeRangeNs, TimestampMs};

use super::{dashboards, window};
use crate::params::Params;
use crate::run::run;
use crate::{ApiError, ApiState};

const WIDTH: u32 = 1_000;
const HEIGHT: u32 = 500;
const SERIES_MAX: usize = 300;
const LINES_MAX: usize = 500;
const TRACES_MAX: usize = 100;
/// Panels of one picture; more are left out with a notice in their place.
const PANELS_MAX: usize = 120;
/// Pixels for each step of a range query.
const PIXELS_PER_POINT: i64 = 3;
const SCRAPE_INTERVAL_MS: i64 = 15_000;
const TIMEOUT: Duration = Duration::from_secs(60);

type Labels = BTreeMap<String, String>;

pub(super) async fn panel(
    State(state): State<Arc<ApiState>>,
    Path((id, panel)): Path<(String, String)>,
    params: Params,
) -> Result<Response, ApiError> {
    let number = panel.strip_suffix(".png").and_then(|n| n.parse::<i64>().ok());
    let number = number.ok_or_else(|| {
        ApiError::invalid(format!("{panel:?} is not the number of a panel with .png"))
    })?;
    let board = dashboards::find(&state, &id, &params).await?;
    let known = board.dashboard.all_panels().iter().any(|p| p.id == number);
    if !known {
        return Err(ApiError::not_found(format!("dashboard {id:?} has no panel {number}")));
    }
    let asked = Asked::read(&params, &state, HEIGHT)?;
    let png = run(&state, Some(TIMEOUT), move |s, context| {
        let board = &board.dashboard;
        let scope = asked.scope(board, s);
        let all = board.all_panels();
        let panel = all.into_iter().find(|p| p.id == number);
        let panel = panel.ok_or_else(|| ApiError::not_found("the panel is gone"))?;
        let answer = answer(s, board, panel, &scope, context)?;
        let (title, text) = words(board, panel, &scope);
        let placed = placed(panel, &title, &text, &answer, &scope);
        panel_png(&placed, asked.picture).map_err(|e| ApiError::invalid(e.to_string()))
    })
    .await?;
    Ok(png_response(png))
}

pub(super) async fn dashboard(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let board = dashboards::find(&state, &id, &params).await?;
    let asked = Asked::read(&params, &state, 0)?;
    let png = run(&state, Some(TIMEOUT), move |s, context| {
        let board = &board.dashboard;
        let scope = asked.scope(board, s);
        // The panels of a folded row are not on the page.
        let shown: Vec<&Panel> = board
            .panels
            .iter()
            .flat_map(|p| std::iter::once(p).chain(p.panels.iter().filter(|_| !p.collapsed)))
            .collect();
        let mut drawn = Vec::new();
        for (i, panel) in shown.into_iter().enumerate() {
            let wide = i64::from(asked.picture.width) * i64::from(panel.position.w) / 24;
            let scope = QueryScope { step_ms: step_ms(&scope, wide), ..scope.clone() };
            let answer = if i < PANELS_MAX {
                answer(s, board, panel, &scope, context)?
            } else {
                let notices = vec![format!("Only the first {PANELS_MAX} panels are asked.")];
                Answer { notices, ..Answer::default() }
            };
            let (title, text) = words(board, panel, &scope);
            drawn.push((panel, title, text, answer, scope));
        }
        let all: Vec<Placed<'_>> = drawn
            .iter()
            .map(|(panel, title, text, answer, scope)| placed(panel, title, text, answer, scope))
            .collect();
        let title = filled(board, &scope, &board.title);
        dashboard_png(&title, window_of(&scope), &all, asked.picture)
            .map_err(|e| ApiError::invalid(e.to_string()))
    })
    .await?;
    Ok(png_response(png))
}

fn png_response(png: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "no-store")], png)
        .into_response()
}

/// What the parameters say.
struct Asked {
    picture: Picture,
    /// `None` for the dashboard's own range.
    window: Option<(i64, i64)>,
    now_ms: i64,
    values: BTreeMap<String, Vec<String>>,
}

impl Asked {
    fn read(params: &Params, state: &ApiState, height: u32) -> Result<Self, ApiError> {
        let side = |name: &str, usual: u32| -> Result<u32, ApiError> {
            let given = params.number(name, 1)?;
            Ok(given.map_or(usual, |n| u32::try_from(n).unwrap_or(u32::MAX)))
        };
        let theme = match params.get("theme").unwrap_or("dark") {
            "dark" => Theme::Dark,
            "light" => Theme::Light,
            other => {
                return Err(ApiError::invalid(format!("theme {other:?} is not dark or light")));
            }
        };
        let scale = match params.get("scale") {
            None => 1.0,
            Some(text) => text.parse::<f32>().ok().filter(|v| v.is_finite()).ok_or_else(|| {
                ApiError::invalid(format!("scale {text:?} is not a number from 1 to 4"))
            })?,
        };
        let given = ["last", "from", "to"].iter().any(|n| params.get(n).is_some());
        let window = if given {
            let (from, to) = window(params, state, obs_types::DurationMs::HOUR)?;
            Some((from.floor_to_ms().0, to.floor_to_ms().0))
        } else {
            None
        };
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in params.pairs() {
            if let Some(name) = name.strip_prefix("var-") {
                values.entry(name.to_owned()).or_default().push(value.to_owned());
            }
        }
        let (width, height) = (side("width", WIDTH)?, side("height", height)?);
        let picture = Picture { width, height, theme, scale };
        Ok(Self { picture, window, now_ms: state.front.now().0, values })
    }

    /// Range, step and values of variables; those that neither the address nor the dashboard
    /// chooses take their first value from the data.
    fn scope(&self, board: &Dashboard, state: &ApiState) -> QueryScope {
        let (from_ms, to_ms) = self.window.unwrap_or_else(|| self.own_window(board));
        let mut scope = QueryScope {
            from_ms,
            to_ms,
            step_ms: 1_000,
            scrape_interval_ms: SCRAPE_INTERVAL_MS,
            values: self.values.clone(),
        };
        scope.step_ms = step_ms(&scope, i64::from(self.picture.width));
        for v in &board.variables {
            let open = v.kind == VariableKind::Query && !v.multi && !v.include_all;
            if open && v.current.is_empty() && !scope.values.contains_key(&v.name) {
                let query = filled(board, &scope, &v.query);
                if let Some(first) = first_value(state, &query, to_ms) {
                    scope.values.insert(v.name.clone(), vec![first]);
                }
            }
        }
        scope
    }

    /// `now-6h` to `now`; an hour for what is not understood.
    fn own_window(&self, board: &Dashboard) -> (i64, i64) {
        let now = TimestampMs(self.now_ms);
        let parse = |text: &str, usual: i64| {
            obs_query::parse_time(text, now).map_or(usual, |t| t.floor_to_ms().0)
        };
        let to = parse(&board.time.to, self.now_ms);
        let from = parse(&board.time.from, to - 3_600_000);
        if from < to { (from, to) } else { (to - 3_600_000, to) }
    }
}

fn step_ms(scope: &QueryScope, width: i64) -> i64 {
    let points = (width / PIXELS_PER_POINT).clamp(10, 2_000);
    let rough = ((scope.to_ms - scope.from_ms) / points).max(1_000);
    // Whole seconds, so that steps agree between pictures.
    rough.div_euclid(1_000) * 1_000
}

/// The first value of `label_values(metric, label)`.
fn first_value(state: &ApiState, query: &str, at_ms: i64) -> Option<String> {
    let inner = query.trim().strip_prefix("label_values(")?.strip_suffix(')')?;
    let (metric, label) = inner.rsplit_once(',').unwrap_or(("", inner));
    let label = label.trim();
    let selector = match metric.trim() {
        "" => format!("{{{label}!=\"\"}}"),
        metric => metric.to_owned(),
    };
    let found = state.front.values(&format!("group by ({label}) ({selector})"), TimestampMs(at_ms));
    let mut values: Vec<String> = found
        .ok()?
        .iter()
        .filter_map(|(labels, _)| labels.get(label).map(str::to_owned))
        .filter(|v| !v.is_empty())
        .collect();
    values.sort();
    values.into_iter().next()
}

fn window_of(scope: &QueryScope) -> Window {
    Window { from_ms: scope.from_ms, to_ms: scope.to_ms, step_ms: scope.step_ms }
}

fn words(board: &Dashboard, panel: &Panel, scope: &QueryScope) -> (String, String) {
    (filled(board, scope, &panel.title), filled(board, scope, &panel.text))
}

fn placed<'a>(
    panel: &'a Panel,
    title: &'a str,
    text: &'a str,
    answer: &'a Answer,
    scope: &QueryScope,
) -> Placed<'a> {
    Placed { grid: panel.position, panel, title, text, answer, window: window_of(scope) }
}

/// Asks every query of a panel; what fails is a notice, so that one bad query leaves the others.
fn answer(
    state: &ApiState,
    board: &Dashboard,
    panel: &Panel,
    scope: &QueryScope,
    context: &QueryContext,
) -> Result<Answer, ApiError> {
    let mut out = Answer::default();
    if matches!(panel.kind, PanelKind::Row | PanelKind::Text) {
        return Ok(out);
    }
    // A query may show what another panel asks.
    let other = panel.queries.iter().find_map(|q| q.panel_id);
    let source = other.unwrap_or(panel.id);
    let asked = panel_queries(board, scope);
    for q in asked.iter().filter(|q| q.panel_id == source && !q.query.hidden) {
        context.check().map_err(ApiError::from)?;
        if let Err(e) = ask(state, panel, q, scope, context, &mut out) {
            out.notices.push(format!("Query {}: {}", q.query.ref_id, e.message));
        }
    }
    if out.series.len() > SERIES_MAX {
        let count = out.series.len();
        out.notices.push(format!("{count} series; the first {SERIES_MAX} are shown."));
        out.series.truncate(SERIES_MAX);
    }
    for t in panel.transformations.iter().filter(|t| !t.disabled) {
        let plain = ["organize", "merge", "joinByField", "seriesToColumns", "sortBy"];
        if !plain.contains(&t.id.as_str()) {
            out.notices.push(format!("Transformation {} is not applied in pictures.", t.id));
        }
    }
    Ok(out)
}

fn ask(
    state: &ApiState,
    panel: &Panel,
    q: &PanelQuery,
    scope: &QueryScope,
    context: &QueryContext,
    out: &mut Answer,
) -> Result<(), ApiError> {
    let (from, to) = (TimestampMs(scope.from_ms), TimestampMs(scope.to_ms));
    let step = q.step_ms.max((scope.to_ms - scope.from_ms) / 11_000).max(1_000);
    let expr = q.query.expr.as_str();
    let table = q.query.extra.get("format").and_then(|f| f.as_str()) == Some("table");
    let range = q.query.extra.get("range").and_then(|r| r.as_bool()) == Some(true);
    let instant = q.query.instant || (table && !range);
    match &q.query.language {
        Language::PromQl => {
            let short = obs_query::expand_shorthand(expr).map(|s| s.promql);
            let expr = short.as_deref().unwrap_or(expr);
            let found = if instant {
                state.front.instant(expr, to, context)?
            } else {
                // Aligned, so that every series has its points at the same instants.
                let start = TimestampMs(from.0.div_euclid(step) * step);
                state.front.range(expr, start, to, step, context)?
            };
            let mut add = |labels: Labels, points| out.series.push(series(q, labels, points));
            match found.value {
                PromValue::Scalar { timestamp_ms, value } => {
                    add(Labels::new(), vec![(timestamp_ms, value)]);
                }
                PromValue::Vector(all) => {
                    for s in all {
                        if let Some(v) = s.value.as_float() {
                            add(labels(s.labels.iter()), vec![(s.timestamp_ms, v)]);
                        }
                    }
                }
                PromValue::Matrix(all) => {
                    for s in all {
                        add(labels(s.labels.iter()), s.floats);
                    }
                }
                PromValue::String { .. } => {}
            }
            out.notices.extend(found.warnings.iter().map(ToString::to_string));
        }
        Language::LogQl => {
            let logs = state.front.logs.as_ref();
            let (start, end) = (from.to_ns(), to.to_ns());
            let back = Direction::Backward;
            let engine = &state.front.logql;
            let found = if instant {
                engine.instant(logs, expr, end, LINES_MAX, back, context)?
            } else {
                let step = step.saturating_mul(1_000_000);
                engine.range(logs, expr, start, end, step, LINES_MAX, back, context)?
            };
            logs_in(found.value, q, out);
        }
        Language::TraceQl => {
            let query = obs_traceql::parse(expr)?;
            let range = TimeRangeNs::new(from.to_ns(), to.to_ns());
            let traces = state.front.traces.as_ref();
            let found = obs_traceql::search(traces, &query, range, TRACES_MAX, 1, context)?;
            let columns = ["Start", "Name", "Service", "Duration"].map(str::to_owned).to_vec();
            let rows = found.iter().map(|t| {
                let start = obs_query::format_ns(t.start);
                let took = format!("{:.1} ms", t.duration_ns as f64 / 1e6);
                vec![start, t.root_name.clone(), t.root_service.clone(), took]
            });
            out.rows = Some(Rows { columns, rows: rows.collect() });
        }
        Language::Other(name) => {
            return Err(ApiError::invalid(format!(
                "panel {} asks {name:?}, which vm-obs does not speak",
                panel.id
            )));
        }
    }
    Ok(())
}

fn logs_in(found: LogValue, q: &PanelQuery, out: &mut Answer) {
    match found {
        LogValue::Streams(streams) => {
            for s in streams {
                let of = |name: &str| s.labels.iter().find(|(n, _)| *n == name).map(|(_, v)| v);
                let level = of("detected_level").or_else(|| of("level")).unwrap_or("").to_owned();
                out.logs.extend(s.entries.iter().map(|e| LogLine {
                    time_ms: e.timestamp.floor_to_ms().0,
                    level: level.clone(),
                    text: e.line.to_string(),
                }));
            }
            out.logs.sort_by_key(|l| std::cmp::Reverse(l.time_ms));
            out.logs.truncate(LINES_MAX);
        }
        LogValue::Vector(all) => {
            for s in all {
                let point = (s.timestamp.floor_to_ms().0, s.value);
                out.series.push(series(q, labels(s.labels.iter()), vec![point]));
            }
        }
        LogValue::Matrix(all) => {
            for s in all {
                let points = s.points.iter().map(|(t, v)| (t.floor_to_ms().0, *v)).collect();
                out.series.push(series(q, labels(s.labels.iter()), points));
            }
        }
        LogValue::Scalar { timestamp, value } => {
            let point = (timestamp.floor_to_ms().0, value);
            out.series.push(series(q, Labels::new(), vec![point]));
        }
    }
}

fn labels<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
    all.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn series(q: &PanelQuery, labels: Labels, points: Vec<(i64, f64)>) -> Series {
    let name = series_name(&labels, &q.query.legend);
    Series { name, ref_id: q.query.ref_id.clone(), labels, points }
}

/// The legend with `{{label}}` filled in, or `name{a="b"}`.
fn series_name(labels: &Labels, legend: &str) -> String {
    if legend.is_empty() || legend == "__auto" {
        let name = labels.get("__name__").map_or("", String::as_str);
        let rest: Vec<String> = labels
            .iter()
            .filter(|(n, _)| *n != "__name__")
            .map(|(n, v)| format!("{n}=\"{v}\""))
            .collect();
        return match (name, rest.is_empty()) {
            ("", true) => "value".to_owned(),
            (name, true) => name.to_owned(),
            (name, false) => format!("{name}{{{}}}", rest.join(", ")),
        };
    }
    let mut out = String::new();
    let mut rest = legend;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((label, tail)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        out.push_str(labels.get(label.trim()).map_or("", String::as_str));
        rest = tail;
    }
    out.push_str(rest);
    out
}
