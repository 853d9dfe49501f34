//! Random queries of the language that Prometheus 2.42 and 3 share.
//!
//! What is left out, and why, is listed in `docs/compat/promql.md` under "Compared with
//! Prometheus 2.42"; each rule there has its name at the place here that keeps to it.

/// xorshift64*.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Whether values must be the same to the bit in both engines (`rounding`): what compares, rounds
/// or divides by them would otherwise turn a last digit into another answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Exact,
    Any,
}

const METRICS: [&str; 6] = ["req_total", "temp", "lat_bucket", "lat_count", "info", "odd"];
/// For `rate` and `increase` (`extrapolation`).
const COUNTERS: [&str; 3] = ["req_total", "lat_bucket", "lat_count"];
const LABELS: [&str; 6] = ["job", "instance", "code", "version", "le", "kind"];
const RANGES: [&str; 7] = ["20s", "1m", "95s", "5m", "12m", "1h", "1h30m"];
const CONSTANTS: [&str; 7] = ["0", "1", "2", "0.5", "-3", "1.25", "4"];

pub(crate) fn query(seed: u64) -> String {
    let mut g = Generator { random: Random::new(seed), in_subquery: false, no_at: false };
    let depth = 1 + g.random.below(4) as u32;
    if g.random.chance(5) { g.scalar(depth) } else { g.vector(Need::Any, depth) }
}

struct Generator {
    random: Random,
    in_subquery: bool,
    /// Where a fixed time would mean something else (`predicted from`).
    no_at: bool,
}

impl Generator {
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        self.random.pick(of)
    }

    fn matchers(&mut self) -> String {
        let mut out = Vec::new();
        while out.len() < 2 && self.random.chance(30) {
            out.push(match self.random.below(8) {
                0 => "job=\"api\"".to_owned(),
                1 => "job!=\"api\"".to_owned(),
                2 => "instance=~\"[ab]:.*\"".to_owned(),
                3 => "instance!~\"a.*|zz\"".to_owned(),
                4 => "code=\"\"".to_owned(),
                5 => "code=~\"(2|5)00\"".to_owned(),
                6 => "code!=\"404\"".to_owned(),
                _ => "kind=\"x\"".to_owned(),
            });
        }
        if out.is_empty() { String::new() } else { format!("{{{}}}", out.join(", ")) }
    }

    /// Whole seconds, so that what lies on window edges stays off them (`left-open`).
    fn modifiers(&mut self) -> String {
        let mut out = String::new();
        if self.random.chance(12) {
            out.push_str(self.pick(&[" offset 1m", " offset 10m", " offset -3m", " offset 7s"]));
        }
        if !self.no_at && self.random.chance(8) {
            let at = super::data::START / 1000 + 600 + self.random.below(9_000) as i64;
            let fixed = format!(" @ {at}.5");
            out.push_str(self.pick(&[" @ start()", " @ end()", &fixed]));
        }
        out
    }

    fn selector(&mut self, of: &[&str]) -> String {
        format!("{}{}{}", self.pick(of), self.matchers(), self.modifiers())
    }

    fn range(&mut self, of: &[&str]) -> String {
        let (metric, matchers, range) = (self.pick(of), self.matchers(), self.pick(&RANGES));
        format!("{metric}{matchers}[{range}]{}", self.modifiers())
    }

    /// A subquery's points are whole seconds, its windows end on half ones (`left-open`).
    fn subquery(&mut self, of: &str) -> String {
        let step = self.pick(&["30s", "1m", "47s", "2m"]);
        let range = self.pick(&["5m", "12m", "40m"]);
        let shift = if self.in_subquery { " offset 500ms" } else { "" };
        format!("({of})[{range}:{step}]{shift}")
    }

    fn windows(&mut self, of: &[&str], need: Need, depth: u32) -> String {
        if depth == 0 || self.in_subquery || self.random.chance(60) {
            return self.range(of);
        }
        let outer = std::mem::replace(&mut self.in_subquery, true);
        let inner =
            if of.len() < METRICS.len() { self.selector(of) } else { self.vector(need, depth - 1) };
        self.in_subquery = outer;
        self.subquery(&inner)
    }

    fn scalar(&mut self, depth: u32) -> String {
        match self.random.below(if depth == 0 { 3 } else { 5 }) {
            0 | 1 => self.pick(&CONSTANTS).to_owned(),
            2 => "time()".to_owned(),
            3 => format!("scalar({})", self.vector(Need::Exact, depth - 1)),
            _ => {
                let op = self.pick(&["+", "-", "*"]);
                format!("({} {op} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
        }
    }

    /// No NaN and no infinity in it (`spread of NaN`).
    fn finite(&mut self) -> String {
        const FINITE: [&str; 4] = ["req_total", "temp", "lat_bucket", "info"];
        match self.random.below(3) {
            0 => self.selector(&FINITE),
            1 => format!("max_over_time({})", self.range(&FINITE)),
            _ => format!("sum by (job, instance) ({})", self.selector(&FINITE)),
        }
    }

    fn grouping(&mut self) -> String {
        let mut labels: Vec<&str> = Vec::new();
        for l in LABELS {
            if self.random.chance(30) {
                labels.push(l);
            }
        }
        match self.random.below(5) {
            0 => String::new(),
            1 | 2 => format!(" without ({}) ", labels.join(", ")),
            _ => format!(" by ({}) ", labels.join(", ")),
        }
    }

    fn vector(&mut self, need: Need, depth: u32) -> String {
        if depth == 0 {
            return self.selector(&METRICS);
        }
        let d = depth - 1;
        let any = need == Need::Any;
        match self.random.below(15) {
            0 => self.selector(&METRICS),
            1 | 2 => {
                let by = self.grouping();
                if any && self.random.chance(40) {
                    match self.pick(&["avg", "stddev", "stdvar"]) {
                        "avg" => format!("avg{by}({})", self.vector(Need::Any, d)),
                        op => format!("{op}{by}({})", self.finite()),
                    }
                } else if any && self.random.chance(20) {
                    let q = self.pick(&["0", "0.3", "0.5", "0.99", "1", "-1", "2"]);
                    format!("quantile{by}({q}, {})", self.vector(Need::Any, d))
                } else {
                    let op = self.pick(&["sum", "min", "max", "count", "group"]);
                    format!("{op}{by}({})", self.vector(need, d))
                }
            }
            3 | 4 => {
                let f = if any && self.random.chance(50) {
                    self.pick(&["avg", "stddev", "stdvar", "quantile"])
                } else {
                    self.pick(&["min", "max", "sum", "count", "last", "present"])
                };
                let windows = self.windows(&METRICS, need, d);
                match f {
                    "quantile" => format!("quantile_over_time(0.4, {windows})"),
                    f => format!("{f}_over_time({windows})"),
                }
            }
            5 if any => {
                let f = self.pick(&["rate", "increase", "irate"]);
                format!("{f}({})", self.windows(&COUNTERS, Need::Exact, d))
            }
            5 => format!("changes({})", self.windows(&METRICS, Need::Exact, d)),
            6 if any => match self.random.below(4) {
                0 => format!("deriv({})", self.windows(&METRICS, Need::Exact, d)),
                1 => {
                    self.no_at = true;
                    let windows = self.range(&METRICS);
                    self.no_at = false;
                    format!("predict_linear({windows}, 600)")
                }
                2 => format!("delta({})", self.windows(&["temp"], Need::Exact, d)),
                _ => format!("idelta({})", self.windows(&METRICS, Need::Exact, d)),
            },
            6 => format!("resets({})", self.windows(&METRICS, Need::Exact, d)),
            7 => {
                let (v, s) = (self.vector(need, d), self.pick(&CONSTANTS));
                let op = self.pick(&["+", "-", "*"]);
                if self.random.chance(50) {
                    format!("({v} {op} {s})")
                } else {
                    format!("({s} {op} {v})")
                }
            }
            8 => {
                let (v, s) = (self.vector(Need::Exact, d), self.scalar(d));
                let op = self.pick(&["==", "!=", "<", "<=", ">", ">=", "%"]);
                let bool = if op != "%" && self.random.chance(40) { "bool " } else { "" };
                if self.random.chance(50) {
                    format!("({v} {op} {bool}{s})")
                } else {
                    format!("({s} {op} {bool}{v})")
                }
            }
            9 => self.matched(need, d),
            10 => {
                let op = self.pick(&["and", "or", "unless"]);
                let on = match self.random.below(3) {
                    0 => " ".to_owned(),
                    1 => format!(" on ({}) ", self.pick(&LABELS)),
                    _ => format!(" ignoring ({}) ", self.pick(&LABELS)),
                };
                format!("({} {op}{on}{})", self.vector(need, d), self.vector(need, d))
            }
            11 if any && self.random.chance(50) => {
                let f = self.pick(&["sqrt", "ln", "exp", "log2", "sin", "atan", "deg", "tanh"]);
                format!("{f}({})", self.vector(Need::Exact, d))
            }
            11 => {
                let v = self.vector(Need::Exact, d);
                match self.random.below(8) {
                    0 => format!("abs({v})"),
                    1 => format!("ceil({v})"),
                    2 => format!("floor({v})"),
                    3 => format!("round({v}, {})", self.pick(&["1", "0.5", "10"])),
                    4 => format!("clamp({v}, -100, {})", self.pick(&["100", "2000000", "-200"])),
                    5 => format!("clamp_min({v}, 3)"),
                    6 => format!("sgn({v})"),
                    _ => format!("-({v})"),
                }
            }
            12 => {
                let v = self.vector(need, d);
                match self.random.below(4) {
                    0 => {
                        format!("label_replace({v}, \"dst\", \"$1-x\", \"instance\", \"(.*):.*\")")
                    }
                    1 => format!("label_replace({v}, \"job\", \"\", \"job\", \"a.*\")"),
                    2 => format!("label_join({v}, \"dst\", \"/\", \"job\", \"code\", \"none\")"),
                    _ => format!("label_replace({v}, \"__name__\", \"n_$1\", \"job\", \"(.*)\")"),
                }
            }
            13 => match self.random.below(9) {
                0 if any => {
                    let windows = self.windows(&["lat_bucket"], Need::Exact, d);
                    let q = self.pick(&["0.5", "0.9", "0", "1", "1.5"]);
                    format!("histogram_quantile({q}, sum by (le, job) (rate({windows})))")
                }
                1 => format!("absent({})", self.vector(Need::Exact, d)),
                2 => format!("absent_over_time({})", self.range(&METRICS)),
                3 => format!("vector({})", self.scalar(d)),
                4 => format!("count_values(\"v\", {})", self.vector(Need::Exact, d)),
                5 => format!("timestamp({})", self.selector(&METRICS)),
                6 => {
                    let f = self.pick(&["hour", "minute", "day_of_week", "days_in_month", "year"]);
                    format!("{f}(timestamp({}))", self.selector(&METRICS))
                }
                // Values that are all different (`ties`).
                _ => {
                    let (op, k) = (self.pick(&["topk", "bottomk"]), self.pick(&["1", "2", "5"]));
                    let by = self.pick(&["", " by (job) ", " without (instance) "]);
                    format!("{op}{by}({k}, {})", self.selector(&["temp"]))
                }
            },
            _ if any => {
                // Divided by what is exact (`rounding`).
                let (l, r) = (self.vector(Need::Any, d), self.vector(Need::Exact, d));
                format!("({l} / {}{r})", self.on())
            }
            _ => self.vector(need, d),
        }
    }

    fn on(&mut self) -> String {
        match self.random.below(4) {
            0 | 1 => String::new(),
            2 => format!("on ({}) ", self.pick(&["job", "job, instance", "instance", "le, job"])),
            _ => format!("ignoring ({}) ", self.pick(&["code", "version", "le", "code, version"])),
        }
    }

    fn matched(&mut self, need: Need, d: u32) -> String {
        let op = self.pick(&["+", "-"]);
        match self.random.below(3) {
            0 => format!("({} {op} {}{})", self.vector(need, d), self.on(), self.vector(need, d)),
            1 => {
                let v = self.vector(need, d);
                format!("({v} {op} on (job, instance) group_left (version) info)")
            }
            _ => {
                let on = self.on();
                let m = self.pick(&["req_total", "temp", "lat_bucket"]);
                let op =
                    if self.random.chance(50) { op } else { self.pick(&[">", "<=", "== bool"]) };
                format!("({m}{} {op} {on}{m}{})", self.matchers(), self.matchers())
            }
        }
    }
}
