//! The webhook server under load: `countersign serve` alone on one processor, wrk, Debian's
//! docker-registry and a lookaside together on the other.
//!
//! The peer's figures are those of Kubewarden 1.36 (policy-server with its signature policy), measured the
//! same way on such a machine: it cannot be installed here.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::gpg::Home;
use lab::image::Image;
use lab::lookaside;
use lab::proxy::Proxy;
use lab::registry::Registry;
use lab::skopeo;
use lab::wrk::{self, Load};
use serde_json::json;

use super::Row;

/// Measure the server `binary`. In a `smoke` run everything is done, and nothing for long.
pub(super) fn measure(binary: &Path, smoke: bool) -> Result<Vec<Row>> {
    let extent = if smoke { Extent::SMOKE } else { Extent::FULL };
    pinned(|| measure_all(binary, extent))
}

/// Measure so that this process and what it starts, but for the server, does not disturb the server.
pub(super) fn pinned(measure: impl FnOnce() -> Result<Vec<Row>>) -> Result<Vec<Row>> {
    pin_to(GENERATOR)?;
    let rows = measure();
    pin_to(EVERYTHING)?;
    rows
}

fn measure_all(binary: &Path, extent: Extent) -> Result<Vec<Row>> {
    let lab = Laboratory::set_up(binary, extent.images)?;
    let mut rows = Vec::new();
    rows.push(start(&lab, extent)?);
    let server = lab.serve()?;
    server.settle(extent)?;
    rows.extend(cached(&lab, &server, extent)?);
    rows.extend(cold(&lab, &server, extent)?);
    rows.extend(slow(&lab, &server, extent)?);
    rows.push(hung(&lab, &server, extent)?);
    rows.push(denied(&lab, &server, extent)?);
    rows.extend(memory(&lab, extent)?);
    Ok(rows)
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Repositories with an image that no question was asked about.
    images: u64,
    /// How long each load lasts.
    pub(super) seconds: u64,
    /// Starts of the server.
    pub(super) starts: usize,
    /// How long the server may prepare itself after its start.
    settle: Duration,
    /// Requests with a remembered verdict, and about distinct images, before memory is looked at again.
    cached: u64,
    distinct: u64,
}

impl Extent {
    pub(super) const FULL: Self = Self {
        images: 70_000,
        seconds: 5,
        starts: 11,
        settle: Duration::from_secs(5),
        cached: 1_000_000,
        distinct: 20_000,
    };
    pub(super) const SMOKE: Self = Self {
        images: 14_000,
        seconds: 1,
        starts: 1,
        settle: Duration::from_secs(1),
        cached: 500,
        distinct: 200,
    };
}

/// (c) From the start of the process to the first probe that finds it ready.
fn start(lab: &Laboratory, extent: Extent) -> Result<Row> {
    let mut times = Vec::new();
    for _ in 0..extent.starts {
        let server = lab.serve()?;
        times.push(server.ready_after.as_secs_f64() * 1000.0);
    }
    Ok(Row {
        id: "webhook-start",
        what: "(c) start to ready".into(),
        unit: "ms",
        ours: median(times),
        other: Some(("Kubewarden 1.36, recorded", 1000.0)),
        limit: Some(100.0),
        compared: false,
    })
}

/// (a) Verdicts that are remembered.
fn cached(lab: &Laboratory, server: &Server, extent: Extent) -> Result<Vec<Row>> {
    let script = lab.script(&[lab.signed(0), lab.signed(1)], "true")?;
    server.load(&script.counting, 1, 1)?.all_counted()?;
    let one = server.load(&script.plain, 1, extent.seconds)?;
    let eight = server.load(&script.plain, 8, extent.seconds)?;
    let many = server.load(&script.plain, 32, extent.seconds)?;
    Ok(vec![
        Row {
            id: "webhook-cached",
            what: format!(
                "(a) cached verdict, 2 images, 8 clients: {:.0}/s; 32 clients: {:.0}/s",
                eight.per_second, many.per_second
            ),
            unit: "µs",
            ours: 1e6 / eight.per_second,
            other: Some(("Kubewarden 1.36, recorded", 1e6 / 2064.0)),
            limit: Some(1e6 / 12_000.0),
            compared: false,
        },
        latency("webhook-cached-p50", "(a) the same, p50 at 1 client", one.p50, Some(0.5), 0.2),
        latency("webhook-cached-p99", "(a) the same, p99 at 8 clients", eight.p99, Some(5.5), 1.5),
    ])
}

/// (b) Images that nobody asked about before.
fn cold(lab: &Laboratory, server: &Server, extent: Extent) -> Result<Vec<Row>> {
    let before = lab.requests();
    let one = lab.load_cold(server, 1, extent.seconds, 3000)?;
    let requests = (lab.requests() - before) as f64 / one.requests as f64;
    let eight = lab.load_cold(server, 8, extent.seconds, 4000)?;
    Ok(vec![
        latency("webhook-cold-p50", "(b) cold image, p50 at 1 client", one.p50, Some(19.0), 10.0),
        Row {
            id: "webhook-cold-requests",
            what: "(b) requests to registry and lookaside for a cold image".into(),
            unit: "",
            ours: requests,
            other: Some(("Kubewarden 1.36, recorded", 10.0)),
            // One of a registry's first image, and those of images that were under way at the end.
            limit: Some(4.0),
            compared: false,
        },
        Row {
            id: "webhook-cold-throughput",
            what: format!("(b) cold images by 8 clients: {:.0}/s", eight.per_second),
            unit: "µs",
            ours: 1e6 / eight.per_second,
            other: Some(("Kubewarden 1.36, recorded", 1e6 / 44.0)),
            limit: Some(1e6 / 400.0),
            compared: false,
        },
    ])
}

/// (b) with a registry and a lookaside that take 50 ms for each answer.
fn slow(lab: &Laboratory, server: &Server, extent: Extent) -> Result<Vec<Row>> {
    lab.delay(Duration::from_millis(50));
    let one = lab.load_cold(server, 1, extent.seconds, 20);
    lab.delay(Duration::ZERO);
    let one = one?;
    let name = "(b) the same, p50 with answers after 50 ms";
    Ok(vec![latency("webhook-slow-p50", name, one.p50, Some(547.0), 250.0)])
}

/// (b) The latency of cold images of one registry, while another one accepts connections and says nothing.
fn hung(lab: &Laboratory, server: &Server, extent: Extent) -> Result<Row> {
    let quiet = lab.load_cold(server, 1, extent.seconds, 3000)?;
    let hung = TcpListener::bind("127.0.0.1:0")?;
    let prefix = format!("{}/hung/r", hung.local_addr()?);
    let script = lab.script_of_distinct("hung.lua", &prefix, 0, u64::MAX / 2)?;
    let (url, seconds) = (server.url("30s"), extent.seconds + 2);
    let disturbed = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wrk::load(&url, &script, 16, seconds, GENERATOR));
        std::thread::sleep(Duration::from_millis(500));
        let disturbed = lab.load_cold(server, 1, extent.seconds, 3000);
        // Nobody waits for the answers: none came before the end.
        drop(waiting.join());
        disturbed
    })?;
    Ok(Row {
        id: "webhook-hung",
        what: "(b) cold image, p50, while 16 clients wait for a hung registry".into(),
        unit: "ms",
        ours: milliseconds(disturbed.p50),
        other: Some(("without them", milliseconds(quiet.p50))),
        limit: Some(1.2),
        compared: true,
    })
}

/// (b) Requests that a denied image costs once it is known.
fn denied(lab: &Laboratory, server: &Server, extent: Extent) -> Result<Row> {
    let script = lab.script(&[format!("{}/unsigned/app:v1", lab.registry.host())], "false")?;
    server.load(&script.counting, 1, 1)?.all_counted()?;
    let before = lab.requests();
    let load = server.load(&script.plain, 8, extent.seconds)?;
    Ok(Row {
        id: "webhook-denied",
        what: format!(
            "(b) registry requests per 1,000 for an unsigned image, {:.0}/s",
            load.per_second
        ),
        unit: "",
        ours: (lab.requests() - before) as f64 * 1000.0 / load.requests as f64,
        other: Some(("Kubewarden 1.36, recorded", 3000.0)),
        // A deny is looked up again after some seconds.
        limit: Some(1.0),
        compared: false,
    })
}

/// (c) Resident memory at rest, and after very many requests.
fn memory(lab: &Laboratory, extent: Extent) -> Result<Vec<Row>> {
    let server = lab.serve()?;
    server.settle(extent)?;
    let script = lab.script(&[lab.signed(0), lab.signed(1)], "true")?;
    let rest = server.resident()?;
    // This server has not been asked about any of them.
    let mut next = FIRST_COLD;
    let mut fill = |cached: u64, distinct: u64| -> Result<f64> {
        let mut done = 0;
        while done < cached {
            done += server.load(&script.plain, 8, extent.seconds)?.requests;
        }
        let prefix = format!("{}/cold/r", lab.registry.host());
        let mut asked = 0;
        while asked < distinct {
            let (first, share) = (next, DISTINCT_AT_ONCE.min(distinct - asked));
            let script = lab.script_of_distinct("distinct.lua", &prefix, first, share)?;
            let load = server.load(&script, 8, extent.seconds)?;
            load.all_counted()?;
            asked += share.min(load.requests);
            next += share;
        }
        server.resident()
    };
    // What is remembered is bounded: it fills once.
    let filled = fill(extent.cached / 10, extent.distinct / 2)?;
    let after = fill(extent.cached, extent.distinct)?;
    Ok(vec![
        Row {
            id: "webhook-memory",
            what: "(c) resident memory at rest".into(),
            unit: "MiB",
            ours: rest,
            other: Some(("Kubewarden 1.36, recorded", 69.0)),
            limit: Some(64.0),
            compared: false,
        },
        Row {
            id: "webhook-growth",
            what: format!(
                "(c) resident after {} cached and {} distinct requests",
                extent.cached, extent.distinct
            ),
            unit: "MiB",
            ours: after,
            other: Some(("after the first tenth", filled)),
            limit: Some(1.05),
            compared: true,
        },
    ])
}

fn latency(id: &'static str, what: &str, measured: Duration, peer: Option<f64>, limit: f64) -> Row {
    Row {
        id,
        what: what.to_owned(),
        unit: "ms",
        ours: milliseconds(measured),
        other: peer.map(|peer| ("Kubewarden 1.36, recorded", peer)),
        limit: Some(limit),
        compared: false,
    }
}

/// Everything that the server needs, and everything that asks it.
#[derive(Debug)]
pub(super) struct Laboratory {
    binary: PathBuf,
    registry: Front,
    store: Front,
    next: std::cell::Cell<u64>,
    images: u64,
    _gpg: Home,
    _registry: Registry,
    _lookaside: lookaside::Server,
    // Last, so that the folder goes after everything that uses it.
    folder: tempfile::TempDir,
}

/// What stands before a server, so that requests can be counted and delayed.
#[derive(Debug)]
struct Front(Proxy);

impl Front {
    fn host(&self) -> String {
        self.0.host()
    }
}

impl Laboratory {
    /// A registry with `images` repositories, each with the same signed image under the name `v1`.
    pub(super) fn set_up(binary: &Path, images: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let gpg = Home::new(&path("gpg"))?;
        let key = gpg.generate("bench@example.com", "rsa2048", None, "never")?;
        let storage = path("registry");
        let behind = Registry::start(&storage)?;
        let registry = Proxy::start(&behind.host)?;
        let image = Image::new("bench")?;
        let signature = gpg.sign(&[&key], image.payload(IDENTITY).as_bytes(), &["--sign"])?;
        image.write_dir(&path("image"), &[])?;
        skopeo::push(&path("image"), &format!("{}/cold/r0:v1", behind.host))?;
        skopeo::push(&path("image"), &format!("{}/unsigned/app:v1", behind.host))?;
        let store = path("store");
        let repositories = storage.join("data/docker/registry/v2/repositories/cold");
        for number in 0..images {
            if number > 0 {
                link_repository(&repositories, number, &image.digest)?;
            }
            image.write_lookaside(
                &store,
                &format!("cold/r{number}"),
                std::slice::from_ref(&signature),
            )?;
        }
        let lookaside = lookaside::Server::start(&store)?;
        let store = Proxy::start(lookaside.url().trim_start_matches("http://"))?;
        lab::write(&path("policy/key.gpg"), gpg.export(&key)?)?;
        let policy = json!({"default": [{
            "type": "signedBy", "keyType": "GPGKeys", "keyPath": "key.gpg",
            "signedIdentity": {"type": "exactReference", "dockerReference": IDENTITY},
        }]});
        lab::write(&path("policy/policy.json"), policy.to_string())?;
        let lookasides =
            json!({"docker": {registry.host(): {"lookaside": format!("http://{}", store.host())}}});
        lab::write(&path("registries.d/bench.yaml"), lookasides.to_string())?;
        certificate(folder.path())?;
        Ok(Self {
            binary: binary.to_owned(),
            registry: Front(registry),
            store: Front(store),
            next: std::cell::Cell::new(FIRST_COLD),
            images,
            _gpg: gpg,
            _registry: behind,
            _lookaside: lookaside,
            folder,
        })
    }

    /// Start the server on its own processor and wait until it is ready.
    pub(super) fn serve(&self) -> Result<Server> {
        self.serve_by(&self.file("policy/policy.json"))
    }

    /// The same with another policy.
    pub(super) fn serve_by(&self, policy: &Path) -> Result<Server> {
        let path = |name: &str| self.folder.path().join(name);
        let configuration = json!({
            "listen": "127.0.0.1:0",
            "plainListen": "127.0.0.1:0",
            "tls": {"certificate": path("server.crt"), "key": path("server.key")},
            "policy": {"file": policy, "registriesD": path("registries.d")},
            "registries": {
                "plainHttp": [self.registry.host(), self.store.host()],
                "requestsPerSecond": 1_000_000, "burst": 1_000_000,
            },
            "admission": {"default": {"mode": "enforce", "mutation": "pin"}},
            "workers": 1,
        });
        // JSON is YAML.
        let file = path("config.yaml");
        lab::write(&file, configuration.to_string())?;
        let begin = Instant::now();
        let mut process = Command::new("taskset")
            .args(["--cpu-list", SERVER])
            .arg(&self.binary)
            .args(["serve", "--config"])
            .arg(&file)
            .env("XDG_CACHE_HOME", path("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run countersign serve")?;
        let stderr = process.stderr.take().context("the server has no standard error")?;
        let mut server = Server {
            process,
            secure: String::new(),
            plain: String::new(),
            ready_after: Duration::ZERO,
        };
        let mut lines = BufReader::new(stderr).lines();
        let mut seen = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(address) = address_after(&line, "https://") {
                server.secure = address;
            } else if let Some(address) = address_after(&line, "http://") {
                server.plain = address;
            }
            if !server.secure.is_empty() && !server.plain.is_empty() {
                break;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        if server.plain.is_empty() {
            bail!("countersign serve did not start:\n{seen}");
        }
        // The pipe must be emptied for as long as the server writes to it.
        std::thread::spawn(move || lines.for_each(drop));
        while !server.is_ready() {
            if begin.elapsed() > LONGEST_START {
                bail!("countersign serve is not ready after {} s", LONGEST_START.as_secs());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        server.ready_after = begin.elapsed();
        Ok(server)
    }

    pub(super) fn registry_host(&self) -> String {
        self.registry.host()
    }

    fn requests(&self) -> u64 {
        self.registry.0.requests() + self.store.0.requests()
    }

    fn delay(&self, delay: Duration) {
        self.registry.0.delay(delay);
        self.store.0.delay(delay);
    }

    /// A name that the policy allows.
    pub(super) fn signed(&self, number: u64) -> String {
        format!("{}/cold/r{number}:v1", self.registry.host())
    }

    /// A script that sends the same review again and again, and one that counts how often the answer says
    /// `allowed: EXPECTED`.
    pub(super) fn script(&self, images: &[String], expected: &str) -> Result<Scripts> {
        let body = serde_json::to_string(&review(images).to_string())?;
        let plain = format!(
            "wrk.method = 'POST'\nwrk.body = {body}\nwrk.headers['Content-Type'] = 'application/json'\n"
        );
        let scripts =
            Scripts { plain: self.file("plain.lua"), counting: self.file("counting.lua") };
        lab::write(&scripts.plain, &plain)?;
        lab::write(&scripts.counting, plain + &counting(expected))?;
        Ok(scripts)
    }

    /// Ask about images that were not asked about before, at most `rate` in a second.
    fn load_cold(&self, server: &Server, clients: usize, seconds: u64, rate: u64) -> Result<Load> {
        let (first, share) = (self.next.get(), rate * seconds);
        self.next.set(first + share);
        if first + share > self.images {
            bail!("all {} images were asked about", self.images);
        }
        let prefix = format!("{}/cold/r", self.registry.host());
        let script = self.script_of_distinct("cold.lua", &prefix, first, share)?;
        let load = server.load(&script, clients, seconds)?;
        load.all_counted()?;
        if load.requests > share {
            bail!("{share} images were too few for {} requests: raise the rate", load.requests);
        }
        Ok(load)
    }

    /// A script that asks about `PREFIXn:v1` for `count` numbers from `first`, and then about the last.
    fn script_of_distinct(
        &self,
        name: &str,
        prefix: &str,
        first: u64,
        count: u64,
    ) -> Result<PathBuf> {
        let review = review(&[format!("{prefix}@N@:v1")]).to_string();
        let (head, tail) = review.split_once("@N@").context("the review names no image")?;
        let (head, tail) = (serde_json::to_string(head)?, serde_json::to_string(tail)?);
        let script = self.file(name);
        let text = format!(
            "local n, last = {first}, {}\nlocal head, tail = {head}, {tail}\n\
             local headers = {{['Content-Type'] = 'application/json'}}\n\
             function request()\n  local body = head .. string.format('%d', n) .. tail\n  \
             if n < last then n = n + 1 end\n  return wrk.format('POST', nil, headers, body)\nend\n",
            first + count - 1
        );
        lab::write(&script, text + &counting("true"))?;
        Ok(script)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// See [`Laboratory::script`].
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) plain: PathBuf,
    pub(super) counting: PathBuf,
}

/// A running server. Ends when dropped.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    secure: String,
    plain: String,
    ready_after: Duration,
}

impl Server {
    fn url(&self, timeout: &str) -> String {
        format!("https://{}/validate?timeout={timeout}", self.secure)
    }

    pub(super) fn load(&self, script: &Path, connections: usize, seconds: u64) -> Result<Load> {
        wrk::load(&self.url("10s"), script, connections, seconds, GENERATOR)
    }

    fn is_ready(&self) -> bool {
        let probe = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.plain)?;
            stream.write_all(
                b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        probe().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Let what is prepared in the background end.
    pub(super) fn settle(&self, extent: Extent) -> Result<()> {
        std::thread::sleep(extent.settle);
        if !self.is_ready() {
            bail!("the server is not ready any more");
        }
        Ok(())
    }

    /// From the start of the process to the first probe that found it ready.
    pub(super) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// In MiB.
    fn resident(&self) -> Result<f64> {
        self.status("VmRSS:")
    }

    /// The most that was ever resident, in MiB.
    pub(super) fn peak(&self) -> Result<f64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes: f64 = kibibytes.with_context(|| format!("no {name} in /proc"))?.parse()?;
        Ok(kibibytes / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("cannot end countersign serve: {error}");
        }
    }
}

pub(super) trait Counted {
    /// Every answer was the one that was expected.
    fn all_counted(&self) -> Result<()>;
}

impl Counted for Load {
    fn all_counted(&self) -> Result<()> {
        match self.counted {
            // The last answers may come after the end.
            Some(counted) if counted > 0 && counted + 64 >= self.requests => Ok(()),
            counted => bail!("{counted:?} of {} answers were as expected", self.requests),
        }
    }
}

/// Count the answers that say `allowed: EXPECTED`.
fn counting(expected: &str) -> String {
    format!(
        "counted = 0\nlocal threads = {{}}\nfunction setup(thread) table.insert(threads, thread) end\n\
         function response(status, headers, body)\n  \
         if status == 200 and string.find(body, '\"allowed\":{expected}', 1, true) then counted = counted + 1 end\nend\n\
         function done()\n  local sum = 0\n  for _, t in ipairs(threads) do sum = sum + t:get('counted') end\n  \
         print('counted: ' .. sum)\nend\n"
    )
}

/// A review of 5 KB, as an API server sends it about a new pod.
fn review(images: &[String]) -> serde_json::Value {
    let containers: Vec<_> = images
        .iter()
        .enumerate()
        .map(|(number, image)| {
            json!({
                "name": format!("c{number}"), "image": image, "imagePullPolicy": "IfNotPresent",
                "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}},
                "env": [{"name": "MODE", "value": "production"}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "volumeMounts": [{"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
            })
        })
        .collect();
    let mut review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "f5ba4827-e4d3-45d6-b66f-fd1876ac6c01",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "web", "namespace": "default", "operation": "CREATE",
            "userInfo": {"username": "alice", "groups": ["developers", "system:authenticated"]},
            "object": {
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}, "managedFields": []},
                "spec": {
                    "containers": containers, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
                    "serviceAccountName": "default", "schedulerName": "default-scheduler", "priority": 0,
                },
                "status": {},
            },
            "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    let field = json!({
        "manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "v1",
        "time": "2026-11-22T04:33:27Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {
            "k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {}},
        }}},
    });
    while review.to_string().len() < REVIEW_BYTES {
        let fields = &mut review["request"]["object"]["metadata"]["managedFields"];
        if let Some(fields) = fields.as_array_mut() {
            fields.push(field.clone());
        }
    }
    review
}

/// What docker-registry keeps of a repository `rNUMBER` with an image that it has, tagged `v1`.
fn link_repository(repositories: &Path, number: u64, digest: &str) -> Result<()> {
    let manifests = repositories.join(format!("r{number}/_manifests"));
    let hex = digest.trim_start_matches("sha256:");
    lab::write(&manifests.join(format!("revisions/sha256/{hex}/link")), digest)?;
    lab::write(&manifests.join("tags/v1/current/link"), digest)
}

/// A certificate for 127.0.0.1 that nobody trusts: wrk does not ask.
fn certificate(folder: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args([
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=bench",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]);
    openssl
        .arg("-keyout")
        .arg(folder.join("server.key"))
        .arg("-out")
        .arg(folder.join("server.crt"));
    lab::run(&mut openssl).map(drop)
}

/// Let this process run on these processors alone.
fn pin_to(processors: &str) -> Result<()> {
    let id = std::process::id().to_string();
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--cpu-list", "--pid", processors, &id]);
    lab::run(&mut taskset).map(drop)
}

/// `HOST:PORT` after a scheme, if the line has one.
fn address_after(line: &str, scheme: &str) -> Option<String> {
    let (_, rest) = line.split_once(scheme)?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c))).unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What every image is signed as, so that one signature serves any number of repositories.
const IDENTITY: &str = "bench.example.com/app:v1";

/// Of a request, as a pod's review has on a small cluster.
const REVIEW_BYTES: usize = 5 * 1024;

/// The images before this number are asked about by name.
pub(super) const FIRST_COLD: u64 = 8;

/// Few enough that a server which meets the target of 400 a second asks about all of them in one load.
const DISTINCT_AT_ONCE: u64 = 2000;

/// Of a server that compiles fifty rules first.
const LONGEST_START: Duration = Duration::from_secs(300);

/// The processor that the server has for itself.
const SERVER: &str = "0";

/// The processor of everything else.
const GENERATOR: &str = "1";

/// As it was before.
const EVERYTHING: &str = "0-1";
