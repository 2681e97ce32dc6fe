//! The request to stop belongs to a whole process, so it is tested in a process of its own.

use rebit::Error;
use rebit::show::interrupt::{rebit_end_of_cell, rebit_interrupt_request, request, requested};
use rebit::show::{check_interrupt, install_interrupt_handler};

#[test]
fn a_request_is_answered_once_whichever_way_it_comes() {
    install_interrupt_handler().unwrap();
    install_interrupt_handler().unwrap();
    let by_signal = || signal_hook::low_level::raise(signal_hook::consts::SIGINT).unwrap();
    let ways: [&dyn Fn(); 3] = [&request, &|| rebit_interrupt_request(), &by_signal];
    for ask in ways {
        assert!(check_interrupt().is_ok());
        ask();
        assert!(requested());
        assert!(matches!(check_interrupt(), Err(Error::Interrupted)));
        assert!(!requested());
        ask();
        rebit_end_of_cell();
        assert!(!requested());
    }
}
