//! `[[tls.certificates]]`: tables within a table, each with two files.

use crate::config::choice::File;
use crate::config::model::Certificate;
use crate::config::problem::Report;
use crate::config::value::{Kind, quote};
use toml::Spanned;
use toml::de::DeValue;

/// `[[tls.certificates]]`: tables with two files each.
pub(crate) struct Certificates;

/// Keys of one certificate.
pub(crate) const CERTIFICATE_KEYS: [&str; 2] = ["chain", "key"];

impl Certificates {
    fn one(item: &Spanned<DeValue<'_>>, key: &str, report: &mut Report<'_>) -> Option<Certificate> {
        let Some(table) = item.get_ref().as_table() else {
            let found = report.excerpt(&item.span());
            report.wrong(key, &item.span(), found, "right is a table with chain and key".to_owned());
            return None;
        };
        for name in table.keys().filter(|name| !CERTIFICATE_KEYS.contains(&name.get_ref().as_ref())) {
            report.unknown(&format!("{key}.{}", name.get_ref()), &name.span());
        }
        let mut path = |name: &str| {
            let key = format!("{key}.{name}");
            let Some(value) = table.get(name) else {
                report.wrong(
                    &key,
                    &item.span(),
                    "nothing".to_owned(),
                    "right is the path of a PEM file".to_owned(),
                );
                return None;
            };
            File::read(value, &key, report)
        };
        let (chain, key) = (path("chain"), path("key"));
        Some(Certificate { chain: chain?, key: key? })
    }
}

impl Kind for Certificates {
    type Value = Vec<Certificate>;

    fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &mut Report<'_>) -> Option<Self::Value> {
        let items = value.get_ref().as_array().filter(|items| !items.is_empty());
        let Some(items) = items else {
            let found = report.excerpt(&value.span());
            let right = "right is at least one [[tls.certificates]] with chain and key".to_owned();
            report.wrong(key, &value.span(), found, right);
            return None;
        };
        let read: Vec<_> = items.iter().map(|item| Self::one(item, key, report)).collect();
        read.into_iter().collect()
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
