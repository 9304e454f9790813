//! wrk, the load generator.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run;

/// What wrk measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Answered requests in a second.
    pub per_second: f64,
    /// Median latency.
    pub p50: Duration,
    /// The latency that 99 % of requests stayed below.
    pub p99: Duration,
    /// Requests that were answered.
    pub requests: u64,
    /// What the script printed after `counted: `, if it did.
    pub counted: Option<u64>,
}

/// Load `url` from `connections` connections for `seconds`, as the Lua script says, on processor `core`.
///
/// # Errors
///
/// wrk does not run, or a request failed on its way or was answered with a status of failure.
pub fn load(
    url: &str,
    script: &Path,
    connections: usize,
    seconds: u64,
    core: &str,
) -> Result<Load> {
    let mut wrk = Command::new("taskset");
    wrk.args(["--cpu-list", core, "wrk", "--threads", "1", "--latency", "--timeout", "60s"]);
    wrk.args(["--connections", &connections.to_string(), "--duration", &format!("{seconds}s")]);
    wrk.arg("--script").arg(script).arg(url);
    let output = run(&mut wrk)?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

fn parse(text: &str) -> Result<Load> {
    for fault in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        if let Some(line) = text.lines().find(|line| line.trim_start().starts_with(fault)) {
            bail!("wrk tells of failures: {}", line.trim());
        }
    }
    let after = |start: &str| {
        let lines = text.lines().map(str::trim_start);
        let mut found = lines.filter_map(|line| line.strip_prefix(start));
        found.next().map(str::trim).with_context(|| format!("wrk printed no `{start}`:\n{text}"))
    };
    let requests = text
        .lines()
        .find_map(|line| line.trim_start().split_once(" requests in "))
        .with_context(|| format!("wrk printed no number of requests:\n{text}"))?
        .0
        .parse()?;
    Ok(Load {
        per_second: after("Requests/sec:")?.parse()?,
        p50: duration(after("50%")?)?,
        p99: duration(after("99%")?)?,
        requests,
        counted: after("counted: ").ok().map(str::parse).transpose()?,
    })
}

/// As wrk prints them: `812.00us`, `1.21ms`, `2.00s`.
fn duration(text: &str) -> Result<Duration> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => bail!("wrk printed a latency of {text}"),
    };
    Ok(Duration::from_secs_f64(number.parse::<f64>()? * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "Running 1s test @ https://127.0.0.1:1/validate\n  1 threads and 8 connections\n  Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   345.06us  157.37us   2.85ms   79.44%\n    Req/Sec    22.95k     1.10k   24.42k    72.73%\n  Latency Distribution\n     50%  310.00us\n     75%  417.00us\n     90%  547.00us\n     99%    1.21ms\n  25106 requests in 1.10s, 6.01MB read\nRequests/sec:  22826.60\nTransfer/sec:      5.47MB\ncounted: 25100\n";

    #[test]
    fn reads_what_wrk_prints() {
        let load = parse(PRINTED).expect("a result");
        assert_eq!(load.requests, 25_106);
        assert_eq!(load.p50, Duration::from_micros(310));
        assert_eq!(load.p99, Duration::from_micros(1210));
        assert!((load.per_second - 22_826.6).abs() < 0.01);
        assert_eq!(load.counted, Some(25_100));
    }

    #[test]
    fn failures_are_no_result() {
        let failed = format!("{PRINTED}  Non-2xx or 3xx responses: 7\n");
        assert!(parse(&failed).expect_err("failures").to_string().contains("responses: 7"));
    }
}
