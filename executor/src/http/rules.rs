//! Which addresses a request may reach.
//!
//! Link-local addresses and the metadata services of clouds hand out the machine's credentials to
//! whoever asks from it, so they are refused unless the operator allows them. Loopback is allowed:
//! a command run here reaches it as well, and an operator who wants it otherwise denies it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::args::Settings;

/// A range of addresses, as `ADDRESS/BITS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

/// A text that is no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    #[error("not an IP address, or ADDRESS/BITS")]
    Address,
    #[error("the number of bits must be 0 to 32 for IPv4 and 0 to 128 for IPv6")]
    Bits,
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Net, NetError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetError::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().map_err(|_| NetError::Bits)?,
        };
        if bits > most {
            return Err(NetError::Bits);
        }
        Ok(Net { address, bits })
    }
}

impl Net {
    fn holds(&self, address: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        let ignored = width - u32::from(self.bits);
        // A shift by the whole width would be none.
        ours.checked_shr(ignored).unwrap_or(0) == theirs.checked_shr(ignored).unwrap_or(0)
    }
}

/// Why an address is not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OffLimits {
    #[error("this executor's operator denies it")]
    Denied,
    #[error(
        "link-local addresses and metadata services are refused; the operator can allow it with \
         --http-allow"
    )]
    BuiltIn,
}

impl Settings {
    /// Judges the address a connection is about to be made to.
    pub(super) fn judge(&self, address: IpAddr) -> Result<(), OffLimits> {
        let address = reached(address);
        let listed = |nets: &[Net]| nets.iter().any(|net| net.holds(address));
        if listed(&self.deny) {
            return Err(OffLimits::Denied);
        }
        if is_off_limits(address) && !listed(&self.allow) {
            return Err(OffLimits::BuiltIn);
        }
        Ok(())
    }
}

/// The address behind the clothes it may wear: IPv4 inside IPv6, mapped or translated (RFC 6052).
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else {
        return address.to_canonical();
    };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low]
            if (high, low) != (0, 0) && (high, low) != (0, 1) =>
        {
            IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => IpAddr::V6(v6),
    }
}

fn is_off_limits(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // Alibaba's and Oracle's metadata services live outside the link-local range.
            let metadata = [[100, 100, 100, 200], [192, 0, 0, 192]];
            v4.is_link_local() || v4.is_broadcast() || metadata.contains(&v4.octets())
        }
        IpAddr::V6(v6) => {
            const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            const GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
            v6.is_unicast_link_local() || v6 == AMAZON || v6 == GOOGLE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Net {
        text.parse().unwrap()
    }

    #[test]
    fn metadata_services_are_refused_in_every_spelling() {
        let settings = Settings::default();
        for refused in [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "100.100.100.200",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
        ] {
            let judged = settings.judge(refused.parse().unwrap());
            assert_eq!(judged, Err(OffLimits::BuiltIn), "{refused}");
        }
        for allowed in [
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "192.0.2.1",
            "2001:db8::1",
            "::",
        ] {
            assert_eq!(
                settings.judge(allowed.parse().unwrap()),
                Ok(()),
                "{allowed}"
            );
        }
    }

    #[test]
    fn the_operators_word_counts_and_no_counts_more_than_yes() {
        let settings = Settings {
            allow: vec![net("169.254.0.0/16"), net("127.0.0.1")],
            deny: vec![net("127.0.0.0/8"), net("fe80::/10")],
            header_env: None,
        };
        let judge = |address: &str| settings.judge(address.parse().unwrap());
        assert_eq!(judge("169.254.169.254"), Ok(()));
        assert_eq!(judge("127.0.0.1"), Err(OffLimits::Denied));
        assert_eq!(judge("::ffff:127.9.9.9"), Err(OffLimits::Denied));
        assert_eq!(judge("fe80::1"), Err(OffLimits::Denied));
    }

    #[test]
    fn a_range_is_an_address_and_the_bits_that_count() {
        assert!(net("0.0.0.0/0").holds("255.1.2.3".parse().unwrap()));
        assert!(net("::/0").holds("ffff::1".parse().unwrap()));
        assert!(net("10.1.2.3/8").holds("10.200.0.1".parse().unwrap()));
        assert!(!net("10.0.0.0/8").holds("11.0.0.1".parse().unwrap()));
        assert!(!net("10.0.0.0/8").holds("::1".parse().unwrap()));
        for (text, error) in [
            ("localhost", NetError::Address),
            ("10.0.0.0/33", NetError::Bits),
            ("::/129", NetError::Bits),
            ("10.0.0.0/", NetError::Bits),
            ("10.0.0.0/-1", NetError::Bits),
        ] {
            assert_eq!(text.parse::<Net>(), Err(error), "{text}");
        }
    }
}
