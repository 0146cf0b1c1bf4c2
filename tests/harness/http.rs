//! Questions over HTTP, one a connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take: less than the broker waits for a silent client's request.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Status and body of `GET path`.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    request(address, &format!("GET {path}"))
}

/// Status and body.
pub fn request(address: SocketAddr, head: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Replies to this version are never cut into chunks.
    let head = format!("{head} HTTP/1.0\r\nHost: test\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let cut = || io::Error::other(format!("half a reply: {reply:?}"));
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(cut)?, body.to_owned()))
}
