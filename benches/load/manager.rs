//! A stream manager that gives every question the same answer. Threads that block: it is asked once per bench.

use super::Result;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// What it says of every stream.
pub const ANSWER: &str = r#"{"name":"stream1","scope":"live","serverAddress":"127.0.0.1","region":"bench"}"#;

/// Starts one; it lives as long as this process.
pub fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("manager".into()).spawn(move || {
        for socket in listener.incoming().flatten() {
            // a gateway that closes its connection ends the thread
            std::thread::spawn(move || drop(serve(socket)));
        }
    })?;
    Ok(address)
}

fn serve(mut socket: TcpStream) -> Result<()> {
    let mut lines = BufReader::new(socket.try_clone()?);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            let length = ANSWER.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            socket.write_all(format!("{head}{ANSWER}").as_bytes())?;
        }
    }
}
