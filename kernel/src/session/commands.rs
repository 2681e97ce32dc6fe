//! Commands that a session cannot follow: evcxr would take them, and no later cell would compile.

/// Why a command line is refused, and what to do instead; `None` for those that evcxr may have.
pub fn refusal(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let command = words.next()?;
    let argument = words.next().unwrap_or("");
    if command == ":fmt"
        && let Some((_, format)) = line.trim().split_once(' ')
        && let Err(error) = format.trim().parse::<rebit_wire::ValueFormat>()
    {
        return Some(error.to_string());
    }
    let why = match (command, argument) {
        (":opt", "" | "0" | "1" | "2" | "3" | "s" | "z") | (":linker", "" | "system") => {
            return None;
        }
        (":opt", _) => "the levels of optimisation are 0, 1, 2, 3, s and z",
        (":linker", _) => "cells are linked by the linker that the library was linked by",
        (":toolchain" | ":codegen_backend", "") => return None,
        (":toolchain" | ":codegen_backend", _) => {
            "cells are compiled by the compiler that the library was compiled by; \
             start the kernel under another one (RUSTUP_TOOLCHAIN) to use it"
        }
        (":time_passes", _) => "REBIT_TIMES=FILE notes where the time of each cell goes",
        (":sccache" | ":cache" | ":allow_static_linking", _) => {
            "crates of `:dep` lines are kept and linked in one way, for all sessions"
        }
        _ => return None,
    };
    Some(format!("`{}` is not possible here: {why}", line.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_harm_is_refused() {
        for line in [
            ":opt 2",
            ":opt",
            ":vars",
            ":linker system",
            ":toolchain",
            ":fmt",
            ":fmt -> {:#.2?}",
            "",
            ":dep a = \"1\"",
        ] {
            assert_eq!(refusal(line), None, "{line}");
        }
        for line in [
            ":opt high",
            ":linker mold",
            ":toolchain nightly",
            "  :time_passes",
        ] {
            assert!(
                refusal(line).is_some_and(|why| why.contains(line.trim())),
                "{line}"
            );
        }
        assert!(refusal(":fmt {}").is_some_and(|why| why.contains("{:#?}")));
    }
}
