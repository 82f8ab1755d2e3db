//! The kind of `tls.certificates`: a list of tables, each with the paths of two files.

use crate::config::choice::File;
use crate::config::model::Certificate;
use crate::config::problem::Report;
use crate::config::value::{Kind, quote};
use std::path::PathBuf;
use toml::Spanned;
use toml::de::DeValue;

/// Tables with the keys of [`CERTIFICATE_KEYS`]. Whether there may be none depends on `tls.acme.names`.
pub(crate) struct Certificates;

/// The keys of one certificate, both required.
pub(crate) const CERTIFICATE_KEYS: [&str; 2] = ["chain", "key"];

impl Certificates {
    /// One entry. A path that is wrong or missing has a problem in the report and is left empty, so that the files of all other
    /// paths can still be checked.
    fn one(item: &Spanned<DeValue<'_>>, key: &str, report: &mut Report<'_>) -> Certificate {
        let Some(table) = item.get_ref().as_table() else {
            let found = report.excerpt(&item.span());
            report.add(key, &item.span(), found, "a table with chain and key");
            return Certificate { chain: PathBuf::new(), key: PathBuf::new() };
        };
        for name in table.keys().filter(|name| !CERTIFICATE_KEYS.contains(&name.get_ref().as_ref())) {
            report.add_unknown(&format!("{key}.{}", name.get_ref()), &name.span());
        }
        let mut path = |name: &str| {
            let key = format!("{key}.{name}");
            let Some(value) = table.get(name) else {
                report.add(&key, &item.span(), "nothing", "the path of a PEM file");
                return None;
            };
            File::read(value, &key, report)
        };
        let (chain, key) = (path("chain").unwrap_or_default(), path("key").unwrap_or_default());
        Certificate { chain, key }
    }
}

impl Kind for Certificates {
    type Value = Vec<Certificate>;

    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &mut Report<'_>) -> Option<Self::Value> {
        let Some(items) = value.get_ref().as_array() else {
            let found = report.excerpt(&value.span());
            report.add(key, &value.span(), found, "at least one [[tls.certificates]] with chain and key");
            return Some(Vec::new());
        };
        Some(items.iter().map(|item| Self::one(item, key, report)).collect())
    }

    fn write(value: &Self::Value) -> String {
        let one = |certificate: &Certificate| {
            let (chain, key) = (&certificate.chain, &certificate.key);
            format!(
                "{{ chain = {}, key = {} }}",
                quote(&chain.to_string_lossy()),
                quote(&key.to_string_lossy())
            )
        };
        format!("[{}]", value.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}
