// SPDX-License-Identifier: MIT
//
// What Tokio costs: the benches of bench/runtime, program by program, with the same output.
//
//     bench-tokio NAME [WORKERS]
//
// A round runs inside a task, or on this thread, which is outside of the pool. Of time, the median
// of several rounds after one that is not counted; of memory, the one round there is.
use std::arch::asm;
use std::future::Future;
use std::pin::Pin;
use std::process::exit;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, Semaphore};
use tokio::task::{yield_now, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

const ROUNDS_LEAST: usize = 5;
const ROUNDS_MOST: usize = 1000;
const WORKERS_DEFAULT: usize = 2;
const MEASURED_LEAST: i64 = 300_000_000; // ns, all rounds together

type Round = fn(u32) -> Pin<Box<dyn Future<Output = i64> + Send>>;

#[derive(PartialEq)]
enum Kind {
    Time,
    Memory,
}

#[derive(PartialEq)]
enum Place {
    Inside,
    Outside,
}
use Kind::*;
use Place::*;

struct Bench {
    name: &'static str,
    round: Round,
    operations: u32, // in a round
    kind: Kind,
    place: Place,
}

macro_rules! bench {
    ($name:literal, $round:ident, $operations:expr, $kind:ident, $place:ident) => {
        Bench {
            name: $name,
            round: |operations| Box::pin($round(operations)),
            operations: $operations,
            kind: $kind,
            place: $place,
        }
    };
}

static BENCHES: &[Bench] = &[
    bench!("spawn_join", spawn_join, 100_000, Time, Inside),
    bench!("spawn_many", spawn_many, 10_000, Time, Inside),
    bench!("spawn_remote", spawn_many, 10_000, Time, Outside),
    bench!("yield_many", yield_many, 200 * 10_000, Time, Inside),
    bench!("ping_pong", ping_pong, 1_000, Time, Inside),
    bench!("chained_spawn", chained_spawn, 1_000, Time, Inside),
    bench!(
        "task_set_semaphore",
        task_set_semaphore,
        500_000,
        Time,
        Inside
    ),
    bench!("timeout", timeout_of_a_yield, 100_000, Time, Inside),
    bench!("mpsc", mpsc_stream, 1_000_000, Time, Inside),
    bench!("mpsc_apart", mpsc_apart, 1_000_000, Time, Outside),
    bench!("skynet", skynet, 1_000_000, Time, Inside),
    bench!("cpu_fanout", cpu_fanout, 2_000, Time, Inside),
    bench!("steal_imbalance", steal_imbalance, 10_000, Time, Inside),
    bench!("sleep_1m", sleep_1m, 1_000_000, Memory, Inside),
    bench!("queued_1m", queued_1m, 1_000_000, Memory, Inside),
];

fn nanoseconds(start: Instant) -> i64 {
    start.elapsed().as_nanos() as i64
}

// ---- spawning -------------------------------------------------------------------------------

async fn spawn_join(operations: u32) -> i64 {
    let start = Instant::now();
    for _ in 0..operations {
        tokio::spawn(async {}).await.unwrap();
    }
    nanoseconds(start)
}

async fn spawn_and_join<F, T>(count: u32, task: T) -> i64
where
    F: Future + Send + 'static,
    F::Output: Send,
    T: Fn() -> F,
{
    let mut tasks: Vec<JoinHandle<F::Output>> = Vec::with_capacity(count as usize);
    let start = Instant::now();
    for _ in 0..count {
        tasks.push(tokio::spawn(task()));
    }
    for task in tasks {
        task.await.unwrap();
    }
    nanoseconds(start)
}

async fn spawn_many(operations: u32) -> i64 {
    spawn_and_join(operations, || async {}).await
}

fn link_of_chain(left: u32, done: oneshot::Sender<()>) {
    tokio::spawn(async move {
        if left == 1 {
            done.send(()).unwrap();
        } else {
            link_of_chain(left - 1, done);
        }
    });
}

async fn chained_spawn(operations: u32) -> i64 {
    let (done, end) = oneshot::channel();
    let start = Instant::now();
    link_of_chain(operations, done);
    end.await.unwrap();
    nanoseconds(start)
}

async fn task_set_semaphore(operations: u32) -> i64 {
    let semaphore = Arc::new(Semaphore::new(64));
    let mut set = JoinSet::new();
    let start = Instant::now();
    for _ in 0..operations {
        let permit = semaphore.clone().acquire_owned().await.unwrap();
        set.spawn(async move { drop(permit) });
        while let Some(outcome) = set.try_join_next() {
            outcome.unwrap();
        }
    }
    while let Some(outcome) = set.join_next().await {
        outcome.unwrap();
    }
    nanoseconds(start)
}

// Ten children each, a million leaves; each node returns the sum of its leaves.
fn sum_of_node(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let part = leaves / 10;
        let tasks: [_; 10] =
            std::array::from_fn(|i| tokio::spawn(sum_of_node(first + i as u64 * part, part)));
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    })
}

async fn skynet(operations: u32) -> i64 {
    let leaves = operations as u64;
    let start = Instant::now();
    let sum = tokio::spawn(sum_of_node(0, leaves)).await.unwrap();
    let elapsed = nanoseconds(start);
    assert_eq!(sum, leaves * (leaves - 1) / 2);
    elapsed
}

// ---- waiting --------------------------------------------------------------------------------

async fn yield_many(operations: u32) -> i64 {
    const TASKS: u32 = 200;
    let yields = operations / TASKS;
    spawn_and_join(TASKS, || async move {
        for _ in 0..yields {
            yield_now().await;
        }
    })
    .await
}

struct Countdown {
    left: AtomicU32,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

impl Countdown {
    fn new(left: u32) -> (Arc<Countdown>, oneshot::Receiver<()>) {
        let (done, end) = oneshot::channel();
        let countdown = Countdown {
            left: AtomicU32::new(left),
            done: Mutex::new(Some(done)),
        };
        (Arc::new(countdown), end)
    }

    fn count(&self) {
        if self.left.fetch_sub(1, SeqCst) == 1 {
            self.done.lock().unwrap().take().unwrap().send(()).unwrap();
        }
    }
}

async fn ping_pong(operations: u32) -> i64 {
    let (pairs, end) = Countdown::new(operations);
    let start = Instant::now();
    for _ in 0..operations {
        let pairs = pairs.clone();
        tokio::spawn(async move {
            let (there, arrival) = oneshot::channel();
            let (back, answer) = oneshot::channel();
            tokio::spawn(async move {
                arrival.await.unwrap();
                back.send(()).unwrap();
            });
            there.send(()).unwrap();
            answer.await.unwrap();
            pairs.count();
        });
    }
    end.await.unwrap();
    nanoseconds(start)
}

async fn timeout_of_a_yield(operations: u32) -> i64 {
    let start = Instant::now();
    for _ in 0..operations {
        timeout(Duration::from_secs(10), yield_now()).await.unwrap();
    }
    nanoseconds(start)
}

async fn mpsc_stream(operations: u32) -> i64 {
    let (sender, mut receiver) = mpsc::channel::<usize>(1024);
    let messages = operations as usize;
    let start = Instant::now();
    let producer = tokio::spawn(async move {
        for i in 0..messages {
            sender.send(i).await.unwrap();
        }
    });
    for i in 0..messages {
        assert_eq!(receiver.recv().await, Some(i));
    }
    producer.await.unwrap();
    nanoseconds(start)
}

// Both have begun, hence on two workers, before the first message.
async fn mpsc_apart(operations: u32) -> i64 {
    static MET: AtomicU32 = AtomicU32::new(0);
    fn meet() {
        MET.fetch_add(1, SeqCst);
        while MET.load(SeqCst) < 2 {}
    }
    let (sender, mut receiver) = mpsc::channel::<usize>(1024);
    let messages = operations as usize;
    MET.store(0, SeqCst);
    let start = Instant::now();
    let producer = tokio::spawn(async move {
        meet();
        for i in 0..messages {
            sender.send(i).await.unwrap();
        }
    });
    let consumer = tokio::spawn(async move {
        meet();
        for i in 0..messages {
            assert_eq!(receiver.recv().await, Some(i));
        }
    });
    producer.await.unwrap();
    consumer.await.unwrap();
    nanoseconds(start)
}

// ---- computing ------------------------------------------------------------------------------

#[inline(never)]
fn fib(mut n: u64) -> u64 {
    // SAFETY: no instruction; each call is made.
    unsafe { asm!("/* {0} */", inout(reg) n, options(nomem, nostack)) };
    if n < 2 {
        n
    } else {
        fib(n - 1) + fib(n - 2)
    }
}

async fn cpu_fanout(operations: u32) -> i64 {
    spawn_and_join(operations, || async { fib(20) }).await
}

// All of them begin on one worker; the ideal is 10 us, divided by the workers.
async fn steal_imbalance(operations: u32) -> i64 {
    spawn_and_join(operations, || async {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(10) {}
    })
    .await
}

// ---- memory ---------------------------------------------------------------------------------

// VmRSS and VmPTE of this process, in bytes.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> i64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (kib("VmRSS:") + kib("VmPTE:")) * 1024
}

async fn sleep_1m(operations: u32) -> i64 {
    let (starts, end) = Countdown::new(operations);
    let before = resident();
    for _ in 0..operations {
        let starts = starts.clone();
        tokio::spawn(async move {
            starts.count();
            drop(starts);
            sleep(Duration::from_secs(3600)).await;
        });
    }
    end.await.unwrap();
    resident() - before
}

// Each that runs blocks its worker: the rest stay in the queues.
async fn queued_1m(operations: u32) -> i64 {
    static GATE: Mutex<()> = Mutex::new(());
    static LEFT: AtomicU32 = AtomicU32::new(0);
    LEFT.store(operations, SeqCst);
    let before = resident();
    let bytes = {
        let _closed = GATE.lock().unwrap();
        for _ in 0..operations {
            tokio::spawn(async {
                drop(GATE.lock().unwrap());
                LEFT.fetch_sub(1, SeqCst);
            });
        }
        resident() - before
    };
    while LEFT.load(SeqCst) > 0 {
        yield_now().await;
    }
    bytes
}

// ---- main -----------------------------------------------------------------------------------

fn run_round(bench: &'static Bench, runtime: &tokio::runtime::Runtime) -> i64 {
    let round = (bench.round)(bench.operations);
    runtime.block_on(async {
        if bench.place == Inside {
            tokio::spawn(round).await.unwrap()
        } else {
            round.await
        }
    })
}

fn median_round(bench: &'static Bench, runtime: &tokio::runtime::Runtime) -> i64 {
    let mut results = Vec::new();
    let mut total = 0;
    run_round(bench, runtime);
    while results.len() < ROUNDS_MOST && (results.len() < ROUNDS_LEAST || total < MEASURED_LEAST) {
        let result = run_round(bench, runtime);
        results.push(result);
        total += result;
    }
    results.sort();
    results[results.len() / 2]
}

fn usage() -> ! {
    eprintln!("usage: bench-tokio NAME [WORKERS]");
    for bench in BENCHES {
        eprintln!("    {}", bench.name);
    }
    exit(2)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() < 2 || arguments.len() > 3 {
        usage();
    }
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == arguments[1]) else {
        usage()
    };
    let workers = match arguments.get(2).map(|text| text.parse::<usize>()) {
        None => WORKERS_DEFAULT,
        Some(Ok(workers)) if (1..=256).contains(&workers) => workers,
        Some(_) => usage(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .unwrap();
    let (result, unit) = match bench.kind {
        Time => (median_round(bench, &runtime), "ns/op"),
        Memory => (run_round(bench, &runtime), "B/task"),
    };
    println!(
        "{} {:.1} {}",
        bench.name,
        result as f64 / bench.operations as f64,
        unit
    );
}
