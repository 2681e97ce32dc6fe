//! The file of what was measured on this machine: for one processor and one version of the library.
//!
//! It is a cache: one that is damaged, of another machine or out of reach costs a measurement, and no error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{folder_of, write_whole};

#[derive(Serialize, Deserialize)]
struct Contents {
    version: String,
    processor: String,
    times: BTreeMap<String, Times>,
}

/// What each way took at two shares of free entries, as shares of the dense gradient's time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub lanes: [f64; 2],
    /// Where there are permutations.
    pub gathered: Option<[f64; 2]>,
}

impl Times {
    fn proper(&self) -> bool {
        let mut all = self
            .lanes
            .into_iter()
            .chain(self.gathered.into_iter().flatten());
        all.all(|time| time.is_finite() && time >= 0.0)
    }
}

/// Times by what they were measured for.
pub(crate) struct Remembered {
    file: Option<PathBuf>,
    processor: String,
    known: BTreeMap<String, Times>,
    unclear: BTreeSet<String>,
    measured: usize,
}

impl Remembered {
    /// Those that a file holds for this processor; none without a file.
    pub fn open(file: Option<PathBuf>, processor: String) -> Self {
        let known = file.as_deref().map(|f| read(f, &processor));
        Remembered {
            known: known.unwrap_or_default(),
            file,
            processor,
            unclear: BTreeSet::new(),
            measured: 0,
        }
    }

    /// Whether the machine was too busy for a measurement that means something: the next process tries again.
    pub fn is_unclear(&self, key: &str) -> bool {
        self.unclear.contains(key)
    }

    /// Notes that a measurement meant nothing, for this process only.
    pub fn leave(&mut self, key: String) {
        self.measured += 1;
        self.unclear.insert(key);
    }

    pub fn get(&self, key: &str) -> Option<Times> {
        self.known.get(key).copied()
    }

    /// How many this process has measured.
    pub fn measured(&self) -> usize {
        self.measured
    }

    /// Adds one, and writes the file with what other processes have put there meanwhile.
    pub fn put(&mut self, key: String, times: Times) {
        self.measured += 1;
        self.known.insert(key, times);
        let Some(file) = &self.file else { return };
        for (key, times) in read(file, &self.processor) {
            self.known.entry(key).or_insert(times);
        }
        let contents = Contents {
            version: env!("CARGO_PKG_VERSION").into(),
            processor: self.processor.clone(),
            times: self.known.clone(),
        };
        let Ok(text) = serde_json::to_vec_pretty(&contents) else {
            return;
        };
        // What cannot be kept is measured again by the next process.
        let _ = std::fs::create_dir_all(folder_of(file)).and_then(|()| write_whole(file, &text));
    }
}

fn read(file: &Path, processor: &str) -> BTreeMap<String, Times> {
    let text = std::fs::read(file).unwrap_or_default();
    match serde_json::from_slice::<Contents>(&text) {
        Ok(c) if c.version == env!("CARGO_PKG_VERSION") && c.processor == processor => {
            c.times.into_iter().filter(|(_, t)| t.proper()).collect()
        }
        _ => BTreeMap::new(),
    }
}

/// The processor's name and, as virtual machines give many the same, its signature.
#[cfg(target_arch = "x86_64")]
pub(crate) fn processor() -> String {
    use std::arch::x86_64::__cpuid;
    let signature = __cpuid(1).eax;
    if __cpuid(0x8000_0000).eax < 0x8000_0004 {
        return format!("x86_64 {signature:x}");
    }
    let name: Vec<u8> = (0x8000_0002..=0x8000_0004u32)
        .map(__cpuid)
        .flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx])
        .flat_map(u32::to_le_bytes)
        .take_while(|&byte| byte != 0)
        .collect();
    format!("{} {signature:x}", String::from_utf8_lossy(&name).trim())
}

/// What can be told of the processor without asking the system.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn processor() -> String {
    format!("{} {}", std::env::consts::ARCH, std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(few: f64) -> Times {
        Times {
            lanes: [few, 3.0],
            gathered: Some([few, 4.0]),
        }
    }

    fn remembered(file: &Path, processor: &str) -> Remembered {
        Remembered::open(Some(file.to_path_buf()), processor.into())
    }

    #[test]
    fn what_is_put_is_there_for_the_next_process_and_beside_what_others_put() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/times.json");
        let (mut one, mut two) = (remembered(&file, "cpu"), remembered(&file, "cpu"));
        one.put("x".into(), time(0.25));
        two.put("y".into(), time(0.5));
        one.put("z".into(), time(1.0));
        assert_eq!(one.measured(), 2);
        let next = remembered(&file, "cpu");
        assert_eq!(next.measured(), 0);
        let of = ["x", "y", "z"].map(|key| next.get(key));
        assert_eq!(of, [Some(time(0.25)), Some(time(0.5)), Some(time(1.0))]);
        assert_eq!(next.get("w"), None);
    }

    #[test]
    fn what_is_unclear_is_so_for_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("times.json");
        let mut one = remembered(&file, "cpu");
        one.leave("x".into());
        one.put("y".into(), time(0.5));
        assert!(one.is_unclear("x") && !one.is_unclear("y"));
        assert_eq!((one.get("x"), one.measured()), (None, 2));
        let next = remembered(&file, "cpu");
        assert!(!next.is_unclear("x") && next.get("x").is_none());
    }

    #[test]
    fn another_processor_or_version_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("times.json");
        remembered(&file, "cpu").put("x".into(), time(0.25));
        let mut other = remembered(&file, "another");
        assert_eq!(other.get("x"), None);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(env!("CARGO_PKG_VERSION"), "0.0.0-old")).unwrap();
        assert_eq!(remembered(&file, "cpu").get("x"), None);
        other.put("x".into(), time(0.75));
        assert_eq!(remembered(&file, "another").get("x"), Some(time(0.75)));
        assert_eq!(remembered(&file, "cpu").get("x"), None);
    }

    #[test]
    fn a_damaged_file_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("times.json");
        remembered(&file, "cpu").put("x".into(), time(0.25));
        let whole = std::fs::read(&file).unwrap();
        let improper = String::from_utf8(whole.clone())
            .unwrap()
            .replace("0.25", "-3");
        for damaged in [
            &whole[..whole.len() / 2],
            b"",
            b"\xff\0{",
            improper.as_bytes(),
        ] {
            std::fs::write(&file, damaged).unwrap();
            let mut next = remembered(&file, "cpu");
            assert_eq!(next.get("x"), None);
            next.put("x".into(), time(0.5));
            assert_eq!(remembered(&file, "cpu").get("x"), Some(time(0.5)));
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_nothing_but_the_next_measurement() {
        let folder = tempfile::tempdir().unwrap();
        let no_folder = folder.path().join("file");
        std::fs::write(&no_folder, b"in the way").unwrap();
        for file in [no_folder.join("times.json"), folder.path().to_path_buf()] {
            let mut next = remembered(&file, "cpu");
            next.put("x".into(), time(0.5));
            assert_eq!(next.get("x"), Some(time(0.5)));
            assert_eq!(remembered(&file, "cpu").get("x"), None);
        }
        assert_eq!(std::fs::read(&no_folder).unwrap(), b"in the way");
    }

    #[test]
    fn the_processor_has_a_name() {
        assert!(processor().len() > 4, "{}", processor());
        assert_eq!(processor(), processor());
    }
}
