//! What an input says to do, step by step.

/// One step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'s> {
    /// The client says so many bytes, now or when it can.
    Say(usize),
    /// The gateway says so many bytes, if it can.
    Answer(usize),
    /// The client renews its key and asks for a renewal in return.
    Renew,
    ToGateway,
    ToClient,
    /// Both hear all that is under way, until nobody has anything to say.
    Settle,
    ClientCloses,
    GatewayCloses,
    /// From here on the gateway receives so many bytes at a time.
    AtOnce(u8),
    /// A plain handshake message in two records.
    Fragment(u8, u8),
    // what no client does
    Swap(u8),
    Double(u8),
    Lose(u8),
    Cut(u8, u8),
    Flip(u8, u8),
    Put(u8, &'s [u8]),
    /// A record of this type with this payload, under the client's key.
    Hand(u8, &'s [u8]),
}

impl Step<'_> {
    /// No sound client on a sound network would do this.
    pub(crate) const fn harms(self) -> bool {
        matches!(self, Self::Swap(_) | Self::Double(_) | Self::Lose(_) | Self::Cut(..))
            || matches!(self, Self::Flip(..) | Self::Put(..) | Self::Hand(..))
    }
}

/// Steps that are still to be done.
pub(crate) struct Script<'s>(pub(crate) &'s [u8]);

impl<'s> Script<'s> {
    /// The next step; what is missing of it at the end is zero.
    pub(crate) fn next(&mut self) -> Option<Step<'s>> {
        let (&step, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(match step % 18 {
            0 | 17 => Step::Say(self.size()),
            1 => Step::Answer(self.size()),
            2 => Step::Renew,
            3 => Step::ToGateway,
            4 => Step::ToClient,
            5 => Step::Settle,
            6 => Step::ClientCloses,
            7 => Step::GatewayCloses,
            8 => Step::AtOnce(self.byte()),
            9 => Step::Fragment(self.byte(), self.byte()),
            10 => Step::Swap(self.byte()),
            11 => Step::Double(self.byte()),
            12 => Step::Lose(self.byte()),
            13 => Step::Cut(self.byte(), self.byte()),
            14 => Step::Flip(self.byte(), self.byte()),
            15 => Step::Put(self.byte(), self.bytes()),
            _ => Step::Hand(self.byte(), self.bytes()),
        })
    }

    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// A few bytes, or as many as make two records.
    fn size(&mut self) -> usize {
        let size = usize::from(self.byte());
        if size < 200 { size } else { (size - 199) * 350 }
    }

    fn bytes(&mut self) -> &'s [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}
