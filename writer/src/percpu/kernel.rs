//! Which kernels keep the promise of restartable sequences.

/// Whether the kernel of this release restarts an aarch64 section on preemption by a thread of the same CPU; none
/// when the release can't be told.
///
/// Linux 6.19 to 7.0.13 and 7.1-rc1 and -rc2 don't: they restart after a migration only. Source: report of
/// 2026-04-22 on linux-kernel, "rseq: refactoring in v6.19 broke everyone on arm64"; fixed in 7.1-rc3 and 7.0.14.
pub(super) fn restarts_on_preemption(release: &str) -> Option<bool> {
    let release = Release::parse(release)?;
    // Before 4.18 there was no rseq: such a number is made up, as by `setarch --uname-2.6`.
    if (release.major, release.minor) < (4, 18) {
        return None;
    }
    let promised = match (release.major, release.minor) {
        (..=5, _) | (6, ..=18) => true,
        (6, _) => false,
        (7, 0) => release.patch >= 14,
        (7, 1) => release.candidate.is_none_or(|candidate| candidate >= 3),
        _ => true,
    };
    Some(promised)
}

struct Release {
    major: u32,
    minor: u32,
    patch: u32,
    /// 3 in `7.1.0-rc3`.
    candidate: Option<u32>,
}

impl Release {
    /// Reads `7.0.13-arch1`, `6.19-rc4`, `6.19.0-rc4-next` and the like.
    fn parse(release: &str) -> Option<Self> {
        let digits = |c: char| !c.is_ascii_digit() && c != '.';
        let (numbers, rest) = release.split_at(release.find(digits).unwrap_or(release.len()));
        let mut parts = numbers.split('.');
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let patch = parts.next().and_then(|patch| patch.parse().ok()).unwrap_or(0);
        let candidate = rest.strip_prefix("-rc").and_then(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        });
        Some(Self { major, minor, patch, candidate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_do_not_restart_are_known_by_their_release() {
        for release in ["4.18.0-553.el8", "5.15.0-1064-aws", "6.1.0-18-arm64", "6.12.9", "6.18.44", "6.18"] {
            assert_eq!(restarts_on_preemption(release), Some(true), "{release}");
        }
        for release in [
            "6.19.0-rc1",
            "6.19-rc8",
            "6.19.0",
            "6.19.14-arch1-1",
            "6.20.1",
            "7.0.0-rc1",
            "7.0",
            "7.0.13",
            "7.0.9-200.fc44",
        ] {
            assert_eq!(restarts_on_preemption(release), Some(false), "{release}");
        }
        for release in ["7.1.0-rc1", "7.1-rc2", "7.1.0-rc2-next-20260501"] {
            assert_eq!(restarts_on_preemption(release), Some(false), "{release}");
        }
        for release in
            ["7.0.14", "7.0.14-1-default", "7.0.100", "7.1.0-rc3", "7.1-rc10", "7.1.0", "7.2.0-rc1", "8.0"]
        {
            assert_eq!(restarts_on_preemption(release), Some(true), "{release}");
        }
    }

    #[test]
    fn a_release_that_can_not_be_read_promises_nothing() {
        for release in ["", "7", "unknown", "x7.1.0", "7.", ".1", "2.6.60-7.0.3", "4.17.19", "99999999999.1"]
        {
            assert_eq!(restarts_on_preemption(release), None, "{release}");
        }
    }
}
