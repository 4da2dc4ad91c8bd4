//! The scheduler step by step, with a clock that only the test moves.

use super::*;

static SMALL: Model = Model {
    name: "test",
    context_length: 256,
    total_blocks: 20,
    max_num_seqs: 4,
    max_batched_tokens: 100,
    step_base: Duration::from_millis(10),
    step_per_sequence: Duration::from_millis(1),
    step_per_prefill_token: Duration::from_micros(100),
    load_time: Duration::ZERO,
};

fn job(id: u64, prompt_tokens: u32, output_tokens: u32) -> Job {
    Job { id, prompt_tokens, output_tokens, prefix: None, fail_after: None }
}

/// Runs steps until nothing is left, keeping time; returns the emissions and the last moment.
fn drain(engine: &mut Engine, mut now: Duration) -> (Vec<Emission>, Duration) {
    let mut all = Vec::new();
    while let Some(step) = engine.begin_step(now) {
        now += step.duration;
        all.extend(engine.end_step(now));
        assert!(all.len() < 10_000, "the engine makes no progress");
    }
    (all, now)
}

fn tokens_of(emissions: &[Emission], id: u64) -> u32 {
    emissions.iter().filter(|emission| emission.id == id).map(|emission| emission.tokens).sum()
}

fn is_empty(engine: &Engine) -> bool {
    engine.running() == 0 && engine.waiting() == 0 && engine.active_blocks() == 0
}

#[test]
fn an_idle_engine_has_no_step() {
    assert_eq!(Engine::new(&SMALL).begin_step(Duration::ZERO), None);
}

#[test]
fn one_request_gets_its_first_token_with_the_prefill_and_one_with_each_step() {
    let mut engine = Engine::new(&SMALL);
    engine.submit(job(1, 50, 3), Duration::ZERO);
    let step = engine.begin_step(Duration::ZERO).unwrap();
    assert_eq!((step.prefill_tokens, step.decode_tokens), (50, 0));
    assert_eq!(step.duration, Duration::from_millis(15));
    assert_eq!(engine.active_blocks(), 4, "51 tokens in blocks of 16");
    let first = engine.end_step(step.duration);
    assert_eq!((first.len(), first[0].tokens, first[0].end), (1, 1, None));
    let (rest, _) = drain(&mut engine, step.duration);
    assert_eq!(tokens_of(&rest, 1), 2);
    assert!(is_empty(&engine));
}

#[test]
fn finished_requests_say_where_their_time_went() {
    let mut engine = Engine::new(&SMALL);
    engine.submit(job(1, 50, 3), Duration::from_millis(100));
    let (emissions, end) = drain(&mut engine, Duration::from_millis(130));
    let (reason, timing) = emissions.last().unwrap().end.unwrap();
    assert_eq!(reason, End::Stop);
    assert_eq!(timing.queue, Duration::from_millis(30));
    assert_eq!(timing.prefill, Duration::from_millis(15));
    assert_eq!(timing.decode, Duration::from_millis(22), "two steps with one sequence");
    assert_eq!(timing.queue + timing.prefill + timing.decode, end - Duration::from_millis(100));
}

#[test]
fn running_requests_share_a_step_and_each_costs() {
    let mut engine = Engine::new(&SMALL);
    engine.submit(job(1, 16, 5), Duration::ZERO);
    engine.submit(job(2, 16, 5), Duration::ZERO);
    engine.begin_step(Duration::ZERO);
    engine.end_step(Duration::ZERO);
    let step = engine.begin_step(Duration::ZERO).unwrap();
    assert_eq!((step.decode_tokens, step.prefill_tokens), (2, 0));
    assert_eq!(step.duration, Duration::from_millis(12));
    assert_eq!(engine.end_step(Duration::ZERO).len(), 2);
}

#[test]
fn long_prompts_are_prefilled_in_chunks_beside_decoding_ones() {
    let mut engine = Engine::new(&SMALL);
    engine.submit(job(1, 10, 20), Duration::ZERO);
    engine.begin_step(Duration::ZERO);
    engine.end_step(Duration::ZERO);
    engine.submit(job(2, 150, 1), Duration::ZERO);
    let chunks: Vec<_> = (0..2)
        .map(|_| {
            let step = engine.begin_step(Duration::ZERO).unwrap();
            engine.end_step(Duration::ZERO);
            step.prefill_tokens
        })
        .collect();
    assert_eq!(chunks, [99, 51], "100 tokens a step less the one that decodes");
}

#[test]
fn the_batch_has_a_limit_and_the_rest_wait_in_order() {
    let mut engine = Engine::new(&SMALL);
    for id in 0..6 {
        engine.submit(job(id, 10, 2), Duration::ZERO);
    }
    engine.begin_step(Duration::ZERO);
    assert_eq!((engine.running(), engine.waiting()), (4, 2));
    engine.end_step(Duration::ZERO);
    let (emissions, _) = drain(&mut engine, Duration::ZERO);
    let ends: Vec<_> = emissions.iter().filter(|e| e.end.is_some()).map(|e| e.id).collect();
    assert_eq!(ends, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn admission_stops_when_blocks_run_out() {
    let mut engine = Engine::new(&SMALL);
    engine.submit(job(1, 200, 2), Duration::ZERO);
    engine.submit(job(2, 200, 2), Duration::ZERO);
    engine.begin_step(Duration::ZERO);
    assert_eq!((engine.running(), engine.waiting()), (1, 1));
    engine.end_step(Duration::ZERO);
    let (emissions, _) = drain(&mut engine, Duration::ZERO);
    assert_eq!((tokens_of(&emissions, 1), tokens_of(&emissions, 2)), (2, 2));
    assert!(is_empty(&engine));
}

#[test]
fn when_blocks_run_out_while_decoding_the_youngest_starts_over_and_still_finishes() {
    let mut engine = Engine::new(&SMALL);
    engine.submit(job(1, 140, 60), Duration::ZERO);
    engine.submit(job(2, 140, 60), Duration::ZERO);
    let mut preemptions = 0;
    let mut emissions = Vec::new();
    while let Some(step) = engine.begin_step(Duration::ZERO) {
        preemptions += step.preemptions;
        emissions.extend(engine.end_step(Duration::ZERO));
        assert!(engine.active_blocks() <= SMALL.total_blocks);
    }
    assert!(preemptions >= 1);
    assert_eq!((tokens_of(&emissions, 1), tokens_of(&emissions, 2)), (60, 60));
    let first_end = emissions.iter().find(|emission| emission.end.is_some()).unwrap();
    assert_eq!(first_end.id, 1);
    assert!(is_empty(&engine));
}

#[test]
fn cancelled_requests_give_their_blocks_back() {
    let mut engine = Engine::new(&SMALL);
    engine.submit(job(1, 200, 9), Duration::ZERO);
    engine.submit(job(2, 200, 9), Duration::ZERO);
    engine.begin_step(Duration::ZERO);
    engine.end_step(Duration::ZERO);
    assert!(engine.cancel(1), "running");
    assert!(engine.cancel(2), "waiting");
    assert!(!engine.cancel(3));
    assert!(is_empty(&engine));
}

#[test]
fn a_faulty_request_ends_in_an_error_after_its_tokens() {
    let mut engine = Engine::new(&SMALL);
    engine.submit(Job { fail_after: Some(2), ..job(1, 10, 9) }, Duration::ZERO);
    let (emissions, _) = drain(&mut engine, Duration::ZERO);
    assert_eq!(tokens_of(&emissions, 1), 2);
    assert!(matches!(emissions.last().unwrap().end, Some((End::Error, _))));
    assert!(is_empty(&engine));
}

#[test]
fn a_known_prefix_is_not_computed_again() {
    let mut engine = Engine::new(&SMALL);
    let prefix = Some(Prefix { id: 9, tokens: 48 });
    engine.submit(Job { prefix, ..job(1, 60, 1) }, Duration::ZERO);
    let cold = engine.begin_step(Duration::ZERO).unwrap();
    engine.end_step(Duration::ZERO);
    engine.submit(Job { prefix, ..job(2, 60, 1) }, Duration::ZERO);
    let warm = engine.begin_step(Duration::ZERO).unwrap();
    assert_eq!((cold.prefill_tokens, cold.prefix_hits), (60, 0));
    assert_eq!((warm.prefill_tokens, warm.prefix_hits, warm.prefix_queries), (12, 48, 60));
    assert_eq!(engine.end_step(Duration::ZERO)[0].cached_tokens, 48);
}

#[test]
fn the_same_jobs_at_the_same_times_give_the_same_steps() {
    let run = || {
        let mut engine = Engine::new(&SMALL);
        for id in 0..50 {
            engine.submit(job(id, 5 + (id as u32 * 37) % 180, 1 + (id as u32 * 13) % 40), Duration::ZERO);
        }
        drain(&mut engine, Duration::ZERO)
    };
    assert_eq!(run(), run());
}
