//! A running broker: whether it answers, and what it says of itself.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeLogDirsRequest, DescribeLogDirsResponse, MetadataRequest,
    MetadataResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

use super::folders;
use crate::cli::addresses;
use crate::cli::finding::{Finding, Verdict, finding};
use crate::cli::folders::look::InUse;
use crate::config::{BrokerConfig, Endpoint};

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// The longest reply that is read.
const REPLY_BYTES_MAX: usize = 256 << 20;
const METADATA_VERSION: i16 = 12;
const LOG_DIRS_VERSION: i16 = 4;
const NOBODY: i32 = -1;
const LIVE: &str = "/live";
const READY: &str = "/ready";
/// How a broker begins to say why it serves no clients.
const NOT_READY: [&str; 3] = ["recovering", "stopping", "failed"];
/// Far more than a broker says of its health.
const HEALTH_BYTES_MAX: u64 = 64 << 10;

pub(super) fn examine(config: &BrokerConfig, root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for endpoint in &config.listeners.bound {
        let setting = format!("broker at {endpoint}");
        let connected = connect(endpoint);
        // Asked behind it: who listens has taken the folders before.
        let in_use = folders::taken(config);
        match connected {
            Ok(_) if in_use == InUse::No => {
                let remedy =
                    "a start would end with status 75: stop that process, or choose another port";
                let found = "another process listens here: the data folders are not in use";
                findings.push(finding(setting, found, Verdict::Needed, remedy));
            }
            Ok(_) if is_of_another(config, root, endpoint) => {
                let remedy = "the one with the data folders does not: it may be starting (see /ready and its log), or \
                              have other listeners than this configuration";
                let found = "another process listens here";
                findings.push(finding(setting, found, Verdict::Advice, remedy));
            }
            Ok(stream) => findings.extend(ask(&setting, stream, in_use)),
            Err(error) if in_use == InUse::Yes => {
                let remedy = "a process has the data folder, and does not listen here: it may be starting (see /ready \
                              and its log), or have other listeners than this configuration";
                findings.push(finding(setting, error.to_string(), Verdict::Advice, remedy));
            }
            Err(_) => findings.push(finding(setting, "no broker runs", Verdict::Unknown, "")),
        }
    }
    if let Some(http) = &config.http
        && folders::taken(config) != InUse::No
    {
        findings.extend(match is_of_another(config, root, &http.endpoint) {
            true => {
                let found = "another process answers here: the broker serves no metrics and health";
                let setting = format!("health at {}", http.endpoint);
                vec![finding(setting, found, Verdict::Unknown, "")]
            }
            false => health(&http.endpoint, folders::taken(config)),
        });
    }
    findings
}

/// Whether it is known that who listens there is not the process that has taken the folders.
fn is_of_another(config: &BrokerConfig, root: &Path, endpoint: &Endpoint) -> bool {
    let process = folders::taken_by(config, root);
    let listens = process.and_then(|process| process.listens_on(endpoint.port));
    listens == Some(false)
}

fn connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses_of(endpoint) {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Where a listener can be reached from here.
fn addresses_of(endpoint: &Endpoint) -> Vec<SocketAddr> {
    let mut all = addresses::resolve(endpoint).unwrap_or_default();
    for address in &mut all {
        match address.ip() {
            ip if !ip.is_unspecified() => {}
            IpAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    if endpoint.host.is_empty() {
        all.push((Ipv4Addr::LOCALHOST, endpoint.port).into());
    }
    all
}

fn ask(setting: &str, mut stream: TcpStream, in_use: InUse) -> Vec<Finding> {
    let verdict = match in_use {
        InUse::Yes => Verdict::Needed,
        // It may be anybody.
        InUse::No | InUse::Unknown => Verdict::Unknown,
    };
    let failed = |what: &str, error: &io::Error| {
        let found = format!("{what} is not answered: {error}");
        let remedy = "what listens there is no broker of Kafka's protocol, or it hangs: see /live and its log";
        finding(setting, found, verdict, remedy)
    };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    if let Err(error) = call(&mut stream, &ApiVersionsRequest::default(), 0) {
        return vec![failed("ApiVersions", &error)];
    }
    let mut findings = vec![finding(setting, "answers", Verdict::Fine, "")];
    let all_topics = MetadataRequest::default().with_topics(None);
    match call(&mut stream, &all_topics, METADATA_VERSION) {
        Ok(metadata) => findings.extend(partitions(&metadata)),
        Err(error) => findings.push(failed("Metadata", &error)),
    }
    let all_folders = DescribeLogDirsRequest::default().with_topics(None);
    match call(&mut stream, &all_folders, LOG_DIRS_VERSION) {
        Ok(told) => findings.extend(log_dirs(&told)),
        Err(error) => findings.push(failed("DescribeLogDirs", &error)),
    }
    findings
}

/// A reply to one request.
fn call<R: Request>(stream: &mut TcpStream, request: &R, version: i16) -> io::Result<R::Response> {
    let mut out = BytesMut::zeroed(4);
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version);
    header
        .encode(&mut out, R::header_version(version))
        .map_err(io::Error::other)?;
    request
        .encode(&mut out, version)
        .map_err(io::Error::other)?;
    let len = u32::try_from(out.len() - 4).map_err(io::Error::other)?;
    out[..4].copy_from_slice(&len.to_be_bytes());
    stream.write_all(&out)?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len) as usize;
    if len > REPLY_BYTES_MAX {
        return Err(io::Error::other(format!("a reply of {len} bytes")));
    }
    let mut reply = vec![0; len];
    stream.read_exact(&mut reply)?;
    let mut reply = Bytes::from(reply);
    ResponseHeader::decode(&mut reply, R::Response::header_version(version))
        .map_err(io::Error::other)?;
    R::Response::decode(&mut reply, version).map_err(io::Error::other)
}

fn partitions(metadata: &MetadataResponse) -> Vec<Finding> {
    let mut all = 0;
    let (mut offline, mut behind) = (Vec::new(), Vec::new());
    for topic in &metadata.topics {
        let name = topic.name.as_ref().map_or("?", |name| name.as_str());
        for partition in &topic.partitions {
            all += 1;
            let of = format!("{name}-{}", partition.partition_index);
            if *partition.leader_id == NOBODY {
                offline.push(of);
            } else if partition.isr_nodes.len() < partition.replica_nodes.len() {
                behind.push(of);
            }
        }
    }
    let named = |some: &[String]| format!("{}, such as {}", some.len(), some[0]);
    let mut findings = vec![finding("partitions", all.to_string(), Verdict::Fine, "")];
    if !offline.is_empty() {
        let remedy = "their folder has failed or is left out: see the folders and the log; they are there again after \
                      the next start with it";
        findings.push(finding(
            "partitions without a leader",
            named(&offline),
            Verdict::Needed,
            remedy,
        ));
    }
    if !behind.is_empty() {
        let remedy = "a broker that has copies of them is down or behind";
        findings.push(finding(
            "partitions below their replicas",
            named(&behind),
            Verdict::Advice,
            remedy,
        ));
    }
    findings
}

fn log_dirs(told: &DescribeLogDirsResponse) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in &told.results {
        let setting = format!("folder {} as the broker sees it", folder.log_dir.as_str());
        if folder.error_code != 0 {
            let remedy = "it has failed, or could not be used at the start, which the log tells: mend the disk, then \
                          start the broker anew";
            findings.push(finding(setting, "offline", Verdict::Needed, remedy));
            continue;
        }
        findings.push(match u64::try_from(folder.total_bytes) {
            Ok(total @ 1..) => {
                let percent = 100 * folder.usable_bytes.max(0).unsigned_abs() / total;
                folders::room_left(setting, format!("online, {percent}% free"), percent)
            }
            _ => finding(setting, "online", Verdict::Fine, ""),
        });
    }
    findings
}

/// What `/live` and `/ready` say.
fn health(endpoint: &Endpoint, in_use: InUse) -> Vec<Finding> {
    let addresses = addresses_of(endpoint);
    let mut findings = Vec::new();
    for path in [LIVE, READY] {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let mut tries = addresses.iter().map(|address| get(*address, path));
        let answer = tries.find_map(|tried| tried.map_err(|error| last = error).ok());
        match answer {
            Some((status, said)) => findings.push(of_answer(endpoint, path, status, &said)),
            None => {
                findings.push(unanswered(endpoint, path, &last, in_use));
                break;
            }
        }
    }
    findings
}

fn unanswered(endpoint: &Endpoint, path: &str, error: &io::Error, in_use: InUse) -> Finding {
    let verdict = match in_use {
        InUse::Yes => Verdict::Advice,
        InUse::No | InUse::Unknown => Verdict::Unknown,
    };
    let remedy = "a process has the data folder, and does not answer here: it may be starting, stand still (SIGSTOP), \
                  have another corelog.http.listener, or have found the port taken, which its log says";
    let setting = format!("health at {endpoint}{path}");
    finding(setting, format!("no answer: {error}"), verdict, remedy)
}

/// An answer may be anybody's: only the words of a broker count.
fn of_answer(endpoint: &Endpoint, path: &str, status: u16, said: &str) -> Finding {
    let setting = format!("health at {endpoint}{path}");
    let said = said.trim();
    match (path, status) {
        (LIVE, 200) if said == "live" => finding(setting, said, Verdict::Fine, ""),
        (READY, 200) if said == "ready" => finding(setting, said, Verdict::Fine, ""),
        (LIVE, 503) if said.starts_with("shards that hang") => {
            let remedy = "a shard hangs: end the process (SIGKILL) and start it again, and report what it logged";
            finding(setting, said, Verdict::Needed, remedy)
        }
        (READY, 503) if NOT_READY.iter().any(|word| said.starts_with(word)) => {
            let verdict = match said.starts_with("failed") {
                true => Verdict::Needed,
                false => Verdict::Advice,
            };
            let remedy =
                "clients are not served: it is starting, stopping or has failed, as it says";
            finding(setting, said, verdict, remedy)
        }
        (_, status) => {
            let found = format!("something else answers, with status {status}");
            finding(setting, found, Verdict::Unknown, "")
        }
    }
}

/// The status of an answer and its text, as far as it is of use.
fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut reply = Vec::new();
    stream.take(HEALTH_BYTES_MAX).read_to_end(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply);
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(cut)?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
    use kafka_protocol::messages::metadata_response::{
        MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn verdicts(findings: &[Finding]) -> Vec<Verdict> {
        findings.iter().map(|it| it.verdict).collect()
    }

    #[test]
    fn only_a_brokers_own_words_tell_its_health() {
        let endpoint = Endpoint {
            listener: "HTTP".to_owned(),
            host: "localhost".to_owned(),
            port: 9644,
        };
        let of = |path, status, said| of_answer(&endpoint, path, status, said).verdict;
        assert_eq!(of(LIVE, 200, "live\n"), Verdict::Fine);
        assert_eq!(of(READY, 200, "ready\n"), Verdict::Fine);
        assert_eq!(of(LIVE, 503, "shards that hang: 1\n"), Verdict::Needed);
        assert_eq!(of(READY, 503, "recovering: 1 of 2\n"), Verdict::Advice);
        assert_eq!(of(READY, 503, "failed: the disk\n"), Verdict::Needed);
        for path in [LIVE, READY] {
            assert_eq!(of(path, 404, "not found\n"), Verdict::Unknown);
            assert_eq!(of(path, 503, "no upstream\n"), Verdict::Unknown);
            assert_eq!(of(path, 200, "<html>welcome</html>"), Verdict::Unknown);
        }
        let silent = |in_use| {
            let error = io::ErrorKind::ConnectionRefused.into();
            unanswered(&endpoint, LIVE, &error, in_use).verdict
        };
        assert_eq!(silent(InUse::Yes), Verdict::Advice);
        assert_eq!(silent(InUse::Unknown), Verdict::Unknown);
    }

    #[test]
    fn partitions_without_a_leader_are_a_problem_and_missing_copies_a_warning() {
        let partition = |leader, isr: usize| {
            MetadataResponsePartition::default()
                .with_leader_id(BrokerId(leader))
                .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
                .with_isr_nodes(vec![BrokerId(1); isr])
        };
        let of = |all: Vec<MetadataResponsePartition>| {
            let name = TopicName(StrBytes::from_static_str("t"));
            let topic = MetadataResponseTopic::default()
                .with_name(Some(name))
                .with_partitions(all);
            verdicts(&partitions(
                &MetadataResponse::default().with_topics(vec![topic]),
            ))
        };
        assert_eq!(of(vec![partition(1, 2)]), [Verdict::Fine]);
        let all = vec![partition(1, 2), partition(NOBODY, 2), partition(1, 1)];
        assert_eq!(of(all), [Verdict::Fine, Verdict::Needed, Verdict::Advice]);
    }

    #[test]
    fn folders_that_are_offline_are_a_problem_and_full_ones_a_warning() {
        let folder = |error, usable, total| {
            DescribeLogDirsResult::default()
                .with_error_code(error)
                .with_usable_bytes(usable)
                .with_total_bytes(total)
        };
        let of = |folder| {
            verdicts(&log_dirs(
                &DescribeLogDirsResponse::default().with_results(vec![folder]),
            ))
        };
        assert_eq!(of(folder(0, 50, 100)), [Verdict::Fine]);
        assert_eq!(of(folder(0, 5, 100)), [Verdict::Advice]);
        assert_eq!(of(folder(56, -1, -1)), [Verdict::Needed]);
    }
}
