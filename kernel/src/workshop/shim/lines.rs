//! The lines of a cell that addresses in its compiled library stand for.
//!
//! Cells are compiled without line tables: they would cost every cell some milliseconds. When the line of a call is
//! wanted, the last cell is compiled once more with them; the machine code is the same.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use addr2line::Context;
use gimli::{Dwarf, EndianSlice, RunTimeEndian};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use super::compile::with_lines;

/// The name of a cell's source.
const SOURCE: &str = "src/lib.rs";

/// The lines and columns of the last cell's source where these calls stand (libraries, and addresses in them), in their
/// order; calls in other cells are left out. Nothing is found when the cell cannot be compiled again.
pub fn lines_of(session: &Path, calls: &[(&Path, u64)]) -> Vec<(usize, usize)> {
    if calls.is_empty() {
        return Vec::new();
    }
    find(session, calls).unwrap_or_default()
}

fn find(session: &Path, calls: &[(&Path, u64)]) -> Option<Vec<(usize, usize)>> {
    let folder = tempfile::tempdir_in(session).ok()?;
    let (with_lines, loaded) = with_lines(session, folder.path()).ok()?;
    let name = loaded.file_name().map(OsStr::to_os_string);
    let in_loaded = calls
        .iter()
        .filter(|(library, _)| library.file_name() == name.as_deref());
    let addresses: Vec<u64> = in_loaded.map(|(_, address)| *address).collect();
    let (with_lines, loaded) = (fs::read(with_lines).ok()?, fs::read(loaded).ok()?);
    let (with_lines, loaded) = (
        object::File::parse(&*with_lines).ok()?,
        object::File::parse(&*loaded).ok()?,
    );
    let (here, there) = (Code::of(&with_lines)?, Code::of(&loaded)?);
    if here.functions != there.functions {
        return None;
    }
    let section = |id: gimli::SectionId| -> Result<_, gimli::Error> {
        let section = with_lines.section_by_name(id.name());
        let data = section.and_then(|section| section.data().ok());
        Ok(EndianSlice::new(
            data.unwrap_or_default(),
            RunTimeEndian::default(),
        ))
    };
    let context = Context::from_dwarf(Dwarf::load(section).ok()?).ok()?;
    let source = session.canonicalize().ok()?.join(SOURCE);
    let mut found = Vec::new();
    for address in addresses {
        let address = address.wrapping_sub(there.begin).wrapping_add(here.begin);
        let Ok(mut frames) = context.find_frames(address).skip_all_loads() else {
            continue;
        };
        while let Ok(Some(frame)) = frames.next() {
            if let Some(place) = frame.location
                && place.file.is_some_and(|file| Path::new(file) == source)
                && let (Some(line), Some(column)) = (place.line, place.column)
            {
                found.push((line as usize, column as usize));
            }
        }
    }
    Some(found)
}

/// The machine code of a library, as far as its symbols tell.
struct Code {
    begin: u64,
    /// Where functions begin behind the first byte, and how long they are.
    functions: BTreeSet<(u64, u64)>,
}

impl Code {
    fn of(file: &object::File<'_>) -> Option<Code> {
        let section = file.section_by_name(".text")?;
        let begin = section.address();
        let inside = file.symbols().filter(|symbol| {
            symbol.kind() == SymbolKind::Text && symbol.section_index() == Some(section.index())
        });
        let functions = inside.map(|symbol| (symbol.address().wrapping_sub(begin), symbol.size()));
        Some(Code {
            begin,
            functions: functions.collect(),
        })
    }
}
