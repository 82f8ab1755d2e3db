//! The floor for all gateways: the cost of AES-128-GCM alone for the bytes of a row, in place and in cache.

use rustls::Side;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The head of a TLS 1.3 record, which is authenticated data.
const HEAD: [u8; 5] = [23, 3, 3, 0, 0];

/// Number and length of the batches that are measured; the fastest counts.
const BATCHES: u32 = 40;
const BATCH: Duration = Duration::from_millis(5);

/// Microseconds to encrypt and authenticate one record of `size` bytes. Decrypting costs the same within the noise, so an
/// echo counts as two of these, and a message in one direction as one. None if the cipher is not available.
pub fn record(size: usize) -> Option<f64> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    // rustls gives access to its bare AEAD only through its interface for QUIC
    let keys = Keys::initial(Version::V1, suite, suite.quic?, b"tidegate", Side::Server);
    let mut payload = vec![0x5a; size];
    let mut best = f64::INFINITY;
    let mut number = 0;
    for _ in 0..BATCHES {
        let (started, mut done) = (Instant::now(), 0_u32);
        while started.elapsed() < BATCH {
            for _ in 0..16 {
                black_box(keys.local.packet.encrypt_in_place(number, &HEAD, black_box(&mut payload)).ok()?);
                number += 1;
            }
            done += 16;
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e6 / f64::from(done));
    }
    Some(best)
}
