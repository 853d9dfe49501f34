//! How many requests a second the load generator sends from its one core.
//!
//! `cargo xtask bench load` builds it as part of the workspace and runs it: for users in a closed
//! loop and for an arrival rate it prints the requests, the processor time of the generator's
//! process alone, and beside it that of the server, which is another process and does nothing but
//! answer.

#![expect(clippy::print_stdout, reason = "a measuring tool prints")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use obs_exercise::exchange::AllowedHosts;
use obs_exercise::load::{Machine, Profile, RunOptions, run};

type Failure = Box<dyn std::error::Error>;

const SECONDS: u64 = 10;
const RATE: u64 = 20_000;

/// What the server's process does: tells its address, answers until standard input ends.
fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || answer(socket));
        }
    });
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    Ok(())
}

/// One request a read: the generator waits for the answer before it sends the next.
fn answer(mut socket: TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(socket.read(&mut buffer), Ok(n) if n > 0) {
        if socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// The server's process and its address; it ends with its standard input.
fn server() -> Result<(Child, String), Failure> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    let output = child.stdout.take().ok_or("no output")?;
    BufReader::new(output).read_line(&mut address)?;
    Ok((child, address.trim().to_owned()))
}

/// User and system time of all threads of a process, seconds: fields 14 and 15 of its stat, in
/// hundredths.
fn process_seconds(process: &str) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        return serve();
    }
    let seconds: u64 = first.map_or(Ok(SECONDS), |n| n.parse())?;
    let rate: u64 = arguments.next().map_or(Ok(RATE), |n| n.parse())?;
    if cfg!(debug_assertions) {
        println!("unoptimised: the figures say little about speed");
    }
    let (mut child, address) = server()?;
    let pid = child.id().to_string();
    for executor in [
        format!("constant-vus, vus: 16, duration: {seconds}s"),
        format!(
            "constant-arrival-rate, rate: {rate}, duration: {seconds}s, pre_allocated_vus: 32, max_vus: 256"
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
        let before = (process_seconds("self")?, process_seconds(&pid)?);
        let report = runtime.block_on(run(profile, options))?;
        let generator = process_seconds("self")? - before.0;
        let server = process_seconds(&pid)? - before.1;
        let count = report.value("http_reqs", "count").unwrap_or(0.0);
        println!("{executor}\n  {}", report.summary());
        println!(
            "  generator: {generator:.2} s of processor time for {count} requests, {:.0} per core \
             second; server, apart: {server:.2} s",
            count / generator
        );
        runtime.shutdown_timeout(Duration::from_millis(100));
    }
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}
