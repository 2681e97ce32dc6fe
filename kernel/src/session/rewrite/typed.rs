//! A cell with the types of what it binds: written, guessed by evcxr's analyser, or told by rustc.

use super::{Cell, Part};
use crate::session::statement::Variable;
use crate::session::text::{Edit, Text};
use crate::session::types;
use crate::workshop::hidden::Hider;

/// How the types of a cell's variables are learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypesAre {
    /// They are written in the cell.
    Written,
    /// They stand in signatures.
    Told(types::Answers),
    /// evcxr's analyser is quick to tell them, and right; or there are none.
    Guessed,
    /// rustc is asked.
    Asked,
}

impl Cell {
    /// How the types of its variables are learned; `told` reads signatures.
    pub fn types_are(&self, told: impl FnOnce() -> Option<types::Answers>) -> TypesAre {
        let is_known = |variable: &Variable| variable.of.is_some();
        match &self.bound[..] {
            [] => TypesAre::Guessed,
            bound if bound.iter().all(is_known) => TypesAre::Written,
            bound
                if bound
                    .iter()
                    .all(|variable| is_known(variable) || variable.is_plain) =>
            {
                TypesAre::Guessed
            }
            _ => told().map_or(TypesAre::Asked, TypesAre::Told),
        }
    }

    /// The cell with each variable that it keeps bound a second time, with its type, and with all else hidden from
    /// evcxr's analyser; `None` where a type is not known. Of a variable that is not kept evcxr never hears.
    pub fn with_all_types(
        &self,
        types: &[(String, String)],
        is_kept: impl Fn(&str) -> bool,
        hider: &Hider,
    ) -> Option<Text> {
        let mut parts: Vec<&Part> = self.statements.iter().chain(&self.items).collect();
        parts.sort_by_key(|part| part.at);
        let stand_apart = parts.windows(2).all(|two| two[0].end() < two[1].at);
        if !stand_apart {
            return None;
        }
        let (mut opens, mut closes, mut bindings) = (Vec::new(), Vec::new(), Vec::new());
        for part in &self.statements {
            opens.push(Edit::insert(part.at, hider.begin.as_str()));
            closes.push(Edit::insert(part.end(), hider.end.as_str()));
        }
        for variable in self.bound.iter().filter(|variable| is_kept(&variable.name)) {
            let told = types.iter().find(|(name, _)| *name == variable.name);
            let of = variable.of.as_ref().or(told.map(|(_, of)| of))?;
            bindings.push(variable.bound_again(of));
        }
        let told = Edit::insert(self.user.len(), self.told.as_str());
        // At one place what begins stands in this order, and what ends.
        let edits = opens.iter().chain(&self.edits).chain(&self.run);
        let edits = edits.chain(&closes).chain(&bindings).chain([&told]);
        let edits: Vec<Edit> = edits.cloned().collect();
        Some(Text::new(&self.user, &edits))
    }

    /// The cell followed by one deliberate error for each of some variables: rustc answers with its type.
    pub fn type_question(&self, how: types::Question, is_asked: impl Fn(&str) -> bool) -> Text {
        let asked = self
            .bound
            .iter()
            .filter(|variable| is_asked(&variable.name));
        let questions = asked.map(|variable| {
            Edit::insert(self.user.len(), format!("\n{}", how.about(&variable.name)))
        });
        let edits: Vec<Edit> = self.ask.iter().cloned().chain(questions).collect();
        self.text(&edits)
    }

    /// The cell with each named variable bound a second time, with its type.
    ///
    /// The second binding stands directly behind the first, so that later uses see it.
    pub fn with_types(&self, types: &[(String, String)]) -> Text {
        let bindings = self.bound.iter().filter_map(|variable| {
            let (_, of) = types.iter().find(|(name, _)| *name == variable.name)?;
            Some(variable.bound_again(of))
        });
        // What is put around the last statement ends in front of what stands behind it.
        let end = self.statements.last().map_or(0, Part::end);
        let (behind, mut edits): (Vec<Edit>, Vec<Edit>) =
            bindings.partition(|edit| edit.at.start == end);
        edits.extend(self.run.iter().cloned());
        edits.extend(behind);
        self.text(&edits)
    }
}
