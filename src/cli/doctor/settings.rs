//! The configuration: whether it can be read, what of it has no effect, and what does not go together.

use std::net::ToSocketAddrs;

use crate::cli::addresses;
use crate::cli::finding::{Finding, Verdict, finding};
use crate::cli::start::{self, BrokerArgs};
use crate::config::{BrokerConfig, Endpoint, Layers, check_cordoned_log_dirs};

/// The configuration, if it can be used.
pub(super) fn examine(args: &BrokerArgs) -> (Option<BrokerConfig>, Vec<Finding>) {
    let setting = match &args.file {
        Some(path) => path.display().to_string(),
        None => "defaults and overrides".to_owned(),
    };
    let refused = |error: String| {
        let remedy = "the broker does not start with it: correct the value, `corelog config NAME` tells what it may be";
        finding(setting.clone(), error, Verdict::Needed, remedy)
    };
    let loaded = match start::load_settings(args) {
        Ok(loaded) => loaded,
        Err(error) => return (None, vec![refused(error.to_string())]),
    };
    let mut findings = Vec::new();
    for warning in loaded.warnings() {
        let remedy = "check its spelling, or take it out: `corelog config` lists all properties";
        findings.push(finding(setting.clone(), warning, Verdict::Advice, remedy));
    }
    let layers = Layers::of_file(&loaded.settings);
    let resolved = BrokerConfig::resolve(layers)
        .and_then(|config| check_cordoned_log_dirs(layers).map(|()| config));
    let config = match resolved {
        Ok(config) => config,
        Err(error) => {
            findings.push(refused(error.to_string()));
            return (None, findings);
        }
    };
    if findings.is_empty() {
        let count = loaded.settings.len();
        findings.push(finding(
            setting,
            format!("{count} properties are set"),
            Verdict::Fine,
            "",
        ));
    }
    let http = config.http.iter().map(|http| &http.endpoint);
    for endpoint in config.listeners.bound.iter().chain(http) {
        findings.push(listener(endpoint));
    }
    for endpoint in &config.listeners.advertised {
        findings.push(advertised(endpoint, &config.listeners.bound));
    }
    (Some(config), findings)
}

fn listener(endpoint: &Endpoint) -> Finding {
    let setting = format!("listener {endpoint}");
    match addresses::resolve(endpoint) {
        Ok(all) => {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            finding(setting, all.join(", "), Verdict::Fine, "")
        }
        Err(error) => {
            let remedy = "correct the host of the listener, or use an address";
            finding(setting, error.to_string(), Verdict::Needed, remedy)
        }
    }
}

/// What clients are told to connect to.
fn advertised(endpoint: &Endpoint, bound: &[Endpoint]) -> Finding {
    let setting = format!("advertised {endpoint}");
    let listener = bound.iter().find(|it| it.listener == endpoint.listener);
    let is_open = |host: &str| host.is_empty() || ["0.0.0.0", "::"].contains(&host);
    let remedy = "clients connect to where this says, whatever they have used at first: set \
                  advertised.listeners to a name of this host that they can resolve";
    if endpoint.host.is_empty() {
        return finding(setting, "this machine's name", Verdict::Fine, "");
    }
    let found = (endpoint.host.as_str(), endpoint.port).to_socket_addrs();
    let all: Vec<_> = match found {
        Ok(all) => all.map(|address| address.ip()).collect(),
        Err(error) => {
            let found = format!("cannot be resolved here: {error}");
            return finding(setting, found, Verdict::Advice, remedy);
        }
    };
    let is_local = all.iter().all(|ip| ip.is_loopback());
    if is_local && listener.is_some_and(|listener| is_open(&listener.host)) {
        let found = "a loopback address, though the listener is open to the network";
        return finding(setting, found, Verdict::Advice, remedy);
    }
    let found = if is_local {
        "only this machine can connect"
    } else {
        "resolves"
    };
    finding(setting, found, Verdict::Fine, "")
}
