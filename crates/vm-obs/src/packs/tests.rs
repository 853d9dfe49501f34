use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::check::Finding;
use super::*;

/// Packs of this repository, by name.
fn every_pack() -> Vec<(String, Files)> {
    shipped().into_iter().map(|name| (name.clone(), shipped_files(&name))).collect()
}

#[test]
fn every_shipped_pack_loads() {
    for name in shipped() {
        let pack = Pack::load(&name, &[]).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert!(!pack.rules.is_empty(), "{name} has no rules");
        for board in &pack.dashboards {
            assert!(!board.uid.is_empty(), "{name}: a dashboard needs a uid");
        }
    }
}

fn is_without_mistakes_and_passes_its_tests(name: &str) {
    let files = shipped_files(name);
    let found: Vec<String> = check(name, &files, &[]).iter().map(Finding::to_string).collect();
    assert!(found.is_empty(), "{name}:\n{}", found.join("\n"));
    let report = run_tests(name, &files, None).unwrap();
    assert!(report.passed() && !report.files.is_empty(), "{name}: {report:#?}");
}

// One test each, because they run side by side.
#[test]
fn host_is_whole() {
    is_without_mistakes_and_passes_its_tests("host");
}

#[test]
fn vaultmesh_is_whole() {
    is_without_mistakes_and_passes_its_tests("vaultmesh");
}

#[test]
fn genesis_is_whole() {
    is_without_mistakes_and_passes_its_tests("genesis");
}

#[test]
fn auren_is_whole() {
    is_without_mistakes_and_passes_its_tests("auren");
}

#[test]
fn agent_mesh_is_whole() {
    is_without_mistakes_and_passes_its_tests("agent-mesh");
    assert_eq!(shipped().len(), 5, "every pack has a test here");
}

#[test]
fn the_readme_of_a_pack_names_its_metrics_alerts_and_dashboards() {
    for (name, files) in every_pack() {
        let pack = Pack::parse(&name, &files).unwrap();
        let readme = &files["README.md"];
        let rules = pack.rules.iter().flat_map(|f| &f.groups).flat_map(|g| &g.rules);
        let names = pack
            .metrics
            .iter()
            .map(|m| m.name.as_str())
            .chain(rules.map(|r| r.name()))
            .chain(pack.slos.iter().map(|s| s.id.as_str()))
            .chain(pack.dashboards.iter().map(|d| d.uid.as_str()));
        for wanted in names {
            assert!(readme.contains(wanted), "packs/{name}/README.md does not name {wanted}");
        }
    }
}

/// The documents' own lists stand in `covers.yml`, and `check` goes through them.
#[test]
fn the_packs_list_what_the_documents_name_and_give_all_of_it_to_services() {
    let mut named: BTreeMap<String, [usize; 5]> = BTreeMap::new();
    for (name, files) in every_pack() {
        let pack = Pack::parse(&name, &files).unwrap();
        for doc in &pack.covers {
            let panels: usize = doc.dashboards.iter().map(|d| d.panels.len()).sum();
            let more =
                [doc.metrics.len(), doc.alerts.len(), doc.records.len(), doc.slos.len(), panels];
            let sums = named.entry(doc.document.clone()).or_default();
            sums.iter_mut().zip(more).for_each(|(sum, n)| *sum += n);
        }
        let shown = contents(&pack);
        let services = shown["services"].as_array().unwrap();
        assert!(!pack.services.is_empty(), "{name}");
        assert_eq!(services.len(), pack.services.len(), "{name}: {:#}", services.last().unwrap());
    }
    // Metrics, alerts, recorded series, objectives, panels of each document.
    let want = [
        ("AGENT-MESH", [22, 6, 0, 2, 31]),
        ("AUREN", [8, 5, 0, 2, 6]),
        ("ENGINE", [2, 4, 6, 2, 0]),
        ("GENESIS", [7, 13, 0, 4, 14]),
        ("VAULTMESH-KPI", [28, 9, 6, 8, 23]),
    ];
    let want: BTreeMap<String, [usize; 5]> =
        want.into_iter().map(|(d, n)| (d.to_owned(), n)).collect();
    assert_eq!(named, want);
}

#[test]
fn alerts_dashboards_and_series_of_all_packs_can_run_together() {
    let packs = load_all(&shipped(), &[]).unwrap();
    let mut recorded = Vec::new();
    let mut taken: Vec<(String, String)> = Vec::new();
    for pack in &packs {
        for rule in pack.rules.iter().flat_map(|f| &f.groups).flat_map(|g| &g.rules) {
            if matches!(rule.kind, obs_rules::RuleKind::Record { .. }) {
                recorded.push(rule.name().to_owned());
            }
        }
        taken.extend(pack.dashboards.iter().map(|d| ("dashboard".to_owned(), d.uid.clone())));
        taken.extend(pack.slos.iter().map(|s| ("objective".to_owned(), s.id.clone())));
        taken.extend(pack.jobs.iter().map(|j| ("job".to_owned(), j.name.clone())));
    }
    taken.extend(recorded.into_iter().map(|r| ("series".to_owned(), r)));
    let all = taken.len();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), all, "two packs use the same name");
}

#[test]
fn an_unknown_pack_says_which_there_are() {
    let e = Pack::load("none", &[]).unwrap_err().to_string();
    assert!(e.contains("\"none\"") && e.contains("agent-mesh, auren"), "{e}");
}

/// A pack as the schema sees it.
fn as_object(files: &Files) -> Value {
    let member = |(path, text): (&String, &String)| {
        let value = match path.rsplit_once('.').map(|p| p.1) {
            Some("yml" | "yaml") => {
                serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{path}: {e}"))
            }
            Some("json") => serde_json::from_str(text).unwrap_or(Value::Null),
            _ => Value::from(text.as_str()),
        };
        (path.clone(), value)
    };
    Value::Object(files.iter().map(member).collect::<Map<String, Value>>())
}

#[test]
fn the_schema_takes_our_packs_and_refuses_what_check_refuses() {
    let schema = include_str!("../../../../docs/format/pack.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (name, files) in every_pack() {
        let object = as_object(&files);
        let wrong: Vec<String> =
            validator.iter_errors(&object).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
    }
    let good = skeleton_files();
    assert!(validator.is_valid(&as_object(&good)));
    for (path, change) in [
        ("pack.yaml", json!({"name": "shop", "version": "1", "description": "x"})),
        ("pack.yaml", json!({"name": "shop", "version": "1.0.0"})),
        ("pack.yaml", json!({"name": "Shop", "version": "1.0.0", "description": "x"})),
        ("pack.yaml", json!({"name": "shop", "version": "1.0.0", "description": "x", "more": 1})),
        ("metrics.yml", json!([{"name": "a", "type": "gage", "help": "x"}])),
        ("metrics.yml", json!([{"name": "a b", "type": "gauge", "help": "x"}])),
        ("rule/shop.yml", json!({"groups": []})),
    ] {
        let mut files = good.clone();
        files.insert(path.to_owned(), change.to_string());
        assert!(!validator.is_valid(&as_object(&files)), "{path}: {change}");
        assert!(!check("shop", &files, &[]).is_empty(), "{path}: {change}");
    }
}

/// The pack `shop`, as `pack new` writes it.
fn skeleton_files() -> Files {
    let dir = tempfile::tempdir().unwrap();
    folder_files(&write_new("shop", dir.path()).unwrap()).unwrap()
}

#[test]
fn a_new_pack_passes_check_and_tests() {
    for name in ["shop", "my-shop-2"] {
        let dir = tempfile::tempdir().unwrap();
        let files = folder_files(&write_new(name, dir.path()).unwrap()).unwrap();
        assert_eq!(check(name, &files, &[]), [], "{name}");
        let report = run_tests(name, &files, None).unwrap();
        assert!(report.passed() && report.counts().0 == 2, "{report:#?}");
        assert!(files.values().all(|t| !t.contains("NAME")), "{name}: a placeholder is left");
        let again = write_new(name, dir.path()).unwrap_err().to_string();
        assert!(again.contains("there already"), "{again}");
    }
    for name in ["", "Shop", "a/b", "..", "1st"] {
        let e = write_new(name, &PathBuf::from("nowhere")).unwrap_err().to_string();
        assert!(e.contains("expected a lowercase letter"), "{e}");
    }
}

/// File, text to replace, replacement, line, and what the message says.
type Mistake = (&'static str, &'static str, &'static str, u64, &'static str);

const MISTAKES: [Mistake; 23] = [
    ("pack.yaml", "version: 0.1.0", "version: one", 2, "MAJOR.MINOR.PATCH"),
    ("pack.yaml", "name: shop", "name: shep", 1, "expected \"shop\", the folder's name"),
    ("pack.yaml", "requires: [host]", "requires: [hast]", 4, "there is no pack \"hast\""),
    ("pack.yaml", "description", "descripshun", 3, "descripshun"),
    ("metrics.yml", "type: counter", "type: counts", 3, "counts"),
    ("scrape.yml", "job_name: shop", "job_nam: shop", 0, "job_nam"),
    (
        "rules/shop.yml",
        "expr: up{job=\"shop\"} == 0",
        "expr: up{job=\"shop\" == 0",
        11,
        "parse error",
    ),
    (
        "rules/shop.yml",
        "shop:errors:ratio_rate5m > 0.05",
        "shop:errors:ratio_rate > 0.05",
        18,
        "nobody exposes shop:errors:ratio_rate:",
    ),
    (
        "rules/shop.yml",
        "up{job=\"shop\"} == 0",
        "shop_request_duration_seconds > 3",
        11,
        "is a histogram, which has no series of its bare name",
    ),
    (
        "rules/shop.yml",
        "up{job=\"shop\"} == 0",
        "histogram_quantile(0.9, rate(shop_requests_total_bucket[5m])) > 3",
        11,
        "is a counter, which has no shop_requests_total_bucket",
    ),
    ("rules/shop.yml", "up{job=\"shop\"} == 0", "rate(shop_load[5m]) > 3", 11, "is a gauge: rate"),
    ("rules/shop.yml", "up{job=\"shop\"} == 0", "shop_load < 0.8", 11, "expected 80 rather"),
    ("rules/shop.yml", "up{job=\"shop\"} == 0", "max(shop_load) > 100", 11, "can never be true"),
    (
        "rules/shop.yml",
        "          runbook: runbooks/ShopDown.md\n",
        "",
        11,
        "ShopDown: expected an annotation `runbook: runbooks/ShopDown.md`",
    ),
    (
        "rules/shop.yml",
        "runbook: runbooks/ShopDown.md",
        "runbook: runbooks/Other.md",
        11,
        "there is no runbooks/Other.md",
    ),
    ("rules/shop.yml", "alert: ShopDown", "alert: ShopGone", 11, "expected runbooks/ShopGone.md"),
    (
        "tests/shop.yml",
        "      - alertname: ShopDown\n        eval_time: 6m",
        "      - alertname: ShopErrorsHigh\n        eval_time: 6m",
        11,
        "ShopDown: expected a unit test in tests/ in which it fires",
    ),
    (
        "tests/shop.yml",
        "      - {alertname: ShopDown, eval_time: 10m, exp_alerts: []}\n",
        "",
        11,
        "ShopDown: expected `exp_alerts: []` at a later time",
    ),
    ("slos/shop.yml", "shop_requests_total[", "shop_request_total[", 2, "nobody exposes"),
    (
        "slos/shop.yml",
        "total_query: sum(increase(shop_requests_total[{{.window}}]))",
        "total_query: sum(shop_requests_total)",
        2,
        "shop_requests_total is a counter: expected its increase",
    ),
    ("slos/shop.yml", "target: 0.999", "target: 99.9", 0, "target"),
    (
        "dashboards/shop.json",
        "sum(up{job",
        "sum(ip{job",
        234,
        "panel \"Targets up\": nobody exposes ip",
    ),
    ("dashboards/shop.json", "\"panels\": [", "\"panels\": {", 0, "JSON"),
];

#[test]
fn every_mistake_is_named_with_its_file_and_line() {
    let mut good = skeleton_files();
    good.get_mut("metrics.yml")
        .unwrap()
        .push_str("- {name: shop_load, type: gauge, unit: percent, range: [0, 100], help: Load}\n");
    assert_eq!(check("shop", &good, &[]), []);
    for (path, from, to, line, says) in MISTAKES {
        let mut files = good.clone();
        let text = files.get_mut(path).unwrap();
        assert!(text.contains(from), "{path} has no {from:?}");
        *text = text.replacen(from, to, 1);
        let found = check("shop", &files, &[]);
        let list: Vec<String> = found.iter().map(Finding::to_string).collect();
        assert!(
            found.iter().any(|f| f.message.contains(says) && (line == 0 || f.line == line)),
            "{path}: {to:?} wants line {line} {says:?}:\n{}",
            list.join("\n")
        );
    }
    for (path, text, says) in [
        ("rule/more.yml", "groups: []", "is no part of a pack"),
        ("runbooks/ShopOpen.md", "# ShopOpen", "no alert \"ShopOpen\""),
        ("notify.yml", "route: {receiver: nobody}\nreceivers: []", "nobody"),
        (
            "services.yml",
            "- {name: shop, title: Shop, targets: 'up{job=\"shop\"}', metrics: [shop_*, till_*]}\n",
            "shop: nothing of the pack is called till_*",
        ),
        (
            "services.yml",
            "- {name: shop, title: Shop, targets: 'up{'}\n",
            "targets: expected PromQL",
        ),
        (
            "services.yml",
            "- {name: shop, title: Shop, targets: up, values: [{name: Load, query: shop_lode}]}\n",
            "nobody exposes shop_lode",
        ),
        (
            "covers.yml",
            "- {document: SHOP, metrics: [shop_till]}\n",
            "SHOP: metric shop_till is missing",
        ),
        (
            "covers.yml",
            "- {document: SHOP, alerts: [ShopOpen]}\n",
            "SHOP: alert ShopOpen is missing",
        ),
        (
            "covers.yml",
            "- {document: SHOP, slos: [{id: 'slo:shop-success', burn: [5m/1h]}]}\n",
            "burn-rate alert over 5m/1h of slo:shop-success is missing",
        ),
        (
            "covers.yml",
            "- {document: SHOP, dashboards: [{id: shop, panels: [Tills]}]}\n",
            "panel of shop: Tills is missing",
        ),
        ("covers.yml", "- {document: SHOP, panels: [Tills]}\n", "panels"),
    ] {
        let mut files = good.clone();
        files.insert(path.to_owned(), text.to_owned());
        let found = check("shop", &files, &[]);
        assert!(found.iter().any(|f| f.file == path && f.message.contains(says)), "{found:?}");
    }
}

#[test]
fn a_broken_pack_does_not_take_the_place_of_an_installed_one() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let folder = write_new("shop", dir.path()).unwrap();
    assert_eq!(install(&folder, &data).unwrap(), ("shop".to_owned(), false));
    let installed = || folder_files(&folder_in(&data).join("shop")).unwrap();
    let first = installed();
    assert_eq!(first, folder_files(&folder).unwrap());
    let names = |packs: Vec<Pack>| packs.into_iter().map(|p| p.manifest.name).collect::<Vec<_>>();
    let loaded = load_all(&["shop".to_owned()], &[folder_in(&data)]).unwrap();
    assert_eq!(names(loaded), ["host", "shop"]);

    let rules = folder.join("rules/shop.yml");
    let text = std::fs::read_to_string(&rules).unwrap();
    for (broken, says) in [
        (text.replace("== 0", "=== 0"), "rules/shop.yml:11:"),
        (text.replace("for: 2m", "for: 20m"), "unit tests fail"),
    ] {
        std::fs::write(&rules, broken).unwrap();
        let e = format!("{:#}", install(&folder, &data).unwrap_err());
        assert!(e.contains("not installed") && e.contains(says), "{e}");
        assert_eq!(installed(), first);
    }

    std::fs::write(&rules, text.replace("severity: warning", "severity: high")).unwrap();
    let tests = folder.join("tests/shop.yml");
    let expected = std::fs::read_to_string(&tests).unwrap();
    std::fs::write(&tests, expected.replace("severity: warning", "severity: high")).unwrap();
    assert_eq!(install(&folder, &data).unwrap(), ("shop".to_owned(), true));
    assert!(installed()["rules/shop.yml"].contains("severity: high"));
    let left: Vec<_> = std::fs::read_dir(folder_in(&data)).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
