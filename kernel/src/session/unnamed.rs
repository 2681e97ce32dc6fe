//! Items that have no name of their own: implementations, blocks of foreign functions.
//!
//! evcxr replaces an item when another of its name comes. One without a name it adds, so that a cell with an `impl` could
//! run only once. Here each gets a name, a constant in front of it that evcxr takes for the item it belongs to, and what
//! a cell defines again is taken out of the blocks of earlier cells.

use quote::ToTokens;
use sha2::{Digest, Sha256};
use syn::Item;
use syn::spanned::Spanned;

/// What the names begin with that blocks are given.
pub const BLOCK: &str = "REBIT_BLOCK_";

/// A block without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The name that it is given.
    name: String,
    /// What it is an implementation of, or whose functions it declares.
    header: String,
    /// What stands in front of its members.
    head: String,
    /// What it defines: names and texts; none where the header alone is unique.
    members: Vec<(String, String)>,
    /// Types and traits of the same cell that it belongs to.
    owners: Vec<String>,
}

impl Block {
    /// The block that an item of a cell's code is; `None` for items with names.
    pub fn of(item: &Item, code: &str) -> Option<Block> {
        let text = |tokens: &dyn ToTokens| code[tokens.span().byte_range()].to_string();
        let start = item.span().byte_range().start;
        let mut members = Vec::new();
        let mut owners = Vec::new();
        let mut head = String::new();
        let of = match item {
            Item::Impl(block) => {
                owners.extend(last_name(&block.self_ty));
                if let Some((_, path, _)) = &block.trait_ {
                    owners.extend(path.segments.last().map(|last| last.ident.to_string()));
                } else {
                    let end = block.brace_token.span.open().byte_range().start;
                    head = code[start..end].to_string();
                    members.extend(block.items.iter().filter_map(|member| {
                        let name = match member {
                            syn::ImplItem::Fn(member) => &member.sig.ident,
                            syn::ImplItem::Const(member) => &member.ident,
                            syn::ImplItem::Type(member) => &member.ident,
                            _ => return None,
                        };
                        Some((name.to_string(), text(member)))
                    }));
                }
                header(block)
            }
            Item::ForeignMod(block) => {
                let end = block.brace_token.span.open().byte_range().start;
                head = code[start..end].to_string();
                members.extend(block.items.iter().filter_map(|member| {
                    let name = match member {
                        syn::ForeignItem::Fn(member) => &member.sig.ident,
                        syn::ForeignItem::Static(member) => &member.ident,
                        syn::ForeignItem::Type(member) => &member.ident,
                        _ => return None,
                    };
                    Some((name.to_string(), text(member)))
                }));
                block.abi.to_token_stream().to_string()
            }
            Item::Const(block) if block.ident == "_" => block.expr.to_token_stream().to_string(),
            _ => return None,
        };
        let mut hash = Sha256::new();
        hash.update(&of);
        for (name, _) in &members {
            hash.update([0]);
            hash.update(name);
        }
        let digits = hash.finalize();
        let digits: String = digits[..8].iter().map(|b| format!("{b:02X}")).collect();
        Some(Block {
            name: format!("{BLOCK}{digits}"),
            header: of,
            head,
            members,
            owners,
        })
    }

    /// The name that it is given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What gives the block its name.
    pub fn marker(&self) -> String {
        format!("const {}: () = (); ", self.name)
    }

    /// What is left of the block beside blocks that came later.
    fn beside(&self, later: &[Block]) -> Option<Block> {
        let later = || later.iter().filter(|other| other.header == self.header);
        if self.members.is_empty() {
            return later().next().is_none().then(|| self.clone());
        }
        let mut rest = self.clone();
        rest.members.retain(|(name, _)| {
            let mut others = later().flat_map(|other| &other.members);
            !others.any(|(other, _)| other == name)
        });
        (!rest.members.is_empty()).then_some(rest)
    }

    fn text(&self) -> String {
        let members: Vec<&str> = self.members.iter().map(|(_, text)| text.as_str()).collect();
        format!("{}{{\n{}\n}}", self.head, members.join("\n"))
    }
}

/// The blocks of the cells so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    blocks: Vec<Block>,
}

impl Blocks {
    /// The blocks after a cell with these blocks, which defines these names; and what evcxr must be told beside the cell.
    pub fn after(&self, cell: &[Block], names: &[String]) -> (Blocks, String) {
        let mut told = String::new();
        let mut blocks = Vec::new();
        for old in &self.blocks {
            if cell.iter().any(|new| new.name == old.name) {
                continue;
            }
            // A type that is defined again brings its own implementations along.
            let owner_is_new = old.owners.iter().any(|owner| names.contains(owner));
            match old.beside(cell).filter(|_| !owner_is_new) {
                None => told += &format!("\n{}", old.marker()),
                Some(rest) => {
                    if rest != *old {
                        told += &format!("\n{}{}", rest.marker(), rest.text());
                    }
                    blocks.push(rest);
                }
            }
        }
        for new in cell {
            let mut new = new.clone();
            new.owners.retain(|owner| names.contains(owner));
            blocks.push(new);
        }
        (Blocks { blocks }, told)
    }

    /// Takes a block out, or one of its members alone; returns what evcxr must be told.
    pub fn take(&mut self, name: &str, member: Option<&str>) -> String {
        let Some(at) = self.blocks.iter().position(|block| block.name == name) else {
            return String::new();
        };
        let block = &mut self.blocks[at];
        block
            .members
            .retain(|(own, _)| member.is_some_and(|member| own != member));
        let told = format!("\n{}", block.marker());
        if block.members.is_empty() {
            self.blocks.remove(at);
            return told;
        }
        told + &block.text()
    }
}

/// What an implementation is of, in words that do not depend on how it is written.
pub fn header(block: &syn::ItemImpl) -> String {
    let mut header = block.clone();
    header.items.clear();
    header.attrs.clear();
    header.to_token_stream().to_string()
}

/// The last name of a type's path.
fn last_name(of: &syn::Type) -> Option<String> {
    match of {
        syn::Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        syn::Type::Reference(inner) => last_name(&inner.elem),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of a cell, and the names it defines.
    fn cell(code: &str) -> (Vec<Block>, Vec<String>) {
        let file: syn::File = syn::parse_str(code).unwrap();
        let names = file.items.iter().filter_map(|item| match item {
            Item::Struct(item) => Some(item.ident.to_string()),
            _ => None,
        });
        let blocks = file.items.iter().filter_map(|item| Block::of(item, code));
        (blocks.collect(), names.collect())
    }

    /// What evcxr is told at the last of some cells, apart from the markers' names.
    fn told(cells: &[&str]) -> String {
        let mut blocks = Blocks::default();
        let mut last = String::new();
        for code in cells {
            let (new, names) = cell(code);
            (blocks, last) = blocks.after(&new, &names);
        }
        let words = last.split_whitespace();
        words
            .filter(|word| !word.starts_with("REBIT_"))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_cell_replaces_what_it_defines_again() {
        let gone = "const () = ();";
        let table: &[(&[&str], &str)] = &[
            // Once more, unchanged or edited: evcxr itself replaces a block of the same name.
            (&["impl F { fn a() {} }", "impl F { fn a() { 1; } }"], ""),
            (
                &[
                    "impl D for F { fn f() {} }",
                    "impl D for F { fn f() { 1; } }",
                ],
                "",
            ),
            // With one method more.
            (
                &["impl F { fn a() {} }", "impl F { fn a() {} fn b() {} }"],
                gone,
            ),
            // Beside others.
            (&["impl F { fn a() {} }", "impl F { fn b() {} }"], ""),
            (&["impl D for F {}", "impl E for F {}"], ""),
            (
                &["impl F { fn a() {} fn b() {} }", "impl F { fn b() { 1; } }"],
                "const () = (); impl F { fn a() {} }",
            ),
            // With its type, which another cell has changed.
            (&["struct F; impl F { fn a() {} }", "struct F(u8);"], gone),
            (&["struct F;", "impl F { fn a() {} }", "struct F;"], ""),
            (
                &[
                    "extern \"C\" { fn a(); }",
                    "extern \"C\" { fn a(); fn b(); }",
                ],
                gone,
            ),
            (&["const _: () = { 1; };", "const _: () = { 1; };"], ""),
        ];
        for (cells, wanted) in table {
            assert_eq!(told(cells), *wanted, "{cells:?}");
        }
    }

    #[test]
    fn a_block_is_taken_out_whole_or_in_part() {
        let (blocks, names) = cell("impl F { fn a() {} fn b() {} } impl D for F {}");
        let (mut known, _) = Blocks::default().after(&blocks, &names);
        let (own, of_trait) = (blocks[0].name(), blocks[1].name());
        assert_eq!(
            known.take(own, Some("a")),
            format!("\n{}impl F {{\nfn b() {{}}\n}}", blocks[0].marker())
        );
        assert_eq!(
            known.take(own, Some("b")),
            format!("\n{}", blocks[0].marker())
        );
        assert_eq!(known.take(own, Some("b")), "");
        assert_eq!(
            known.take(of_trait, None),
            format!("\n{}", blocks[1].marker())
        );
        assert_eq!(known, Blocks::default());
    }
}
