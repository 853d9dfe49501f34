use std::fs;

use super::Families;

/// `/proc/meminfo`, field by field: `MemTotal: 1 kB` becomes `node_memory_MemTotal_bytes`.
pub(super) fn collect(out: &mut Families<'_>) -> std::io::Result<()> {
    for line in fs::read_to_string("/proc/meminfo")?.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_whitespace();
        let Some(value) = words.next().and_then(|v| v.parse::<f64>().ok()) else { continue };
        let name = name.replace('(', "_").replace(')', "");
        match words.next() {
            Some("kB") => out.gauge(
                &format!("node_memory_{name}_bytes"),
                &format!("Memory information field {name}_bytes."),
                value * 1024.0,
            ),
            _ => out.gauge(
                &format!("node_memory_{name}"),
                &format!("Memory information field {name}."),
                value,
            ),
        }
    }
    Ok(())
}
