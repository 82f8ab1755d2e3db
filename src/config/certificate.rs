//! The kind of `tls.certificates`: a list of tables, each with the paths of two files.

use crate::config::choice::{File, KeySource};
use crate::config::model::Certificate;
use crate::config::problem::Report;
use crate::config::value::{Kind, Scalar, quote};
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
        let chain = Self::path::<File>(item, table.get("chain"), &format!("{key}.chain"), report);
        let key = Self::path::<KeySource>(item, table.get("key"), &format!("{key}.key"), report);
        Certificate { chain, key }
    }

    /// One path of the entry `item`; empty if it is wrong or missing, which is in the report then.
    fn path<S: Scalar<Value = PathBuf>>(
        item: &Spanned<DeValue<'_>>,
        value: Option<&Spanned<DeValue<'_>>>,
        key: &str,
        report: &mut Report<'_>,
    ) -> PathBuf {
        match value {
            Some(value) => S::read(value, key, report),
            None => {
                report.add(key, &item.span(), "nothing", "the path of a PEM file");
                None
            }
        }
        .unwrap_or_default()
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
