//! The one sanctioned wait: for a fact, with a bound that only a broken product reaches.

use std::future::Future;
use std::time::Duration;

/// How long a fact may take before the test fails. Generous: a slow machine is not a bug.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// [`PATIENCE`], or less for builds that are broken on purpose: `GANGER_TEST_PATIENCE_S`, in seconds.
pub fn patience() -> Duration {
    let asked = std::env::var("GANGER_TEST_PATIENCE_S").ok().and_then(|seconds| seconds.parse().ok());
    asked.map_or(PATIENCE, Duration::from_secs)
}

/// Waits until `fact` gives a value.
///
/// # Panics
/// When [`patience`] runs out, naming `what`.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, fact: impl FnMut() -> F) -> T {
    within(patience(), what, fact).await
}

/// Waits until `fact` gives a value, for `patience`.
///
/// # Panics
/// When `patience` runs out, naming `what`.
pub async fn within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut fact: impl FnMut() -> F,
) -> T {
    let end = tokio::time::Instant::now() + patience;
    loop {
        if let Some(value) = fact().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < end, "waited {patience:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
