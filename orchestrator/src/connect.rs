//! `farstep connect`: environments as plain websockets on this machine, for programs that cannot
//! reach them themselves.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use farstep_environments::{Gateway, GatewayAccess, GatewayError};
use futures_util::future::join_all;

use crate::exec;
use crate::render::Failure;
use crate::setup::Surroundings;
use crate::stop::Stop;

#[derive(Debug, Args)]
#[command(
    after_help = "Prints one line for each environment, `ID ws://IP:PORT`, and serves until it is \
                  stopped. Whoever reaches the address drives the environment: it is on this \
                  machine alone unless you say otherwise, and then a token is needed.\n\n\
                  Exit status: 0 it was stopped, 1 the address cannot be had, 2 wrong usage or \
                  configuration."
)]
pub struct ConnectArgs {
    /// The environment to offer; repeat for more, each with a --listen of its own [default: the
    /// configured default]
    #[arg(long = "environment", short = 'e', value_name = "ID")]
    pub environments: Vec<String>,
    /// Where its clients find it; repeat in the order of the environments [default: 127.0.0.1 and
    /// a free port]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Vec<SocketAddr>,
    /// Let in only who brings the token in this file, in `Authorization: Bearer ...`; only you may
    /// be able to read it
    #[arg(long, value_name = "FILE")]
    pub ws_token_file: Option<PathBuf>,
    /// Listen beyond this machine: the token and everything else cross the network readable
    #[arg(long, requires = "ws_token_file")]
    pub allow_plaintext: bool,
    /// A name with a dot by which clients reach it; repeatable
    #[arg(long = "allowed-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
}

/// Serves until it is stopped.
pub async fn connect(args: ConnectArgs, surroundings: &Surroundings) -> Result<u8, Failure> {
    let setup = exec::load(surroundings)?;
    let registry = setup.registry(&setup.settings.credentials());
    let environments = match args.environments.as_slice() {
        [] => vec![setup.one(&registry, None).await?],
        ids => setup.select(&registry, ids).await?,
    };
    let addresses = addresses(&args.listen, environments.len())?;
    let access = GatewayAccess {
        token_file: args.ws_token_file,
        allow_plaintext: args.allow_plaintext,
        hosts: args.allowed_hosts,
    };
    let mut gateways = Vec::new();
    for (environment, address) in environments.into_iter().zip(addresses) {
        let id = environment.id().to_string();
        let gateway = Gateway::bind(address, environment, access.clone()).await;
        gateways.push((id, gateway.map_err(failure)?));
    }
    let mut lines = String::new();
    for (id, gateway) in &gateways {
        lines.push_str(&format!("{id} {}\n", gateway.url()));
    }
    let mut out = anstream::stdout();
    let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    written.map_err(Failure::Output)?;
    let (stop, _listener) = Stop::listen();
    let serving = gateways.into_iter().map(|(_, gateway)| {
        let stop = stop.softly.clone();
        async move { gateway.serve(&stop).await }
    });
    tokio::select! {
        biased; // The second wish to stop waits for nobody.
        () = stop.at_once.cancelled() => {}
        _ = join_all(serving) => registry.close().await,
    }
    Ok(0)
}

/// One for each environment.
fn addresses(given: &[SocketAddr], wanted: usize) -> Result<Vec<SocketAddr>, Failure> {
    match given.len() {
        0 => Ok(vec![(Ipv4Addr::LOCALHOST, 0).into(); wanted]),
        count if count == wanted => Ok(given.to_vec()),
        count => Err(Failure::Usage(format!(
            "each environment needs a --listen of its own: there are {wanted} and {count}"
        ))),
    }
}

fn failure(error: GatewayError) -> Failure {
    match error {
        GatewayError::Listen { .. } => Failure::Listen(error),
        GatewayError::NoToken(_)
        | GatewayError::Plaintext(_)
        | GatewayError::Confined(_)
        | GatewayError::Padded(_)
        | GatewayError::Token(_) => Failure::Usage(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_and_addresses_come_in_pairs() {
        let given: Vec<SocketAddr> = vec!["127.0.0.1:1".parse().unwrap()];
        assert_eq!(addresses(&given, 1).unwrap(), given);
        assert!(addresses(&given, 2).is_err());
        let free = addresses(&[], 2).unwrap();
        assert!(free.len() == 2 && free.iter().all(|one| one.port() == 0));
    }
}
