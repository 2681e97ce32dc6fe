//! The tags of cells that decide how a notebook is run, and papermill's parameters.

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// What the tags of a cell say about its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// `raises-exception`: an error of this cell is what it shows, and the run goes on.
    pub may_fail: bool,
    /// `skip-execution`: the cell keeps its outputs.
    pub is_skipped: bool,
}

impl Tags {
    /// Those of a cell.
    pub fn of(cell: &Value) -> Tags {
        Tags {
            may_fail: has(cell, "raises-exception"),
            is_skipped: has(cell, "skip-execution"),
        }
    }
}

fn has(cell: &Value, tag: &str) -> bool {
    let tags = cell["metadata"]["tags"].as_array();
    tags.is_some_and(|tags| tags.iter().any(|found| found == tag))
}

/// A parameter from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    name: String,
    value: String,
}

impl Parameter {
    /// The parameters in a list of names and values by turns.
    ///
    /// # Errors
    /// A name that no variable can have.
    pub fn pairs(words: &[String]) -> Result<Vec<Parameter>> {
        words
            .chunks_exact(2)
            .map(|pair| match syn::parse_str::<syn::Ident>(&pair[0]) {
                Ok(_) => Ok(Parameter {
                    name: pair[0].clone(),
                    value: pair[1].clone(),
                }),
                Err(_) => Err(Error::Tool {
                    what: format!("no variable can be called {:?}", pair[0]),
                    remedy: "Write -p NAME VALUE, with the name that the notebook uses".to_string(),
                }),
            })
            .collect()
    }

    /// The statement that sets it, of the type and mutability that the notebook's own cell gives it.
    ///
    /// The value is Rust where it is a literal, an expression in brackets or parentheses, or a macro call
    /// (`0.5`, `-3`, `[1, 2]`, `vec![1]`); any other word is text.
    fn statement(&self, own: &[(String, String)]) -> String {
        let own = own.iter().find(|(name, _)| *name == self.name);
        let pattern = own.map_or(&self.name, |(_, pattern)| pattern);
        let is_text_there = pattern.trim_end().ends_with("str") || pattern.ends_with("String");
        let value = match syn::parse_str::<syn::Expr>(&self.value) {
            Ok(expression) if is_value(&expression) && !is_text_there => self.value.clone(),
            _ if pattern.ends_with("String") => format!("String::from({:?})", self.value),
            _ => format!("{:?}", self.value),
        };
        format!("let {pattern} = {value};\n")
    }
}

fn is_value(expression: &syn::Expr) -> bool {
    use syn::Expr;
    match expression {
        Expr::Lit(_) | Expr::Array(_) | Expr::Tuple(_) | Expr::Macro(_) | Expr::Repeat(_) => true,
        Expr::Unary(inner) => is_value(&inner.expr),
        Expr::Paren(inner) => is_value(&inner.expr),
        Expr::Reference(inner) => is_value(&inner.expr),
        _ => false,
    }
}

/// What stands between `let` and `=` in a cell, by the variable's name.
fn patterns(cell: &str) -> Vec<(String, String)> {
    use quote::ToTokens;
    use syn::parse::Parser;
    let statements = syn::Block::parse_within.parse_str(cell).unwrap_or_default();
    let patterns = statements.into_iter().filter_map(|statement| {
        let syn::Stmt::Local(local) = statement else {
            return None;
        };
        let name = match &local.pat {
            syn::Pat::Type(typed) => &typed.pat,
            other => other,
        };
        let syn::Pat::Ident(name) = name else {
            return None;
        };
        Some((
            name.ident.to_string(),
            local.pat.to_token_stream().to_string(),
        ))
    });
    patterns.collect()
}

/// Puts a cell that sets the parameters behind the one tagged `parameters` (at the beginning when there is none), as
/// papermill does; a cell that an earlier run put there makes room.
///
/// # Errors
/// A parameter that would change nothing: the tagged cell does not have it, or, where none is tagged, a cell sets it itself.
pub fn inject(
    cells: &mut Vec<Value>,
    parameters: &[Parameter],
    source: &dyn Fn(&Value) -> String,
) -> Result<()> {
    if parameters.is_empty() {
        return Ok(());
    }
    cells.retain(|cell| !has(cell, "injected-parameters"));
    let place = cells.iter().position(|cell| has(cell, "parameters"));
    let own = place.map_or(Vec::new(), |at| patterns(&source(&cells[at])));
    check(parameters, place.map(|_| &own[..]), cells, source)?;
    let statements = parameters.iter().map(|one| one.statement(&own));
    let text: String = std::iter::once("// Parameters\n".to_string())
        .chain(statements)
        .collect();
    let cell = json!({
        "cell_type": "code", "id": "injected-parameters", "execution_count": null, "outputs": [],
        "metadata": {"tags": ["injected-parameters"]}, "source": text.trim_end(),
    });
    cells.insert(place.map_or(0, |at| at + 1), cell);
    Ok(())
}

/// Refuses parameters that would change nothing; `own` are those of the tagged cell.
fn check(
    parameters: &[Parameter],
    own: Option<&[(String, String)]>,
    cells: &[Value],
    source: &dyn Fn(&Value) -> String,
) -> Result<()> {
    let binds = |own: &[(String, String)], name: &str| own.iter().any(|(found, _)| found == name);
    for Parameter { name, .. } in parameters {
        if let Some(own) = own {
            if !binds(own, name) {
                let own: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
                return Err(Error::Tool {
                    what: format!("the notebook has no parameter {name}"),
                    remedy: format!("Its cell tagged `parameters` sets: {}", own.join(", ")),
                });
            }
        } else if cells
            .iter()
            .any(|cell| cell["cell_type"] == "code" && binds(&patterns(&source(cell)), name))
        {
            return Err(Error::Tool {
                what: format!("no cell is tagged `parameters`, and one of them sets {name} itself"),
                remedy: "Tag the cell that sets it with `parameters`".to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_the_form_of_the_notebooks_own() {
        let own = patterns("let alpha = 0.1; let mut name: &str = \"a\"; let long: String = f();");
        let table = [
            ("alpha", "0.5", "let alpha = 0.5;\n"),
            ("alpha", "-1e-3", "let alpha = -1e-3;\n"),
            ("name", "7", "let mut name : & str = \"7\";\n"),
            (
                "long",
                "a\"b",
                "let long : String = String::from(\"a\\\"b\");\n",
            ),
            ("sizes", "vec![1, 2]", "let sizes = vec![1, 2];\n"),
            ("flag", "true", "let flag = true;\n"),
            ("word", "full", "let word = \"full\";\n"),
            // A command is text, whatever it would do.
            (
                "word",
                "std::process::exit(1)",
                "let word = \"std::process::exit(1)\";\n",
            ),
        ];
        for (name, value, wanted) in table {
            let pair = [name.to_string(), value.to_string()];
            let parameter = &Parameter::pairs(&pair).unwrap()[0];
            assert_eq!(parameter.statement(&own), wanted);
        }
        let wrong = ["2x".to_string(), "1".to_string()];
        assert!(Parameter::pairs(&wrong).is_err());
    }

    #[test]
    fn parameters_stand_behind_their_defaults() {
        let cell =
            |tags: &[&str], source: &str| json!({"metadata": {"tags": tags}, "source": source});
        let source = |cell: &Value| cell["source"].as_str().unwrap().to_string();
        let parameters = [Parameter {
            name: "n".into(),
            value: "3".into(),
        }];
        let mut cells = vec![cell(&[], "1"), cell(&["parameters"], "let n: u8 = 1;")];
        for _ in 0..2 {
            inject(&mut cells, &parameters, &source).unwrap();
            let sources: Vec<String> = cells.iter().map(source).collect();
            assert_eq!(
                sources,
                ["1", "let n: u8 = 1;", "// Parameters\nlet n : u8 = 3;"]
            );
        }
        let mut cells = vec![cell(&[], "n")];
        inject(&mut cells, &parameters, &source).unwrap();
        assert_eq!(cells[0]["source"], "// Parameters\nlet n = 3;");
        assert!(Tags::of(&cell(&["skip-execution"], "")).is_skipped);
    }

    #[test]
    fn a_parameter_that_changes_nothing_is_refused() {
        let cell = |tags: &[&str], source: &str| json!({"cell_type": "code", "metadata": {"tags": tags}, "source": source});
        let source = |cell: &Value| cell["source"].as_str().unwrap().to_string();
        let parameters = Parameter::pairs(&["n".to_string(), "3".to_string()]).unwrap();
        for (first, hint) in [
            (
                cell(&["parameters"], "let m: u8 = 1; let (a, b) = (1, 2);"),
                "sets: m",
            ),
            (cell(&[], "let n: u8 = 1;"), "Tag the cell"),
        ] {
            let said = inject(&mut vec![first], &parameters, &source).unwrap_err();
            assert!(said.to_string().contains(hint), "{said}");
        }
    }
}
