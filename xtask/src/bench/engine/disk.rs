//! The rate at which this disk makes files durable: what every result costs at least.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Result, io};

/// As long as a result's file is, in bytes.
const SIZE: usize = 1_000;

/// How many files a second become durable for one writer: written, synced, renamed, their folder synced. They stay:
/// for minutes, ext4 goes a long way round the places of those that were removed.
pub(super) fn durable_files(folder: &Path, window: Duration) -> Result<f64> {
    fs::create_dir_all(folder).map_err(io(format!("make {}", folder.display())))?;
    let content = vec![b'x'; SIZE];
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < window {
        let temporary = folder.join("new");
        let named = folder.join(format!("{count}.md"));
        File::create(&temporary)
            .and_then(|mut file| {
                file.write_all(&content)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, &named))
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(io("make a file durable"))?;
        count += 1;
    }
    let took = begun.elapsed().as_secs_f64();
    Ok(f64::from(count) / took)
}
