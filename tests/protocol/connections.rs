//! Limits of connections that are changed while the broker runs, as clients see it: whoever changed them has been
//! answered, and the next connection meets them, whichever shard it comes to.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use corelog_loadgen::client::{Client, error_name};
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::protocol::StrBytes;

use crate::harness::{Broker, Launch};

const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// So many are refused, or wait, that some of them came to each shard.
const MANY: usize = 12;

fn broker() -> Broker {
    Broker::launch(Launch {
        arguments: &["--cores", "2"],
        overrides: &["node.id=1"],
        ..Launch::default()
    })
}

/// Sets a property of a broker, or of all (`""`); without value it is removed.
fn alter(client: &mut Client, node: &str, name: &str, value: Option<&str>) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config = AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(if value.is_some() { SET } else { DELETE })
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(node))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let reply = client.call(&request, 1).expect("a reply");
    let error_code = reply.responses[0].error_code;
    assert_eq!(error_code, 0, "{name}: {}", error_name(error_code));
}

/// A connection that has asked for ApiVersions.
fn ask(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the kernel accepts");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    // One that was closed at once may not take it.
    let _ = stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    stream
}

fn is_served(mut stream: &TcpStream) -> bool {
    match stream.read_exact(&mut [0; 8]) {
        Ok(()) => true,
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => false,
            _ => panic!("neither served nor closed: {error}"),
        },
    }
}

/// As many connections as are served; those after them are closed.
fn open(address: SocketAddr, served: usize) -> Vec<TcpStream> {
    let open: Vec<_> = (0..served).map(|_| ask(address)).collect();
    assert!(open.iter().all(is_served), "there is room for {served}");
    for _ in 0..MANY {
        assert!(!is_served(&ask(address)), "there is room for {served} only");
    }
    open
}

#[test]
fn a_changed_limit_of_an_address_holds_for_its_next_connection() {
    const LIMIT: &str = "max.connections.per.ip";
    const OVERRIDES: &str = "max.connections.per.ip.overrides";
    let broker = broker();
    let address = broker.address();
    // Counted from here on, although nothing limits it.
    let mut admin = Client::connect(address).expect("a connection");
    alter(&mut admin, "", LIMIT, Some("3"));
    let mut held = open(address, 2);
    alter(&mut admin, "1", LIMIT, Some("5"));
    held.extend(open(address, 2));
    alter(&mut admin, "", OVERRIDES, Some("127.0.0.1:7,10.0.0.1:0"));
    held.extend(open(address, 2));
    alter(&mut admin, "", OVERRIDES, None);
    held.extend(open(address, 0));
    alter(&mut admin, "1", LIMIT, None);
    alter(&mut admin, "", LIMIT, None);
    held.extend((0..MANY).map(|_| ask(address)));
    assert!(held[6..].iter().all(is_served), "nothing limits them");
}

#[test]
fn those_who_wait_are_served_once_the_total_is_raised() {
    const LIMIT: &str = "max.connections";
    let broker = broker();
    let address = broker.address();
    let mut admin = Client::connect(address).expect("a connection");
    alter(&mut admin, "", LIMIT, Some("1"));
    let waiting: Vec<_> = (0..MANY).map(|_| ask(address)).collect();
    for mut stream in &waiting {
        // A broker that serves them is not always caught here, one that does not is never blamed.
        let pause = Some(Duration::from_millis(20));
        stream.set_read_timeout(pause).expect("a timeout");
        let error = stream.read(&mut [0; 1]).expect_err("it waits");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("a timeout");
    }
    alter(&mut admin, "", LIMIT, Some("100"));
    assert!(waiting.iter().all(is_served));
}
