//! A running broker: whether it answers, and what it says of itself.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeLogDirsRequest, DescribeLogDirsResponse, MetadataRequest,
    MetadataResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

use crate::cli::addresses;
use crate::cli::finding::{Finding, Verdict, finding};
use crate::config::{BrokerConfig, Endpoint};

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// The longest reply that is read.
const REPLY_BYTES_MAX: usize = 256 << 20;
const METADATA_VERSION: i16 = 12;
const LOG_DIRS_VERSION: i16 = 4;
const NOBODY: i32 = -1;
/// Part of a folder's disk that should be left.
const FREE_PERCENT_LOW: i64 = 10;

pub(super) fn examine(config: &BrokerConfig, is_locked: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for endpoint in &config.listeners.bound {
        let setting = format!("broker at {endpoint}");
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let mut connected = None;
        for address in addresses_of(endpoint) {
            match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
                Ok(stream) => connected = Some(stream),
                Err(error) => last = error,
            }
        }
        match connected {
            Some(stream) => findings.extend(ask(&setting, stream)),
            None if is_locked => {
                let remedy = "a process has the data folder, and does not listen here: it may be starting (see /ready \
                              and its log), or have other listeners than this configuration";
                findings.push(finding(setting, last.to_string(), Verdict::Advice, remedy));
            }
            None => findings.push(finding(setting, "no broker runs", Verdict::Unknown, "")),
        }
    }
    if let Some(http) = &config.http {
        findings.extend(health(&http.endpoint));
    }
    findings
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

fn ask(setting: &str, mut stream: TcpStream) -> Vec<Finding> {
    let failed = |what: &str, error: &io::Error| {
        let found = format!("{what} is not answered: {error}");
        let remedy = "what listens there is no broker of Kafka's protocol, or it hangs: see /live and its log";
        finding(setting, found, Verdict::Needed, remedy)
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
        let percent = 100 * folder.usable_bytes.max(0) / folder.total_bytes.max(1);
        let is_known = folder.total_bytes > 0;
        let verdict = match is_known && percent < FREE_PERCENT_LOW {
            true => Verdict::Advice,
            false => Verdict::Fine,
        };
        let remedy = "when it is full, appends are refused until there is room: shorten retention, move partitions to \
                      another folder, or enlarge it";
        findings.push(finding(
            setting,
            format!("online, {percent}% free"),
            verdict,
            remedy,
        ));
    }
    findings
}

/// What `/live` and `/ready` say.
fn health(endpoint: &Endpoint) -> Vec<Finding> {
    let addresses = addresses_of(endpoint);
    let ask = |path: &str| {
        let mut all = addresses.iter();
        all.find_map(|address| get(*address, path).ok())
    };
    let mut findings = Vec::new();
    let questions = [
        (
            "/live",
            "a shard hangs: end the process (SIGKILL) and start it again, and report what it logged",
        ),
        (
            "/ready",
            "clients are not served: it is starting, stopping or has failed, as it says",
        ),
    ];
    for (path, remedy) in questions {
        let setting = format!("health at {endpoint}{path}");
        findings.extend(ask(path).map(|(status, said)| {
            let verdict = match status {
                200 => Verdict::Fine,
                _ => Verdict::Needed,
            };
            finding(setting, said.trim(), verdict, remedy)
        }));
    }
    findings
}

fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
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
