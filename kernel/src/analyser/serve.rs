//! The analyser's process: reads questions, one line each, and writes answers.

use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};

use ra_ap_hir::PrefixKind;
use ra_ap_ide::{
    CallableSnippets, CompletionConfig, CompletionFieldsToResolve, CompletionItemKind,
    FilePosition, FileRange, HoverConfig, HoverDocFormat, RaFixtureConfig, SubstTyLen, TextRange,
    TextSize,
};
use ra_ap_ide_db::imports::insert_use::{ImportGranularity, InsertUseConfig};
use ra_ap_ide_db::{SnippetCap, SymbolKind};
use regex::Regex;

use super::cell::{Source, WRAPPER};
use super::workspace::Workspace;
use super::{ANALYSER, Answer, Question, Request, Setup};
use crate::error::{Error, Result};
use crate::language::{Completion, Completions, Help};
use crate::priority::yield_to_others;

/// rust-analyzer recurses deeply.
const STACK: usize = 64 << 20;

/// Plays the analyser when the first argument says so; returns otherwise.
pub fn roles() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ANALYSER) {
        return;
    }
    crate::orphans::end_group_with_parent();
    let setup = arguments.next().unwrap_or_default();
    let setup = serde_json::from_str(&setup).map_err(|e| Error::Session(e.to_string()));
    let status = match setup.and_then(serve) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("analyser: {error}");
            1
        }
    };
    std::process::exit(status);
}

fn serve(setup: Setup) -> Result<()> {
    let threads = |e: std::io::Error| Error::Session(format!("no threads: {e}"));
    let (sender, questions) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
            // Nobody listens any more: the process is about to end.
            if sender.send(line).is_err() {
                break;
            }
        }
        // Whoever asks is gone, at whatever moment, also before this is ready.
        std::process::exit(0);
    });
    // What is read before anybody asks gives way to everything else; what is asked does not.
    let warmed = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            yield_to_others();
            let mut workspace = Workspace::load(setup)?;
            warm_up(&mut workspace);
            Ok(workspace)
        })
        .map_err(threads)?;
    let panicked = || Error::Session("rust-analyzer stopped while it started".to_string());
    let workspace = warmed.join().map_err(|_| panicked())??;
    println!("{ANALYSER}");
    let answering = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || answer_all(workspace, questions))
        .map_err(threads)?;
    answering.join().map_err(|_| panicked())
}

/// Asks what makes rust-analyzer look at everything that later questions need.
fn warm_up(workspace: &mut Workspace) {
    for code in [
        "let warm = randn(2, 2, &mut rng(0)); warm.",
        "let warm = vec![String::new()]; warm.iter().",
        "std::thread::",
        "resnet20",
    ] {
        let question = Request {
            number: 0,
            question: Question::Complete,
            preamble: String::new(),
            code: code.to_string(),
            cursor: code.len(),
        };
        answer(workspace, &question);
    }
}

fn answer_all(mut workspace: Workspace, questions: Receiver<String>) {
    for line in questions {
        if let Ok(request) = serde_json::from_str::<Request>(&line) {
            let answer = answer(&mut workspace, &request);
            println!("{}", serde_json::to_string(&answer).expect("plain data"));
        }
    }
}

/// The answer to a question; an empty one where rust-analyzer fails.
fn answer(workspace: &mut Workspace, request: &Request) -> Answer {
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let source = Source::new(&request.preamble, &request.code);
        let cell = source.cell;
        if let Err(error) = workspace.set(source) {
            eprintln!("analyser: {error}");
            return Answer::default();
        }
        let text = &workspace.text;
        let mut cursor = (cell + request.cursor).min(text.len());
        while !text.is_char_boundary(cursor) {
            cursor -= 1;
        }
        match request.question {
            Question::Complete => Answer {
                completions: complete(workspace, cell, cursor),
                ..Answer::default()
            },
            Question::Inspect => Answer {
                help: inspect(workspace, cell, cursor),
                ..Answer::default()
            },
        }
    }));
    Answer {
        number: request.number,
        ..found.unwrap_or_default()
    }
}

fn complete(workspace: &Workspace, cell: usize, cursor: usize) -> Completions {
    /// Arguments that an editor would let its user fill in.
    static PLACEHOLDER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\$\{[0-9]+:([^}]*)\}|\$[0-9]+").expect("a pattern"));
    let position = FilePosition {
        file_id: workspace.file,
        offset: TextSize::new(cursor as u32),
    };
    let analysis = workspace.host.analysis();
    let found = analysis.completions(&completion_config(), position, None);
    let mut completions = Completions {
        start: cursor - cell,
        end: cursor - cell,
        items: Vec::new(),
    };
    let mut replaced = None;
    for item in found.ok().flatten().unwrap_or_default() {
        let mut edits = item.text_edit.iter();
        let (Some(edit), None) = (edits.next(), edits.next()) else {
            continue;
        };
        let (start, end) = (
            usize::from(edit.delete.start()),
            usize::from(edit.delete.end()),
        );
        // rust-analyzer also offers what merely resembles what was typed.
        let fits = item.lookup().starts_with(&workspace.text[start..end]);
        // Completion by `.await` or `?` replaces more than the word.
        if !fits || start < cell || *replaced.get_or_insert((start, end)) != (start, end) {
            continue;
        }
        if edit.insert.contains(WRAPPER) {
            continue;
        }
        completions.items.push(Completion {
            text: PLACEHOLDER.replace_all(&edit.insert, "$1").into_owned(),
            label: item.label.primary.to_string(),
            kind: jupyter_kind(item.kind).to_string(),
        });
    }
    if let Some((start, end)) = replaced {
        (completions.start, completions.end) = (start - cell, end - cell);
    }
    completions
}

fn inspect(workspace: &Workspace, cell: usize, cursor: usize) -> Option<Help> {
    let text = &workspace.text;
    // Right behind `name(` or `name!(` the reader means `name`.
    let before = text[cell..cursor].trim_end_matches(['(', '!', ' ']);
    let on_word = text[cursor..].starts_with(crate::language::lexer::is_id_continue);
    let offset = match on_word {
        true => cursor,
        false => cell + before.len(),
    };
    let range = TextRange::empty(TextSize::new(offset as u32));
    let file_id = workspace.file;
    let analysis = workspace.host.analysis();
    let hover = |format| {
        let found = analysis.hover(&hover_config(format), FileRange { file_id, range });
        Some(found.ok()??.info.markup.as_str().to_string())
    };
    // What the cell itself defines lies in no crate that its reader knows.
    let without = |text: String, crate_line: &str| {
        let text = text.trim();
        let text = text.strip_prefix(crate_line).unwrap_or(text);
        text.trim().to_string()
    };
    let plain = without(hover(HoverDocFormat::PlainText)?, "ctx\n\n");
    let markdown = without(hover(HoverDocFormat::Markdown)?, "```rust\nctx\n```\n\n");
    (!plain.is_empty()).then_some(Help {
        text: plain,
        markdown,
    })
}

fn completion_config() -> CompletionConfig<'static> {
    CompletionConfig {
        enable_postfix_completions: true,
        enable_imports_on_the_fly: false,
        enable_self_on_the_fly: true,
        enable_auto_iter: true,
        enable_auto_await: true,
        // Nobody edits the library from a cell.
        enable_private_editable: false,
        enable_term_search: false,
        term_search_fuel: 0,
        full_function_signatures: true,
        callable: Some(CallableSnippets::FillArguments),
        add_colons_to_module: true,
        add_semicolon_to_unit: false,
        snippet_cap: SnippetCap::new(true),
        insert_use: InsertUseConfig {
            granularity: ImportGranularity::Item,
            enforce_granularity: false,
            prefix_kind: PrefixKind::ByCrate,
            group: false,
            skip_glob_imports: false,
        },
        prefer_no_std: false,
        prefer_prelude: false,
        prefer_absolute: false,
        snippets: Vec::new(),
        limit: None,
        fields_to_resolve: CompletionFieldsToResolve::empty(),
        exclude_flyimport: Vec::new(),
        exclude_traits: &[],
        ra_fixture: RaFixtureConfig::default(),
    }
}

fn hover_config(format: HoverDocFormat) -> HoverConfig<'static> {
    HoverConfig {
        links_in_hover: true,
        memory_layout: None,
        documentation: true,
        keywords: true,
        format,
        max_trait_assoc_items_count: Some(20),
        max_fields_count: Some(20),
        max_enum_variants_count: Some(20),
        max_subst_ty_len: SubstTyLen::Unlimited,
        show_drop_glue: false,
        ra_fixture: RaFixtureConfig::default(),
    }
}

/// The word by which front ends choose an icon.
fn jupyter_kind(kind: CompletionItemKind) -> &'static str {
    use SymbolKind::*;
    match kind {
        CompletionItemKind::Keyword => "keyword",
        CompletionItemKind::SymbolKind(symbol) => match symbol {
            Function | Method => "function",
            Struct | Enum | Union | Trait | TypeAlias | TypeParam | SelfType => "class",
            Module | CrateRoot | ToolModule => "module",
            Macro | ProcMacro | Derive | DeriveHelper | Attribute | BuiltinAttr => "function",
            _ => "instance",
        },
        _ => "instance",
    }
}
