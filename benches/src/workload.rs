//! What clients ask for, and how often.
//!
//! *Place*: [`crate::load`] asks a [`Requests`] of each client for its next request.
//!
//! *Types to know*: [`Workload`] the name, [`Mix`] its shares, [`Request`] what a target has to do.
//!
//! *Invariants*: two targets under the same workload get the same distribution of keys; a record that is asked for was
//! written before.
//!
//! *Source*: Cooper and others, "Benchmarking Cloud Serving Systems with YCSB", 2010, table 2; the core workloads of the
//! published benchmark for the lengths of scans.
//!
//! *Next stop*: [`crate::keys`].

use crate::keys::{Choice, Inserted, Keys};
use crate::targets::Found;
use crate::values::Values;
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Longest scan of workload E; its lengths are uniform from 1 on.
const SCAN_MAX: u32 = 100;

/// What one operation does.
#[derive(Clone, Debug)]
pub enum Request {
    /// Writes a record.
    Put(Bytes, Bytes),
    /// Reads a record.
    Get(Bytes),
    /// Writes many records at once; not one of them alone.
    BatchPut(Vec<(Bytes, Bytes)>),
    /// Reads many records at once.
    BatchGet(Vec<Bytes>),
    /// Reads records in order; at least one is there.
    Scan {
        /// From this key on.
        start: Bytes,
        /// Before this key: half as many more are there than are wanted, about. Some targets count them all.
        end: Bytes,
        /// How many.
        count: u32,
    },
    /// Reads a record, then writes it.
    Modify(Bytes, Bytes),
}

/// A load by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Workload {
    /// Each operation writes one record.
    Put,
    /// Each operation reads one preloaded record.
    Get,
    /// Each operation writes [`Shape::batch`] records, or all if there are fewer.
    BatchPut,
    /// Each operation reads so many.
    BatchGet,
    /// Each operation reads so many in order.
    Scan,
    /// YCSB, update heavy: half reads, half writes.
    A,
    /// YCSB, read mostly: 95 % reads, 5 % writes.
    B,
    /// YCSB, read only.
    C,
    /// YCSB, read latest: 95 % reads, most of records just inserted, 5 % inserts.
    D,
    /// YCSB, short ranges: 95 % scans, 5 % inserts.
    E,
    /// YCSB, read-modify-write: half reads, half a read and then a write.
    F,
}

/// How often of 100 an operation is what.
#[derive(Clone, Copy, Debug, Default)]
struct Mix {
    gets: u32,
    puts: u32,
    inserts: u32,
    scans: u32,
    modifies: u32,
}

/// Numbers of a load beside its name.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Different keys at the start, at least 1.
    pub records: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Records of a batch or a scan, at least 1.
    pub batch: u32,
    /// How keys are chosen; the YCSB loads bring their own.
    pub keys: Keys,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Put,
        Self::Get,
        Self::BatchPut,
        Self::BatchGet,
        Self::Scan,
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::E,
        Self::F,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::BatchPut => "batch-put",
            Self::BatchGet => "batch-get",
            Self::Scan => "scan",
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
            Self::E => "e",
            Self::F => "f",
        }
    }

    /// Whether all records are written before.
    pub fn reads(self) -> bool {
        !matches!(self, Self::Put | Self::BatchPut)
    }

    /// Whether it reads ranges.
    pub fn scans(self) -> bool {
        matches!(self, Self::Scan | Self::E)
    }

    fn mix(self) -> Mix {
        let mut mix = Mix::default();
        match self {
            Self::Put | Self::BatchPut => mix.puts = 100,
            Self::Get | Self::BatchGet | Self::C => mix.gets = 100,
            Self::Scan => mix.scans = 100,
            Self::A => (mix.gets, mix.puts) = (50, 50),
            Self::B => (mix.gets, mix.puts) = (95, 5),
            Self::D => (mix.gets, mix.inserts) = (95, 5),
            Self::E => (mix.scans, mix.inserts) = (95, 5),
            Self::F => (mix.gets, mix.modifies) = (50, 50),
        }
        mix
    }

    /// How it chooses keys, of a shape.
    pub fn keys(self, shape: &Shape) -> Keys {
        match self {
            Self::A | Self::B | Self::C | Self::E | Self::F => Keys::Zipfian,
            Self::D => Keys::Latest,
            _ => shape.keys,
        }
    }
}

/// What all clients of a load share.
#[derive(Clone, Debug)]
pub struct Requests {
    workload: Workload,
    shape: Shape,
    mix: Mix,
    choice: Choice,
    values: Values,
    inserted: Arc<Inserted>,
}

/// The next operation of a client.
pub struct Next {
    /// What to ask for.
    pub request: Request,
    /// What the answer has to bring.
    pub wanted: Wanted,
    /// The record that it inserts: to be named to [`Requests::inserted`] once it is there.
    pub inserts: Option<u64>,
}

/// What an operation has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// So many records are there, at least.
    least: u64,
    /// Bytes of their values together, where it is known which they are.
    bytes: Option<u64>,
    /// So many records are written.
    written: u64,
}

impl Wanted {
    /// Records that the operation was about, or what is wrong with its answer.
    pub fn judge(&self, found: Found) -> Result<u64, String> {
        if found.records < self.least {
            return Err("a record that was written is missing".into());
        }
        if self.bytes.is_some_and(|bytes| bytes != found.bytes) {
            return Err("a value has another length than was written".into());
        }
        Ok(found.records.max(self.written))
    }
}

impl Requests {
    /// A load's requests.
    pub fn new(workload: Workload, shape: Shape) -> Self {
        let inserted = Arc::new(Inserted::new(shape.records));
        Self {
            workload,
            shape,
            mix: workload.mix(),
            choice: Choice::new(workload.keys(&shape), shape.records),
            values: Values::new(shape.value_bytes),
            inserted,
        }
    }

    /// The next one.
    pub fn next(&self, random: &mut StdRng) -> Next {
        let mut at = random.random_range(0..100);
        let mut is = |share: u32| {
            let hit = at < share;
            at = at.wrapping_sub(share);
            hit
        };
        if is(self.mix.inserts) {
            let number = self.inserted.begin();
            let request = Request::Put(self.choice.key(number), self.values.pick(random));
            return self.wanting(request, Some(number));
        }
        let request = if is(self.mix.gets) {
            self.get(random)
        } else if is(self.mix.puts) {
            self.put(random)
        } else if is(self.mix.scans) {
            return self.scan(random);
        } else {
            Request::Modify(self.pick(random), self.values.pick(random))
        };
        self.wanting(request, None)
    }

    /// A record was inserted, or could not be: then another insert is about it.
    pub fn inserted(&self, number: u64, written: bool) {
        self.inserted.end(number, written);
    }

    /// Anything but a scan.
    fn wanting(&self, request: Request, inserts: Option<u64>) -> Next {
        let (read, written) = match &request {
            Request::Put(..) => (0, 1),
            Request::BatchPut(records) => (0, records.len()),
            Request::Modify(..) => (1, 1),
            Request::BatchGet(keys) => (keys.len(), 0),
            Request::Get(_) | Request::Scan { .. } => (1, 0),
        };
        let wanted = Wanted {
            least: read as u64,
            bytes: Some((read * self.shape.value_bytes) as u64),
            written: written as u64,
        };
        Next {
            request,
            wanted,
            inserts,
        }
    }

    /// The record of a number, for preloading.
    pub fn record(&self, number: u64, random: &mut StdRng) -> (Bytes, Bytes) {
        (self.choice.key(number), self.values.pick(random))
    }

    fn pick(&self, random: &mut StdRng) -> Bytes {
        self.choice.key(self.choice.pick(&self.inserted, random))
    }

    /// The keys of a batch, all different: some targets refuse a transaction that names one twice.
    fn picks(&self, random: &mut StdRng) -> BTreeSet<Bytes> {
        let count = u64::from(self.shape.batch).min(self.shape.records);
        let mut keys = BTreeSet::new();
        while (keys.len() as u64) < count {
            keys.insert(self.pick(random));
        }
        keys
    }

    fn get(&self, random: &mut StdRng) -> Request {
        match self.workload {
            Workload::BatchGet => Request::BatchGet(self.picks(random).into_iter().collect()),
            _ => Request::Get(self.pick(random)),
        }
    }

    fn put(&self, random: &mut StdRng) -> Request {
        match self.workload {
            Workload::BatchPut => {
                let keys = self.picks(random).into_iter();
                Request::BatchPut(keys.map(|key| (key, self.values.pick(random))).collect())
            }
            _ => Request::Put(self.pick(random), self.values.pick(random)),
        }
    }

    fn scan(&self, random: &mut StdRng) -> Next {
        let first = self.choice.pick(&self.inserted, random);
        let count = match self.workload {
            Workload::E => random.random_range(1..=SCAN_MAX),
            _ => self.shape.batch,
        };
        let end = self.choice.end(first, count, self.shape.records);
        let wanted = Wanted {
            least: self.choice.least(first, count, self.shape.records, &end),
            bytes: None,
            written: 0,
        };
        let request = Request::Scan {
            start: self.choice.key(first),
            end,
            count,
        };
        Next {
            request,
            wanted,
            inserts: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const SHAPE: Shape = Shape {
        records: 1000,
        value_bytes: 16,
        batch: 7,
        keys: Keys::Uniform,
    };

    fn count(workload: Workload, is: fn(&Request) -> bool) -> usize {
        let requests = Requests::new(workload, SHAPE);
        let mut random = StdRng::seed_from_u64(1);
        let drawn = (0..10_000).map(|_| requests.next(&mut random).request);
        drawn.filter(is).count()
    }

    #[test]
    fn shares_are_those_of_the_paper() {
        let get = |request: &Request| matches!(request, Request::Get(_));
        let scan = |request: &Request| matches!(request, Request::Scan { .. });
        let modify = |request: &Request| matches!(request, Request::Modify(..));
        for (workload, share) in [
            (Workload::A, 5000),
            (Workload::B, 9500),
            (Workload::D, 9500),
        ] {
            let gets = count(workload, get);
            assert!(gets.abs_diff(share) < 200, "{workload:?}: {gets}");
        }
        assert_eq!(count(Workload::C, get), 10_000);
        assert!(count(Workload::E, scan).abs_diff(9500) < 200);
        assert!(count(Workload::F, modify).abs_diff(5000) < 200);
    }

    #[test]
    fn every_load_asks_for_what_its_name_says() {
        let batch = |request: &Request| matches!(request, Request::BatchPut(all) if all.len() == 7);
        assert_eq!(count(Workload::BatchPut, batch), 10_000);
        let batch = |request: &Request| matches!(request, Request::BatchGet(all) if all.len() == 7);
        assert_eq!(count(Workload::BatchGet, batch), 10_000);
        let scan = |request: &Request| matches!(request, Request::Scan { count: 7, .. });
        assert_eq!(count(Workload::Scan, scan), 10_000);
    }

    #[test]
    fn answers_that_lack_something_are_seen() {
        let found = |records, bytes| Found { records, bytes };
        let wanted = |workload| {
            let mut random = StdRng::seed_from_u64(1);
            Requests::new(workload, SHAPE).next(&mut random).wanted
        };
        let get = wanted(Workload::Get);
        assert_eq!(get.judge(found(1, 16)), Ok(1));
        assert!(get.judge(Found::NOTHING).is_err());
        assert!(get.judge(found(1, 15)).is_err());
        let batch = wanted(Workload::BatchGet);
        assert_eq!(batch.judge(found(7, 7 * 16)), Ok(7));
        assert!(batch.judge(found(6, 6 * 16)).is_err());
        let scan = wanted(Workload::Scan);
        assert_eq!(scan.judge(found(7, 100)), Ok(7));
        assert!(scan.judge(found(6, 6 * 16)).is_err());
        assert_eq!(wanted(Workload::BatchPut).judge(Found::NOTHING), Ok(7));
        assert_eq!(wanted(Workload::Put).judge(Found::NOTHING), Ok(1));
    }

    #[test]
    fn what_is_inserted_is_new() {
        let requests = Requests::new(Workload::D, SHAPE);
        let mut random = StdRng::seed_from_u64(1);
        let drawn = (0..10_000).filter_map(|_| requests.next(&mut random).inserts);
        let numbers: Vec<u64> = drawn.collect();
        let expected: Vec<u64> = (1000..).take(numbers.len()).collect();
        assert_eq!(numbers, expected);
    }
}
