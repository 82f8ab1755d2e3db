//! Each rule on an invented tree that breaks it, and all rules on `src`.

use super::*;
use crate::repository::{all, invented};
use crate::{expect_none, expect_one};

#[test]
fn src_has_no_circle_of_files() {
    expect_none(circle_findings(all()));
}

#[test]
fn floors_of_src_import_downward() {
    expect_none(floor_findings(all()));
}

#[test]
fn rooms_of_src_import_downward() {
    expect_none(room_findings(all()));
}

#[test]
fn the_plan_declares_only_what_is_there() {
    expect_none(stale_plan(all()));
}

/// A tree that keeps all rules; each test adds one file that breaks one.
fn tree(more: &[(&str, &str)]) -> Files {
    let mut files = invented(&[
        ("src/main.rs", "use tidegate::control;\nfn main() { control::run() }"),
        (
            "src/lib.rs",
            "pub mod config;\npub mod control;\npub mod metrics;\npub mod proto;\npub mod shared;\npub mod worker;",
        ),
        ("src/control/mod.rs", "mod run;\npub use run::run;"),
        ("src/control/run.rs", "use super::supervise::watch;\nuse crate::worker::{Command, Handle};"),
        ("src/control/supervise.rs", "use crate::config::Config;"),
        ("src/worker/mod.rs", "mod main_loop;\npub use main_loop::{Command, Handle};\nmod io;\nmod http;"),
        (
            "src/worker/main_loop.rs",
            "use super::http::exchange::serve;\nuse super::io;\nfn f() { io::tls::shake() }",
        ),
        ("src/worker/http/mod.rs", "pub mod exchange;\nmod response;\npub use response::R;"),
        (
            "src/worker/http/exchange.rs",
            "use super::response::R;\nuse crate::{proto, worker::io::tls};\nuse crate::shared;",
        ),
        ("src/worker/http/response.rs", "use crate::proto::{http::{head::Head, body}, refusal::Refusal};"),
        ("src/worker/io/mod.rs", "pub mod tls;"),
        (
            "src/worker/io/tls.rs",
            "#[cfg(test)]\nmod tests {\n use crate::oracles::o; use crate::control::run;\n}",
        ),
        ("src/shared/mod.rs", ""),
        ("src/config/mod.rs", "use crate::proto::admission::Rules;"),
        ("src/metrics/mod.rs", ""),
        ("src/proto/mod.rs", "pub mod admission;\npub mod http;\npub mod refusal;"),
        ("src/proto/admission.rs", ""),
        ("src/proto/refusal.rs", ""),
        ("src/proto/http/mod.rs", "pub mod body;\npub mod head;"),
        ("src/proto/http/head.rs", "use super::super::refusal::Refusal;"),
        ("src/proto/http/body.rs", "use super::head::Head;"),
        ("src/oracles/mod.rs", "use crate::worker::Handle;\nuse crate::proto::http::head;"),
    ]);
    files.extend(invented(more));
    files
}

fn broken_rules(files: &Files) -> Vec<Finding> {
    [circle_findings(files), floor_findings(files), room_findings(files)].concat()
}

#[test]
fn a_clean_tree_passes() {
    assert_eq!(broken_rules(&tree(&[])), []);
}

#[test]
fn a_circle_is_shown_as_a_path() {
    let files = tree(&[
        ("src/proto/http/mod.rs", "pub mod a;\nmod b;\nmod c;"),
        ("src/proto/http/a.rs", "use super::b::B;"),
        ("src/proto/http/b.rs", "\nfn f() -> super::c::C {}"),
        ("src/proto/http/c.rs", "use crate::proto::http::{a::A};"),
    ]);
    let path = "src/proto/http/a.rs → src/proto/http/b.rs (line 1: super::b::B) → src/proto/http/c.rs (line 2: super::c::C) \
                → src/proto/http/a.rs (line 1: crate::proto::http::a::A)";
    expect_one(&broken_rules(&files), path);
}

#[test]
fn a_room_and_its_own_file_can_be_a_circle() {
    let files = tree(&[
        ("src/proto/http/mod.rs", "pub mod head;\npub mod body;\npub use head::Head;"),
        ("src/proto/http/head.rs", "use super::Framing;"),
    ]);
    expect_one(&broken_rules(&files), "src/proto/http/mod.rs");
}

#[test]
fn each_knot_is_one_finding() {
    let files = tree(&[
        ("src/config/a.rs", "use super::b;"),
        ("src/config/b.rs", "use super::a; use super::c;"),
        ("src/config/c.rs", "use super::b;"),
        ("src/metrics/a.rs", "use super::b;"),
        ("src/metrics/b.rs", "use super::a;"),
    ]);
    assert_eq!(circle_findings(&files).len(), 2);
}

#[test]
fn a_lower_floor_does_not_import_a_higher_one() {
    let breaks = [
        "use crate::shared::x;",
        "use crate::{self, shared::{self}};",
        "fn f() { crate::shared::x() }",
        "fn f(x: super::super::shared::X) {}",
        "use crate::shared as s;",
    ];
    for text in breaks {
        let files = tree(&[("src/proto/admission.rs", text)]);
        let found = floor_findings(&files);
        assert!(
            found.iter().any(|one| one.what.contains("floor `proto` stands below `shared`")),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn config_and_metrics_stand_side_by_side() {
    let files = tree(&[("src/metrics/page.rs", "use crate::config::Config;")]);
    expect_one(&broken_rules(&files), "floors `metrics` and `config` stand side by side");
}

#[test]
fn nothing_imports_oracles_or_the_root() {
    let files = tree(&[("src/control/supervise.rs", "use crate::oracles::Oracle;")]);
    expect_one(&broken_rules(&files), "only unit tests import oracles");
    let files = tree(&[("src/control/supervise.rs", "const V: &str = crate::VERSION;")]);
    expect_one(&broken_rules(&files), "nothing imports the root");
}

#[test]
fn a_lower_room_does_not_import_a_higher_one() {
    let breaks = [
        "use crate::worker::http::R;",
        "use super::super::{http::{exchange::{self, serve as s}}};",
        "use super::super::http;\n",
        "fn f() { super::super::http::exchange::serve() }",
        "fn f() { crate::worker::http::exchange::serve() }",
    ];
    for text in breaks {
        let found = room_findings(&tree(&[("src/worker/io/tls.rs", text)]));
        assert!(
            found.iter().any(|one| one.what.contains("room `io` stands below `http`")),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn a_path_through_an_imported_module_counts_where_it_ends() {
    let files = tree(&[
        ("src/worker/io/mod.rs", "pub mod tls;\npub mod socket;"),
        ("src/worker/io/socket.rs", "use crate::worker as w;\nfn f() { w::http::exchange::serve() }"),
    ]);
    let found = room_findings(&files);
    assert!(found.iter().any(|one| one.what.contains("src/worker/http/exchange.rs")), "{found:?}");
}

#[test]
fn rooms_in_one_line_do_not_import_each_other() {
    let files = tree(&[("src/proto/proxy_protocol.rs", "use super::admission::Admitted;")]);
    expect_one(&broken_rules(&files), "rooms `proxy_protocol` and `admission` stand side by side");
}

#[test]
fn inside_a_floor_nothing_goes_through_its_map() {
    let files = tree(&[("src/worker/http/exchange.rs", "use crate::worker::Command;")]);
    expect_one(&room_findings(&files), "nothing is imported through its map");
}

#[test]
fn a_new_room_or_floor_has_to_be_declared() {
    let files =
        tree(&[("src/worker/attic.rs", ""), ("src/worker/cellar/mod.rs", ""), ("src/garage/mod.rs", "")]);
    let found = broken_rules(&files);
    let texts: Vec<_> = found.iter().map(|one| one.what.as_str()).collect();
    let expected = [
        "`garage` is no floor: declare it in FLOORS",
        "`attic` is no room of `worker`: declare it in FLOORS",
        "`cellar` is no room of `worker`: declare it in FLOORS",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn what_the_plan_declares_has_to_be_there() {
    let found = stale_plan(&tree(&[]));
    assert!(found.iter().any(|one| one.what.contains("`control/upgrade`")), "{found:?}");
    assert!(!found.iter().any(|one| one.what.contains("`worker/http`")), "{found:?}");
}
