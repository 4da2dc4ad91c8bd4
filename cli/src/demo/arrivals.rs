//! The arrival process: who asks when, for how much, and what becomes of it.
//!
//! Pure: reads no clock. The same seed and number of workers give the same requests at the same times, whatever
//! the machine does meanwhile.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Geometric, LogNormal, StandardUniform, Zipf};

use super::models::Model;

/// Requests per second that one worker is sent on average; well below what it can serve.
const RATE_PER_WORKER: f64 = 10.0;
/// Highest average rate of the whole service, so that many workers do not swamp a small machine.
const RATE_LIMIT: f64 = 160.0;
/// One "day" of the demo.
const DAY: Duration = Duration::from_secs(60);
/// How far the rate swings around its average in the course of a day.
const SWING: f64 = 0.45;
/// Longest answer a client may ask for, in tokens.
pub const MAX_OUTPUT_TOKENS: u32 = 1024;

/// API that a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    ChatCompletions,
    /// `/v1/completions`
    Completions,
}

impl Endpoint {
    /// Value of the `endpoint` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
        }
    }
}

/// What happens to a request that reaches a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is answered in full.
    Served,
    /// The client goes away after so many tokens.
    Cancelled {
        /// Tokens received by then.
        after_tokens: u32,
    },
    /// The engine fails on it after so many tokens.
    Faulty {
        /// Tokens produced by then.
        after_tokens: u32,
    },
}

/// A prompt prefix that several requests share, such as a system prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Which one.
    pub id: u32,
    /// Its length; whole KV-cache blocks.
    pub tokens: u32,
}

/// One request of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Counts up from 0.
    pub id: u64,
    /// When it arrives, from the start of the process.
    pub at: Duration,
    /// Index into [`super::models::MODELS`].
    pub model: usize,
    /// API that it came in by.
    pub endpoint: Endpoint,
    /// Whether the client wants tokens as they come.
    pub streaming: bool,
    /// Prompt length, prefix included.
    pub prompt_tokens: u32,
    /// Answer length.
    pub output_tokens: u32,
    /// Beginning that it shares with others.
    pub prefix: Option<Prefix>,
    /// How it ends.
    pub fate: Fate,
}

impl Request {
    /// Value of the `request_type` label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.streaming { "stream" } else { "unary" }
    }
}

/// Endless sequence of requests, in order of arrival.
#[derive(Debug)]
pub struct Arrivals {
    rng: ChaCha8Rng,
    lengths: Lengths,
    workers: u32,
    next_id: u64,
    seconds: f64,
}

#[derive(Debug)]
struct Lengths {
    prompt: LogNormal<f64>,
    streamed: LogNormal<f64>,
    unary: Geometric,
    prefix: Zipf<f64>,
}

impl Lengths {
    fn new() -> Self {
        let valid = "the parameters are constants in range";
        Self {
            prompt: LogNormal::new(240f64.ln(), 1.1).expect(valid),
            streamed: LogNormal::new(70f64.ln(), 0.8).expect(valid),
            unary: Geometric::new(1.0 / 40.0).expect(valid),
            prefix: Zipf::new(24.0, 1.1).expect(valid),
        }
    }
}

impl Arrivals {
    /// The process for `workers` workers drawn from `seed`.
    #[must_use]
    pub fn new(seed: u64, workers: u32) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng, lengths: Lengths::new(), workers, next_id: 0, seconds: 0.0 }
    }

    /// Requests per second at `seconds` from the start: an average with a slow wave on it.
    fn rate_at(&self, seconds: f64) -> f64 {
        let phase = seconds / DAY.as_secs_f64() * std::f64::consts::TAU;
        self.average_rate() * (1.0 + SWING * phase.sin())
    }

    fn average_rate(&self) -> f64 {
        (RATE_PER_WORKER * f64::from(self.workers)).min(RATE_LIMIT)
    }

    fn uniform(&mut self) -> f64 {
        StandardUniform.sample(&mut self.rng)
    }

    /// Moves to the next arrival of a Poisson process of changing rate, by thinning: draw at the highest rate, keep
    /// each with the share that the present rate has of it (Lewis and Shedler 1979).
    fn advance(&mut self) {
        let peak = self.average_rate() * (1.0 + SWING);
        loop {
            let gap: f64 = Exp1.sample(&mut self.rng);
            self.seconds += gap / peak;
            if self.uniform() * peak < self.rate_at(self.seconds) {
                return;
            }
        }
    }

    fn prefix(&mut self) -> Option<Prefix> {
        if self.uniform() >= 0.55 {
            return None;
        }
        let id = self.lengths.prefix.sample(&mut self.rng) as u32;
        Some(Prefix { id, tokens: 128 + 64 * (id % 6) })
    }

    fn output_tokens(&mut self, streaming: bool) -> u32 {
        let drawn = if streaming {
            self.lengths.streamed.sample(&mut self.rng) as u64
        } else {
            self.lengths.unary.sample(&mut self.rng)
        };
        drawn.clamp(1, u64::from(MAX_OUTPUT_TOKENS)) as u32
    }

    fn fate(&mut self, output_tokens: u32) -> Fate {
        let drawn = self.uniform();
        let after_tokens = (self.uniform() * f64::from(output_tokens)) as u32;
        match drawn {
            d if d < 0.005 => Fate::Faulty { after_tokens },
            d if d < 0.030 => Fate::Cancelled { after_tokens },
            _ => Fate::Served,
        }
    }

    fn draw(&mut self) -> Request {
        self.advance();
        let worker = (self.uniform() * f64::from(self.workers)) as u32;
        let (endpoint, streaming) = match self.uniform() {
            d if d < 0.15 => (Endpoint::Completions, true),
            d if d < 0.40 => (Endpoint::ChatCompletions, false),
            _ => (Endpoint::ChatCompletions, true),
        };
        let prefix = self.prefix();
        let own = self.lengths.prompt.sample(&mut self.rng).clamp(4.0, 100_000.0) as u32;
        let output_tokens = self.output_tokens(streaming);
        let id = self.next_id;
        self.next_id += 1;
        Request {
            id,
            at: Duration::from_secs_f64(self.seconds),
            model: Model::of_worker(worker),
            endpoint,
            streaming,
            prompt_tokens: own + prefix.map_or(0, |p| p.tokens),
            output_tokens,
            prefix,
            fate: self.fate(output_tokens),
        }
    }
}

impl Iterator for Arrivals {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        Some(self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, workers: u32, count: usize) -> Vec<Request> {
        Arrivals::new(seed, workers).take(count).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        assert_eq!(first(7, 3, 2_000), first(7, 3, 2_000));
        assert_ne!(first(7, 3, 20), first(8, 3, 20));
    }

    #[test]
    fn arrivals_are_ordered_and_numbered() {
        let requests = first(1, 3, 1_000);
        assert!(requests.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert!(requests.iter().enumerate().all(|(index, request)| request.id == index as u64));
    }

    #[test]
    fn the_average_rate_follows_the_workers_up_to_a_limit() {
        for (workers, expected) in [(1, 10.0), (3, 30.0), (64, 160.0)] {
            let days = 20.0;
            let end = DAY.mul_f64(days);
            let count = Arrivals::new(11, workers).take_while(|request| request.at < end).count() as f64;
            let rate = count / end.as_secs_f64();
            assert!((rate / expected - 1.0).abs() < 0.05, "{workers} workers: {rate} against {expected}");
        }
    }

    #[test]
    fn the_morning_is_busier_than_the_evening() {
        let requests: Vec<_> = Arrivals::new(3, 3).take_while(|request| request.at < DAY).collect();
        let morning = requests.iter().filter(|request| request.at < DAY / 2).count();
        assert!(morning as f64 > 1.3 * (requests.len() - morning) as f64);
    }

    #[test]
    fn lengths_stay_in_range_and_look_like_chat() {
        let requests = first(5, 3, 20_000);
        assert!(requests.iter().all(|request| (1..=MAX_OUTPUT_TOKENS).contains(&request.output_tokens)));
        assert!(
            requests.iter().all(|request| request.prompt_tokens > request.prefix.map_or(0, |p| p.tokens))
        );
        let mut prompts: Vec<_> = requests.iter().map(|request| request.prompt_tokens).collect();
        prompts.sort_unstable();
        assert!((280..480).contains(&prompts[prompts.len() / 2]), "median {}", prompts[prompts.len() / 2]);
    }

    #[test]
    fn few_requests_end_badly() {
        let requests = first(5, 3, 20_000);
        let bad = requests.iter().filter(|request| request.fate != Fate::Served).count();
        assert!((400..800).contains(&bad), "{bad} of 20000");
        assert!(requests.iter().all(|request| match request.fate {
            Fate::Served => true,
            Fate::Cancelled { after_tokens } | Fate::Faulty { after_tokens } =>
                after_tokens < request.output_tokens,
        }));
    }
}
