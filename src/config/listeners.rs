//! Listeners: where the broker listens and what clients are told, parsed and checked as Kafka
//! does it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::ConfigError;
use super::layers::Reader;

/// Security protocol of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    const ALL: [Protocol; 4] = [
        Protocol::Plaintext,
        Protocol::Ssl,
        Protocol::SaslPlaintext,
        Protocol::SaslSsl,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Plaintext => "PLAINTEXT",
            Protocol::Ssl => "SSL",
            Protocol::SaslPlaintext => "SASL_PLAINTEXT",
            Protocol::SaslSsl => "SASL_SSL",
        }
    }

    fn by_name(name: &str) -> Option<Protocol> {
        let mut all = Protocol::ALL.into_iter();
        all.find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }
}

/// An address with the name of its listener (upper case).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    /// Empty is every interface; where it is advertised, this machine's name.
    pub host: String,
    /// 0 is a port that the system chooses; where it is advertised, that port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]:{}", self.listener, self.host, self.port),
            false => write!(f, "{}://{}:{}", self.listener, self.host, self.port),
        }
    }
}

/// The listeners of a broker. All of them speak PLAINTEXT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// To be bound, in the order of `listeners`.
    pub bound: Vec<Endpoint>,
    /// Told to clients, at least one.
    pub advertised: Vec<Endpoint>,
    /// Meant for controllers: accepted, not bound.
    pub controllers: Vec<Endpoint>,
    /// The listener brokers use among themselves; one of the advertised.
    pub inter_broker: String,
}

impl Listeners {
    pub(super) fn resolve(read: &Reader<'_>) -> Result<Listeners, ConfigError> {
        let controller_names: Vec<String> = read
            .items("controller.listener.names")
            .iter()
            .map(|name| name.to_uppercase())
            .collect();
        let protocols = protocol_map(read, &controller_names)?;
        let is_controller = |endpoint: &Endpoint| controller_names.contains(&endpoint.listener);

        let listeners = read.items("listeners");
        let all = parse_endpoints(&listeners, &protocols)?;
        check_ports(&all, &listeners)?;
        let (controllers, bound): (Vec<_>, Vec<_>) = all.into_iter().partition(is_controller);
        for endpoint in &bound {
            let protocol = protocols[&endpoint.listener];
            if protocol != Protocol::Plaintext {
                return Err(ConfigError::Refused(format!(
                    "Listener {endpoint} uses security protocol {}, which is not available yet: \
                     only PLAINTEXT is. Remove it from listeners, or map it to PLAINTEXT in \
                     listener.security.protocol.map",
                    protocol.name()
                )));
            }
        }

        let mut advertised = match read.items_if_set("advertised.listeners") {
            Some(advertised) => parse_endpoints(&advertised, &protocols)?,
            None => bound.clone(),
        };
        advertised.retain(|endpoint| !is_controller(endpoint));
        check_advertised(&advertised, &bound)?;
        let inter_broker = inter_broker(read, &protocols, &advertised)?;
        Ok(Listeners {
            bound,
            advertised,
            controllers,
            inter_broker,
        })
    }
}

type ProtocolMap = BTreeMap<String, Protocol>;

fn protocol_map(
    read: &Reader<'_>,
    controller_names: &[String],
) -> Result<ProtocolMap, ConfigError> {
    const NAME: &str = "listener.security.protocol.map";
    let mut map = ProtocolMap::new();
    let text = read.text(NAME);
    for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        let Some((listener, protocol)) = entry.rsplit_once(':') else {
            return Err(ConfigError::Refused(format!(
                "Error parsing configuration property '{NAME}': {entry} is not of the form \
                 NAME:PROTOCOL"
            )));
        };
        let protocol = protocol.trim();
        let Some(protocol) = Protocol::by_name(protocol) else {
            return Err(ConfigError::Refused(format!(
                "Invalid security protocol `{protocol}` defined in {NAME}"
            )));
        };
        let listener = listener.trim().to_uppercase();
        if map.insert(listener.clone(), protocol).is_some() {
            return Err(ConfigError::Refused(format!(
                "Listener {listener} is defined twice in {NAME}"
            )));
        }
    }
    let is_set = read.layers.each().iter().any(|(_, l)| l.contains_key(NAME));
    if !is_set {
        for name in controller_names {
            map.entry(name.clone()).or_insert(Protocol::Plaintext);
        }
    }
    Ok(map)
}

fn parse_endpoints(texts: &[String], map: &ProtocolMap) -> Result<Vec<Endpoint>, ConfigError> {
    let refuse = |why: String| {
        let all = texts.join(", ");
        let text = format!("Error creating broker listeners from '[{all}]': {why}");
        Err(ConfigError::Refused(text))
    };
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(texts.len());
    for text in texts {
        let Some(endpoint) = parse_endpoint(text) else {
            return refuse(format!("Unable to parse {text} to a broker endpoint"));
        };
        if !map.contains_key(&endpoint.listener) {
            let name = &endpoint.listener;
            return refuse(format!("No security protocol defined for listener {name}"));
        }
        if endpoints.iter().any(|e| e.listener == endpoint.listener) {
            let all = texts.join(", ");
            return refuse(format!(
                "Each listener must have a different name, listeners: [{all}]"
            ));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}

/// `NAME://host:port`; the host may be empty, or an IPv6 address in brackets.
fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (listener, address) = text.trim().split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None => host,
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-%._:".contains(c);
    let port_is_digits = port.bytes().all(|b| b.is_ascii_digit());
    if listener.is_empty() || !host.chars().all(allowed) || !port_is_digits {
        return None;
    }
    Some(Endpoint {
        listener: listener.to_uppercase(),
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

/// Each listener has a port of its own, but two may share one when one of them is an IPv4 and
/// the other an IPv6 address.
fn check_ports(endpoints: &[Endpoint], texts: &[String]) -> Result<(), ConfigError> {
    let all = texts.join(", ");
    let refuse = |why: String| {
        let text = format!("Error creating broker listeners from '[{all}]': {why}");
        Err(ConfigError::Refused(text))
    };
    let is_v4 = |e: &&Endpoint| e.host.parse::<Ipv4Addr>().is_ok();
    let is_v6 = |e: &&Endpoint| e.host.parse::<Ipv6Addr>().is_ok();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.port != 0) {
        let port = endpoint.port;
        let same: Vec<&Endpoint> = endpoints.iter().filter(|e| e.port == port).collect();
        match same.as_slice() {
            [_] => {}
            [a, b] if (is_v4(a) && is_v6(b)) || (is_v6(a) && is_v4(b)) => {}
            [a, b] if (is_v4(a) || is_v6(a)) && (is_v4(b) || is_v6(b)) => {
                return refuse(format!(
                    "If you have two listeners on the same port then one needs to be IPv4 and \
                     the other IPv6, listeners: [{all}], port: {port}"
                ));
            }
            same if !same.iter().any(|e| is_v4(e) || is_v6(e)) => {
                return refuse(format!(
                    "Each listener must have a different port, listeners: [{all}]"
                ));
            }
            _ => {
                return refuse(format!(
                    "Each listener must have a different port unless exactly one listener has \
                     an IPv4 address and the other IPv6 address, listeners: [{all}], port: {port}"
                ));
            }
        }
    }
    Ok(())
}

fn check_advertised(advertised: &[Endpoint], bound: &[Endpoint]) -> Result<(), ConfigError> {
    if advertised.is_empty() {
        return Err(ConfigError::Refused(
            "There must be at least one broker advertised listener. Perhaps all listeners \
             appear in controller.listener.names?"
                .to_owned(),
        ));
    }
    if advertised.iter().any(|endpoint| endpoint.host == "0.0.0.0") {
        return Err(ConfigError::Refused(
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a \
             routable IP address."
                .to_owned(),
        ));
    }
    let is_bound = |endpoint: &&Endpoint| bound.iter().any(|b| b.listener == endpoint.listener);
    match advertised.iter().find(|endpoint| !is_bound(endpoint)) {
        None => Ok(()),
        Some(endpoint) => Err(ConfigError::Refused(format!(
            "advertised.listeners names {endpoint}, but listeners has no listener {}",
            endpoint.listener
        ))),
    }
}

fn inter_broker(
    read: &Reader<'_>,
    map: &ProtocolMap,
    advertised: &[Endpoint],
) -> Result<String, ConfigError> {
    let protocol_is_set = read
        .layers
        .each()
        .iter()
        .any(|(_, layer)| layer.contains_key("security.inter.broker.protocol"));
    let name = match read.text_if_set("inter.broker.listener.name") {
        Some(_) if protocol_is_set => {
            return Err(ConfigError::Refused(
                "Only one of inter.broker.listener.name and security.inter.broker.protocol \
                 should be set."
                    .to_owned(),
            ));
        }
        Some(name) => {
            let name = name.to_uppercase();
            if !map.contains_key(&name) {
                return Err(ConfigError::Refused(format!(
                    "Listener with name {name} defined in inter.broker.listener.name not found \
                     in listener.security.protocol.map."
                )));
            }
            name
        }
        None if protocol_is_set => read.text("security.inter.broker.protocol"),
        // Nobody asked for one: on a single node any will do.
        None => {
            let plaintext = advertised.iter().find(|e| e.listener == "PLAINTEXT");
            plaintext.unwrap_or(&advertised[0]).listener.clone()
        }
    };
    if advertised.iter().any(|endpoint| endpoint.listener == name) {
        return Ok(name);
    }
    let names: Vec<&str> = advertised.iter().map(|e| e.listener.as_str()).collect();
    Err(ConfigError::Refused(format!(
        "inter.broker.listener.name must be a listener name defined in advertised.listeners. \
         The valid options based on currently configured listeners are {}",
        names.join(",")
    )))
}
