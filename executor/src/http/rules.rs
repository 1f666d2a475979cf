//! Which addresses a request may reach.
//!
//! Link-local addresses and the metadata services of clouds hand out the machine's credentials to
//! whoever asks from it, so they are refused unless the operator allows them. Loopback is allowed
//! where only this machine can call: who calls is here already. An executor that others reach takes
//! the operator's word for it (`security` SR-56).

use std::net::{IpAddr, Ipv4Addr};
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
        "an executor that listens beyond loopback does not reach its own machine; the operator can \
         allow it with --http-allow 127.0.0.0/8"
    )]
    Here,
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
        if self.is_exposed && is_here(address) && !listed(&self.allow) {
            return Err(OffLimits::Here);
        }
        if is_off_limits(address) && !listed(&self.allow) {
            return Err(OffLimits::BuiltIn);
        }
        Ok(())
    }
}

/// The address behind the clothes it may wear: IPv4 inside IPv6, mapped, compatible, translated
/// (RFC 6052, RFC 8215) or tunnelled (6to4, Teredo).
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let bits = v6.to_bits();
    let four = |shift: u32| {
        let bits = u32::try_from((bits >> shift) & u128::from(u32::MAX));
        Ipv4Addr::from_bits(bits.unwrap_or_default())
    };
    let v4 = match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => four(0),
        [0, 0, 0, 0, 0, 0, ..] if bits > 1 => four(0),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => four(0),
        [0x2002, ..] => four(80),
        // Teredo hides the address of its client.
        [0x2001, 0, ..] => Ipv4Addr::from_bits(!four(0).to_bits()),
        _ => return v6.into(),
    };
    v4.into()
}

/// Whether an address is this machine's own. Linux connects the unspecified one to itself.
fn is_here(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
    }
}

fn is_off_limits(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // Metadata services of Alibaba, Oracle and Azure's host outside the link-local range.
            let metadata = [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]];
            v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || metadata.contains(&v4.octets())
        }
        IpAddr::V6(v6) => {
            // All of Amazon's and Google's services for their machines live in these.
            let of_clouds = matches!(v6.segments(), [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..]);
            v6.is_unicast_link_local() || v6.is_multicast() || of_clouds
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
            "::ffff:0:169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:5601:5601",
            "168.63.129.16",
            "224.0.0.1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
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
            // A provider's own network (RFC 6598) is private like any other, but for one address.
            "100.64.0.1",
            "100.100.100.199",
            "192.0.2.1",
            "2001:db8::1",
            "fd00::1",
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
            is_exposed: false,
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

    #[test]
    fn beyond_loopback_this_machine_takes_the_operators_word() {
        let exposed = Settings {
            is_exposed: true,
            ..Settings::default()
        };
        let allowed = Settings {
            allow: vec![net("127.0.0.0/8")],
            ..exposed.clone()
        };
        for address in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"] {
            let address = address.parse().unwrap();
            assert_eq!(exposed.judge(address), Err(OffLimits::Here), "{address}");
            assert_eq!(allowed.judge(address), Ok(()), "{address}");
        }
        for address in ["0.0.0.0", "::", "::1"] {
            let judged = exposed.judge(address.parse().unwrap());
            assert_eq!(judged, Err(OffLimits::Here), "{address}");
        }
        assert_eq!(exposed.judge("10.0.0.1".parse().unwrap()), Ok(()));
    }
}
