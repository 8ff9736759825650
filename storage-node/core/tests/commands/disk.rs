//! What happens to a store's disk.

use crate::{Failure, Script, operand};
use goldenscript::ArgumentConsumer;
use std::sync::atomic::Ordering;
use yadkv_engine::{DamagedFile, Durability, LogEngine, WriteBatch};
use yadkv_storage_core::room::Room;
use yadkv_storage_core::store::message::Input;
use yadkv_storage_core::{damage, layout};

impl Script {
    pub(crate) fn damage(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let store = self.store(args.next_pos().ok_or("which store?")?)?;
        let (family, first, last) = (layout::RAW, operand(args)?, operand(args)?);
        let name = "000007.sst".to_owned();
        self.cluster.stores[&store].kv.damage(DamagedFile {
            name,
            family,
            first,
            last,
        });
        Ok(())
    }

    pub(crate) fn room(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let store = self.store(args.next_pos().ok_or("which store?")?)?;
        let room = match args.next_pos() {
            Some("plenty") => Room::Plenty,
            Some("scarce") => Room::Scarce,
            Some("none") => Room::None,
            other => return Err(format!("no room {other:?}").into()),
        };
        let running = self.cluster.stores[&store].running.as_ref();
        let full = &running.ok_or("it is down")?.front.log_full;
        full.store(room != Room::Plenty, Ordering::Relaxed);
        self.cluster.input(store, Input::Room(room));
        self.cluster.settle();
        Ok(())
    }

    pub(crate) fn hangs(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let store = self.store(args.next_pos().ok_or("which store?")?)?;
        let hangs = args.next_pos().ok_or("true or false?")?.parse()?;
        self.cluster.input(store, Input::Hangs(hangs));
        self.cluster.settle();
        Ok(())
    }

    pub(crate) fn leave(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let store = self.store(args.next_pos().ok_or("which store?")?)?;
        self.cluster.input(store, Input::Leave);
        self.cluster.settle();
        Ok(())
    }

    pub(crate) fn damaged(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failure> {
        let store = self.store(args.next_pos().ok_or("which store?")?)?;
        let store = &self.cluster.stores[&store];
        let found = match &store.running {
            Some(running) => damage::named(&store.kv, &running.front.directory)?,
            None => damage::look(&store.kv)?,
        };
        let regions: Vec<_> = found.regions.iter().map(|region| region.0).collect();
        Ok(format!(
            "{} files, regions {regions:?}\n",
            found.files.len()
        ))
    }

    /// Puts a pair into the data engine of one store alone.
    pub(crate) fn spoil(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let store = self.store(args.next_pos().ok_or("which store?")?)?;
        let (key, value) = (operand(args)?, operand(args)?);
        let mut batch = WriteBatch::new();
        batch.put(layout::RAW, key, layout::RawValue::encode(&value, None));
        self.cluster.stores[&store]
            .kv
            .write(batch, Durability::Buffered)?;
        Ok(())
    }
}
