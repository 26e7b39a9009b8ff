//! Connections that are known are counted with their bytes; what only looks like one of them is reported.

use crate::watch::{Group, Watch, scope};
use norma_abi::{KIND_CONNECT, KIND_SOCKET, SCOPE_ANY, SCOPE_RECOGNISE, Traffic};
use norma_agent::identity::Hierarchy;
use norma_agent::observation::{Act, ActId, CgroupId, Endpoint, Observation, SocketOp};
use norma_agent::sensor::{Controls, KnownPlace, KnownTable, SensorConfig, Wanted};
use norma_rig::skip::skipped;
use norma_rig::wait_until;
use rustix::net::{AddressFamily, SocketType};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const ASKED: &[u8] = b"what is known";
const ANSWERED: &[u8] = b"is counted";

/// Which end of a connection a record is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Client,
    Server,
}

struct Scene {
    watch: Watch,
    table: KnownTable,
    controls: Controls,
    own: CgroupId,
    server: TcpListener,
    port: u16,
    mark: TcpListener,
}

impl Scene {
    fn start() -> Option<Self> {
        let names = ["connect", "accept", "close"].map(str::to_owned);
        let mut watch = Watch::with(&SensorConfig {
            wanted: Wanted::Only(names.into()),
            ..SensorConfig::default()
        })?;
        let mut controls = watch.controls();
        let own = Hierarchy::find().unwrap().members()[&std::process::id()];
        controls
            .set_scope(own, scope(SCOPE_ANY, SCOPE_RECOGNISE))
            .unwrap();
        let table = watch.sensor.known().unwrap();
        let server = TcpListener::bind("0.0.0.0:0").unwrap();
        Some(Self {
            watch,
            table,
            controls,
            own,
            port: server.local_addr().unwrap().port(),
            server,
            mark: TcpListener::bind("127.0.0.1:0").unwrap(),
        })
    }

    fn peer(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Connects from and to an address, asks and is answered; the client ends it.
    fn talk(&self, from: Ipv4Addr, to: Ipv4Addr) {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from((from, 0))).unwrap();
        rustix::net::connect(&socket, &SocketAddr::from((to, self.port))).unwrap();
        let mut client = TcpStream::from(socket);
        let (mut accepted, _) = self.server.accept().unwrap();
        client.write_all(ASKED).unwrap();
        let mut asked = [0; ASKED.len()];
        accepted.read_exact(&mut asked).unwrap();
        accepted.write_all(ANSWERED).unwrap();
        let mut answer = [0; ANSWERED.len()];
        client.read_exact(&mut answer).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(accepted.read(&mut asked).unwrap(), 0);
    }

    /// What is reported of one side while something is done.
    fn reports(&mut self, side: Side, work: impl FnOnce(&mut Self)) -> Vec<Observation> {
        self.watch.drain();
        self.watch.seen.clear();
        work(self);
        let mark = self.mark.local_addr().unwrap();
        drop(TcpStream::connect(mark).unwrap());
        let _accepted = self.mark.accept().unwrap();
        // The records of one processor after the other come in the order of time.
        self.watch.find("the mark", |seen| match &seen.act {
            Act::Connect(connect) if connect.remote == mark => Some(()),
            _ => None,
        });
        let port = self.port;
        let of_side = |seen: &&Observation| match &seen.act {
            Act::Connect(connect) => side == Side::Client && connect.remote.port() == port,
            Act::Socket(socket) => match (socket.op, socket.local, socket.remote) {
                (SocketOp::Accepted, Endpoint::Internet(local), _) => {
                    side == Side::Server && local.port() == port
                }
                (_, Endpoint::Internet(local), Endpoint::Internet(remote)) => {
                    [(Side::Client, remote), (Side::Server, local)]
                        .iter()
                        .any(|(of, end)| *of == side && end.port() == port)
                }
                _ => false,
            },
            _ => false,
        };
        self.watch.seen.iter().filter(of_side).cloned().collect()
    }

    /// By what the beginning of the first connection among these would be recognised.
    fn id(seen: &[Observation]) -> ActId {
        seen.iter().find_map(|seen| seen.act.id()).unwrap()
    }

    fn is_counted(&mut self, side: Side, id: ActId, place: KnownPlace) {
        let (before, was) = (self.table.count(place), self.table.traffic(id));
        let seen = self.reports(side, |scene| scene.talk(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST));
        assert_eq!(seen, [], "{side:?} is known");
        assert_eq!(self.table.count(place), before + 1);
        let ended = wait_until("the end of the connection", LIMIT, || {
            let now = self.table.traffic(id);
            Ok((now.ended > was.ended).then_some(now))
        });
        let (sent, received) = match side {
            Side::Client => (ASKED, ANSWERED),
            Side::Server => (ANSWERED, ASKED),
        };
        let expected = Traffic {
            established: was.established + u64::from(side == Side::Client),
            ended: was.ended + 1,
            failed: was.failed,
            sent: was.sent + sent.len() as u64,
            received: was.received + received.len() as u64,
        };
        assert_eq!(ended.unwrap(), expected);
    }
}

const ANOTHER: Ipv4Addr = Ipv4Addr::new(127, 7, 7, 7);

#[test]
fn a_known_peer_is_counted_with_its_bytes_and_another_is_reported() {
    let Some(mut scene) = Scene::start() else { return };
    let local = Ipv4Addr::LOCALHOST;
    let seen = scene.reports(Side::Client, |scene| scene.talk(local, local));
    assert!(!seen.is_empty(), "one that is not known is reported");
    let id = Scene::id(&seen);
    let place = scene.table.enter_connection(id).unwrap();
    let recognised = |scene: &mut Scene| scene.watch.sensor.counters().unwrap().recognised;
    let before = recognised(&mut scene);
    for _ in 0..20 {
        scene.is_counted(Side::Client, id, place);
    }
    let after = recognised(&mut scene);
    let since = |kind: u16| after[usize::from(kind)] - before[usize::from(kind)];
    // Of each its beginning; that it was established and that it ended.
    assert_eq!((since(KIND_CONNECT), since(KIND_SOCKET)), (20, 40));

    let counted = scene.table.count(place);
    let seen = scene.reports(Side::Client, |scene| scene.talk(local, ANOTHER));
    assert!(!seen.is_empty(), "another address");
    let order = format!("exec 3<>/dev/tcp/127.0.0.1/{}", scene.port);
    let seen = scene.reports(Side::Client, |scene| {
        let status = std::process::Command::new("bash").args(["-c", &order]).status();
        assert!(status.unwrap().success());
        scene.server.accept().unwrap();
    });
    assert!(!seen.is_empty(), "another program");
    if let Some(group) = Group::make() {
        scene
            .controls
            .set_scope(group.id(), scope(SCOPE_ANY, SCOPE_RECOGNISE))
            .unwrap();
        let seen = scene.reports(Side::Client, |scene| {
            assert!(group.shell(&order).status().unwrap().success());
            scene.server.accept().unwrap();
        });
        assert!(!seen.is_empty(), "another control group");
    }
    assert_eq!(scene.table.count(place), counted);

    // Of an end that comes when it is known no more, nobody keeps count.
    let client = TcpStream::connect(scene.peer()).unwrap();
    let accepted = scene.server.accept().unwrap();
    let last = scene.table.clear_connection(id, place);
    assert_eq!((last.established, last.ended), (21, 20));
    let seen = scene.reports(Side::Client, |_| drop((client, accepted)));
    assert_eq!(seen.len(), 1, "its end is reported: {seen:?}");
    let seen = scene.reports(Side::Client, |scene| scene.talk(local, local));
    assert!(!seen.is_empty(), "it is not known any more");
}

#[test]
fn an_attempt_that_fails_is_counted_as_that() {
    let Some(mut scene) = Scene::start() else { return };
    let local = Ipv4Addr::LOCALHOST;
    let seen = scene.reports(Side::Client, |scene| scene.talk(local, local));
    let id = Scene::id(&seen);
    scene.table.enter_connection(id).unwrap();
    let peer = scene.peer();
    // Nobody else gets the port meanwhile: it is bound, and not listened on.
    scene.server = TcpListener::bind("127.0.0.1:0").unwrap();
    let held = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&held, &peer).unwrap();
    let seen = scene.reports(Side::Client, |_| {
        TcpStream::connect(peer).unwrap_err();
    });
    assert_eq!(seen, []);
    let failed = Traffic {
        failed: 1,
        ..Traffic::default()
    };
    assert_eq!(scene.table.traffic(id), failed);
}

#[test]
fn who_is_accepted_is_told_by_address_within_a_network() {
    let Some(mut scene) = Scene::start() else { return };
    let local = Ipv4Addr::LOCALHOST;
    let seen = scene.reports(Side::Server, |scene| scene.talk(local, local));
    let id = Scene::id(&seen);
    let place = scene.table.enter_connection(id).unwrap();
    for _ in 0..5 {
        scene.is_counted(Side::Server, id, place);
    }
    let seen = scene.reports(Side::Server, |scene| scene.talk(ANOTHER, local));
    assert!(!seen.is_empty(), "another peer");
    assert_ne!(Scene::id(&seen), id);
}

#[test]
fn whoever_comes_from_outside_is_the_same() {
    // Documentation networks (RFC 5737), which are nobody's.
    let outside = [[192, 0, 2, 1], [198, 51, 100, 1]].map(Ipv4Addr::from);
    let Some(mut scene) = Scene::start() else { return };
    let given = outside.map(|address| {
        let address = format!("{address}/32");
        let added = std::process::Command::new("ip")
            .args(["address", "add", &address, "dev", "lo"])
            .status();
        added.is_ok_and(|status| status.success())
    });
    if given.contains(&false) {
        skipped(
            "kernel",
            "addresses cannot be given to the loopback interface here",
        );
    } else {
        let ids = outside.map(|from| {
            let seen = scene.reports(Side::Server, |scene| scene.talk(from, from));
            Scene::id(&seen)
        });
        assert_eq!(ids[0], ids[1]);
    }
    for address in outside.map(IpAddr::V4) {
        let address = format!("{address}/32");
        let _gone = std::process::Command::new("ip")
            .args(["address", "del", &address, "dev", "lo"])
            .stderr(std::process::Stdio::null())
            .status();
    }
}

#[test]
fn where_recognising_is_off_nothing_is() {
    let Some(mut scene) = Scene::start() else { return };
    scene.controls.set_scope(scene.own, scope(SCOPE_ANY, 0)).unwrap();
    let local = Ipv4Addr::LOCALHOST;
    let seen = scene.reports(Side::Client, |scene| scene.talk(local, local));
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|seen| seen.act.id().is_none()));
}
