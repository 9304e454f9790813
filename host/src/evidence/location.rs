//! URLs of signature stores, as Go's `net/url` reads and prints them.
//!
//! registries.d says where signatures are in the reference implementation's terms: a value without a
//! scheme is a URL, a path is decoded and encoded again. The web's URLs know neither.

use std::fmt;
use std::str::FromStr;

use guest_policy::digest::Digest;

/// A signature store's URL. The path is decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Location {
    scheme: String,
    opaque: String,
    /// `[user[:password]@]host[:port]`; `None` without `//`.
    authority: Option<String>,
    path: String,
    /// With its question mark.
    query: String,
    /// With its number sign.
    fragment: String,
}

impl Location {
    /// In lower case; empty if there is none.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The decoded path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The store's part for a repository's path.
    pub(super) fn repository(mut self, path: &str) -> Self {
        self.path.push('/');
        self.path.push_str(path);
        self
    }

    /// Where signature `number`, from 1, of a manifest is.
    pub fn signature(&self, digest: &Digest, number: usize) -> Self {
        let mut location = self.signatures(digest);
        location.path += &format!("signature-{number}");
        location
    }

    /// Where all signatures of a manifest are, as a folder.
    pub(super) fn signatures(&self, digest: &Digest) -> Self {
        let (path, algorithm) = (&self.path, digest.algorithm().name());
        let path = format!("{path}@{algorithm}={}/", digest.hex());
        Self { path, ..self.clone() }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        if !self.opaque.is_empty() {
            return write!(f, "{}{}{}", self.opaque, self.query, self.fragment);
        }
        let path = encode(&self.path);
        match &self.authority {
            Some(authority) => {
                write!(f, "//{authority}")?;
                if !authority.is_empty() && !path.is_empty() && !path.starts_with('/') {
                    f.write_str("/")?;
                }
            }
            // What could be taken for a scheme must not stand first.
            None if self.scheme.is_empty()
                && path.split('/').next().is_some_and(|first| first.contains(':')) =>
            {
                f.write_str("./")?;
            }
            None => {}
        }
        write!(f, "{path}{}{}", self.query, self.fragment)
    }
}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let invalid = |fault: String| InvalidLocation { text: redacted(text), fault };
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(invalid("net/url: invalid control character in URL".to_owned()));
        }
        let (rest, fragment) = split_keeping(text, '#');
        let (scheme, rest) = split_scheme(rest).map_err(|fault| invalid(fault.to_owned()))?;
        let (rest, query) = split_keeping(rest, '?');
        let mut location = Self {
            scheme: scheme.to_ascii_lowercase(),
            opaque: String::new(),
            authority: None,
            path: String::new(),
            query: query.to_owned(),
            fragment: fragment.to_owned(),
        };
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                location.opaque = rest.to_owned();
                return Ok(location);
            }
            if rest.split('/').next().is_some_and(|first| first.contains(':')) {
                let fault = "first path segment in URL cannot contain colon";
                return Err(invalid(fault.to_owned()));
            }
        }
        let mut path = rest;
        if let Some(after) = rest.strip_prefix("//")
            && (!scheme.is_empty() || !rest.starts_with("///"))
        {
            let end = after.find('/').unwrap_or(after.len());
            let (authority, tail) = after.split_at(end);
            check_authority(authority).map_err(invalid)?;
            location.authority = Some(authority.to_owned());
            path = tail;
        }
        location.path = decode(path).map_err(invalid)?;
        Ok(location)
    }
}

/// A value of registries.d is no URL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("parse {text:?}: {fault}")]
pub struct InvalidLocation {
    text: String,
    fault: String,
}

/// A URL for messages, or what should have been one: without password and query, which may be secrets.
pub(super) fn redacted(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let parts = text.split_once("//").and_then(|(scheme, rest)| {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, host) = authority.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}//{user}:xxxxx@{host}{path}"))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

/// What is before the first `mark`, and the rest with it.
fn split_keeping(text: &str, mark: char) -> (&str, &str) {
    text.split_at(text.find(mark).unwrap_or(text.len()))
}

fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if place > 0 => {}
            b':' if place == 0 => return Err("missing protocol scheme"),
            b':' => return Ok((&text[..place], &text[place + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_authority(authority: &str) -> Result<(), String> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user, host),
        None => ("", authority),
    };
    let of_user = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !user.bytes().all(of_user) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    decode(user)?;
    let port = if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        &host[end + 1..]
    } else {
        host.rfind(':').map_or("", |colon| &host[colon..])
    };
    let digits = port.strip_prefix(':');
    if !port.is_empty() && !digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("invalid port {port:?} after host"));
    }
    let of_host =
        |b: u8| b >= 0x80 || b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&b);
    match host.chars().find(|c| c.is_ascii() && !of_host(*c as u8)) {
        Some(character) => Err(format!("invalid character {character:?} in host name")),
        None => Ok(()),
    }
}

fn decode(text: &str) -> Result<String, String> {
    let mut decoded = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut place = 0;
    while let Some(byte) = bytes.get(place) {
        if *byte != b'%' {
            decoded.push(*byte);
            place += 1;
            continue;
        }
        let code = bytes.get(place + 1..place + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(code) = code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
            let shown: String = text[place..].chars().take(3).collect();
            return Err(format!("invalid URL escape {shown:?}"));
        };
        decoded.push(code);
        place += 3;
    }
    String::from_utf8(decoded).map_err(|_| "the decoded path is not UTF-8".to_owned())
}

fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> String {
        text.parse::<Location>().expect(text).repository("ns/repo").to_string()
    }

    #[test]
    fn appends_to_the_path_as_go_does() {
        for (text, expected) in [
            ("https://h", "https://h/ns/repo"),
            ("HTTPS://h/p/", "https://h/p//ns/repo"),
            ("https://h/%41b", "https://h/Ab/ns/repo"),
            ("https://h/a b%2f", "https://h/a%20b//ns/repo"),
            ("https://u:p@h:1/p?q=1", "https://u:p@h:1/p/ns/repo?q=1"),
            ("file:///tmp", "file:///tmp/ns/repo"),
            ("file:////tmp", "file:////tmp/ns/repo"),
            ("file:/tmp", "file:/tmp/ns/repo"),
            ("/just/a/path", "/just/a/path/ns/repo"),
            ("relative", "relative/ns/repo"),
            ("host:5000", "host:5000"),
        ] {
            assert_eq!(base(text), expected, "{text}");
        }
    }

    #[test]
    fn messages_have_no_password_and_no_query() {
        for (text, shown) in [
            (
                "https://user:s3cret@h:1/p@sha256=x/y?token=s3cret",
                "https://user:xxxxx@h:1/p@sha256=x/y",
            ),
            ("https://user@h/p#s3cret", "https://user@h/p"),
            ("http://user:s3:cr@t@[::1", "http://user:xxxxx@[::1"),
            ("https://h/a:b@c", "https://h/a:b@c"),
            ("relative", "relative"),
        ] {
            assert_eq!(redacted(text), shown);
        }
        let invalid = "http://user:s3cret@[::1".parse::<Location>().expect_err("no URL");
        assert!(!format!("{invalid} {invalid:?}").contains("s3cret"), "{invalid:?}");
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "http://[::1",
            "http://h:x/",
            ":x",
            "http://h/%zz",
            "a\nb",
            "http://a b/",
            "1:2",
            "http://a^b@h/",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
