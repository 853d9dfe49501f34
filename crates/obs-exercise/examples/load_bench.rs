//! How many requests a second the load generator sends from its one thread, against a server that
//! does nothing on a thread of its own.
//!
//! `cargo run --release -p obs-exercise --example load_bench [-- SECONDS]` prints requests per
//! second and the processor time of the generator's thread for each of two executors.

#![expect(clippy::print_stdout, reason = "a measuring tool prints")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use obs_exercise::exchange::AllowedHosts;
use obs_exercise::load::{Machine, Profile, RunOptions, run};

fn server() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || answer(socket));
        }
    });
    Ok(address)
}

/// One request a read: the generator waits for the answer before it sends the next.
fn answer(mut socket: std::net::TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(socket.read(&mut buffer), Ok(n) if n > 0) {
        if socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// User and system time of this thread, seconds.
fn thread_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or("");
    let ticks: f64 =
        after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: u64 = std::env::args().nth(1).map_or(Ok(10), |n| n.parse())?;
    let address = server()?;
    for executor in [
        format!("constant-vus, vus: 16, duration: {seconds}s"),
        format!(
            "constant-arrival-rate, rate: 20000, duration: {seconds}s, pre_allocated_vus: 32, max_vus: 256"
        ),
    ] {
        let yaml = format!("scenarios: [{{name: a, steps: [{{url: /}}], executor: {executor}}}]");
        let profile = Profile::parse(&yaml, Some(&address))?;
        let options = RunOptions {
            allowed: AllowedHosts::default(),
            machine: Machine::here(),
            traced: true,
            seed: 7,
            run_id: "bench".into(),
            started_at: String::new(),
            interrupt: Box::pin(std::future::pending()),
            live: None,
            telemetry: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let before = thread_seconds();
        let report = runtime.block_on(run(profile, options))?;
        let used = thread_seconds() - before;
        let count = report.value("http_reqs", "count").unwrap_or(0.0);
        println!("{executor}\n  {}", report.summary());
        println!(
            "  {used:.2} s of one core for {count} requests: {:.0} requests per core second",
            count / used
        );
        runtime.shutdown_timeout(Duration::from_millis(100));
    }
    Ok(())
}
