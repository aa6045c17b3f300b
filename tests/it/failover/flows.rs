//! One flow with every kind of task, what it runs and tells, and schedules of each kind. What it gives depends on its input alone.

pub const ALL: [&str; 9] = [POOL, BELOW, ASIDE, EVERY, HEARD, CLOCK, MINUTE, AGAIN, WHOLE];

const EVERY: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: every, version: '1.0.0' }
use:
  errors:
    refused: { type: 'https://example.com/refused', status: 403, title: Refused }
  retries:
    often: { delay: PT0.1S, jitter: { from: PT0S, to: PT0.1S }, limit: { attempt: { count: 8 } } }
  extensions:
    - noted:
        extend: run
        before: [ { opens: { call: audit.note, with: { subject: '${ "n-\($context.n)" }', text: before } } } ]
        after: [ { closes: { set: '${ . }' } } ]
do:
  - begin: { set: { n: '${ .n }', erp: '${ .erp }' }, export: { as: '${ . }' } }
  - spot:
      call: resource.allocate
      with: { pool: it-spots, holder: '${ $workflow.id }' }
      output: { as: '${ { pool } }' }
  - rounds:
      for: { each: item, in: '${ [1, 2, 3] }', at: place }
      do:
        - rest: { wait: { milliseconds: 100 } }
        - add: { set: { sum: '${ (.sum // 0) + $item }' } }
      export: { as: '${ $context + { sum: .sum } }' }
  - race:
      fork:
        compete: true
        branches:
          - quick: { do: [ { nap: { wait: { milliseconds: 200 } } }, { won: { set: { winner: quick } } } ] }
          - slow: { do: [ { sleep: { wait: PT1H } }, { lost: { set: { winner: slow } } } ] }
          - deaf: { listen: { to: { one: { with: { type: it.never } } } } }
      export: { as: '${ $context + { winner: .winner } }' }
  - both:
      fork:
        branches:
          - asks: { call: http, with: { method: get, endpoint: 'http://127.0.0.1:{erp}/erp/{n}/orders', query: { of: '${ "n" }' } }, input: { from: '${ $context }' } }
          - rests: { do: [ { pause: { wait: { milliseconds: 300 } } }, { rested: { set: { rested: true } } } ] }
      output: { as: '${ sort_by(tojson) }' }
      export: { as: '${ $context + { both: . } }' }
  - hears:
      fork:
        branches:
          - gathers:
              listen:
                to:
                  any: [ { with: { type: it.tick }, correlate: { n: { from: .data.n, expect: $context.n } } } ]
                  until: '${ length >= 2 }'
              foreach:
                item: tick
                do: [ { seen: { set: { seen: '${ $tick.data.n }' } } } ]
              output: { as: '${ { ticks: length } }' }
          - sends:
              for: { each: item, in: '${ [1, 2] }' }
              do:
                - breath: { wait: { milliseconds: 100 } }
                - tick: { emit: { event: { with: { source: /it, type: it.tick, data: { n: '${ $context.n }' } } } } }
              output: { as: '${ { sent: 2 } }' }
      output: { as: '${ sort_by(tojson) }' }
      export: { as: '${ $context + { hears: . } }' }
  - stubborn:
      try:
        - flaky: { call: http, with: { method: post, endpoint: 'http://127.0.0.1:{erp}/erp/{n}/flaky', body: { n: '${ .n }' } }, input: { from: '${ $context }' } }
      catch:
        errors: { with: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/communication' } }
        retry: often
      export: { as: '${ $context + { flaky: .answer } }' }
  - refusal:
      try: [ { refuses: { raise: { error: refused } } } ]
      catch: { as: problem, do: [ { took: { set: { status: '${ $problem.status }' } } } ] }
      export: { as: '${ $context + { refused: .status } }' }
  - late:
      try:
        - waits: { listen: { to: { one: { with: { type: it.never } } } }, timeout: { after: { milliseconds: 300 } } }
      catch:
        errors: { with: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/timeout' } }
        do: [ { gaveUp: { set: { gaveUp: true } } } ]
      export: { as: '${ $context + . }' }
  - below:
      run: { workflow: { namespace: it, name: below, version: '1.0.0', input: { n: '${ $context.n }' } } }
      export: { as: '${ $context + { below: .double } }' }
  - aside:
      run: { await: false, workflow: { namespace: it, name: aside, version: latest, input: { n: '${ $context.n }' } } }
  - unwanted: { set: { never: true }, if: '${ $context.n < 0 }' }
  - tell: { emit: { event: { with: { source: /it, type: it.told, data: { n: '${ $context.n }' } } } } }
  - which:
      switch:
        - odd: { when: '${ $context.n % 2 == 1 }', then: isOdd }
        - even: { then: isEven }
  - isOdd: { set: { odd: true }, export: { as: '${ $context + . }' }, then: free }
  - isEven: { set: { odd: false }, export: { as: '${ $context + . }' } }
  - free: { call: resource.releaseAll, with: { holder: '${ $workflow.id }' } }
  - last: { set: '${ $context | del(.erp) }' }
"#;

const BELOW: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: below, version: '1.0.0' }
do:
  - rest: { wait: { milliseconds: 200 }, output: { as: '${ $workflow.input }' } }
  - double: { set: { double: '${ $workflow.input.n * 2 }' } }
"#;

const ASIDE: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: aside, version: '1.0.0' }
do:
  - rest: { wait: { milliseconds: 400 } }
  - keep: { set: { n: '${ $workflow.input.n }' } }
"#;

const HEARD: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: heard, version: '1.0.0' }
schedule: { on: { one: { with: { type: it.told } } } }
do:
  - keep: { set: { n: '${ .[0].data.n }' } }
"#;

const CLOCK: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: clock, version: '1.0.0' }
schedule: { every: PT1S }
do:
  - tick: { set: { ticked: true } }
"#;

const MINUTE: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: minute, version: '1.0.0' }
schedule: { cron: '* * * * *' }
do:
  - tick: { set: { ticked: true } }
"#;

const AGAIN: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: again, version: '1.0.0' }
schedule: { after: PT1S }
do:
  - tick: { set: { ticked: true } }
"#;

/// Gets all spots at once, or nothing: a spot that was not given back is missing.
const WHOLE: &str = r#"
document: { dsl: '1.0.3', namespace: it, name: whole, version: '1.0.0' }
do:
  - all: { call: resource.allocate, with: { pool: it-spots, quantity: 16, queue: none, holder: it }, output: { as: '${ { n: (.units | length) } }' } }
"#;

/// One for each instance: whoever waits for one is not what this is about.
const POOL: &str = "kind: pool
name: it-spots
units: [ { name: s1 }, { name: s2 }, { name: s3 }, { name: s4 }, { name: s5 }, { name: s6 }, { name: s7 }, { name: s8 },
         { name: s9 }, { name: s10 }, { name: s11 }, { name: s12 }, { name: s13 }, { name: s14 }, { name: s15 }, { name: s16 } ]
";
