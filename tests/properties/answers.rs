//! Answers of a stream manager in the shapes of versions 1.x and 2.0, with arbitrary other content.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidegate::oracles;
use tidegate::proto::red5::answer;
use tidegate::proto::red5::answer::{Answer, NODES_MAX};

use super::{holds, params::address};

/// Values that name no node although they may look as if they did.
fn decoy() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!({ "serverAddress": "10.66.6.6" })),
        Just(json!("10.66.6.6")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-zA-Z]{1,13}", inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// The value of `serverAddress`: an address, or something that the gateway can't dial.
fn server_address() -> impl Strategy<Value = (Option<IpAddr>, Value)> {
    let odd = prop_oneof![
        Just(json!("node1.example.net")),
        Just(json!("10.0.0.5:80")),
        Just(json!("[2001:db8::5]")),
        Just(json!("010.0.0.5")),
        Just(json!("fe80::1%eth0")),
        Just(json!(167_772_165)),
        Just(json!(["10.0.0.5"])),
        Just(json!({ "serverAddress": "10.0.0.5" })),
        Just(Value::Null),
    ];
    prop_oneof![
        6 => address().prop_map(|address| (Some(address), json!(address.to_string()))),
        1 => odd.prop_map(|value| (None, value)),
    ]
}

/// One object, and the node that it names.
fn object() -> impl Strategy<Value = (Option<IpAddr>, Value)> {
    (proptest::option::of(server_address()), vec(("[a-zA-Z]{1,12}", decoy()), 0..5)).prop_map(
        |(named, others)| {
            let mut object: Map<String, Value> = others.into_iter().collect();
            let (node, value) = named.unwrap_or((None, Value::Null));
            object.insert("serverAddress".into(), value);
            (node, Value::Object(object))
        },
    )
}

fn nodes_in(text: &str) -> Result<Vec<IpAddr>, TestCaseError> {
    oracles::answer(format!("max-age=2\n{text}").as_bytes());
    match answer::read(200, Some("application/json"), text.as_bytes()) {
        Answer::Found { nodes } => Ok(nodes),
        other => Err(TestCaseError::fail(format!("{text}: {other:?}"))),
    }
}

#[test]
fn exactly_the_addresses_in_server_address_are_nodes() {
    let shapes = (
        vec(prop_oneof![8 => object(), 1 => decoy().prop_map(|value| (None, json!([value])))], 0..8),
        any::<(bool, bool)>(),
    );
    holds(600, shapes, |(objects, (pretty, alone))| {
        let (named, values): (Vec<_>, Vec<_>) = objects.into_iter().unzip();
        let (named, value) = match values.as_slice() {
            [value] if alone && value.is_object() => (named, value.clone()),
            _ => (named, Value::from(values)),
        };
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let mut expected: Vec<IpAddr> = Vec::new();
        for node in named.into_iter().flatten() {
            if !expected.contains(&node) {
                expected.push(node);
            }
        }
        prop_assert_eq!(nodes_in(&text.unwrap())?, expected);
        Ok(())
    });
}

#[test]
fn a_long_list_is_read_up_to_the_limit() {
    holds(8, NODES_MAX - 2..NODES_MAX + 3, |count| {
        let nodes: Vec<IpAddr> =
            (0..count as u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())).collect();
        let objects: Vec<Value> = nodes.iter().map(|node| json!({ "serverAddress": node })).collect();
        let text = Value::from(objects).to_string();
        let Answer::Found { nodes: found } = answer::read(200, Some("application/json"), text.as_bytes())
        else {
            return Err(TestCaseError::fail("expected an answer with nodes"));
        };
        prop_assert_eq!(&found[..], &nodes[..count.min(NODES_MAX)]);
        Ok(())
    });
}
