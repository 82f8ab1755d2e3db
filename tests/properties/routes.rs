//! One-step targets and WHIP requests that keep the rules, and the `Location` by which a client reaches its session again.

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate::oracles;
use tidegate::proto::red5::location;
use tidegate::proto::red5::one_step::OneStep;
use tidegate::proto::red5::params::Host;
use tidegate::proto::red5::route;
use tidegate::proto::red5::route::Route;
use tidegate::proto::red5::whip::{Handle, Method, Request};

use super::holds;
use super::params::{address, opaque};

/// The name of a stream, or a segment of a context.
fn name() -> impl Strategy<Value = String> {
    let words =
        ["undefined", "null", "NaN", "true", "false", "whip", "whep", "endpoint", "resource", "stats"];
    "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"
        .prop_filter("a word that scripts leave behind", move |name: &String| !words.contains(&name.as_str()))
}

/// Pairs that are only for the stream manager: where it should place the stream.
fn placement() -> impl Strategy<Value = Vec<String>> {
    let pairs = ["region=us", "geozone=eu", "subgroup=a", "strict=true", "endpoints=2", "transcode=true"];
    proptest::sample::subsequence(pairs.map(str::to_owned).to_vec(), 0..=pairs.len())
}

/// Inserts pairs at a position between others; both keep their order.
fn mixed(mut pairs: Vec<String>, others: Vec<String>, at: &prop::sample::Index) -> Vec<String> {
    let at = at.index(pairs.len() + 1);
    pairs.splice(at..at, others);
    pairs
}

fn query(pairs: &[String]) -> String {
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[test]
fn a_one_step_target_is_read_correctly() {
    let path = (vec(name(), 0..3), name(), any::<bool>());
    let named = (proptest::option::of(address()), proptest::option::of("[A-Za-z0-9_-]{2,20}"));
    let inputs = (path, named, placement(), opaque(), any::<prop::sample::Index>());
    holds(600, inputs, |((context, stream, publish), (host, group), placement, opaque, at)| {
        let words = ["undefined", "null", "NaN", "true", "false", "default"];
        prop_assume!(group.as_ref().is_none_or(|group| !words.contains(&group.as_str())));
        let opaque: Vec<String> = opaque.into_iter().filter(|pair| !pair.contains("?id=")).collect();
        let is_placement =
            |pair: &String| placement.iter().any(|other| other.split('=').next() == pair.split('=').next());
        prop_assume!(!opaque.iter().any(is_placement));
        let mut pairs = mixed(opaque.clone(), placement.clone(), &at);
        pairs.extend(host.map(|host| format!("host={host}")));
        pairs.extend(group.as_ref().map(|group| format!("nodeGroup={group}")));
        let action = if publish { "publish" } else { "subscribe" };
        let scope = [&["live".to_owned()][..], &context].concat().join("/");
        let target = format!("/as/v1/proxy/ws/{action}/{scope}/{stream}{}", query(&pairs));
        oracles::target(target.as_bytes());
        oracles::one_step(target.as_bytes());
        let Ok(Route::OneStep(route)) = route::route(&target) else {
            return Err(TestCaseError::fail(format!("no route: {target}")));
        };
        let read = OneStep::read(&route, &oracles::param_rules(), "ng1");
        let ask = read.map_err(|refusal| TestCaseError::fail(format!("{target}: {refusal:?}")))?;
        prop_assert_eq!(&ask.host, &host.map(Host::Address));
        prop_assert_eq!(&ask.node_target, &format!("/{scope}/{}", query(&opaque)));
        let group = group.unwrap_or_else(|| "ng1".into());
        let question =
            format!("/as/v1/streams/stream/{group}/{action}/{scope}/{stream}{}", query(&placement));
        prop_assert_eq!(ask.question(), Some(question));
        Ok(())
    });
}

#[test]
fn a_whip_request_is_read_correctly_and_its_location_leads_back_to_the_session() {
    let path = (vec(name(), 0..3), name(), 0..3_u8, any::<bool>());
    let inputs = (path, opaque(), any::<[u8; 16]>());
    holds(600, inputs, |((context, stream, form, whep), opaque, handle)| {
        let kind = if whep { "whep" } else { "whip" };
        let scope = [&["live".to_owned()][..], &context].concat().join("/");
        let mut pairs = opaque.clone();
        let path = match form {
            0 => format!("/as/v1/proxy/{kind}/{scope}/{stream}"),
            1 => format!("/{scope}/{kind}/endpoint/{stream}"),
            _ => {
                pairs.insert(0, "app=live".into());
                let suffix =
                    if context.is_empty() { String::new() } else { format!("/{}", context.join("/")) };
                format!("/streammanager{suffix}/{kind}/endpoint/{stream}")
            }
        };
        let target = format!("{path}{}", query(&pairs));
        oracles::target(target.as_bytes());
        oracles::whip(format!("POST\n{target}\n/live/{kind}/resource/x").as_bytes());
        let fail = |what: &str| TestCaseError::fail(format!("{what}: {target}"));
        let Ok(Route::Whip(route)) = route::route(&target) else { return Err(fail("no route")) };
        let method = Method::read("POST", &route).map_err(|_| fail("no POST"))?;
        let rules = oracles::param_rules();
        let request = Request::read(&route, method, &rules, "ng1").map_err(|refusal| fail(refusal.code()))?;
        prop_assert_eq!((&request.scope, &request.stream), (&scope, &stream));
        prop_assert_eq!(
            request.node_target(),
            format!("/{scope}/{kind}/endpoint/{stream}{}", query(&opaque))
        );
        let location = location::for_client(&request, Handle::new(handle));
        // an SDK that receives a path as Location appends the query of its endpoint
        let back = format!("{location}{}", query(&pairs));
        oracles::whip(format!("PATCH\n{back}").as_bytes());
        let Ok(Route::Whip(route)) = route::route(&back) else {
            return Err(fail("no route for the Location"));
        };
        let method = Method::read("DELETE", &route).map_err(|_| fail("no DELETE"))?;
        let again = Request::read(&route, method, &rules, "").map_err(|refusal| fail(refusal.code()))?;
        prop_assert_eq!(again.handle, Some(Handle::new(handle)));
        prop_assert!(again.affinity_key().is_same_stream(&request.affinity_key()), "{back}");
        Ok(())
    });
}
