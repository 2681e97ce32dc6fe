//! Interrupts, in a process of their own: the request is one flag for all threads.

use rebit::show::{interrupt, progress};

#[test]
fn an_interrupt_ends_a_loop_under_a_bar_without_a_report() {
    let mut steps = 0;
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for step in progress(0..100) {
            steps += 1;
            if step == 9 {
                interrupt::request();
            }
        }
    }));
    let said = ended.unwrap_err();
    assert_eq!(said.downcast_ref::<String>().unwrap(), "interrupted");
    assert_eq!(steps, 10);
    // The request is answered: the next loop runs.
    assert_eq!(progress(0..5).count(), 5);
}
