//! Traefik's files in the documents. Debian has no Traefik, so nothing starts it: its TOML is read, and every name that a
//! router uses has to be there. What each key means to Traefik is not tested.

use super::pages::{blocks, complete, is_complete};
use toml::{Table, Value};

const PAGE: &str = "docs/migrate/traefik.md";

/// The static and the dynamic configuration.
fn files() -> [Table; 2] {
    let tables = blocks(PAGE, "toml").into_iter().filter_map(|block| block.table());
    let tables: Vec<Table> = tables.filter(|table| !is_complete(table)).collect();
    tables.try_into().expect("two files of Traefik")
}

fn names<'t>(table: &'t Table, key: &str) -> Vec<&'t str> {
    let values = table.get(key).and_then(Value::as_array).into_iter().flatten();
    values.map(|value| value.as_str().expect("a name")).collect()
}

#[test]
fn traefiks_routers_use_names_that_its_files_have() {
    let [fixed, dynamic] = files();
    let http = dynamic["http"].as_table().unwrap();
    let has = |part: &str, name: &str| http[part].as_table().unwrap().contains_key(name);
    let routers = http["routers"].as_table().unwrap();
    assert!(routers.len() >= 3);
    for (name, router) in routers {
        let router = router.as_table().unwrap();
        assert!(has("services", router["service"].as_str().unwrap()), "{name}");
        for middleware in names(router, "middlewares") {
            assert!(has("middlewares", middleware), "{name}: {middleware}");
        }
        for entry in names(router, "entryPoints") {
            assert!(fixed["entryPoints"].as_table().unwrap().contains_key(entry), "{name}: {entry}");
        }
        let resolver = router["tls"]["certResolver"].as_str().unwrap();
        assert!(fixed["certificatesResolvers"].as_table().unwrap().contains_key(resolver), "{name}");
    }
    let middlewares = http["middlewares"].as_table().unwrap();
    let used: Vec<_> =
        routers.values().flat_map(|router| names(router.as_table().unwrap(), "middlewares")).collect();
    assert!(middlewares.keys().all(|name| used.contains(&name.as_str())), "a middleware without a router");
}

#[test]
fn traefiks_values_are_the_gateways_values() {
    let [fixed, dynamic] = files();
    let after = complete(PAGE);
    let middlewares = &dynamic["http"]["middlewares"];
    let rate = middlewares["requests"]["rateLimit"]["average"].as_integer().unwrap();
    assert_eq!(after["limits"]["requests_per_ip"].as_str(), Some(format!("{rate}/s").as_str()));
    assert_eq!(after["limits"]["sessions_per_ip"], middlewares["sessions"]["inFlightReq"]["amount"]);
    assert_eq!(
        after["cors"]["allow_origins"],
        middlewares["pages"]["headers"]["accessControlAllowOriginList"]
    );
    let grace = &fixed["entryPoints"]["websecure"]["transport"]["lifeCycle"]["graceTimeOut"];
    assert_eq!(after["gateway"]["drain"], *grace);
    let host = after["tls"]["acme"]["names"][0].as_str().unwrap();
    let rule = dynamic["http"]["routers"]["proxy"]["rule"].as_str().unwrap();
    assert!(rule.contains(&format!("Host(`{host}`)")), "{rule}");
}
