//! A token endpoint on loopback, for the libraries that take no stub.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::TOKEN_LIFETIME;
use crate::request::token;

/// A library that came back for more would have no token at hand.
const ANSWERS: usize = 8;

/// Answers whatever is asked with a token that lasts for a day. Gives its origin.
pub(crate) fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming().take(ANSWERS) {
            answer(&connection.unwrap()).unwrap();
        }
    });
    origin
}

fn answer(mut connection: &TcpStream) -> std::io::Result<()> {
    let mut request = BufReader::new(connection);
    let mut length = 0;
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    request.read_exact(&mut vec![0; length])?;
    let body = format!(
        r#"{{"access_token":"{}","expires_in":{},"token_type":"Bearer"}}"#,
        token(),
        TOKEN_LIFETIME.as_secs()
    );
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
