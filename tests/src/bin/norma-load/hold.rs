//! Sockets that are there for as long as a test wants them to be.

use anyhow::{Context as _, Result};
use rustix::net::sockopt::socket_cookie;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Prints `holding PORT LISTENER CLIENT ACCEPTED`, the last three being the numbers that the kernel has for the
/// sockets; and `closed` when the connection was.
pub fn hold(pipe: &str) -> Result<()> {
    // For writing too: so a reader never comes to an end.
    let orders = OpenOptions::new().read(true).write(true).open(pipe);
    let mut orders = BufReader::new(orders.with_context(|| pipe.to_owned())?).lines();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let address = listener.local_addr().context("no local address")?;
    let client = TcpStream::connect(address).context("cannot connect")?;
    let (accepted, _) = listener.accept().context("cannot accept")?;
    println!(
        "holding {} {} {} {}",
        address.port(),
        socket_cookie(&listener).context("no cookie")?,
        socket_cookie(&client).context("no cookie")?,
        socket_cookie(&accepted).context("no cookie")?,
    );
    let _line = orders.next();
    drop((client, accepted));
    println!("closed");
    let _line = orders.next();
    Ok(())
}
