//! The records under way from a client to the gateway, which an input may change.

/// Content types (RFC 8446 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// Bytes under way, split into records by their headers.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    records: Vec<Vec<u8>>,
    /// A ChangeCipherSpec was taken: handshake records behind it are encrypted.
    sealed: bool,
    /// Something other than the client's own bytes, in their order, is or was on the wire.
    pub(crate) tampered: bool,
}

impl Wire {
    /// Appends what a client sent, which has to be whole records.
    pub(crate) fn push(&mut self, mut sent: &[u8]) {
        while let Some(header) = sent.get(..5) {
            let length = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
            let (record, rest) = sent.split_at(length.min(sent.len()));
            self.records.push(record.to_vec());
            sent = rest;
        }
        assert!(sent.is_empty(), "a client sends whole records");
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes all records off the wire.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.sealed |= self.records.iter().any(|record| record.first() == Some(&CHANGE_CIPHER_SPEC));
        std::mem::take(&mut self.records).concat()
    }

    /// The index of the record that a number chooses, if there is any record.
    fn index(&self, choice: u8) -> Option<usize> {
        (!self.records.is_empty()).then(|| usize::from(choice) % self.records.len())
    }

    /// Swaps a record with the next one.
    pub(crate) fn swap(&mut self, choice: u8) {
        let Some(index) = self.index(choice).filter(|index| index + 1 < self.records.len()) else { return };
        self.tampered |= self.records[index] != self.records[index + 1];
        self.records.swap(index, index + 1);
    }

    /// Sends a record twice.
    pub(crate) fn double(&mut self, choice: u8) {
        let Some(index) = self.index(choice) else { return };
        self.tampered = true;
        self.records.insert(index, self.records[index].clone());
    }

    /// Removes a record.
    pub(crate) fn lose(&mut self, choice: u8) {
        let Some(index) = self.index(choice) else { return };
        self.tampered = true;
        self.records.remove(index);
    }

    /// Removes the end of a record; the next record follows at once.
    pub(crate) fn cut(&mut self, choice: u8, by: u8) {
        let Some(index) = self.index(choice).filter(|_| by > 0) else { return };
        self.tampered = true;
        let record = &mut self.records[index];
        record.truncate(record.len().saturating_sub(by.into()));
    }

    /// Flips one bit of a record.
    pub(crate) fn flip(&mut self, choice: u8, at: u8) {
        let Some(index) = self.index(choice) else { return };
        let record = &mut self.records[index];
        // a low number chooses a bit of the header, a high one a bit anywhere
        let byte = if at < 128 { usize::from(at) / 8 } else { usize::from(at) * 7 % record.len().max(1) };
        let Some(byte) = record.get_mut(byte) else { return };
        *byte ^= 1 << (at % 8);
        self.tampered = true;
    }

    /// Inserts bytes that the client did not send, before a record or behind all.
    pub(crate) fn put(&mut self, choice: u8, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.tampered = true;
        self.records.insert(usize::from(choice) % (self.records.len() + 1), bytes.to_vec());
    }

    /// Splits a plain handshake message into two records, as any client may (RFC 8446 5.1).
    pub(crate) fn fragment(&mut self, choice: u8, at: u8) {
        let Some(index) = self.index(choice) else { return };
        let before = self.records[..index].iter().any(|record| record.first() == Some(&CHANGE_CIPHER_SPEC));
        let record = &self.records[index];
        if self.sealed || self.tampered || before || record.first() != Some(&HANDSHAKE) || record.len() < 7 {
            return;
        }
        let payload = &record[5..];
        let at = 1 + usize::from(at) % (payload.len() - 1);
        let fragment = |payload: &[u8]| {
            let length = u16::try_from(payload.len()).expect("a part of a record").to_be_bytes();
            [&record[..3], &length[..], payload].concat()
        };
        let halves = [fragment(&payload[..at]), fragment(&payload[at..])];
        self.records.splice(index..=index, halves);
    }
}
