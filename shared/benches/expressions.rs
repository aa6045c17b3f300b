//! Our evaluator beside bare jaq, on the expressions of the flows in `config/flows`: `cargo bench -p spalla-shared --bench expressions`.
//!
//! Both have parsed beforehand, hold the same values, and must give the same. A round evaluates every expression of a set once; shown are
//! medians over many rounds, ours and jaq's in turns.

// A bench reads the clock.
#![allow(clippy::disallowed_methods)]

#[path = "../../shared/tests/expressions/mod.rs"]
mod expressions;

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, data, unwrap_valr};
use jaq_json::{Val, read};
use spalla_shared::expression::{Budget, Expression};
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 2_000;

type JaqFilter = Filter<data::JustLut<Val>>;

struct Pair {
    ours: Expression,
    names: Vec<String>,
    input: Value,
    jaq: JaqFilter,
    jaq_input: Val,
    variables: Vec<Val>,
}

fn compile(source: &str) -> Option<Pair> {
    let ours = Expression::parse(source).ok()?;
    let names = ours.variables();
    let dollar: Vec<String> = names.iter().map(|name| format!("${name}")).collect();
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(defs).load(&arena, File { code: source, path: () }).ok()?;
    let compiler = Compiler::default().with_funs(funs).with_global_vars(dollar.iter().map(String::as_str));
    let jaq = compiler.compile(modules).ok()?;
    let variables = expressions::variables(&names).into_iter().map(|(_, value)| to_jaq(&value)).collect();
    let input = expressions::input(source);
    Some(Pair { ours, names, jaq, variables, jaq_input: to_jaq(&input), input })
}

fn to_jaq(value: &Value) -> Val {
    read::parse_single(value.to_json().as_bytes()).expect("JSON")
}

fn run_ours(pair: &Pair, variables: &[(&str, Value)]) -> Option<Value> {
    pair.ours.eval(&pair.input, variables, &mut Budget::per_evaluation()).ok()
}

fn run_jaq(pair: &Pair) -> Option<Val> {
    let ctx = Ctx::<data::JustLut<Val>>::new(&pair.jaq.lut, Vars::new(pair.variables.iter().cloned()));
    pair.jaq.id.run((ctx, pair.jaq_input.clone())).map(unwrap_valr).next()?.ok()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64) * 1e6
}

fn main() {
    let mut sets: BTreeMap<String, Vec<Pair>> = BTreeMap::new();
    let mut left_out = 0;
    for (flow, source) in expressions::of_flows() {
        let Some(pair) = compile(&source) else {
            left_out += 1;
            continue;
        };
        let variables = expressions::variables(&pair.names);
        let (ours, theirs) = (run_ours(&pair, &variables), run_jaq(&pair));
        let theirs = theirs.and_then(|value| Value::from_json(&value.to_string()).ok());
        if ours == theirs {
            sets.entry(flow).or_default().push(pair);
        } else {
            println!("left out, the two differ: {source}: {ours:?}, {theirs:?}");
            left_out += 1;
        }
    }
    println!("{:<22} {:>12} {:>16} {:>16} {:>8}", "flow", "expressions", "ours, us each", "jaq, us each", "ratio");
    let (mut all_ours, mut all_jaq, mut all_count) = (0.0, 0.0, 0);
    for (flow, pairs) in &sets {
        let variables: Vec<_> = pairs.iter().map(|pair| expressions::variables(&pair.names)).collect();
        let (mut ours, mut jaq) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for (pair, variables) in pairs.iter().zip(&variables) {
                black_box(run_ours(black_box(pair), variables));
            }
            ours.push(start.elapsed());
            let start = Instant::now();
            for pair in pairs {
                black_box(run_jaq(black_box(pair)));
            }
            jaq.push(start.elapsed());
        }
        let (ours, jaq) = (median(ours), median(jaq));
        (all_ours, all_jaq, all_count) = (all_ours + ours, all_jaq + jaq, all_count + pairs.len());
        print(flow, pairs.len(), ours, jaq);
    }
    print("all", all_count, all_ours, all_jaq);
    println!("left out: {left_out}");
}

fn print(flow: &str, count: usize, ours: f64, jaq: f64) {
    let each = |total: f64| total / count as f64;
    println!("{flow:<22} {count:>12} {:>16.3} {:>16.3} {:>7.2}x", each(ours), each(jaq), ours / jaq);
}
