use super::*;

#[test]
fn a_break_sets_in_and_heals_gradually() {
    let mut faults = Faults::default();
    faults.start(Fault::TreatyDrops);
    faults.step(3.0);
    let level = faults.level(Fault::TreatyDrops);
    assert!(level > 0.0 && level < 1.0, "{level}");
    assert_eq!(faults.level(Fault::PodDrift), 0.0);
    faults.step(60.0);
    assert_eq!(faults.blend(Fault::TreatyDrops, 95.0, 72.0), 72.0);
    faults.start(Fault::PodDrift);
    faults.step(60.0);
    faults.end(Fault::TreatyDrops);
    faults.step(60.0);
    assert_eq!((faults.level(Fault::TreatyDrops), faults.level(Fault::PodDrift)), (0.0, 1.0));
    faults.heal();
    faults.step(60.0);
    assert_eq!(faults, Faults::default());
}

#[test]
fn every_name_is_found_again() {
    for (index, fault) in Fault::all().enumerate() {
        assert_eq!(fault as usize, index, "{} stands in the wrong place", fault.name());
        assert_eq!(Fault::from_name(fault.name()), Some(fault));
    }
    assert_eq!(Fault::from_name("flood"), None);
}

#[test]
fn only_what_concerns_the_packs_is_listed() {
    let listed = Faults::default().to_json(&["host", "vaultmesh"]);
    let backlog = listed.iter().find(|f| f["name"] == "anchor-backlog").expect("listed");
    assert_eq!(
        backlog["alerts"],
        json!([
            "AnchorBacklogHigh",
            "AnchorLatencyBurnFast",
            "AnchorLatencyBurnSlow",
            "HighCPUUsage"
        ])
    );
    assert!(listed.iter().all(|f| f["pack"] == "host" || f["pack"] == "vaultmesh"));
}
