//! What clauses and selectors are made of.

use crate::identity::Container;
use globset::{GlobBuilder, GlobMatcher};
use ipnet::IpNet;
use norma_settings::Spanned;
use std::net::IpAddr;

/// Receives the faults of a file.
pub(super) type Report<'a> = &'a mut dyn FnMut(&Spanned<String>, String);

/// Paths: literal, with `*` within a component, or `/**` at the end for everything below.
#[derive(Clone, Debug)]
pub(super) struct PathClause {
    patterns: Vec<PathPattern>,
}

#[derive(Clone, Debug)]
struct PathPattern {
    text: String,
    matcher: GlobMatcher,
}

impl PathClause {
    pub fn parse(patterns: &[Spanned<String>], report: Report<'_>) -> Option<Self> {
        let mut parsed = Vec::new();
        for pattern in patterns {
            match parse_path(&pattern.value) {
                Ok(matcher) => parsed.push(PathPattern {
                    text: pattern.value.clone(),
                    matcher,
                }),
                Err(message) => report(pattern, message),
            }
        }
        (parsed.len() == patterns.len()).then_some(Self { patterns: parsed })
    }

    /// The pattern that matches a path.
    pub fn matches(&self, path: &str) -> Option<&str> {
        self.patterns
            .iter()
            .find(|pattern| pattern.matcher.is_match(path))
            .map(|pattern| pattern.text.as_str())
    }

    /// The patterns as written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|pattern| pattern.text.as_str())
    }
}

fn parse_path(text: &str) -> Result<GlobMatcher, String> {
    if !text.starts_with('/') {
        return Err(format!("path pattern `{text}` must begin with `/`"));
    }
    let head = text.strip_suffix("/**").unwrap_or(text);
    if head.contains("**") {
        return Err(format!(
            "path pattern `{text}` may have `**` only as its last component"
        ));
    }
    if head.split('/').any(|part| part == "." || part == "..") || head.contains("//") {
        return Err(format!(
            "path pattern `{text}` must be a resolved path, without `.`, `..` and `//`"
        ));
    }
    glob(text, true).map_err(|error| format!("path pattern `{text}`: {error}"))
}

fn glob(text: &str, separator: bool) -> Result<GlobMatcher, globset::Error> {
    let glob = GlobBuilder::new(text)
        .literal_separator(separator)
        .backslash_escape(false)
        .build()?;
    Ok(glob.compile_matcher())
}

/// Peers: addresses and networks, with ports or for every port.
#[derive(Clone, Debug)]
pub(super) struct PeerClause {
    networks: Vec<(String, IpNet)>,
    ports: Vec<u16>,
}

impl PeerClause {
    pub fn parse(patterns: &[Spanned<String>], ports: Vec<u16>, report: Report<'_>) -> Option<Self> {
        let mut networks = Vec::new();
        for pattern in patterns {
            let text = &pattern.value;
            match text
                .parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            {
                Ok(network) => networks.push((text.clone(), network.trunc())),
                Err(_) => report(
                    pattern,
                    format!("`{text}` is neither an IP address nor a network such as `10.0.0.0/8`"),
                ),
            }
        }
        (networks.len() == patterns.len()).then_some(Self { networks, ports })
    }

    /// The pattern that matches a peer.
    pub fn matches(&self, peer: IpAddr, port: u16) -> Option<&str> {
        if !self.ports.is_empty() && !self.ports.contains(&port) {
            return None;
        }
        let peer = peer.to_canonical();
        self.networks
            .iter()
            .find(|(_, network)| network.contains(&peer))
            .map(|(text, _)| text.as_str())
    }

    /// Each network with each port, `None` for every port.
    pub fn each(&self) -> impl Iterator<Item = (IpNet, Option<u16>)> {
        let ports: Vec<Option<u16>> = if self.ports.is_empty() {
            vec![None]
        } else {
            self.ports.iter().map(|port| Some(*port)).collect()
        };
        self.networks
            .iter()
            .flat_map(move |(_, network)| ports.clone().into_iter().map(move |port| (*network, port)))
    }
}

/// Which containers a policy is about.
#[derive(Clone, Debug)]
pub(super) struct Selector {
    workload: Option<GlobMatcher>,
    image: Option<GlobMatcher>,
}

impl Selector {
    pub fn parse(
        workload: Option<&Spanned<String>>,
        image: Option<&Spanned<String>>,
        report: Report<'_>,
    ) -> Self {
        let mut parse = |given: Option<&Spanned<String>>| {
            let given = given.filter(|given| given.value != "*")?;
            glob(&given.value, false)
                .map_err(|error| report(given, format!("`{}`: {error}", given.value)))
                .ok()
        };
        Self {
            workload: parse(workload),
            image: parse(image),
        }
    }

    /// Every container is meant.
    pub fn is_universal(&self) -> bool {
        self.workload.is_none() && self.image.is_none()
    }

    /// This container is meant.
    pub fn matches(&self, container: &Container) -> bool {
        self.workload
            .as_ref()
            .is_none_or(|glob| glob.is_match(&container.workload.0))
            && self
                .image
                .as_ref()
                .is_none_or(|glob| glob.is_match(&container.image))
    }
}
