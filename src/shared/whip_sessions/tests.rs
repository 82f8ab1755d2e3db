//! Tests of the tables of WHIP sessions.

use super::session::ENTRY_OVERHEAD;
use super::*;
use crate::proto::red5::route::Kind;
use crate::shared::node_metrics::NodeSession;
use std::time::Duration;

/// The `n`-th address of IPv4.
fn address(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

/// Session `n` of a stream, with about 4 KiB of text.
fn session(kind: Kind, stream: &str, n: u128, client: IpAddr) -> Arc<WhipSession> {
    let identity = Identity {
        node: [10, 0, 0, 5].into(),
        at_node: format!("/live/{}/resource/s{n}?{}", kind.word(), "x".repeat(4000)),
        handle: Handle::new(n.to_be_bytes()),
        key: AffinityKey::new(kind, "live", stream, ""),
        client,
        counted: NodeSession::begin(Arc::default()),
    };
    Arc::new(WhipSession::restored(SessionId(u64::try_from(n).unwrap()), Duration::ZERO, identity, 5080))
}

fn is_known(sessions: &WhipSessions, kind: Kind, stream: &str, n: u128) -> bool {
    let key = AffinityKey::new(kind, "live", stream, "");
    sessions.by_handle(Handle::new(n.to_be_bytes()), &key).is_some()
}

#[test]
fn players_never_push_out_a_publisher() {
    let sessions = WhipSessions::default();
    // all of them behind one address, as behind a load balancer that announces none
    sessions.remember(session(Kind::Whip, "camera", 1, address(1)));
    for n in 2..9000 {
        sessions.remember(session(Kind::Whep, "camera", n, address(1)));
    }
    assert!(is_known(&sessions, Kind::Whip, "camera", 1));
    assert!(is_known(&sessions, Kind::Whep, "camera", 8999) && !is_known(&sessions, Kind::Whep, "camera", 2));
    assert!(sessions.players.lock().unwrap().bytes <= TABLE_BYTES_MAX);
}

#[test]
fn sessions_of_one_address_never_push_out_those_of_another_one() {
    for kind in [Kind::Whip, Kind::Whep] {
        let sessions = WhipSessions::default();
        for n in 0..100 {
            let client = address(u32::try_from(n).unwrap());
            sessions.remember(session(kind, &format!("s{n}"), n, client));
        }
        // a few addresses flood the table, each more than all others together have
        for n in 1000..20_000 {
            let client = address(1000 + u32::try_from(n % 8).unwrap());
            sessions.remember(session(kind, &format!("s{n}"), n, client));
        }
        let all_known = (0..100).all(|n| is_known(&sessions, kind, &format!("s{n}"), n));
        assert!(all_known, "{kind:?}");
        assert!((19_900..20_000).all(|n| is_known(&sessions, kind, &format!("s{n}"), n)), "{kind:?}");
    }
}

#[test]
fn addresses_of_one_ipv6_network_are_one_client() {
    let sessions = WhipSessions::default();
    sessions.remember(session(Kind::Whep, "s", 0, "2001:db8:1::1".parse().unwrap()));
    for n in 1..9000_u128 {
        let client = std::net::Ipv6Addr::from_bits((0x2001_0db8_0002_u128 << 80) + n);
        sessions.remember(session(Kind::Whep, "s", n, client.into()));
    }
    assert!(is_known(&sessions, Kind::Whep, "s", 0));
    assert_eq!(sessions.players.lock().unwrap().shares.len(), 2);
}

#[test]
fn a_session_that_is_used_outlives_those_of_its_address_that_are_not() {
    let sessions = WhipSessions::default();
    let key = |stream| AffinityKey::new(Kind::Whip, "live", stream, "");
    for n in 0..20_000 {
        sessions.remember(session(Kind::Whip, &format!("s{n}"), n, address(1)));
        // one is used by its handle, one by its name
        assert!(is_known(&sessions, Kind::Whip, "s0", 0), "{n}");
        assert!(n == 0 || sessions.by_key(&key("s1"), address(2)).is_some(), "{n}");
    }
    assert!(sessions.by_key(&key("s2"), address(1)).is_none());
}

#[test]
fn a_publisher_that_reconnects_pushes_out_only_its_own_sessions() {
    let sessions = WhipSessions::default();
    sessions.remember(session(Kind::Whip, "camera", 0, address(1)));
    for n in 1..20_000 {
        sessions.remember(session(Kind::Whip, "unsteady", n, address(1)));
    }
    assert!(is_known(&sessions, Kind::Whip, "camera", 0));
    assert!(is_known(&sessions, Kind::Whip, "unsteady", 19_999));
    assert!(!is_known(&sessions, Kind::Whip, "unsteady", 1));
}

#[test]
fn a_name_means_the_newest_session_of_the_address_and_else_the_newest_of_all() {
    let sessions = WhipSessions::default();
    let key = AffinityKey::new(Kind::Whep, "live", "s", "");
    let found = |client| sessions.by_key(&key, address(client)).map(|session| session.handle);
    let handle = |n: u128| Some(Handle::new(n.to_be_bytes()));
    for (n, client) in [(1, 1), (2, 1), (3, 2)] {
        sessions.remember(session(Kind::Whep, "s", n, address(client)));
    }
    assert_eq!([found(1), found(2), found(3)], [handle(2), handle(3), handle(3)]);
    sessions.forget(&session(Kind::Whep, "s", 2, address(1)));
    assert_eq!(found(1), handle(1), "the older one is not hidden any more");
    sessions.forget(&session(Kind::Whep, "s", 1, address(1)));
    assert_eq!(found(1), handle(3));
    assert!(sessions.by_handle(handle(3).unwrap(), &AffinityKey::new(Kind::Whep, "live", "t", "")).is_none());
}

#[test]
fn all_maps_of_a_table_hold_the_same_sessions() {
    let mut table = Table::new(40 * (4096 + ENTRY_OVERHEAD));
    let mut random = 1_u64;
    for _ in 0..5000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let n = u128::from(random >> 33) % 200;
        match (random >> 40) % 4 {
            0 => drop(table.remove(Handle::new(n.to_be_bytes()))),
            1 => table.touch(Handle::new(n.to_be_bytes())),
            _ => {
                let client = address(u32::try_from(n % 7).unwrap());
                table.remember(session(Kind::Whip, &format!("s{}", n % 3), n, client));
            }
        }
        let count = table.sessions.len();
        assert_eq!((table.names.len(), table.uses.len()), (2 * count, count));
        assert_eq!(table.by_bytes.len(), table.shares.len());
        let sizes: usize = table.all().iter().map(|session| session.size()).sum();
        assert_eq!((table.bytes, table.shares.values().sum::<usize>()), (sizes, sizes));
        assert!(table.bytes <= table.bytes_max);
        let newest = table.sessions.values().filter(|entry| entry.is_newest).count();
        assert_eq!(table.newest_sessions, newest);
    }
    for session in table.all() {
        table.remove(session.handle);
    }
    assert!(table.names.is_empty() && table.uses.is_empty() && table.by_bytes.is_empty());
    assert_eq!(table.bytes, 0);
}
