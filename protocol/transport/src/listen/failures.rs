//! How often somebody may fail to prove who they are.
//!
//! An address that failed too often is not even heard for a while, so guessing is slow. Failures
//! of all addresses together only change the answer (429 instead of 401): whoever has the right
//! credential and did not fail is never kept out by others (`security` SR-11).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

/// Failures a second of one address.
pub const BY_ADDRESS: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Failures a second in all.
pub const IN_ALL: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// How long an address that was too quick is not heard.
const DEAF: Duration = Duration::from_secs(1);

/// Addresses that are remembered. Beyond it those that have been quiet are forgotten, and when
/// none is, a new one counts only towards [`IN_ALL`].
const ADDRESSES_MAX: usize = 4096;

type Keyed = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>;

/// Counts them.
#[derive(Debug)]
pub struct Failures {
    by_address: Keyed,
    in_all: DefaultDirectRateLimiter,
    deaf: Mutex<HashMap<IpAddr, Instant>>,
}

impl Default for Failures {
    fn default() -> Failures {
        Failures::new()
    }
}

impl Failures {
    /// None so far.
    pub fn new() -> Failures {
        Failures {
            by_address: RateLimiter::hashmap(Quota::per_second(BY_ADDRESS)),
            in_all: RateLimiter::direct(Quota::per_second(IN_ALL)),
            deaf: Mutex::default(),
        }
    }

    /// Whether this address is not heard now.
    pub fn is_deaf_to(&self, address: IpAddr) -> bool {
        let mut deaf = self.deaf.lock().unwrap_or_else(PoisonError::into_inner);
        let address = counted(address);
        match deaf.get(&address) {
            Some(until) if *until > Instant::now() => true,
            Some(_) => {
                deaf.remove(&address);
                false
            }
            None => false,
        }
    }

    /// Counts a failure; whether it was one too many.
    pub fn count(&self, address: IpAddr) -> bool {
        let address = counted(address);
        if self.by_address.len() >= ADDRESSES_MAX {
            self.by_address.retain_recent();
            self.by_address.shrink_to_fit();
        }
        let remembered = self.by_address.len() < ADDRESSES_MAX;
        if remembered && self.by_address.check_key(&address).is_err() {
            let mut deaf = self.deaf.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if deaf.len() >= ADDRESSES_MAX {
                deaf.retain(|_, until| *until > now);
            }
            if deaf.len() < ADDRESSES_MAX {
                deaf.insert(address, now + DEAF);
            }
            return true;
        }
        let clock = DefaultClock::default();
        self.in_all
            .check()
            .is_err_and(|wait| !wait.wait_time_from(clock.now()).is_zero())
    }
}

/// An IPv6 network of 64 bits is one customer's; an IPv4 address in IPv6 clothes is that address.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_too_often_is_not_heard_and_others_are() {
        let failures = Failures::new();
        let (bad, good): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let too_many = (0..100).filter(|_| failures.count(bad)).count();
        assert!(too_many > 50, "{too_many}");
        assert!(failures.is_deaf_to(bad));
        assert!(!failures.is_deaf_to(good));
        assert!(!failures.count(good));
    }

    #[test]
    fn failures_of_many_addresses_are_too_many_together() {
        let failures = Failures::new();
        let fails = |host: u8| failures.count(IpAddr::from([192, 0, 2, host]));
        let too_many = (0..=255).filter(|host| fails(*host)).count();
        assert!((100..=156).contains(&too_many), "{too_many}");
        assert!(!failures.is_deaf_to(IpAddr::from([192, 0, 2, 255])));
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one() {
        let failures = Failures::new();
        for host in 1..100_u128 {
            failures.count(IpAddr::V6(Ipv6Addr::from_bits(
                0x2001_0db8_u128 << 96 | host,
            )));
        }
        assert!(failures.is_deaf_to("2001:db8::ffff".parse().unwrap()));
        assert!(!failures.is_deaf_to("2001:db8:1::1".parse().unwrap()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let failures = Failures::new();
        for host in 0..(2 * ADDRESSES_MAX as u32) {
            failures.count(IpAddr::V4(std::net::Ipv4Addr::from_bits(host)));
        }
        assert!(failures.by_address.len() <= ADDRESSES_MAX);
    }
}
