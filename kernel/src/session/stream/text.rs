//! Bytes of the cells as text that is whole in UTF-8.

/// Takes all whole characters; an unfinished one at the end stays, bytes that are none are replaced.
pub fn take_whole(held: &mut Vec<u8>) -> String {
    let unfinished = match std::str::from_utf8(held) {
        Ok(_) => 0,
        Err(error) if error.error_len().is_none() => held.len() - error.valid_up_to(),
        Err(_) => {
            let tail = &held[held.len().saturating_sub(3)..];
            (1..=tail.len())
                .find(|n| {
                    let end = &tail[tail.len() - n..];
                    end[0] >= 0xc0
                        && std::str::from_utf8(end).is_err_and(|e| e.error_len().is_none())
                })
                .unwrap_or(0)
        }
    };
    let whole: Vec<u8> = held.drain(..held.len() - unfinished).collect();
    String::from_utf8_lossy(&whole).into_owned()
}
